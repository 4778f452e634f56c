"""What a request is about can be read in one way only, so a proxy's rules mean the same as ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.http.targets import is_as_written, is_host
from tests.http.client import send_raw
from tests.http.conftest import Served

KEYS = (("admin", "root-key"),)
PATHS = ["/", "/api/dead", "/api/message", "/api/events", "/healthz", "/metrics", "/nowhere"]


def status(server: Served, method: str, target: str, *headers: str, version: str = "1.1") -> int:
    lines = [f"{method} {target} HTTP/{version}", *headers, "connection: close", "", ""]
    answer = send_raw(server.address, "\r\n".join(lines).encode("latin-1"))
    assert b"application/problem+json" in answer or answer.startswith(b"HTTP/1.1 200 ")
    return int(answer.split(b" ", 2)[1])


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "//api/dead",
        "///api/dead",
        "/api%2Fdead",
        "/api%2fdead",
        "/%61pi/dead",
        "/api/d%65ad",
        "/api//dead",
        "/api/./dead",
        "/api/../api/dead",
        "/api/users/../dead",
        "/api/users/x/../../dead",
        "/api/users/%2e%2e/dead",
        "/api/us%65rs",
        "/api/dead%2F",
        "/api/dead;x",
        "/API/dead",
        "api/dead",
        "/static/%62ase.css",
        "/static/x/../base.css",
        "//healthz",
        "/%68ealthz",
        "/healthz%00",
        "http://localhost//api/dead",
        "http://localhost/api%2Fdead",
    ],
)
def test_a_path_is_served_only_as_it_is_written(server: Served, path: str) -> None:
    assert status(server, "GET", path, "host: localhost") == 404


def test_a_verb_is_taken_only_as_it_is_written(server: Served) -> None:
    server.engine.bury("b-1")
    assert status(server, "POST", "/api/dead/%72eplay", "host: localhost") == 404
    assert status(server, "POST", "/api/users/ana/%66lush", "host: localhost") == 404
    assert server.engine.replayed == []


def test_a_prefix_changes_nothing_of_that(start: Callable[..., Served]) -> None:
    server = start(root_path="/redis-api")
    assert status(server, "GET", "/redis-api/api/dead", "host: localhost") == 200
    for path in ("/redis-api//api/dead", "/redis-api%2Fapi/dead", "//redis-api/api/dead"):
        assert status(server, "GET", path, "host: localhost") == 404


@given(st.text(alphabet="/.%2Faped", max_size=20))
def test_no_other_path_is_decoded_into_one_of_ours(path: str) -> None:
    if is_as_written(path.encode()) and not path.startswith("/api/users/"):
        assert "%" not in path
        assert not path.startswith("//")


# Methods


@pytest.mark.parametrize("method", ["Get", "get", "gET", "Post", "options"])
@pytest.mark.parametrize("path", PATHS)
def test_a_method_in_other_letters_is_not_served(server: Served, method: str, path: str) -> None:
    assert status(server, method, path, "host: localhost") == 501


# Host


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":80",
        "a b",
        "a/b",
        "a@b",
        "a?b",
        "a#b",
        'a"b',
        "a<b",
        "a\\b",
        "\xe9.example",
        "%4",
        "a:x",
        "a:65536",
        "a:80:80",
        "::1",
        "[::1",
        "[zz]",
        "[127.0.0.1]",
        "[fe80::1%eth0]",
        "[]",
    ],
)
def test_a_host_that_is_none_is_refused_everywhere(server: Served, host: str) -> None:
    for path in ("/healthz", "/api/dead"):
        assert status(server, "GET", path, f"host: {host}") == 400
        assert status(server, "GET", f"http://localhost{path}", f"host: {host}") == 400
    assert status(server, "GET", "/healthz", f"host: {host}", version="1.0") == 400


@pytest.mark.parametrize(
    "host",
    ["a", "a.example:", "A_b.example:443", "127.0.0.1:65535", "[::1]:1", "[v1.x:y]", "%C3%A9,b"],
)
def test_a_host_as_the_rfc_has_it_is_one(host: str) -> None:
    assert is_host(host.encode())


def test_http_1_1_needs_one_host_exactly(server: Served) -> None:
    for path in ("/healthz", "/api/dead", "http://localhost/api/dead"):
        assert status(server, "GET", path) == 400
        assert status(server, "GET", path, "host: localhost", "host: localhost") == 400
    assert status(server, "GET", "/healthz", version="1.0") == 200


@pytest.mark.parametrize(
    "target",
    ["http:///healthz", "http://u@localhost/healthz", "http://a b/", "/healthz#x", "/healthz?a#b"],
)
def test_a_target_that_can_be_read_in_two_ways_is_refused(server: Served, target: str) -> None:
    assert status(server, "GET", target, "host: localhost") == 400


# Authorization


@pytest.mark.parametrize("locked", [True, False])
def test_two_keys_are_refused_everywhere(start: Callable[..., Served], locked: bool) -> None:
    """Whoever stands in front may have looked at the other one."""
    server = start(api_keys=KEYS if locked else ())
    right, wrong = "authorization: Bearer root-key", "Authorization: Bearer x"
    for path in PATHS:
        for first, second in ((right, right), (right, wrong), (wrong, right)):
            assert status(server, "GET", path, "host: localhost", first, second) == 400
    for path in ("/api/message", "/api/messages", "/api/users/ana/flush"):
        assert status(server, "POST", path, "host: localhost", right, wrong) == 400
    assert server.engine.pushes == []
