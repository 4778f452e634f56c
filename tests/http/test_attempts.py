"""`GET /api/attempts`: what was sent lately, by filter and page by page."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest

from actor_queue.core.history import PastAttempt
from tests.http.client import ask
from tests.http.conftest import Served
from tests.http.memory_engine import NOW_MS

MADE = PastAttempt(
    "ana", "b0", 2, "failed", 503, "answered 503", 12, 3, 180, "r-1", b"mark", NOW_MS
)


@pytest.fixture
def server(shared: Served) -> Served:
    engine = shared.engine
    engine.past = [
        replace(MADE, user="bia", outcome="dead", status=None, at_ms=NOW_MS + 1_000),
        replace(MADE, user="ana.b", outcome="delivered", status=200, reason=None),
        MADE,
    ]
    return shared


def users(server: Served, query: str) -> list[str]:
    answer = ask(server.address, "GET", f"/api/attempts?{query}")
    assert answer.status == 200, answer
    return [each["user"] for each in answer.json["attempts"]]


def test_an_attempt_says_when_whose_how_and_by_whom(server: Served) -> None:
    answer = ask(server.address, "GET", "/api/attempts?user=ana&outcome=failed")
    assert answer.json == {
        "attempts": [
            {
                "at": "2025-01-30T01:19:45.120Z",
                "user": "ana",
                "route": "default",
                "batch_id": "b0",
                "attempt": 2,
                "outcome": "failed",
                "status": 503,
                "reason": "answered 503",
                "duration_ms": 12,
                "messages": 3,
                "bytes": 180,
                "replica": "r-1",
            }
        ],
        "cursor": None,
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["bia", "ana.b", "ana"]),
        ("user=ana", ["ana.b", "ana"]),
        ("user=ana.", ["ana.b"]),
        ("outcome=dead", ["bia"]),
        ("status=200", ["ana.b"]),
        ("route=default", ["bia", "ana.b", "ana"]),
        ("route=vendas", []),
        ("since=2025-01-30T01:19:46Z", ["bia"]),
        ("since=" + quote("2025-01-29T23:19:46-02:00"), ["bia"]),
        (f"since={(NOW_MS + 1_000) / 1000:.3f}", ["bia"]),
        (f"since={NOW_MS + 1_000}", ["bia"]),
        (f"since={NOW_MS}", ["bia", "ana.b", "ana"]),
        ("user=&outcome=&since=", ["bia", "ana.b", "ana"]),
    ],
)
def test_every_filter_of_the_contract_leaves_what_fits(
    server: Served, query: str, expected: list[str]
) -> None:
    assert users(server, query) == expected


def test_pages_follow_each_other_by_cursor(server: Served) -> None:
    first = ask(server.address, "GET", "/api/attempts?limit=2").json
    assert [each["user"] for each in first["attempts"]] == ["bia", "ana.b"]
    assert users(server, f"limit=2&cursor={first['cursor']}") == ["ana"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("outcome=retry", "outcome"),
        ("status=99", "status"),
        ("status=x", "status"),
        ("since=yesterday", "since"),
        ("since=2025-13-01", "since"),
        ("since=-1", "since"),
        ("since=" + "9" * 16, "since"),
        ("user=" + "u" * 513, "user"),
        ("cursor=x", "cursor"),
        ("limit=0", "limit"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_field(
    server: Served, query: str, field: str
) -> None:
    answer = ask(server.address, "GET", f"/api/attempts?{query}")
    assert (answer.status, answer.json["field"]) == (422, field)


def test_a_store_that_is_away_is_said(server: Served) -> None:
    server.engine.away = "Redis is away"
    try:
        assert ask(server.address, "GET", "/api/attempts").status == 503
    finally:
        server.engine.away = None
