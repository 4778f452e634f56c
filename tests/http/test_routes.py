"""A conversation is a user of a route: how the API names one, and how far a bound key reaches."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from actor_queue.core.api_keys import ApiKey
from actor_queue.core.conversation import Conversation
from actor_queue.core.history import PastAttempt, mark_of
from actor_queue.core.routes import Route
from actor_queue.http.lookup import FOUND_MAX
from actor_queue.store.lists_api import DeadFilter
from actor_queue.store.replay_api import ReplayJob
from tests.http.client import Answer, ask, post, raw, until
from tests.http.conftest import Served, served

KEYS = (
    ("ingest", "in", "", "vendas"),
    ("read", "see", "", "vendas"),
    ("admin", "do", "", "vendas"),
    ("admin", "root"),
)
VENDAS = Conversation("vendas", "ana").key


def with_routes(server: Served) -> Served:
    default = Route.default(server.engine.settings)
    server.engine.routes.replace([default, replace(default, name="vendas", default_ttl_ms=8_000)])
    return server


@pytest.fixture(scope="module")
def open_one() -> Iterator[Served]:
    with served() as server:
        yield with_routes(server)


@pytest.fixture(scope="module")
def bound() -> Iterator[Served]:
    with served(api_keys=KEYS) as server:
        yield with_routes(server)


def by(server: Served, key: str, method: str, path: str, body: object = None) -> Answer:
    headers = {"authorization": f"Bearer {key}"}
    return ask(server.address, method, path, None if body is None else json.dumps(body), headers)


def past(user: str, route: str) -> PastAttempt:
    return PastAttempt(user, "b1", 1, "failed", 503, "x", 1, 1, 9, "r-1", route=route)


def users(answer: Answer) -> list[tuple[str, str]]:
    return [(each["route"], each["user"]) for each in answer.json["users"]]


def test_the_same_user_on_two_routes_is_two_conversations(open_one: Served) -> None:
    on_vendas = post(open_one.address, {"user": "ana", "message": "oi", "route": "vendas"})
    assert (on_vendas.json["user"], on_vendas.json["route"]) == ("ana", "vendas")
    assert on_vendas.json["fires_in"] == 8.0
    assert "route" not in post(open_one.address, {"user": "ana", "message": "oi"}).json
    assert post(open_one.address, {"user": "ana", "message": "2"}).json["pending"] == 2
    for query, route, pending in (("", "default", 2), ("?route=vendas", "vendas", 1)):
        shown = ask(open_one.address, "GET", f"/api/users/ana{query}").json
        assert (shown["user"], shown["route"], shown["pending"]) == ("ana", route, pending)
    listed = ask(open_one.address, "GET", "/api/users?user=an")
    assert sorted(users(listed)) == [("default", "ana"), ("vendas", "ana")]
    assert users(ask(open_one.address, "GET", "/api/users?route=vendas")) == [("vendas", "ana")]


@pytest.mark.parametrize("verb", ["hold", "release", "typing", "flush"])
def test_a_verb_is_for_the_conversation_of_the_route_that_is_asked_for(
    open_one: Served, verb: str
) -> None:
    post(open_one.address, {"user": f"{verb}1", "message": "oi", "route": "vendas"})
    answer = ask(open_one.address, "POST", f"/api/users/{verb}1/{verb}?route=vendas")
    assert (answer.status, answer.json["route"], answer.json["user"]) == (200, "vendas", f"{verb}1")
    other = ask(open_one.address, "POST", f"/api/users/{verb}1/{verb}")
    assert (other.json["route"], other.json["pending"]) == ("default", 0)


def test_dropping_on_one_route_leaves_the_other(open_one: Served) -> None:
    for route in ("default", "vendas"):
        post(open_one.address, {"user": "bia", "message": route, "route": route})
    gone = ask(open_one.address, "DELETE", "/api/users/bia?route=vendas").json
    assert (gone["route"], gone["dropped"], gone["messages"][0]["message"]) == (
        "vendas",
        1,
        "vendas",
    )
    assert ask(open_one.address, "GET", "/api/users/bia").json["pending"] == 1


@pytest.mark.parametrize("name", ["v%20v", "%C3%A9", "a" * 65, "a%FFb"])
def test_what_is_no_routes_name_is_refused_by_field(open_one: Served, name: str) -> None:
    for path in (f"/api/users/ana?route={name}", f"/api/users?route={name}"):
        answer = ask(open_one.address, "GET", path)
        assert (answer.status, answer.field) == (422, "route")


def test_a_bound_key_puts_messages_on_its_route_alone_on_both_roads(bound: Served) -> None:
    for path, body in (
        ("/api/message", {"user": "caio", "message": "oi"}),
        ("/api/message", {"user": "caio", "message": "oi", "route": "vendas"}),
    ):
        answer = by(bound, "in", "POST", path, body)
        assert (answer.status, answer.json["route"]) == (202, "vendas")
    other = {"user": "caio", "message": "oi", "route": "default"}
    assert by(bound, "in", "POST", "/api/message", other).status == 403
    many = by(bound, "in", "POST", "/api/messages", [other, {"user": "caio", "message": "oi"}]).json
    assert [each.get("status", each.get("route")) for each in many] == [403, "vendas"]


def test_a_bound_key_reaches_its_routes_conversations_only(bound: Served) -> None:
    for route in ("default", "vendas"):
        by(bound, "root", "POST", "/api/message", {"user": "dora", "message": "x", "route": route})
    assert by(bound, "see", "GET", "/api/users/dora").json["route"] == "vendas"
    listed = users(by(bound, "see", "GET", "/api/users"))
    assert listed
    assert {route for route, _ in listed} == {"vendas"}
    for path in ("/api/users/dora?route=default", "/api/users?route=default"):
        assert by(bound, "see", "GET", path).status == 403
    assert by(bound, "do", "POST", "/api/users/dora/hold?route=default").status == 403
    assert by(bound, "do", "POST", "/api/users/dora/hold").json["route"] == "vendas"
    for path in ("/api/deeds", "/api/doctor"):
        assert by(bound, "see", "GET", path).status == 403
    assert by(bound, "root", "GET", "/api/deeds").status == 200


def test_a_bound_key_knows_of_no_dead_letter_and_no_attempt_of_another_route(bound: Served) -> None:
    engine = bound.engine
    engine.bury("b1", "ana")
    engine.bury("b2", VENDAS)
    engine.past = [past("ana", "default"), past("ana", "vendas")]
    assert [each["id"] for each in by(bound, "see", "GET", "/api/dead").json["dead"]] == ["b2"]
    attempts = by(bound, "see", "GET", "/api/attempts").json["attempts"]
    assert [each["route"] for each in attempts] == ["vendas"]
    assert by(bound, "see", "GET", "/api/attempts?route=default").status == 403
    groups = by(bound, "see", "GET", "/api/dead/groups").json["groups"]
    assert [(each["route"], each["letters"]) for each in groups] == [("vendas", 1)]
    assert by(bound, "see", "GET", "/api/dead/groups?route=default").status == 403
    assert by(bound, "see", "GET", "/api/dead/b1").status == 404
    assert by(bound, "see", "GET", "/api/dead/b2").json["route"] == "vendas"
    assert by(bound, "do", "POST", "/api/dead/b1/replay").status == 404
    assert by(bound, "do", "DELETE", "/api/dead/b1").status == 404
    assert by(bound, "do", "DELETE", "/api/dead/b2").status == 200
    assert "b1" in engine.letters


@pytest.mark.parametrize("keys", [("root", "see"), ("see", "root")])
def test_an_answer_that_may_be_old_is_shared_by_keys_of_one_reach_alone(
    keys: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actor_queue.http.shared.YOUNG_S", 60.0)
    may_see = {"root": {"default", "vendas"}, "see": {"vendas"}}
    with served(api_keys=KEYS) as server:
        with_routes(server)
        server.engine.bury("b1", "ana")
        server.engine.bury("b2", VENDAS)
        for route in ("default", "vendas"):
            message = {"user": "ana", "message": "x", "route": route}
            assert by(server, "root", "POST", "/api/message", message).status == 202
        for path, listed in (("/api/users", "users"), ("/api/dead", "dead")):
            for key in keys:
                for wanted in (None, "default", "vendas"):
                    query = "" if wanted is None else f"?route={wanted}"
                    young = {"authorization": f"Bearer {key}", "cache-control": "max-age=1"}
                    found = ask(server.address, "GET", path + query, None, young)
                    if wanted not in (None, *may_see[key]):
                        assert found.status == 403
                        continue
                    routes = {each["route"] for each in found.json[listed]}
                    assert routes == (may_see[key] if wanted is None else {wanted})


def test_what_is_found_on_other_routes_takes_no_place_of_what_is_within_reach() -> None:
    """One message's id stands in batches of more users than one answer has."""
    mark = mark_of("m1")
    elsewhere = [replace(past(f"u{n}", "default"), marks=mark) for n in range(FOUND_MAX + 1)]
    with served(api_keys=KEYS) as server:
        with_routes(server)
        server.engine.past = [*elsewhere, replace(past("ana", "vendas"), marks=mark)]
        found = by(server, "see", "GET", "/api/find?id=m1").json
        assert [(each["route"], each["user"]) for each in found["found"]] == [("vendas", "ana")]
        assert found["complete"] is True
        every = by(server, "root", "GET", "/api/find?id=m1").json
        assert (len(every["found"]), every["complete"]) == (FOUND_MAX, False)


def test_a_verb_for_many_by_a_bound_key_is_about_its_route(bound: Served) -> None:
    bound.engine.for_many.clear()
    assert by(bound, "do", "POST", "/api/users/flush", {"user": "a"}).status == 200
    assert by(bound, "do", "POST", "/api/users/flush", {"route": "default"}).status == 403
    assert [wanted.route for _, wanted, _, _ in bound.engine.for_many] == ["vendas"]


@pytest.mark.parametrize(("route", "status"), [("default", 404), (None, 404), ("vendas", 202)])
def test_a_bound_key_stops_no_job_of_another_route_that_has_begun_since_it_looked(
    monkeypatch: pytest.MonkeyPatch, route: str | None, status: int
) -> None:
    """A job within reach that has another id since then is stopped all the same."""
    seen = ReplayJob("one", "running", 2, 1, 0, DeadFilter(route="vendas"))
    begun = replace(seen, id="two", wanted=DeadFilter(route=route))
    with served(api_keys=KEYS) as server:
        engine = with_routes(server).engine

        async def looked_at() -> ReplayJob:
            engine.job = begun
            return seen

        monkeypatch.setattr(engine, "replay_job", looked_at)
        assert by(server, "do", "DELETE", "/api/dead/replay").status == status
        assert engine.job is not None
        assert engine.job.state == ("stopping" if status == 202 else "running")


def test_a_bound_key_hears_of_its_route_alone(bound: Served) -> None:
    """What is of another route is left out where it comes first, and in the midst of a piece."""
    events = bound.engine.events

    def happen() -> None:
        for number, route in enumerate(("default", "vendas", "default", "vendas")):
            events.publish("dead", user=f"u-{route}-{number}", route=route)

    with raw(bound.address) as sock:
        received = listening(sock)
        bound.run(happen)
        while b"u-vendas-3" not in received:
            received += sock.recv(65_536)
    assert b"u-vendas-1" in received
    assert b"u-default" not in received
    until(lambda: not events.listened)


@pytest.mark.parametrize("route", ["default", None])
def test_a_stream_ends_when_its_key_is_bound_to_something_else(route: str | None) -> None:
    with served(api_keys=KEYS) as server, raw(server.address) as sock:
        received = listening(sock)
        keys = [ApiKey("read", "see", "", "vendas"), ApiKey("admin", "another")]
        server.run(partial(server.application.keys.replace, keys))
        server.run(partial(server.engine.events.publish, "dead", user="still", route="vendas"))
        while b"still" not in received:
            received += sock.recv(65_536)
        keys = [ApiKey("read", "see", "", route)]
        server.run(partial(server.application.keys.replace, keys))
        while not received.endswith(b"0\r\n\r\n"):
            received += sock.recv(65_536)


def listening(sock: socket.socket) -> bytes:
    sock.sendall(
        b"GET /api/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer see\r\n\r\n"
    )
    received = b""
    while b"retry:" not in received:
        received += sock.recv(65_536)
    return received
