"""Verbs for many over HTTP: whom a request means, what it refuses, and what it answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actor_queue.runtime.many import ACTED_ON_MAX
from actor_queue.store.lists_api import DeadFilter
from tests.http.client import ask, call, post
from tests.http.conftest import Served

VERBS = ["flush", "hold", "release", "drop"]


def waiting(server: Served, *users: str) -> None:
    for user in users:
        post(server.address, {"user": user, "message": "oi", "ttl": 600})


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_reaches_those_that_the_filters_name(server: Served, verb: str) -> None:
    waiting(server, "ana", "ana-2", "bia")
    body = {"user": "ana", "state": "collecting", "since": 0, "limit": "7", "cursor": "0"}
    answer = call(server.address, "POST", f"/api/users/{verb}", body)
    assert (answer.status, set(answer.json)) == (
        200,
        {"success", "done", "messages", "passed_over", "cursor"},
    )
    [(said, wanted, piece, for_ms)] = server.engine.for_many
    assert (said, wanted.user, wanted.state, wanted.since_ms) == (verb, "ana", "collecting", 0)
    assert (piece.dry_run, piece.limit, piece.cursor) == (False, 7, "0")
    assert for_ms == (3_600_000 if verb == "hold" else 0)


def test_who_did_it_to_many_is_noted_with_each_and_a_dry_run_is_no_deed(server: Served) -> None:
    waiting(server, "ana", "ana-2", "bia")
    body = {"user": "ana", "seconds": 60, "reason": "Joana takes over"}
    call(server.address, "POST", "/api/users/hold", {**body, "dry_run": True})
    assert server.engine.noted == []
    call(server.address, "POST", "/api/users/hold", body)
    assert {user for user, _ in server.engine.noted} == {"ana", "ana-2"}
    _, deed = server.engine.noted[0]
    assert (deed.name, deed.reason, deed.seconds) == ("hold", "Joana takes over", 60)


def test_a_dry_run_says_how_many_it_would_be(server: Served) -> None:
    waiting(server, "ana", "ana", "ana-2", "bia")
    body = {"user": "ana", "dry_run": True}
    answer = call(server.address, "POST", "/api/users/flush", body)
    assert answer.json == {"would": 2, "messages": 3, "passed_over": 0, "cursor": None}
    assert server.engine.for_many[0][2].dry_run


def test_a_hold_for_many_has_its_time(server: Served) -> None:
    call(server.address, "POST", "/api/users/hold", {"seconds": 60.5})
    assert server.engine.for_many[0][3] == 60_500


@pytest.mark.parametrize("path", [*(f"users/{verb}" for verb in VERBS), "dead/drop"])
@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, None),
        (b"[]", 400, None),
        (b'{"user": ""}', 422, "user"),
        (b'{"user": " "}', 422, "user"),
        (b'{"user": null}', 422, "user"),
        (b'{"since": ""}', 422, "since"),
        (b'{"since": "soon"}', 422, "since"),
        (b'{"usr": "ana"}', 422, "usr"),
        (b'{"user": "ana", "user": "bia"}', 422, "user"),
        (b'{"dry_run": 1}', 422, "dry_run"),
        (b'{"dry_run": null}', 422, "dry_run"),
        (b'{"limit": 0}', 422, "limit"),
        (b'{"limit": %d}' % (ACTED_ON_MAX + 1), 422, "limit"),
        (b'{"cursor": "not ours"}', 422, "cursor"),
    ],
)
def test_what_might_mean_everybody_by_mistake_is_refused(
    server: Served, path: str, body: bytes, status: int, field: str | None
) -> None:
    server.engine.bury("b-1")
    answer = ask(server.address, "POST", f"/api/{path}", body)
    assert (answer.status, answer.json.get("field")) == (status, field)
    assert server.engine.for_many == []
    assert list(server.engine.letters) == ["b-1"]


def test_a_field_of_another_verb_is_refused(server: Served) -> None:
    answer = call(server.address, "POST", "/api/users/flush", {"seconds": 9})
    assert (answer.status, answer.field) == (422, "seconds")


def test_users_that_are_called_like_a_verb_stay_users(server: Served) -> None:
    waiting(server, "flush")
    assert call(server.address, "GET", "/api/users/flush").json["pending"] == 1
    assert call(server.address, "DELETE", "/api/users/flush").json["dropped"] == 1
    refused = call(server.address, "POST", "/api/users/ana", {})
    assert (refused.status, refused.headers["allow"]) == (405, "DELETE, GET, HEAD")
    refused = call(server.address, "PUT", "/api/users/ana", {})
    assert refused.headers["allow"] == "DELETE, GET, HEAD"
    refused = call(server.address, "PUT", "/api/users/hold", {})
    assert refused.headers["allow"] == "DELETE, GET, HEAD, POST"


def test_dead_letters_are_dropped_by_filter(server: Served) -> None:
    for number, user in enumerate(("ana", "ana-2", "bia")):
        server.engine.bury(f"b-{number}", user=user)
    body = {"user": "ana", "reason": "answered", "status": "500", "dry_run": True}
    answer = call(server.address, "POST", "/api/dead/drop", body)
    assert answer.json == {"would": 2, "messages": 2, "passed_over": 0, "cursor": None}
    answer = call(server.address, "POST", "/api/dead/drop", {**body, "dry_run": False})
    assert answer.json["done"] == 2
    assert list(server.engine.letters) == ["b-2"]


def test_a_replay_takes_filters_and_a_pace_and_is_counted_first(server: Served) -> None:
    for number, user in enumerate(("ana", "ana-2", "bia")):
        server.engine.bury(f"b-{number}", user=user)
    body = {"user": "ana", "per_second": 20}
    answer = call(server.address, "POST", "/api/dead/replay", {**body, "dry_run": True})
    assert (answer.status, answer.json["would"]) == (200, 2)
    assert server.engine.replayed == []
    answer = call(server.address, "POST", "/api/dead/replay", body)
    assert (answer.status, answer.json["user"], answer.json["per_second"]) == (202, "ana", 20)
    assert server.engine.replayed == ["b-0", "b-1"]


def test_a_replay_beside_another_one_is_refused_and_the_same_one_is_joined(
    server: Served,
) -> None:
    call(server.address, "POST", "/api/dead/replay", {"user": "ana"})
    server.engine.job = replace(server.engine.job, state="running")
    assert server.engine.job.wanted == DeadFilter(user="ana")
    assert call(server.address, "POST", "/api/dead/replay", {"user": "ana"}).status == 202
    assert call(server.address, "POST", "/api/dead/replay", {"user": "bia"}).status == 409
    assert call(server.address, "POST", "/api/dead/replay").status == 409
