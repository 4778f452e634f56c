"""Users and dead letters: any user can be addressed, every field has its documented shape."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest

from actor_queue.core.conversation import Conversation
from actor_queue.http import models
from actor_queue.store.api import UserPage
from actor_queue.store.lists_api import UserFilter
from tests.http.client import ask, call, post
from tests.http.conftest import Served

ODD_USERS = [
    "joao.silva",
    "a/b",
    "..",
    ".",
    "a b+c",
    "\x00",
    "\U0001f600\U0001f468\u200d\U0001f469",
    "100%",
    "%2F",
    "?x=1#y",
    "{tag}:u:*",
    "flush",
    "-",
    "ção",
    "x" * 512,
]


def path_of(user: str, verb: str = "") -> str:
    return f"/api/users/{quote(user, safe='')}{verb}"


@pytest.mark.parametrize("user", ODD_USERS)
def test_any_user_that_is_accepted_can_be_addressed(server: Served, user: str) -> None:
    address = server.address
    assert post(address, {"user": user, "message": "oi"}).status == 202
    assert call(address, "GET", path_of(user)).json["pending"] == 1
    assert call(address, "POST", path_of(user, "/typing"), {"ttl": 99}).json["extended"] is True
    assert call(address, "POST", path_of(user, "/hold")).json["held_for"] == 3600.0
    assert call(address, "POST", path_of(user, "/release")).json["held_for"] is None
    gone = call(address, "DELETE", path_of(user)).json
    assert (gone["user"], gone["dropped"]) == (user, 1)
    assert list(server.engine.messages) == []


def test_every_byte_of_a_segment_may_be_percent_encoded(server: Served) -> None:
    post(server.address, {"user": "ana", "message": "oi"})
    assert call(server.address, "GET", "/api/users/%61%6E%61").json["user"] == "ana"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/users//", 404),
        ("/api/users/%ff", 400),
        ("/api/users/%zz", 400),
        ("/api/users/" + "x" * 513, 404),
        ("/api/users/a/b", 404),
        ("/api/users/a/flush//", 404),
        ("/api/users/a//", 404),
        ("/api/users//flush", 404),
        ("/api/users/a//flush", 404),
        ("/api", 404),
        ("/api/dead//", 404),
        ("/api/", 404),
        ("/docs/", 404),
        ("/nothing", 404),
        ("/static/../api.py", 404),
        ("/static/%2e%2e/api.py", 404),
        ("/static/nothing.js", 404),
        ("/static/", 404),
        ("//api/users/a", 404),
        ("/api/%75sers/a", 404),
        ("/api%2Fusers/a", 404),
        ("/api/%6Dessage", 404),
    ],
)
def test_a_path_that_names_nothing_is_a_problem(server: Served, path: str, status: int) -> None:
    answer = call(server.address, "GET", path)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/api/users", "GET"),
        ("PUT", "/api/users/a", "DELETE, GET"),
        ("GET", "/api/users/a/flush", "POST"),
        ("POST", "/api/dead/x", "DELETE, GET"),
        ("POST", "/healthz", "GET, HEAD"),
        ("POST", "/metrics", "GET"),
        ("POST", "/", "GET"),
        ("POST", "/api/events", "GET"),
    ],
)
def test_a_wrong_method_is_405_with_the_right_ones(
    server: Served, method: str, path: str, allow: str
) -> None:
    answer = call(server.address, method, path)
    assert answer.status == 405
    assert set(allow.split(", ")) <= set(answer.headers["allow"].split(", "))
    assert method not in answer.headers["allow"].split(", ")


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/healthz", "/readyz", "/metrics", "/api/users", "/api/dead"]
)
def test_head_answers_as_get_without_a_body(server: Served, path: str) -> None:
    get, head = (call(server.address, method, path) for method in ("GET", "HEAD"))
    assert (head.status, head.body) == (get.status, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


# Users


def test_one_user_has_all_documented_fields(server: Served) -> None:
    assert call(server.address, "GET", "/api/users/with-batch").json == {
        "user": "with-batch",
        "route": "default",
        "state": "retrying",
        "pending": 0,
        "blocked": None,
        "fires_in": None,
        "held_for": None,
        "waiting_since": "2025-01-30T01:19:45.120Z",
        "batch": {
            "id": "b-1",
            "seq": 3,
            "reason": "quiet",
            "messages": 2,
            "attempts": 1,
            "closed_at": "2025-01-30T01:19:45.120Z",
            "retry_in": 4.5,
            "answer_in": None,
            "attempt_for": None,
            "failure": None,
        },
        "recent": [
            {
                "batch_id": "b-0",
                "attempt": 2,
                "at": "2025-01-30T01:19:45.120Z",
                "outcome": "retry",
                "status": 503,
                "reason": "answered 503",
                "answer": "try later",
                "replica": "r-1",
                "duration_ms": 12,
                "messages": 3,
            }
        ],
        "logged_as": "u-10",
    }


def test_a_user_nobody_knows_is_idle(server: Served) -> None:
    view = call(server.address, "GET", "/api/users/nobody").json
    assert (view["state"], view["pending"], view["fires_in"]) == ("idle", 0, None)


def test_the_list_goes_on_with_its_cursor(server: Served) -> None:
    for number in range(5):
        post(server.address, {"user": f"u{number}", "message": "oi", "ttl": 2.5})
    first = call(server.address, "GET", "/api/users?limit=3").json
    rest = call(server.address, "GET", f"/api/users?limit=3&cursor={first['cursor']}").json
    assert [view["user"] for view in first["users"] + rest["users"]] == [f"u{n}" for n in range(5)]
    assert rest["cursor"] is None
    assert first["users"][0] == {
        "user": "u0",
        "route": "default",
        "state": "collecting",
        "pending": 1,
        "blocked": None,
        "fires_in": 2.5,
        "held_for": None,
        "waiting_since": "2025-01-30T01:19:45.120Z",
        "batch": None,
    }


def test_the_list_can_be_narrowed_to_a_state(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def users(wanted: UserFilter, limit: int, cursor: object) -> UserPage:
        asked.append((wanted.state, limit, cursor))
        return UserPage((), None)

    monkeypatch.setattr(server.engine, "users", users)
    call(server.address, "GET", "/api/users?state=held")
    call(server.address, "GET", "/api/users?state=&limit=&cursor=")
    assert asked == [("held", 100, None), (None, 100, None)]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=%D9%A1", "limit"),
        ("limit=" + "9" * 5_000, "limit"),
        ("state=asleep", "state"),
        ("cursor=nonsense", "cursor"),
        ("cursor=" + "9" * 2_000, "cursor"),
    ],
)
@pytest.mark.parametrize("path", ["/api/users", "/api/dead"])
def test_a_bad_parameter_is_422_with_its_name(
    server: Served, path: str, query: str, field: str
) -> None:
    if (path, field) == ("/api/dead", "state"):
        return
    answer = call(server.address, "GET", f"{path}?{query}")
    assert (answer.status, answer.field) == (422, field)


@pytest.mark.parametrize(
    ("verb", "body", "status", "field"),
    [
        ("hold", b'{"seconds": 60.5}', 200, None),
        ("hold", b"{}", 200, None),
        ("hold", b'{"seconds": null}', 200, None),
        ("hold", b'{"seconds": 604800}', 200, None),
        ("hold", b'{"seconds": 604801}', 422, "seconds"),
        ("hold", b'{"seconds": 0}', 422, "seconds"),
        ("hold", b'{"seconds": -1}', 422, "seconds"),
        ("hold", b'{"seconds": true}', 422, "seconds"),
        ("hold", b'{"seconds": "60"}', 200, None),
        ("hold", b'{"seconds": " 0.5 "}', 200, None),
        ("hold", b'{"seconds": ""}', 200, None),
        ("hold", b'\xef\xbb\xbf{"seconds": 60}', 200, None),
        ("hold", b"\xef\xbb\xbf", 200, None),
        ("hold", b'{"seconds": "1h"}', 422, "seconds"),
        ("hold", b'{"seconds": "604801"}', 422, "seconds"),
        ("hold", b'{"seconds": "0"}', 422, "seconds"),
        ("hold", b'{"seconds": [60]}', 422, "seconds"),
        ("hold", b'{"seconds": 1e999}', 400, None),
        ("hold", b'{"seconds": ' + b"9" * 400 + b"}", 422, "seconds"),
        ("hold", b'{"seconds": ' + b"9" * 5_000 + b"}", 400, None),
        ("hold", b'{"seconds": NaN}', 400, None),
        ("hold", b'{"seconds": 1, "seconds": 2}', 422, "seconds"),
        ("hold", b'{"second": 60}', 422, "second"),
        ("hold", b"[]", 400, None),
        ("hold", b"60", 400, None),
        ("hold", b"\xff", 400, None),
        ("hold", b"[" * 60_000, 400, None),
        ("hold", b" " * 65_537, 413, None),
        ("typing", b'{"ttl": 10}', 200, None),
        ("typing", b'{"ttl": "10"}', 200, None),
        ("typing", b'{"ttl": ""}', 200, None),
        ("typing", b'{"ttl": "86401"}', 422, "ttl"),
        ("typing", b'{"ttl": false}', 422, "ttl"),
        ("typing", b'{"ttl": 86401}', 422, "ttl"),
        ("typing", b'{"ttl": 0}', 422, "ttl"),
        ("typing", b'{"ttl": Infinity}', 400, None),
        ("flush", b"{}", 200, None),
        ("flush", b'{"now": true}', 422, "now"),
        ("release", b"oi", 400, None),
    ],
)
def test_the_bodies_of_the_verbs_are_checked(
    server: Served, verb: str, body: bytes, status: int, field: str | None
) -> None:
    answer = ask(server.address, "POST", f"/api/users/ana/{verb}", body)
    assert (answer.status, answer.json.get("field")) == (status, field)


def test_typing_without_a_window_extends_nothing(server: Served) -> None:
    answer = call(server.address, "POST", "/api/users/ana/typing")
    assert (answer.status, answer.json["extended"], answer.json["state"]) == (200, False, "idle")


def test_a_held_user_cannot_be_flushed(server: Served) -> None:
    call(server.address, "POST", "/api/users/ana/hold", {"seconds": 5})
    assert call(server.address, "POST", "/api/users/ana/flush").status == 409


def test_delete_answers_with_what_it_dropped(server: Served) -> None:
    original = {"user": "with-batch", "message": "oi", "n": 1.5, "message_id": "w-1"}
    post(server.address, original)
    assert call(server.address, "DELETE", "/api/users/with-batch").json == {
        "success": True,
        "user": "with-batch",
        "route": "default",
        "dropped": 1,
        "batch": "b-7",
        "complete": True,
        "messages": [{**original, "seq": 1, "received_at": "2025-01-30T01:19:45.120Z"}],
    }


# Dead letters

LETTER = {
    "id": "b-1",
    "user": "ana",
    "route": "default",
    "died_at": "2025-01-30T01:19:45.120Z",
    "attempts": 6,
    "reason": "answered 500",
    "status": 500,
    "answer": "no such flow",
    "replica": "r-1",
    "duration_ms": 34,
    "messages": 2,
    "queued": False,
    "expires_at": None,
}


def test_a_dead_letter_is_listed_and_shown_with_its_webhook(server: Served) -> None:
    server.engine.bury("b-1", texts=["oi", "tudo bem?"])
    assert call(server.address, "GET", "/api/dead").json == {
        "dead": [LETTER],
        "cursor": None,
        "unreadable": 0,
    }
    assert call(server.address, "GET", "/api/dead/b-1").json == {
        **LETTER,
        "batch": {
            "user": "ana",
            "user_id": "ana",
            "messages": ["oi", "tudo bem?"],
            "processed_at": "2025-01-30T01:19:45",
        },
    }


def test_dead_letters_are_counted_by_route_and_reason_the_largest_group_first(
    server: Served,
) -> None:
    server.engine.bury("b-1")
    for number in range(2):
        server.engine.bury(f"v-{number}", user=Conversation("vendas", "ana").key, texts=["a", "b"])
    server.engine.letters["v-0"] = replace(server.engine.letters["v-0"], queued=True)
    group = {"reason": "answered 500", "status": 500}
    times = {"oldest": LETTER["died_at"], "newest": LETTER["died_at"]}
    sold = {**group, **times, "route": "vendas", "letters": 2, "queued": 1, "messages": 4}
    other = {**group, **times, "route": "default", "letters": 1, "queued": 0, "messages": 1}
    answer = call(server.address, "GET", "/api/dead/groups").json
    assert answer == {"groups": [sold, other], "letters": 3, "cursor": None, "unreadable": 0}
    answer = call(server.address, "GET", "/api/dead/groups?route=default&status=500").json
    assert answer["groups"] == [other]


def test_the_groups_of_more_dead_letters_than_are_read_at_once_say_where_to_go_on(
    server: Served,
) -> None:
    for number in range(models.GROUPED_MAX + 1):
        server.engine.bury(f"b-{number}")
    first = call(server.address, "GET", "/api/dead/groups").json
    assert first["letters"] == first["groups"][0]["letters"] == models.GROUPED_MAX
    rest = call(server.address, "GET", f"/api/dead/groups?cursor={first['cursor']}").json
    assert (rest["letters"], rest["cursor"]) == (1, None)


def test_a_dead_letter_can_be_replayed_and_dropped(server: Served) -> None:
    server.engine.bury("b-1", texts=["oi", "tudo bem?"])
    answer = call(server.address, "POST", "/api/dead/b-1/replay")
    assert (answer.status, answer.json) == (202, {**LETTER, "queued": True})
    assert call(server.address, "DELETE", "/api/dead/b-1").json == {"success": True, "id": "b-1"}
    assert server.engine.letters == {}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/dead/unknown"),
        ("DELETE", "/api/dead/unknown"),
        ("POST", "/api/dead/unknown/replay"),
    ],
)
def test_an_unknown_dead_letter_is_404(server: Served, method: str, path: str) -> None:
    assert call(server.address, method, path).status == 404


def test_the_path_that_replays_all_is_no_dead_letter(server: Served) -> None:
    server.engine.bury("replay")
    for method in ("GET", "DELETE"):
        answer = call(server.address, method, "/api/dead/replay")
        assert answer.status == 404
        assert "within the last hour" in answer.json["detail"]
    answer = call(server.address, "PUT", "/api/dead/replay")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, HEAD, POST")
    assert list(server.engine.letters) == ["replay"]


def test_sending_all_dead_letters_again_is_a_job_that_can_be_watched_and_stopped(
    server: Served,
) -> None:
    for number in range(8):
        server.engine.bury(f"b-{number}")
    call(server.address, "POST", "/api/dead/b-2/replay")
    job = {"job": "replay-1", "state": "done", "total": 7, "replayed": 7, "passed_over": 0}
    job |= dict.fromkeys(("user", "reason", "status", "since", "route")) | {"per_second": 500}
    answer = call(server.address, "POST", "/api/dead/replay")
    assert (answer.status, answer.json) == (202, job)
    answer = call(server.address, "GET", "/api/dead/replay")
    assert (answer.status, answer.json) == (200, job)
    answer = call(server.address, "DELETE", "/api/dead/replay")
    assert (answer.status, answer.json) == (202, {**job, "state": "stopping"})
