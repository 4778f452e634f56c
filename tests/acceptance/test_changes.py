"""`PATCH` and `DELETE` of a message, against the service itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.acceptance.client import Response, fresh_user
from tests.acceptance.receiver import reply
from tests.acceptance.service import World, world
from tests.acceptance.waiting import wait_for_attempts

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    with world(AQ_RETRY_SCHEDULE="0.1,600", AQ_PAYLOAD="detailed", AQ_ORDER="sent") as running:
        yield running


def sent(running: World, user: str, message_id: str, text: str, **more: Any) -> dict[str, Any]:
    """Not written down for the checker, to which a text that was edited is one that is lost."""
    body = {"user": user, "message": text, "message_id": message_id, "ttl": 30, **more}
    answer = running.client.call("POST", "/api/message", json.dumps(body).encode())
    assert answer.status == 202, answer.body
    said: dict[str, Any] = answer.json()
    return said


def edited(running: World, user: str, message_id: str, text: str) -> Response:
    path = f"/api/users/{quote(user, safe='')}/messages/{quote(message_id, safe='')}"
    return running.client.call("PATCH", path, json.dumps({"message": text}).encode())


def test_what_was_edited_and_taken_back_while_it_waited_goes_out_so_and_never_changes_again(
    running: World,
) -> None:
    user, name = fresh_user("muda/ç"), "wamid/1 %ü"
    running.receiver.script(user, reply(503), reply(200))
    for message_id, text in ((name, "erro"), ("m2", "apagar"), ("m3", "fim")):
        sent(running, user, message_id, text)
    assert edited(running, user, name, "certo").status == 200
    path = f"/api/users/{quote(user, safe='')}/messages/m2"
    assert running.client.call("DELETE", path).status == 200
    again = sent(running, user, "m2", "apagar")
    assert (again["duplicate"], again["pending"]) == (True, 2)
    running.client.user(user, "flush")
    (first,) = wait_for_attempts(running.receiver, user, 1)
    assert edited(running, user, name, "tarde").status == 409
    first, second = wait_for_attempts(running.receiver, user, 2)
    assert first.body == second.body
    body = json.loads(second.body)
    assert body["messages"] == ["certo", "fim"]
    assert [item["seq"] for item in body["items"]] == [1, 3]
    assert body["batch"]["first_at"] == body["items"][0]["received_at"]
    assert edited(running, user, name, "tarde").status == 409
    assert edited(running, user, "nunca", "x").status == 404


def test_with_the_senders_order_every_attempt_has_the_same_bytes_in_that_order(
    running: World,
) -> None:
    user = fresh_user("ordem")
    running.receiver.script(user, reply(503), reply(200))
    for text, sent_at in (("c", 1764000003.5), ("b", "2025-11-24T13:00:02-03:00"), ("?", [])):
        sent(running, user, text, text, sent_at=sent_at)
    sent(running, user, "a", "a", sent_at=1764000001000)
    running.client.user(user, "flush")
    first, second = wait_for_attempts(running.receiver, user, 2)
    assert first.body == second.body
    body = json.loads(first.body)
    assert body["messages"] == [item["message"] for item in body["items"]] == ["a", "b", "?", "c"]
    assert [item["seq"] for item in body["items"]] == [4, 2, 3, 1]
