"""API keys: every path needs its scope, and what tells nothing of users is open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actor_queue.http.api import build
from actor_queue.http.auth import Keys
from actor_queue.http.faults import FaultLog
from actor_queue.http.routing import NEEDS as MARK
from actor_queue.http.traffic import Traffic
from tests.http.client import Answer, ask
from tests.http.conftest import Served, served

KEYS = (("ingest", "in-key"), ("read", "read-key"), ("admin", "root-key"))
NEEDS = [
    ("POST", "/api/message", "ingest"),
    ("POST", "/api/messages", "ingest"),
    ("POST", "/api/users/a/typing", "ingest"),
    ("GET", "/api/users", "read"),
    ("GET", "/api/users/a", "read"),
    ("GET", "/api/dead", "read"),
    ("GET", "/api/dead/groups", "read"),
    ("GET", "/api/dead/x", "read"),
    ("GET", "/api/shards", "read"),
    ("GET", "/api/attempts", "read"),
    ("GET", "/api/deeds", "read"),
    ("GET", "/api/find", "read"),
    ("HEAD", "/api/events", "read"),
    ("POST", "/api/users/a/flush", "admin"),
    ("POST", "/api/users/a/hold", "admin"),
    ("POST", "/api/users/a/release", "admin"),
    ("DELETE", "/api/users/a", "admin"),
    ("DELETE", "/api/dead/x", "admin"),
    ("POST", "/api/dead/x/replay", "admin"),
    ("POST", "/api/dead/replay", "admin"),
    ("POST", "/api/routes/default/test", "admin"),
]
UNKNOWN = [
    None,
    "Bearer",
    "Bearer x",
    "Basic cm9vdC1rZXk=",
    "root-key",
    "Bearer root-key x",
    "Bearer \xff",
]
OPEN = ["/", "/docs", "/static/base.css", "/openapi.json", "/healthz", "/readyz", "/metrics"]


@pytest.fixture(scope="module")
def locked() -> Iterator[Served]:
    with served(api_keys=KEYS) as server:
        yield server


@pytest.fixture(scope="module")
def shut() -> Iterator[Served]:
    """A service that asks for a key for what it says of itself, too."""
    with served(api_keys=KEYS, key_for_metrics=True) as server:
        yield server


def with_key(server: Served, method: str, path: str, authorization: str | None) -> Answer:
    headers = {} if authorization is None else {"authorization": authorization}
    return ask(server.address, method, path, headers=headers)


@pytest.mark.parametrize(("method", "path", "scope"), NEEDS)
def test_every_path_needs_its_scope(locked: Served, method: str, path: str, scope: str) -> None:
    for granted, key in KEYS:
        answer = with_key(locked, method, path, f"Bearer {key}")
        allowed = granted in (scope, "admin")
        assert (answer.status == 403) is not allowed, (granted, answer)
        assert answer.status != 401
        if not allowed:
            assert "insufficient_scope" in answer.headers["www-authenticate"]


@pytest.mark.parametrize("authorization", UNKNOWN)
@pytest.mark.parametrize(("method", "path", "scope"), NEEDS)
def test_a_missing_or_unknown_key_is_401(
    locked: Served, method: str, path: str, scope: str, authorization: str | None
) -> None:
    answer = with_key(locked, method, path, authorization)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="actor-queue"')


@pytest.mark.parametrize("path", OPEN)
def test_what_tells_nothing_of_users_is_open(locked: Served, path: str) -> None:
    assert with_key(locked, "GET", path, None).status == 200


def test_the_word_bearer_is_read_in_any_case(locked: Served) -> None:
    assert with_key(locked, "GET", "/api/shards", "bEARER read-key").status == 200


def test_no_view_lacks_a_scope(shared: Served) -> None:
    app = build(shared.engine, Keys(()), Traffic(), FaultLog())
    assert [name for name, view in app.view_functions.items() if not hasattr(view, MARK)] == []


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json"])
def test_what_the_service_says_of_itself_needs_a_key_if_that_is_set(
    shut: Served, path: str
) -> None:
    for method in ("GET", "HEAD"):
        for authorization in UNKNOWN:
            assert with_key(shut, method, path, authorization).status == 401
        assert with_key(shut, method, path, "Bearer in-key").status == 403
        for key in ("read-key", "root-key"):
            assert with_key(shut, method, path, f"Bearer {key}").status == 200
    description = with_key(shut, "GET", "/openapi.json", "Bearer read-key").json
    assert description["paths"][path]["get"]["security"] == [{"key": []}, {"session": []}]
    assert "401" in description["paths"][path]["get"]["responses"]


def test_health_and_the_pages_need_no_key_even_then(shut: Served) -> None:
    for path in ("/", "/docs", "/static/base.css", "/healthz", "/readyz"):
        assert with_key(shut, "GET", path, None).status == 200
