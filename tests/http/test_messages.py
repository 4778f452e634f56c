"""`/api/users/{user}/messages/{message_id}`: a message that waits is edited, or taken back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.http.client import Answer, ask, post
from tests.http.conftest import Served

ODD = '../a b%2F"ü"?#/🙂+'


def place(message_id: str, user: str = "ana") -> str:
    return f"/api/users/{quote(user, safe='')}/messages/{quote(message_id, safe='')}"


def edit(server: Served, path: str, body: object, **headers: str) -> Answer:
    data = body if isinstance(body, str) else json.dumps(body)
    return ask(
        server.address,
        "PATCH",
        path,
        data.encode(),
        {"content-type": "application/json", **headers},
    )


def texts(server: Served, user: str = "ana") -> list[Any]:
    return [json.loads(each.body)["message"] for each in server.engine.messages[user]]


def test_an_edit_and_a_revoke_answer_what_waits_now(server: Served) -> None:
    for name in ("m1", "m2"):
        post(server.address, {"user": "ana", "message": "Oi", "message_id": name, "ttl": 7})
    answer = edit(server, place("m1"), {"message": "Olá", "reason": "typo"})
    expected = {"success": True, "user": "ana", "route": "default", "message_id": "m1"}
    assert (answer.status, answer.json) == (200, expected | {"pending": 2, "fires_in": 7.0})
    assert texts(server) == ["Olá", "Oi"]
    answer = ask(server.address, "DELETE", place("m2") + "?reason=asked")
    assert (answer.status, answer.json["pending"]) == (200, 1)
    assert texts(server) == ["Olá"]
    noted = [(user, deed.name, deed.reason) for user, deed in server.engine.noted]
    assert noted == [("ana", "revoke", "asked"), ("ana", "edit", "typo")]


@pytest.mark.parametrize("slash", ["", "/"])
def test_any_id_and_any_user_can_be_named(server: Served, slash: str) -> None:
    post(server.address, {"user": ODD, "message": "Oi", "message_id": ODD})
    assert edit(server, place(ODD, ODD) + slash, {"message": "x"}).json["message_id"] == ODD
    assert ask(server.address, "DELETE", place(ODD, ODD) + slash).status == 200


@pytest.mark.parametrize(
    ("why", "status"),
    [
        ("claimed", 409), ("revoked", 404), ("unknown", 404), ("body", 413), ("batch", 413),
        ("pending", 429),
    ],
)  # fmt: skip
def test_what_is_not_changed_says_why_and_is_not_noted(
    server: Served, why: str, status: int
) -> None:
    answer = edit(server, place("m1", why), {"message": "x"})
    assert (answer.status, answer.json["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in answer.headers) == (status == 429)
    assert ask(server.address, "DELETE", place("m1", why)).status == status
    assert server.engine.noted == []


def test_a_claimed_message_is_said_to_be_on_its_way(server: Served) -> None:
    assert "on its way" in edit(server, place("m1", "claimed"), {"message": "x"}).json["detail"]


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ('{"message": null}', ""),
        ('{"message": 1.50}', "1.50"),
        ('{"message": ""}', ""),
        (r'{"message": "a\ud800b"}', "a\ufffdb"),
        ('\ufeff{"message": "x", "reason": null}', "x"),
    ],
)
def test_a_new_text_is_read_as_a_messages_text_is(server: Served, body: str, kept: str) -> None:
    post(server.address, {"user": "ana", "message": "Oi", "message_id": "m"})
    assert edit(server, place("m"), body).status == 200
    assert texts(server) == [kept]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ("", 400, None),
        ("[]", 400, None),
        ("{}", 422, "message"),
        ('{"message": []}', 422, "message"),
        ('{"message": true}', 422, "message"),
        ('{"message": "x", "ttl": 5}', 422, "ttl"),
        ('{"message": "x", "message": "y"}', 422, "message"),
        ('{"message": "x", "reason": []}', 422, "reason"),
    ],
)
def test_a_bad_body_changes_nothing(
    server: Served, body: str, status: int, field: str | None
) -> None:
    post(server.address, {"user": "ana", "message": "Oi", "message_id": "m"})
    answer = edit(server, place("m"), body)
    assert (answer.status, answer.field) == (status, field)
    assert texts(server) == ["Oi"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/users/ana/messages/", 404),
        ("/api/users/ana/messages/a/b", 404),
        ("/api/users/ana/messages", 404),
        ("/api/users/ana/messages/%", 400),
        ("/api/users/ana/messages/%ff", 400),
        ("/api/users/ana/messages/" + "x" * 513, 404),
        ("/api/users/ana/%6dessages/x", 404),
    ],
)
def test_a_path_that_names_no_message_is_none(server: Served, path: str, status: int) -> None:
    assert edit(server, path, {"message": "x"}).status == status
    assert ask(server.address, "DELETE", path).status == status


def test_other_methods_are_told_which_there_are(server: Served) -> None:
    answer = ask(server.address, "POST", place("m"), "{}")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, PATCH")


def test_a_new_text_may_be_as_large_as_a_message_and_no_other_body_is(
    start: Callable[..., Served],
) -> None:
    server = start(max_body_bytes=200_000)
    post(server.address, {"user": "ana", "message": "Oi", "message_id": "m"})
    assert edit(server, place("m"), {"message": "x" * 190_000}).status == 200
    answer = edit(server, place("m"), {"message": "x" * 200_000})
    assert (answer.status, "200000 bytes" in answer.json["detail"]) == (413, True)
    long = json.dumps({"reason": "x" * 100_000})
    answer = ask(server.address, "POST", "/api/users/ana/flush", long)
    assert (answer.status, "65536 bytes" in answer.json["detail"]) == (413, True)


def test_only_an_admin_changes_messages(start: Callable[..., Served]) -> None:
    keys = (("admin", "root-key", "bia"), ("read", "read-key", "eye"), ("ingest", "in-key", "in"))
    server = start(api_keys=keys)
    for key, status in (("read-key", 403), ("in-key", 403), ("wrong", 401), ("root-key", 404)):
        headers = {"authorization": f"Bearer {key}"}
        assert edit(server, place("m"), {"message": "x"}, **headers).status == status
        assert ask(server.address, "DELETE", place("m"), headers=headers).status == status
