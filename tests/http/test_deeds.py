"""What is done by hand is noted with the name of the key that did it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.http.client import Answer, ask
from tests.http.conftest import Served, served

KEYS = (("admin", "root-key", "bia"), ("admin", "other-key", "caio"), ("read", "read-key", "eye"))


@pytest.fixture
def locked() -> Iterator[Served]:
    with served(api_keys=KEYS) as server:
        server.engine.bury("b1", "ana")
        yield server


def do(server: Served, method: str, path: str, body: str = "", key: str = "root-key") -> Answer:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return ask(server.address, method, path, body or None, headers)


def told(server: Served, user: str = "ana") -> list[dict[str, Any]]:
    answer = do(server, "GET", f"/api/users/{user}?deeds=true", key="read-key")
    assert answer.status == 200
    assert answer.json["user"] == user
    found: list[dict[str, Any]] = answer.json["deeds"]
    return found


def test_each_thing_done_to_a_user_is_noted_with_when_by_whom_and_why(locked: Served) -> None:
    do(locked, "POST", "/api/users/ana/hold", '{"seconds": 60, "reason": "a person took over"}')
    do(locked, "POST", "/api/users/ana/release", '{"reason": "done"}', key="other-key")
    do(locked, "POST", "/api/users/ana/flush")
    do(locked, "POST", "/api/dead/b1/replay", '{"reason": "the receiver is back"}')
    do(locked, "DELETE", "/api/users/ana?reason=asked")
    deeds = told(locked)
    assert [(each["deed"], each["by"], each["reason"]) for each in deeds] == [
        ("drop", "bia", "asked"),
        ("replay", "bia", "the receiver is back"),
        ("flush", "bia", None),
        ("release", "caio", "done"),
        ("hold", "bia", "a person took over"),
    ]
    assert (deeds[-1]["seconds"], deeds[1]["batch_id"]) == (60.0, "b1")
    assert deeds[0]["at"] == "2025-01-30T01:19:45.120Z"
    assert told(locked, "other") == []


def test_what_was_not_done_is_not_noted(locked: Served) -> None:
    do(locked, "POST", "/api/users/ana/hold", '{"seconds": 60}')
    assert do(locked, "POST", "/api/users/ana/flush").status == 409
    assert do(locked, "POST", "/api/users/ana/hold", '{"seconds": -1}').status == 422
    assert do(locked, "POST", "/api/users/ana/release", key="read-key").status == 403
    assert do(locked, "POST", "/api/dead/b9/replay").status == 404
    assert do(locked, "DELETE", "/api/dead/b9").status == 404
    assert do(locked, "DELETE", "/api/dead/replay").status == 404
    assert [each["deed"] for each in told(locked)] == ["hold"]


def test_all_deeds_are_listed_newest_first_also_those_that_are_about_nobody(locked: Served) -> None:
    do(locked, "POST", "/api/dead/replay")
    do(locked, "DELETE", "/api/dead/b1", key="other-key")
    do(locked, "DELETE", "/api/users/ana?everything=true")
    deeds = do(locked, "GET", "/api/deeds", key="read-key").json["deeds"]
    assert [(each["deed"], each["by"]) for each in deeds] == [
        ("erase", "bia"), ("drop_dead", "caio"), ("replay_all", "bia"),
    ]  # fmt: skip
    assert len(do(locked, "GET", "/api/deeds?limit=1").json["deeds"]) == 1


def test_where_no_key_is_asked_for_nobody_is_named(server: Served) -> None:
    ask(server.address, "POST", "/api/users/zoe/hold")
    (deed,) = ask(server.address, "GET", "/api/users/zoe?deeds=true").json["deeds"]
    assert (deed["deed"], deed["by"]) == ("hold", None)


@pytest.mark.parametrize("body", ['{"reason": []}', '{"reason": "' + "x" * 301 + '"}'])
def test_a_reason_that_cannot_be_kept_does_nothing(locked: Served, body: str) -> None:
    for verb in ("hold", "release", "flush"):
        answer = do(locked, "POST", f"/api/users/ana/{verb}", body)
        assert (answer.status, answer.json["field"]) == (422, "reason")
    assert told(locked) == []
