"""A receiver that answers later, from outside: any worker takes its word, by its address alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.acceptance.client import Response, fresh_user
from tests.acceptance.receiver import Attempt, reply
from tests.acceptance.service import World, world
from tests.acceptance.waiting import wait_for_attempts, wait_until

pytestmark = pytest.mark.process

PUBLIC = "https://queue.example/behind"


@pytest.fixture(scope="module")
def later() -> Iterator[World]:
    with world(
        AQ_ANSWER="later",
        AQ_ANSWER_WITHIN="60",
        AQ_PUBLIC_URL=PUBLIC,
        AQ_PAYLOAD="detailed",
        AQ_API_KEYS="admin:the-key-of-a-test",
        AQ_WORKERS="2",
    ) as running:
        running.client.key = "the-key-of-a-test"
        wait_until(lambda: all(running.service.ready for _ in range(20)), "both workers are ready")
        yield running


def taken(running: World, user: str, *texts: str) -> Attempt:
    """The attempt at a batch of these texts, answered 202."""
    before = len(running.receiver.of(user))
    running.receiver.script(user, reply(202))
    for text in texts:
        running.client.accepted(user, text, ttl=0.2)
    attempt = wait_for_attempts(running.receiver, user, before + 1)[-1]
    wait_until(lambda: running.client.state(user) == "answering", "the 202 is recorded")
    return attempt


def says(
    running: World, attempt: Attempt, verb: str = "", method: str = "POST", **body: Any
) -> Response:
    """The receiver, which has no key. Each call is another connection, so any worker gets it."""
    address = attempt.headers["aq-answer-url"]
    assert address.startswith(f"{PUBLIC}/api/answers/")
    path = urlsplit(address).path.removeprefix("/behind") + (f"/{verb}" if verb else "")
    key, running.client.key = running.client.key, None
    try:
        sent = json.dumps(body).encode() if method == "POST" else None
        return running.client.call(method, path, sent)
    finally:
        running.client.key = key


def test_a_receiver_says_that_it_is_done_and_says_it_again(later: World) -> None:
    user = fresh_user("depois")
    attempt = taken(later, user, "um", "dois")
    assert attempt.headers["aq-answer-within"] == "60"
    looked = says(later, attempt, method="GET")
    assert looked.json() == {"state": "answering", "newer": 0, "until": looked.json()["until"]}
    view = later.client.get(f"/api/users/{user}").json()
    assert 0 < view["batch"]["answer_in"] <= 60
    for _ in range(4):
        done = says(later, attempt, "done")
        assert (done.status, done.json()) == (200, {"state": "done", "newer": 0})
    assert later.client.state(user) == "idle"
    closed = says(later, attempt, method="GET")
    assert closed.json() == {"state": "done", "newer": 0, "until": None}
    for verb, body in (("extend", {"seconds": 5}), ("fail", {})):
        assert says(later, attempt, verb, **body).status == 410


def test_what_was_taken_back_comes_again_in_front_of_what_is_newer(later: World) -> None:
    user = fresh_user("retomado")
    attempt = taken(later, user, "um")
    later.client.accepted(user, "dois", ttl=0.2)
    for _ in range(2):
        back = says(later, attempt, "done", **{"if": "latest"})
        assert (back.status, back.json()) == (409, {"newer": 1, "taken_back": True})
    second = wait_for_attempts(later.receiver, user, 2)[-1]
    assert second.texts == ("um", "dois")
    body = json.loads(second.body)
    assert body["batch"]["supersedes"] == attempt.webhook_id
    assert body["batch"]["id"] == second.webhook_id != attempt.webhook_id


def test_a_call_for_news_is_answered_when_there_are_some(later: World) -> None:
    user = fresh_user("novidade")
    attempt = taken(later, user, "um")
    later.client.accepted(user, "dois", ttl=60)
    address = attempt.headers["aq-answer-url"]
    path = urlsplit(address).path.removeprefix("/behind")
    news = later.client.get(f"{path}?wait=30")
    assert (news.json()["state"], news.json()["newer"]) == ("answering", 1)
    assert news.took_s < 10


def test_a_receiver_gets_more_time_and_says_that_it_failed(later: World) -> None:
    user = fresh_user("falhou")
    attempt = taken(later, user, "um")
    until = says(later, attempt, method="GET").json()["until"]
    more = says(later, attempt, "extend", seconds="600")
    assert more.status == 200
    assert more.json()["until"] > until
    failed = says(later, attempt, "fail", reason="no model", retry=False)
    assert (failed.status, failed.json()) == (200, {"state": "failed", "newer": 0})
    letter = later.client.get(f"/api/dead/{attempt.webhook_id}").json()
    assert (letter["answer"], letter["reason"]) == (
        "no model",
        "the receiver said that it failed",
    )


def test_what_came_of_a_taken_batch_is_in_the_history_beside_its_202(later: World) -> None:
    user = fresh_user("told")
    attempt = taken(later, user, "um")
    says(later, attempt, "fail", reason="no model", retry=False)
    ask = f"/api/attempts?user={user}"
    entries: list[dict[str, Any]] = []

    def both() -> bool:
        entries[:] = later.client.get(ask).json()["attempts"]
        return len(entries) == 2

    wait_until(both, "the history has both")
    told = {(each["outcome"], each["attempt"], each["status"]) for each in entries}
    assert told == {("delivered", 1, 202), ("dead", 1, 202)}
    assert later.client.get(f"{ask}&outcome=dead").json()["attempts"][0]["reason"]


@pytest.mark.parametrize(
    ("verb", "body", "field"),
    [
        ("done", {"if": "newest"}, "if"),
        ("done", {"seconds": 1}, "seconds"),
        ("extend", {}, "seconds"),
        ("extend", {"seconds": 0}, "seconds"),
        ("extend", {"seconds": "soon"}, "seconds"),
        ("fail", {"reason": 7}, "reason"),
        ("fail", {"retry": "no"}, "retry"),
        ("fail", {"retry_after": -1}, "retry_after"),
    ],
)
def test_a_wrong_word_is_refused_by_name_and_ends_nothing(
    later: World, verb: str, body: dict[str, Any], field: str
) -> None:
    user = fresh_user("errado")
    attempt = taken(later, user, "um")
    refused = says(later, attempt, verb, **body)
    assert (refused.status, refused.json()["field"]) == (422, field)
    assert says(later, attempt, "done").status == 200


def test_an_address_that_nobody_gave_out_is_no_address(later: World) -> None:
    attempt = taken(later, fresh_user("forjado"), "um")
    path = urlsplit(attempt.headers["aq-answer-url"]).path.removeprefix("/behind")
    forged = path[:-1] + ("A" if path[-1] != "A" else "B")
    for wrong in (forged, path[:-9], "/api/answers/x", "/api/answers/"):
        assert later.client.call("POST", f"{wrong}/done", b"").status == 404
        assert later.client.get(wrong).status == 404
    assert later.client.call("POST", f"{path}/undo", b"").status == 404
    assert later.client.call("GET", path + "/done").status == 405
    assert later.client.call("POST", path, b"").status == 405
    assert says(later, attempt, "done", **{"if": "x" * 5_000}).status == 413
    assert path.rpartition("/")[2] not in later.service.log()
    assert path.rpartition("/")[2] not in later.client.get("/metrics").body.decode()


def test_redis_restarts_between_the_202_and_the_end(later: World) -> None:
    user = fresh_user("reinicio")
    attempt = taken(later, user, "um")
    later.redis.kill()
    later.redis.start()
    wait_until(lambda: later.service.ready, "ready again")
    done = says(later, attempt, "done")
    assert (done.status, done.json()) == (200, {"state": "done", "newer": 0})
