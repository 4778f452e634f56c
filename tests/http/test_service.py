"""The service about itself: readiness, numbers, events, pages, its own description."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from actor_queue.doors import PLATFORMS
from actor_queue.http.api import build
from actor_queue.http.auth import Keys
from actor_queue.http.faults import FaultLog
from actor_queue.http.many_api import MANY_VERBS
from actor_queue.http.traffic import Traffic
from tests.http.client import ask, call, post, raw, until
from tests.http.conftest import Served


def test_shards_tell_who_owns_what(server: Served) -> None:
    assert call(server.address, "GET", "/api/shards").json == {
        "replicas": [{"id": "r-test", "seen_ago": 0.9, "shards": 1}],
        "shards": [
            {
                "shard": 0,
                "owner": "r-test",
                "epoch": 17,
                "since": "2025-01-30T01:19:45.120Z",
                "remaining": 4.2,
                "waiting": 2,
            },
            {"shard": 1, "owner": None, "epoch": 0, "since": None, "remaining": 0.0, "waiting": 0},
        ],
    }


def test_readiness_follows_the_engine_and_health_does_not(server: Served) -> None:
    assert call(server.address, "GET", "/readyz").status == 200
    server.engine.reason = "draining"
    ready = call(server.address, "GET", "/readyz")
    assert (ready.status, ready.json["detail"]) == (503, "draining")
    assert ready.headers["retry-after"] == "1"
    assert call(server.address, "GET", "/healthz").status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/users"),
        ("GET", "/api/users/a"),
        ("DELETE", "/api/users/a"),
        ("GET", "/api/dead"),
        ("GET", "/api/dead/x"),
        ("POST", "/api/dead/replay"),
        ("GET", "/api/shards"),
    ],
)
def test_without_the_store_the_api_answers_503(server: Served, method: str, path: str) -> None:
    server.engine.away = "the store is away"
    answer = call(server.address, method, path)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


def test_an_unforeseen_fault_in_the_api_is_a_500_that_tells_nothing(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    server.engine.broken = KeyError("somebody's words")
    answer = call(server.address, "GET", "/api/users/a")
    assert answer.status == 500
    assert b"words" not in answer.body
    assert "words" not in caplog.text


def test_metrics_have_the_numbers_and_no_user(server: Served) -> None:
    post(server.address, {"user": "somebody", "message": "oi"})
    call(server.address, "GET", "/api/users/somebody")
    answer = call(server.address, "GET", "/metrics")
    text = answer.body.decode()
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "actor_queue_accepted_total 1.0" in text
    assert "actor_queue_ready 1.0" in text
    assert 'actor_queue_lateness_seconds_bucket{le="+Inf"} 0.0' in text
    assert 'actor_queue_http_answers_total{route="/api/message",status="202"}' in text
    assert 'route="/api/users/<path>",status="200"' in text
    assert "somebody" not in text


def test_events_arrive_as_they_happen(server: Served) -> None:
    with raw(server.address) as sock:
        sock.sendall(b"GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        received = b""
        while b"retry:" not in received:
            received += sock.recv(65_536)
        assert b"content-type: text/event-stream" in received.lower()
        post(server.address, {"user": "ana", "message": "oi", "message_id": "w"})
        while b"\n\n" not in received.partition(b"event:")[2]:
            received += sock.recv(65_536)
    assert b'event: accepted\ndata: {"user": "ana", "message_id": "w"}\n\n' in received
    until(lambda: not server.engine.events.listened)


def test_an_idle_event_stream_is_kept_alive_by_comments(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actor_queue.http.events.HEARTBEAT_S", 0.05)
    with raw(server.address) as sock:
        sock.sendall(b"GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        received = b""
        while received.count(b": still here\n\n") < 3:
            received += sock.recv(65_536)


def test_where_too_many_listen_the_oldest_is_told_to_go_and_to_come_back_later(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actor_queue.runtime.events.LISTENERS_MAX", 1)
    with raw(server.address) as old, raw(server.address) as new:
        for sock in (old, new):
            sock.sendall(b"GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
            received = b""
            while b"retry:" not in received:
                received += sock.recv(65_536)
        received = b""
        while b"\r\n0\r\n\r\n" not in received:
            received += old.recv(65_536)
        assert b"retry: 30000\n: put out" in received
        assert server.application.traffic.streams_put_out == 1
        post(server.address, {"user": "ana", "message": "oi", "message_id": "w"})
        while b"event: accepted" not in received:
            received += new.recv(65_536)


def test_a_stream_that_nobody_reads_makes_room_too(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actor_queue.runtime.events.LISTENERS_MAX", 1)
    with raw(server.address) as unread, raw(server.address) as new:
        unread.sendall(b"GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        until(lambda: server.engine.events.listened)
        new.sendall(b"GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        received = b""
        while b"retry:" not in received:
            received += new.recv(65_536)
        post(server.address, {"user": "ana", "message": "oi", "message_id": "w"})
        while b"event: accepted" not in received:
            received += new.recv(65_536)


# Pages and the description


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_come_with_a_policy_that_lets_nothing_else_in(server: Served, path: str) -> None:
    answer = call(server.address, "GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert answer.headers["cache-control"] == "no-cache"


def test_what_the_pages_need_is_served_once(server: Served) -> None:
    answer = call(server.address, "GET", "/static/base.css")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    again = ask(
        server.address, "GET", "/static/base.css", headers={"if-none-match": answer.headers["etag"]}
    )
    assert (again.status, again.body) == (304, b"")


@pytest.fixture(scope="module")
def description(shared: Served) -> dict[str, Any]:
    answer: dict[str, Any] = call(shared.address, "GET", "/openapi.json").json
    return answer


def test_every_reference_of_the_description_resolves(description: dict[str, Any]) -> None:
    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [ref for value in node.values() for ref in references(value)]
        if isinstance(node, list):
            return [ref for value in node for ref in references(value)]
        return []

    for reference in references(description):
        node: Any = description
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def _described(rule: str) -> str:
    """A path of the application as the description writes it."""
    names = {
        "<path>": "{user}",
        "<batch:batch_id>": "{id}",
        "<message>": "{message_id}",
        "<name>": "{route}",
    }
    for ours, described in names.items():
        rule = rule.replace(ours, described)
    return rule


def test_the_description_has_every_path_that_is_served(
    shared: Served, description: dict[str, Any]
) -> None:
    app = build(shared.engine, Keys(()), Traffic(), FaultLog())
    served = {
        (_described(rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
        if not rule.rule.startswith("/static/")
    }
    # Where a user stands, its views find a verb for many.
    served.remove(("/api/users/{user}", "post"))
    served |= {(f"/api/users/{verb}", "post") for verb in MANY_VERBS}
    raw_paths = {
        ("/api/message", "post"),
        ("/api/messages", "post"),
        ("/api/events", "get"),
        ("/healthz", "get"),
        ("/readyz", "get"),
        ("/in/cloud", "get"),
        *((f"/in/{door}", "post") for door in PLATFORMS),
        ("/api/answers/{ticket}", "get"),
        *((f"/api/answers/{{ticket}}/{verb}", "post") for verb in ("done", "extend", "fail")),
    }
    described = {
        (path, method)
        for path, item in description["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert described == served | raw_paths


@pytest.mark.parametrize(
    ("schema", "path"),
    [("UserDetail", "/api/users/with-batch"), ("DeadList", "/api/dead"), ("Shards", "/api/shards")],
)
def test_answers_have_exactly_the_described_fields(
    server: Served, description: dict[str, Any], schema: str, path: str
) -> None:
    server.engine.bury("b-1")
    schemas = description["components"]["schemas"]

    def check(node: Any, value: Any) -> None:
        if "$ref" in node:
            node = schemas[node["$ref"].rpartition("/")[2]]
        for option in node.get("oneOf", []):
            if option != {"type": "null"} and value is not None:
                check(option, value)
        if isinstance(value, list):
            for element in value:
                check(node["items"], element)
        if isinstance(value, dict) and "properties" in node:
            assert set(value) == set(node["properties"])
            for name, part in value.items():
                check(node["properties"][name], part)
        if node.get("format") == "date-time" and value is not None:
            datetime.fromisoformat(value)

    check(schemas[schema], call(server.address, "GET", path).json)
