"""The edge answers as the service does, under servers on both event loops.

The tests of the two endpoints are those of the service itself: whatever they say of a server of
ours must be true of an edge, but for what no ASGI application can see to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import anyio
import pytest

from actor_queue.core.settings import Settings
from actor_queue.http import edge as module
from tests.http import test_bulk, test_ingest
from tests.http.client import ask, post, raw, read_all
from tests.http.hosts import HOSTS, Hosted, edge_on
from tests.http.memory_engine import MemoryEngine

MESSAGE = {"user": "ana", "message": "oi"}
OF_THE_SERVER = {
    # How the rest of a refused body is read, and in what pieces it comes.
    "test_a_declared_length_over_the_limit_is_refused_before_the_body_is_read",
    "test_a_chunked_body_is_cut_as_soon_as_it_is_over_the_limit",
    "test_the_refusal_of_a_large_body_can_be_read_by_a_client_that_sends_it_all",
    "test_a_pipelined_request_is_answered_after_the_first",
    # The fixture starts a server of ours, to see its connections.
    "test_a_client_that_goes_away_does_not_stop_its_message",
    "test_a_prefix_is_accepted_and_not_required",
    "test_what_came_before_the_client_went_away_is_kept",
    "test_the_next_chunk_waits_until_the_last_was_accepted",
    "test_answers_that_nobody_reads_stop_the_reading_and_not_the_service",
    "test_a_short_request_is_taken_however_many_long_ones_are_under_way",
    "test_one_long_request_too_many_is_refused_until_another_has_ended",
    # It is only long.
    "test_a_client_that_sends_all_before_it_reads_gets_all_its_results",
}

for _tests in (test_ingest, test_bulk):
    for _name, _test in vars(_tests).items():
        if _name.startswith("test_") and _name not in OF_THE_SERVER:
            globals()[_name] = _test


@pytest.fixture(scope="module", params=HOSTS)
def shared(request: pytest.FixtureRequest) -> Iterator[Hosted]:
    with edge_on(request.param) as edge:
        yield edge


@pytest.fixture(params=HOSTS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# What is there


@pytest.mark.parametrize("path", ["/", "/api/users", "/api/users/a", "/docs", "/api/events", "/x"])
def test_what_takes_no_messages_is_not_there_and_says_so(server: Hosted, path: str) -> None:
    answer = ask(server.address, "GET", path)
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "edge" in answer.json["detail"]


@pytest.mark.parametrize("path", ["//api/message", "/api%2Fmessage", "/%61pi/message"])
def test_a_path_is_served_only_as_it_is_written(server: Hosted, path: str) -> None:
    assert ask(server.address, "POST", path, json.dumps(MESSAGE)).status == 404
    assert server.engine.pushes == []


def test_a_slash_at_the_end_means_nothing(server: Hosted) -> None:
    assert ask(server.address, "POST", "/api/message/", json.dumps(MESSAGE)).status == 202
    assert ask(server.address, "GET", "/readyz/").status == 200


def test_readiness_is_that_of_the_store(server: Hosted) -> None:
    assert ask(server.address, "GET", "/readyz").status == 200
    server.engine.reason = "Redis is away"
    assert ask(server.address, "GET", "/readyz").status == 503
    assert ask(server.address, "GET", "/healthz").status == 200


def test_the_metrics_are_those_of_the_edge(server: Hosted) -> None:
    post(server.address, MESSAGE)
    answer = ask(server.address, "GET", "/metrics")
    lines = answer.body.decode().splitlines()
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "actor_queue_accepted_total 1.0" in lines
    assert (
        'actor_queue_http_answers_total{route="/api/message",status="202"}' in answer.body.decode()
    )
    assert not any("shards_owned" in line or "connections" in line for line in lines)
    assert ask(server.address, "GET", "/metrics?user=ana").status == 400


# Refusals that our own server makes


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"host: a b\r\n", 400),
        (b"host: localhost\r\nauthorization: Bearer a\r\nauthorization: Bearer b\r\n", 400),
        (b"host: localhost\r\nx: " + b"y" * 16_400 + b"\r\n", 431),
        (b"host: localhost\r\n" + b"x: y\r\n" * 101, 431),
    ],
)
def test_a_head_that_is_refused_by_the_service_is_refused(
    server: Hosted, fields: bytes, status: int
) -> None:
    with raw(server.address) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nconnection: close\r\n" + fields + b"\r\n")
        answer = read_all(sock)
    # Either server may have refused it in its own words before.
    assert int(answer.split(b" ", 2)[1]) in {status, 400}


def test_a_method_in_small_letters_is_none() -> None:
    """Hypercorn makes capital letters of it before anybody is asked."""
    assert _answered(method="Post") == 501


HOST = (b"host", b"localhost")


@pytest.mark.parametrize(
    "scope",
    [
        {"headers": [HOST, HOST]},
        {"headers": [(b"host", b"a b")]},
        {"headers": [HOST, (b"authorization", b"Bearer a"), (b"authorization", b"Bearer a")]},
        {"query_string": b"a#b"},
        {"raw_path": b"/healthz#x"},
        {"raw_path": b"http://u@localhost/healthz"},
    ],
    ids=str,
)
def test_what_a_server_lets_through_and_ours_would_not_is_refused(scope: dict[str, object]) -> None:
    assert _answered(method="GET", path="/healthz", **scope) == 400


def test_a_head_that_is_too_large_is_refused_wherever_it_is_large() -> None:
    for scope in (
        {"headers": [(b"x", b"y" * 16_384)]},
        {"headers": [(b"x", b"y")] * 101},
        {"query_string": b"y" * 16_384},
        {"raw_path": b"/" + b"y" * 16_384},
    ):
        assert _answered(method="GET", path="/healthz", **scope) == 431


def test_a_foreign_host_or_page_is_refused_without_keys(server: Hosted) -> None:
    for header in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        answer = ask(server.address, "POST", "/api/message", json.dumps(MESSAGE), header)
        assert answer.status == 403
    assert server.engine.pushes == []


def test_a_body_that_stands_still_is_given_up(
    server: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BODY_IDLE_S", 0.05)
    for path in (b"/api/message", b"/api/messages"):
        with raw(server.address) as sock:
            sock.sendall(
                b"POST %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
                b"content-length: 50\r\n\r\n[" % path
            )
            assert read_all(sock).startswith(b"HTTP/1.1 408 ")
    assert server.application.traffic.peers_too_slow["body"] >= 2


# Settings


def test_keys_and_their_scopes_are_asked_for(kind: str) -> None:
    keys = (("ingest", "in-key"), ("read", "read-key"))
    with edge_on(kind, api_keys=keys, key_for_metrics=True) as edge:
        for path in ("/api/message", "/api/messages"):
            assert ask(edge.address, "POST", path, b"[]").status == 401
            refused = {"authorization": "Bearer read-key"}
            assert ask(edge.address, "POST", path, b"[]", refused).status == 403
        assert post(edge.address, MESSAGE, authorization="Bearer in-key").status == 202
        assert ask(edge.address, "GET", "/metrics").status == 401
        assert ask(edge.address, "GET", "/healthz").status == 200


def test_a_prefix_and_a_listed_page_are_those_of_the_settings(kind: str) -> None:
    page = "https://chat.example"
    with edge_on(kind, root_path="/redis-api", cors_origins=(page,)) as edge:
        for path in ("/redis-api/api/message", "/api/message"):
            answer = ask(edge.address, "POST", path, json.dumps(MESSAGE), {"origin": page})
            assert answer.status == 202
            assert answer.headers["access-control-allow-origin"] == page
        asked = {"origin": page, "access-control-request-method": "POST"}
        assert ask(edge.address, "OPTIONS", "/api/message", headers=asked).status == 204
        assert ask(edge.address, "GET", "/redis-api").status == 404


@pytest.mark.parametrize(
    ("settings", "server", "status"),
    [
        ({}, ("127.0.0.1", 80), 202),
        ({}, ("::1", 80), 202),
        ({}, ("::ffff:127.0.0.1", 80), 202),
        ({}, ("/run/edge.sock", None), 202),
        ({}, ("10.0.0.1", 80), 403),
        ({}, ("::", 80), 403),
        ({"allow_anonymous": True}, ("10.0.0.1", 80), 202),
        ({"api_keys": (("ingest", "in-key"),)}, ("10.0.0.1", 80), 202),
    ],
)
def test_without_keys_nobody_but_this_machine_may_send(
    settings: dict[str, object], server: tuple[str, int | None], status: int
) -> None:
    """The settings cannot know where another server listens, so each request is asked."""
    assert _answered(settings, server=server) == status


def _answered(settings: dict[str, object] | None = None, **of_scope: object) -> int:
    """The status that a POST gets whose ASGI scope says so."""
    statuses: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": json.dumps(MESSAGE).encode(), "more_body": False}

    async def send(event: dict[str, object]) -> None:
        statuses.extend([event["status"]] if "status" in event else [])

    async def main() -> None:
        edge = module.EdgeApplication(MemoryEngine(Settings(**(settings or {}))))
        await edge(scope, receive, send)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/message",
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer in-key")],
        **of_scope,
    }
    anyio.run(main)
    return statuses[0]
