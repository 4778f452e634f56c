"""`GET /api/find`: why somebody was answered twice, and where a message is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.client import fresh_user
from tests.acceptance.receiver import held, reply
from tests.acceptance.service import World, world
from tests.acceptance.waiting import wait_for_attempts, wait_until

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    with world(AQ_RETRY_SCHEDULE="0.1,600") as running:
        yield running


def found(running: World, query: str) -> dict[str, Any]:
    answer = running.client.get(f"/api/find?{query}")
    assert answer.status == 200, answer.body
    assert answer.json()["complete"]
    (only,) = answer.json()["found"]
    found: dict[str, Any] = only
    return found


def in_history(running: World, user: str, count: int) -> None:
    path = f"/api/attempts?user={user}"
    wait_until(
        lambda: len(running.client.get(path).json()["attempts"]) == count, "the attempts are listed"
    )


def test_a_delivered_message_is_found_by_its_id_and_by_its_batch_with_every_attempt(
    running: World,
) -> None:
    user = fresh_user("duas")
    running.receiver.script(user, reply(503), reply(200))
    running.client.accepted(user, ttl=0, message_id="wamid.duas")
    attempts = wait_for_attempts(running.receiver, user, 2)
    in_history(running, user, 2)
    batch = attempts[0].webhook_id
    for query in (f"id={batch}", "id=wamid.duas", f"id=wamid.duas&user={user}"):
        it = found(running, query)
        assert (it["user"], it["batch_id"], it["where"]) == (user, batch, "delivered")
        assert [(each["attempt"], each["status"]) for each in it["attempts"]] == [
            (1, 503),
            (2, 200),
        ]
        assert it["attempts"][0]["answer"] == "ok"
        assert all(each["replica"].startswith("r-") for each in it["attempts"])
        assert all(each["duration_ms"] >= 0 for each in it["attempts"])
    assert found(running, f"id={batch}")["matched"] == "webhook_id"
    assert found(running, "id=wamid.duas")["matched"] == "message_id"


def test_a_message_is_found_wherever_it_is(running: World) -> None:
    user, gate = fresh_user("onde"), threading.Event()
    running.receiver.script(user, held(gate, 503), reply(410))
    running.client.accepted(user, ttl=0, message_id="wamid.onde")
    (attempt, *_) = wait_for_attempts(running.receiver, user)
    batch = attempt.webhook_id
    # Its first attempt is under way, so no history has it.
    assert found(running, f"id={batch}")["where"] == "delivering"
    assert found(running, f"id=wamid.onde&user={user}")["batch_id"] == batch
    running.client.accepted(user, ttl=600, message_id="wamid.depois")
    waiting = found(running, f"id=wamid.depois&user={user}")
    assert (waiting["where"], waiting["batch_id"]) == ("waiting", None)
    gate.set()
    wait_until(lambda: batch in running.client.dead_ids(), "a dead letter")
    assert found(running, f"id={batch}")["where"] == "dead"
    in_history(running, user, 2)
    assert found(running, "id=wamid.onde")["where"] == "dead"


def test_what_nobody_knows_is_404_and_a_remembered_id_is_said(running: World) -> None:
    client = running.client
    assert client.get("/api/find?id=wamid.nunca").status == 404
    assert client.get("/api/find?id=b0000" + "0" * 20).status == 404
    assert client.get("/api/find?id=b0000" + "0" * 20 + "&user=ana").status == 404
    assert client.get("/api/find").json()["field"] == "id"
    user = fresh_user("lembra")
    client.accepted(user, ttl=600, message_id="wamid.lembra")
    client.drop(user)
    answer = client.get(f"/api/find?id=wamid.lembra&user={user}")
    assert (answer.json()["found"], answer.json()["remembered"]) == ([], True)
