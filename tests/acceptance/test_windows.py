"""What closes a window besides quiet: maximum wait, caps, signals of people and operators."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.acceptance.client import MARK, fresh_text, fresh_user
from tests.acceptance.service import World, world
from tests.acceptance.waiting import BUSY_S, until, wait_for_attempts, wait_for_end, wait_until

pytestmark = pytest.mark.process

MAX_WAIT_S = 1.2
MAX_MESSAGES = 6
MAX_BATCH_BYTES = 8_000


@pytest.fixture(scope="module")
def limited() -> Iterator[World]:
    """A service with small limits, whose webhooks say why a batch was closed."""
    with world(
        AQ_MAX_WAIT=str(MAX_WAIT_S),
        AQ_MAX_MESSAGES=str(MAX_MESSAGES),
        AQ_MAX_BATCH_BYTES=str(MAX_BATCH_BYTES),
        AQ_PAYLOAD="detailed",
    ) as shared:
        shared.client.state("quem")  # what is loaded at first use is loaded now
        yield shared
        shared.settle()
        shared.verify(max_wait_s=MAX_WAIT_S, late_s=BUSY_S)


@pytest.fixture(autouse=True, scope="module")
def the_contract_holds(plain: World) -> Iterator[None]:
    yield
    plain.settle()
    plain.verify()


def reasons(shared: World, user: str) -> list[str]:
    return [json.loads(attempt.body)["batch"]["reason"] for attempt in shared.receiver.of(user)]


# Caps


def test_the_maximum_wait_ends_a_window_that_never_gets_quiet(limited: World) -> None:
    user = fresh_user("tagarela")
    began = time.monotonic()
    texts: list[str] = []
    while not limited.receiver.of(user) and len(texts) < MAX_MESSAGES - 1:
        texts.append(limited.client.accepted(user, ttl=1.1))
        until(began + 0.3 * len(texts))
    (attempt, *_) = wait_for_end(limited.receiver, user)
    first = next(post for post in limited.client.journal.posts if post.user == user)
    assert first.called + MAX_WAIT_S - 0.002 <= attempt.started
    assert attempt.started <= first.returned + MAX_WAIT_S + BUSY_S
    assert reasons(limited, user)[0] == "max_wait"


def test_a_ttl_beyond_the_maximum_wait_is_clamped_to_it(limited: World) -> None:
    user = fresh_user("longo")
    answer = limited.client.post(user, ttl=3600)
    assert answer.json()["fires_in"] == pytest.approx(MAX_WAIT_S, abs=0.002)
    (attempt,) = wait_for_end(limited.receiver, user)
    assert attempt.started <= answer.returned + MAX_WAIT_S + BUSY_S
    assert reasons(limited, user) == ["max_wait"]


def test_a_window_that_reaches_the_most_messages_goes_at_once_and_loses_none(
    limited: World,
) -> None:
    user = fresh_user("muitas")
    messages = [{"user": user, "message": fresh_text(), "ttl": 1} for _ in range(15)]
    limited.closed_early.add(user)
    limited.client.bulk(messages, lines=True)
    attempts = wait_for_end(limited.receiver, user, 3)
    texts = [each["message"] for each in messages]
    assert [list(attempt.texts) for attempt in attempts] == [texts[:6], texts[6:12], texts[12:]]
    assert reasons(limited, user) == ["max_messages", "max_messages", "quiet"]


def test_a_message_that_would_make_a_batch_too_large_opens_the_next_one(limited: World) -> None:
    user = fresh_user("pesadas")
    limited.closed_early.add(user)
    texts = [f"{fresh_text()}-{'x' * 1_500}" for _ in range(5)]
    for text in texts:
        limited.client.accepted(user, text, ttl=1)
    attempts = wait_for_end(limited.receiver, user, 3)
    assert [list(attempt.texts) for attempt in attempts] == [texts[:2], texts[2:4], texts[4:]]
    assert reasons(limited, user) == ["max_bytes", "max_bytes", "quiet"]
    assert all(len(attempt.body) <= MAX_BATCH_BYTES for attempt in attempts)


def test_a_message_larger_than_a_whole_batch_goes_alone(limited: World) -> None:
    user = fresh_user("enorme")
    limited.closed_early.add(user)
    limited.client.accepted(user, f"{fresh_text()}-{'x' * MAX_BATCH_BYTES}", ttl=1)
    wait_for_end(limited.receiver, user)
    assert reasons(limited, user) == ["max_bytes"]


def test_a_detailed_body_adds_the_batch_and_its_items_to_the_classic_one(limited: World) -> None:
    user = fresh_user("detalhes")
    limited.client.accepted(user, ttl=0.3, message_id="m-1", modo="chat", anexo={"a": [1.50]})
    limited.client.accepted(user, ttl="0.3", modo="voz")
    (attempt,) = wait_for_end(limited.receiver, user)
    body = json.loads(attempt.body)
    assert body["modo"] == "voz"
    assert body["messages"] == list(attempt.texts)
    assert body["batch"]["id"] == attempt.webhook_id
    assert body["batch"]["reason"] == "quiet"
    times = {"first_at", "last_at", "due_at"}
    assert set(body["batch"]) == {"id", "route", "seq", "reason"} | times
    first, second = body["items"]
    assert (first["message_id"], first["modo"], first["ttl"]) == ("m-1", "chat", 0.3)
    assert (second["modo"], second["ttl"]) == ("voz", "0.3")
    assert first["seq"] < second["seq"]
    assert first["received_at"] <= second["received_at"]


# Typing


def test_typing_extends_the_window_and_never_past_the_maximum_wait(limited: World) -> None:
    user = fresh_user("digitando")
    answer = limited.client.post(user, ttl=0.5)
    signals = 0
    while not limited.receiver.of(user):
        assert limited.client.user(user, "typing", ttl=0.8).status == 200
        signals += 1
        assert time.monotonic() < answer.returned + MAX_WAIT_S + BUSY_S, "typing went on for ever"
        until(answer.returned + 0.1 * signals)
    (attempt,) = wait_for_end(limited.receiver, user)
    assert attempt.started >= answer.called + 0.8
    assert attempt.started <= answer.returned + MAX_WAIT_S + BUSY_S


def test_typing_does_not_shorten_a_window_and_wakes_nobody_who_wrote_nothing(plain: World) -> None:
    quiet, waiting = fresh_user("calado"), fresh_user("espera")
    assert plain.client.user(quiet, "typing").status == 200
    assert plain.client.state(quiet) == "idle"
    answer = plain.client.post(waiting, ttl=0.8)
    assert plain.client.user(waiting, "typing", ttl=0.01).status == 200
    (attempt,) = wait_for_end(plain.receiver, waiting)
    assert attempt.started >= answer.called + 0.8
    assert not plain.receiver.of(quiet)


# Operators


def test_a_flush_sends_now_what_waits(plain: World) -> None:
    user = fresh_user("agora")
    plain.closed_early.add(user)
    texts = [plain.client.accepted(user, ttl=60) for _ in range(3)]
    assert plain.client.user(user, "flush").status == 200
    (attempt,) = wait_for_end(plain.receiver, user)
    assert list(attempt.texts) == texts
    assert plain.client.user(user, "flush").status == 200
    assert len(plain.receiver.of(user)) == 1


def test_a_hold_keeps_everything_until_the_release(plain: World) -> None:
    user = fresh_user("humano")
    plain.closed_early.add(user)
    assert plain.client.user(user, "hold", seconds=60).status == 200
    texts = [plain.client.accepted(user, ttl=0.1) for _ in range(3)]
    due_at = time.monotonic() + 0.1
    told = plain.client.user(user).json()
    assert told["state"] == "held"
    assert told["pending"] == 3
    until(due_at + 0.5)
    assert not plain.receiver.of(user)
    assert plain.client.user(user, "release").status == 200
    (attempt,) = wait_for_end(plain.receiver, user)
    assert list(attempt.texts) == texts
    wait_until(lambda: plain.client.state(user) == "idle", "idle")


def test_a_hold_ends_by_itself(plain: World) -> None:
    user = fresh_user("esquecido")
    held = plain.client.user(user, "hold", seconds=0.8)
    plain.client.accepted(user, ttl=0)
    (attempt,) = wait_for_end(plain.receiver, user)
    assert held.called + 0.8 - 0.002 <= attempt.started <= held.returned + 0.8 + BUSY_S


def test_a_delete_answers_with_what_it_dropped_and_nothing_of_it_is_sent(plain: World) -> None:
    user = fresh_user("apagado")
    texts = [plain.client.accepted(user, ttl=1.0) for _ in range(2)]
    plain.gone.update(texts)
    answer = plain.client.drop(user)
    assert answer.status == 200
    assert [item["message"] for item in answer.json()["messages"]] == texts
    assert answer.json()["complete"] is True
    assert plain.client.state(user) == "idle"
    after = plain.client.accepted(user, ttl=1.2)
    (attempt,) = wait_for_attempts(plain.receiver, user)
    assert attempt.texts == (after,)


def test_a_delete_that_answers_with_a_part_of_what_it_dropped_says_so(plain: World) -> None:
    user = fresh_user("muito")
    assert plain.client.user(user, "hold").status == 200
    texts = [plain.client.accepted(user, ttl=600, filling="x" * 240_000) for _ in range(6)]
    plain.gone.update(texts)
    told = plain.client.drop(user).json()
    assert (told["dropped"], told["complete"]) == (6, False)
    assert [item["message"] for item in told["messages"]] == texts[:4]
    assert plain.client.user(user, "release").json()["pending"] == 0


def test_who_waits_is_listed_soonest_first_and_without_texts(plain: World) -> None:
    users = [fresh_user("lista") for _ in range(3)]
    for user, ttl in zip(users, (50, 30, 40), strict=True):
        plain.gone.add(plain.client.accepted(user, ttl=ttl))
    answer = plain.client.get("/api/users?state=collecting&limit=1000")
    listed = [each["user"] for each in answer.json()["users"] if each["user"] in users]
    assert listed == [users[1], users[2], users[0]]
    assert MARK.encode() not in answer.body
    for user in users:
        assert plain.client.drop(user).status == 200
