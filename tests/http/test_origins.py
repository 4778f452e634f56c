"""A page on the internet cannot reach into a machine, and a listed one can send messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.settings import Settings, parse
from actor_queue.http.origins import Origins, host_name, is_local_name
from tests.http.client import Answer, ask, send_raw
from tests.http.conftest import Served, served

PATHS = [
    ("POST", "/api/message"),
    ("POST", "/api/message/"),
    ("POST", "/api/messages"),
    ("GET", "/api/users"),
    ("GET", "/api/users/ana"),
    ("DELETE", "/api/users/ana"),
    ("POST", "/api/users/ana/typing"),
    ("POST", "/api/users/ana/hold"),
    ("GET", "/api/dead"),
    ("POST", "/api/dead/replay"),
    ("GET", "/api/events"),
    ("GET", "/api/nothing"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/"),
    ("GET", "/static/base.css"),
    ("GET", "/dev/inbox"),
]
INGEST = ["/api/message", "/api/messages", "/api/users/ana/typing", "/api/message/"]
NOT_INGEST = [
    ("GET", "/api/users"),
    ("GET", "/api/users/ana"),
    ("GET", "/api/users/typing"),
    ("POST", "/api/users/ana/flush"),
    ("DELETE", "/api/users/ana"),
    ("GET", "/api/dead"),
    ("POST", "/api/dead/replay"),
    ("GET", "/api/shards"),
    ("HEAD", "/api/events"),
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/"),
]
PAGE = "https://chat.example"
ONE = json.dumps({"user": "ana", "message": "oi"})


def netloc(server: Served) -> str:
    return f"{server.address[0]}:{server.address[1]}"


def sent(server: Served, method: str, path: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(server.address, method, path, ONE if method == "POST" else None, named)


def judged(headers: Mapping[str, str], **settings: Any) -> int | None:
    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    origins = Origins(Settings(**settings))
    verdict = origins.judge("POST", fields, ingest=False)
    # The quick look may send somebody on to the judge in vain, and never past him.
    assert origins.concern(fields) or verdict.refusal is None
    return None if verdict.refusal is None else verdict.refusal.status


# Bound to loopback, without keys


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("foreign", ["host", "origin"])
def test_every_path_is_closed_to_a_foreign_page(
    server: Served, method: str, path: str, foreign: str
) -> None:
    value = "evil.example:8000" if foreign == "host" else "https://evil.example"
    answer = sent(server, method, path, **{foreign: value})
    assert answer.status == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert "AQ_" in answer.json["detail"]
    assert server.engine.pushes == []


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "localhost.",
        "app.localhost:1",
        "127.0.0.1",
        "127.0.0.1:9999",
        "192.168.1.7:80",
        "[::1]:8000",
        "[fe80::1]",
    ],
)
def test_localhost_and_addresses_are_hosts_of_ours(server: Served, host: str) -> None:
    assert sent(server, "GET", "/healthz", host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "127.0.0.1:80:80",
        "user@localhost",
        "localhost/evil.example",
        "::1",
        "[::1",
        "",
        ":8000",
        "localhost:port",
        "\xb9\xb2\xb7.0.0.1",
    ],
)
def test_whatever_else_names_the_service_is_refused(host: str) -> None:
    assert judged({"host": host}) == 403


def test_a_request_without_a_host_comes_from_no_browser(server: Served) -> None:
    answer = send_raw(server.address, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_pages_of_the_service_itself_may_call_it(server: Served) -> None:
    own = f"http://{netloc(server)}"
    assert sent(server, "POST", "/api/message", origin=own).status == 202
    assert sent(server, "DELETE", "/api/users/ana", origin=own).status == 200


@pytest.mark.parametrize(
    "origin",
    ["null", "http://localhost:3000", "https://evil.example", "file://", "", "localhost:8000"],
)
def test_a_page_of_another_origin_is_refused_also_where_it_is_on_this_machine(origin: str) -> None:
    assert judged({"host": "localhost:8000", "origin": origin}) == 403


def test_the_public_address_is_one_of_ours() -> None:
    public = parse({"AQ_PUBLIC_URL": "https://Queue.example/redis-api/"}).public_url
    assert public == "https://Queue.example/redis-api"

    def at(**headers: str) -> int | None:
        return judged(headers, public_url=public)

    assert at(host="queue.example") is None
    assert at(host="QUEUE.example:443", origin="https://queue.example") is None
    # A proxy on this machine may put its own name into Host.
    assert at(host="127.0.0.1:8000", origin="https://queue.example") is None
    assert at(host="evil.example", origin="https://queue.example") == 403
    assert at(host="queue.example", origin="https://evil.example") == 403
    assert at(host="127.0.0.1:8000", origin="http://queue.example") == 403


@pytest.mark.parametrize(
    "settings", [{"api_keys": (("admin", "k1"),)}, {"bind": "0.0.0.0:8000"}, {"bind": "[::]:1"}]
)
def test_with_keys_or_bound_to_the_world_any_name_is_taken(settings: dict[str, Any]) -> None:
    assert judged({"host": "evil.example", "origin": "https://evil.example"}, **settings) is None


@pytest.mark.parametrize("settings", [{"allow_anonymous": True}, {"bind": "127.0.0.9:1"}])
def test_what_else_is_bound_to_this_machine_is_closed_too(settings: dict[str, Any]) -> None:
    assert judged({"host": "evil.example"}, **settings) == 403


@given(st.text(st.characters(max_codepoint=255)))
def test_no_host_header_is_taken_for_a_local_one_unless_it_is(host: str) -> None:
    name = host_name(host.encode("latin-1"))
    if name is not None and is_local_name(name):
        assert all(
            c in "0123456789abcdef.:%[]localhst" or ".localhost" in host.lower() for c in name
        )


# CORS


@pytest.mark.parametrize("path", INGEST)
def test_a_listed_page_may_send_messages_and_read_the_answer(
    start: Callable[..., Served], path: str
) -> None:
    server = start(cors_origins=(PAGE, "http://other.example"))
    answer = sent(server, "POST", path, origin=PAGE)
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "retry-after" in answer.headers["access-control-expose-headers"]
    assert answer.headers["vary"] == "origin"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("path", INGEST)
@pytest.mark.parametrize("keys", [(), (("ingest", "secret"),)])
def test_the_browsers_question_needs_no_key(
    start: Callable[..., Served], path: str, keys: tuple[tuple[str, str], ...]
) -> None:
    server = start(cors_origins=(PAGE,), api_keys=keys)
    answer = sent(
        server,
        "OPTIONS",
        path,
        origin=PAGE,
        access_control_request_method="POST",
        access_control_request_headers="authorization,content-type,idempotency-key",
        access_control_request_private_network="true",
    )
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-methods"] == "POST"
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "content-encoding", "idempotency-key"} == set(allowed)
    assert answer.headers["access-control-max-age"] == "600"
    assert answer.headers["access-control-allow-private-network"] == "true"
    assert answer.headers["vary"] == "origin"


def test_a_page_that_is_not_listed_gets_no_permission(start: Callable[..., Served]) -> None:
    server = start(cors_origins=(PAGE,), api_keys=(("ingest", "k1"),))
    asked = sent(
        server,
        "OPTIONS",
        "/api/message",
        origin="https://evil.example",
        access_control_request_method="POST",
    )
    assert (asked.status, asked.headers["vary"]) == (403, "origin")
    posted = sent(
        server,
        "POST",
        "/api/message",
        origin=f"{PAGE}.evil.example",
        authorization="Bearer k1",
    )
    # Whoever has a key may send; the page may not read what came of it.
    assert (posted.status, posted.headers["vary"]) == (202, "origin")
    for answer in (asked, posted):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_without_a_list_no_page_gets_permission(start: Callable[..., Served]) -> None:
    server = start(api_keys=(("ingest", "k1"),))
    asked = sent(
        server, "OPTIONS", "/api/message", origin=PAGE, access_control_request_method="POST"
    )
    assert asked.status == 405
    assert "vary" not in asked.headers


def test_a_problem_can_be_read_by_the_page_too(start: Callable[..., Served]) -> None:
    server = start(cors_origins=(PAGE,), api_keys=(("ingest", "k1"),))
    key = {"authorization": "Bearer k1", "origin": PAGE}
    server.engine.full.add("ana")
    answers = {
        401: sent(server, "POST", "/api/message", origin=PAGE),
        429: sent(server, "POST", "/api/message", **key),
        400: ask(server.address, "POST", "/api/message", b"{", key),
        405: ask(server.address, "GET", "/api/messages", None, key),
        422: ask(server.address, "POST", "/api/users/ana/typing", b'{"ttl": -1}', key),
    }
    server.engine.broken = RuntimeError("broken")
    answers[500] = sent(server, "POST", "/api/message", **key)
    for status, answer in answers.items():
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, PAGE)
        assert answer.headers["vary"] == "origin"


@pytest.mark.parametrize(("method", "path"), NOT_INGEST)
@pytest.mark.parametrize("keys", [(), (("admin", "k1"),)])
def test_nothing_but_ingest_is_ever_opened_to_a_page(
    method: str, path: str, keys: tuple[tuple[str, str], ...]
) -> None:
    with served(cors_origins=(PAGE, "*"), api_keys=keys) as server:
        headers = {"origin": PAGE, "access-control-request-method": method}
        for asked in (method, "OPTIONS"):
            answer = ask(
                server.address, asked, path, None, {**headers, "authorization": "Bearer k1"}
            )
            assert not [name for name in answer.headers if name.startswith("access-control-")]
            assert answer.status == 403 or keys


def test_a_star_opens_ingest_to_any_page_and_nothing_else(start: Callable[..., Served]) -> None:
    server = start(cors_origins=("*",))
    for origin in (PAGE, "null"):
        answer = sent(server, "POST", "/api/message", origin=origin)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (202, "*")
        assert sent(server, "DELETE", "/api/users/ana", origin=origin).status == 403
    assert sent(server, "POST", "/api/message", origin=PAGE, host="evil.example").status == 403


def test_the_order_in_which_pages_ask_changes_no_answer(start: Callable[..., Served]) -> None:
    server = start(cors_origins=(PAGE, "https://b.example"))
    for origin in (PAGE, "https://b.example", PAGE):
        answer = sent(server, "POST", "/api/message", origin=origin)
        assert answer.headers["access-control-allow-origin"] == origin
    assert sent(server, "POST", "/api/message").headers["vary"] == "origin"


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"http://evil.example/api/users", b"localhost", 403),
        (b"http://localhost@evil.example/api/users", b"localhost", 400),
        (b"http://localhost/api/users", b"evil.example", 200),
        (b"http://127.0.0.1:8000/api/users?limit=1", b"localhost", 200),
        (b"http:///api/users", b"localhost", 400),
        (b"/api/users", b"evil.example", 403),
    ],
)
def test_the_host_in_the_target_counts_more_than_the_header(
    target: bytes, host: bytes, status: int
) -> None:
    with served() as server:
        answer = send_raw(
            server.address,
            b"GET %s HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n" % (target, host),
        )
    assert int(answer.split(b" ", 2)[1]) == status
