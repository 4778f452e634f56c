"""A receiver that fails in every way there is: its own users wait, nobody else does.

All users of the scenario meet their trouble at the same time, so that the tests wait once.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest

import pytest

from tests.acceptance.client import fresh_text, fresh_user
from tests.acceptance.receiver import (
    CLOSE,
    DRIP,
    GARBAGE,
    HANG,
    Answer,
    Attempt,
    held,
    reply,
)
from tests.acceptance.service import World, world
from tests.acceptance.waiting import BUSY_S, wait_for_attempts, wait_for_end, wait_until

pytestmark = pytest.mark.process

SCHEDULE_S = (0.4, 0.8, 1.2)
JITTER = 0.2
TIMEOUT_S = 1.2

FAILURES: dict[str, Answer] = {
    "500": reply(500),
    "503": reply(503),
    "400": reply(400),
    "404": reply(404),
    "301": reply(301, location="/hook?token=elsewhere"),
    "302": reply(302, location="/hook?token=elsewhere"),
    "307": reply(307, location="/hook?token=elsewhere"),
    "304": reply(304),
    "hang": HANG,
    "drip": DRIP,
    "close": CLOSE,
    "garbage": GARBAGE,
}
TIMED_OUT = {"hang", "drip"}


@dataclass
class Troubled:
    """One user for each kind of trouble, whose first attempt meets it."""

    world: World
    once: dict[str, str] = field(
        default_factory=lambda: {name: fresh_user(name) for name in FAILURES}
    )
    texts: dict[str, str] = field(default_factory=dict)
    gone: str = field(default_factory=lambda: fresh_user("410"))
    too_large: str = field(default_factory=lambda: fresh_user("413"))
    exhausted: str = field(default_factory=lambda: fresh_user("sempre-500"))
    asked: str = field(default_factory=lambda: fresh_user("retry-after"))
    asked_date: str = field(default_factory=lambda: fresh_user("retry-after-date"))
    asked_until: float = 0.0
    """Unix time."""
    asked_less: str = field(default_factory=lambda: fresh_user("retry-after-0"))
    healthy: list[str] = field(default_factory=lambda: [fresh_user("sadio") for _ in range(20)])

    def attempts(self, user: str, count: int) -> list[Attempt]:
        return wait_for_end(self.world.receiver, user, count)


@pytest.fixture(scope="module")
def troubled() -> Iterator[Troubled]:
    schedule = ",".join(map(str, SCHEDULE_S))
    with world(AQ_RETRY_SCHEDULE=schedule, AQ_WEBHOOK_TIMEOUT=str(TIMEOUT_S)) as shared:
        scenario = Troubled(shared)
        script, post = shared.receiver.script, shared.client.accepted
        for name, user in scenario.once.items():
            script(user, FAILURES[name])
        script(scenario.gone, reply(410))
        script(scenario.too_large, reply(413))
        script(scenario.exhausted, *[reply(500)] * (len(SCHEDULE_S) + 1))
        script(scenario.asked, reply(429, retry_after="2"))
        scenario.asked_until = float(int(time.time()) + 3)
        script(scenario.asked_date, reply(503, retry_after=http_date(scenario.asked_until)))
        script(scenario.asked_less, reply(503, retry_after="0"))
        unlucky = [scenario.gone, scenario.too_large, scenario.exhausted]
        unlucky += [scenario.asked, scenario.asked_date, scenario.asked_less]
        # Where most of ten attempts fail, the receiver is down for everybody, and its route opens.
        mixed = zip_longest(scenario.healthy, [*scenario.once.values(), *unlucky])
        for user in filter(None, chain.from_iterable(mixed)):
            scenario.texts[user] = post(user, ttl=0.2)
        shared.gone.update(scenario.texts[user] for user in unlucky[:3])
        yield scenario


def is_dead(shared: World, webhook_id: str) -> Callable[[], bool]:
    return lambda: webhook_id in shared.client.dead_ids()


def http_date(unix_s: float) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(unix_s))


def assert_in_schedule(attempts: list[Attempt], pauses_s: tuple[float, ...]) -> None:
    assert len(attempts) == len(pauses_s) + 1
    for (before, after), pause_s in zip(itertools.pairwise(attempts), pauses_s, strict=True):
        assert before.ended is not None
        waited_s = after.started - before.ended
        assert pause_s * (1 - JITTER) <= waited_s + 0.005
        assert waited_s <= pause_s * (1 + JITTER) + BUSY_S


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_attempt_is_tried_again_with_the_same_id_and_bytes(
    troubled: Troubled, name: str
) -> None:
    # A kept connection that was closed is worth a second try at once, within one attempt.
    tries = [a for a in troubled.attempts(troubled.once[name], 2) if a.status or name != "close"]
    first, last = troubled.world.receiver.of(troubled.once[name])[0], tries[-1]
    wait_until(lambda: last.ended, "answered")
    assert last.status == 200
    assert (last.webhook_id, last.body) == (first.webhook_id, first.body)
    if name != "close":
        assert len(tries) == 2
        assert_in_schedule(tries, SCHEDULE_S[:1])


@pytest.mark.parametrize("name", sorted(TIMED_OUT))
def test_an_attempt_is_given_up_at_its_time_limit(troubled: Troubled, name: str) -> None:
    first, _ = troubled.attempts(troubled.once[name], 2)
    assert first.status is None
    assert first.ended is not None
    assert TIMEOUT_S - 0.3 <= first.ended - first.started <= TIMEOUT_S + BUSY_S


@pytest.mark.parametrize("name", ["301", "302", "307"])
def test_redirects_are_not_followed(troubled: Troubled, name: str) -> None:
    for attempt in troubled.attempts(troubled.once[name], 2):
        assert "elsewhere" not in attempt.line


def test_retry_after_is_honoured_in_seconds_and_as_a_date(troubled: Troubled) -> None:
    first, second = troubled.attempts(troubled.asked, 2)
    assert first.ended is not None
    assert 2.0 <= second.started - first.ended <= 2.0 + BUSY_S
    _, second = troubled.attempts(troubled.asked_date, 2)
    came_at = second.started + (time.time() - time.monotonic())
    assert -0.01 <= came_at - troubled.asked_until <= BUSY_S
    assert_in_schedule(troubled.attempts(troubled.asked_less, 2), SCHEDULE_S[:1])


def test_the_schedule_is_kept_and_after_its_end_the_batch_is_a_dead_letter(
    troubled: Troubled,
) -> None:
    attempts = troubled.attempts(troubled.exhausted, len(SCHEDULE_S) + 1)
    assert_in_schedule(attempts, SCHEDULE_S)
    webhook_id = attempts[0].webhook_id
    wait_until(is_dead(troubled.world, webhook_id), "dead")
    assert len(troubled.world.receiver.of(troubled.exhausted)) == len(SCHEDULE_S) + 1
    troubled.world.dead.add(webhook_id)


def test_410_and_413_are_dead_at_once(troubled: Troubled) -> None:
    for user in (troubled.gone, troubled.too_large):
        (attempt,) = troubled.attempts(user, 1)
        wait_until(is_dead(troubled.world, attempt.webhook_id), "dead")
        assert len(troubled.world.receiver.of(user)) == 1


def test_what_a_failing_receiver_said_is_told_with_the_attempt(troubled: Troubled) -> None:
    shared, user = troubled.world, fresh_user("diz")
    said = '{"code":404,\n "message":"The workflow must be active \u00e7"}'
    shared.receiver.script(user, replace(reply(404), body=said))
    shared.client.accepted(user, ttl=0)
    wait_for_end(shared.receiver, user, 2)
    wait_until(lambda: len(shared.client.user(user).json()["recent"]) == 2, "both are told")
    delivered, failed = shared.client.user(user).json()["recent"]
    assert (failed["status"], failed["reason"]) == (404, "answered 404")
    assert failed["answer"] == said.replace("\n", " ")
    assert delivered["answer"] is None
    for attempt in (failed, delivered):
        assert attempt["replica"].startswith("r-")
        assert 0 <= attempt["duration_ms"] < 10_000


def test_a_failing_receiver_delays_only_its_own_users(troubled: Troubled) -> None:
    posted = {post.user: post for post in troubled.world.client.journal.posts}
    for user in troubled.healthy:
        (attempt,) = troubled.attempts(user, 1)
        assert attempt.started <= posted[user].returned + 0.2 + BUSY_S


def test_with_all_that_trouble_the_contract_holds(troubled: Troubled) -> None:
    troubled.world.settle()
    wait_until(lambda: not under_way(troubled.world), "all answered")
    troubled.world.verify()


def under_way(shared: World) -> int:
    return sum(attempt.ended is None for attempt in list(shared.receiver.attempts))


# On the same service, after the scenario


def test_newer_messages_collect_behind_a_failing_batch_and_come_in_order(
    troubled: Troubled,
) -> None:
    shared, user, gate = troubled.world, fresh_user("atras"), threading.Event()
    shared.receiver.script(user, reply(500), held(gate, 500), reply(200))
    first = shared.client.accepted(user, ttl=0)
    wait_for_attempts(shared.receiver, user)
    behind = [shared.client.accepted(user, ttl=0.1) for _ in range(3)]
    wait_for_attempts(shared.receiver, user, 2)
    behind += [shared.client.accepted(user, ttl=0.1) for _ in range(2)]
    assert shared.client.user(user).json()["pending"] == 5
    gate.set()
    attempts = wait_for_end(shared.receiver, user, 4)
    assert [attempt.texts for attempt in attempts] == [(first,)] * 3 + [tuple(behind)]


def test_newer_messages_go_when_the_batch_before_them_has_died(troubled: Troubled) -> None:
    shared, user = troubled.world, fresh_user("herdeiro")
    shared.receiver.script(user, reply(503), reply(410))
    first = shared.client.accepted(user, ttl=0)
    wait_for_attempts(shared.receiver, user)
    second = shared.client.accepted(user, ttl=0.1)
    attempts = wait_for_end(shared.receiver, user, 3)
    assert [attempt.texts for attempt in attempts] == [(first,), (first,), (second,)]
    shared.gone.add(first)


def test_a_batch_too_large_for_its_receiver_comes_in_parts_and_only_one_message_dies(
    troubled: Troubled,
) -> None:
    shared, user = troubled.world, fresh_user("nginx")
    shared.receiver.bytes_max[user] = 1_000
    texts = [f"{fresh_text()}-{'x' * size}" for size in (300, 300, 1_500, 300, 300, 10)]
    for text in texts:
        shared.client.accepted(user, text, ttl=0.5)
    wait_until(lambda: shared.receiver.delivered(user) == texts[:2] + texts[3:], "all but one")
    attempts = shared.receiver.of(user)
    refused = [a for a in attempts if a.status == 413]
    assert refused[0].texts == tuple(texts)
    assert refused[-1].texts == (texts[2],)
    assert len({a.webhook_id for a in attempts}) == len({a.texts for a in attempts})
    assert is_dead(shared, refused[-1].webhook_id)()
    assert [a.webhook_id for a in attempts if is_dead(shared, a.webhook_id)()] == [
        refused[-1].webhook_id
    ]
    outcomes = [one["outcome"] for one in shared.client.user(user).json()["recent"]]
    assert outcomes.count("divided") == len(refused) - 1
    shared.gone.add(texts[2])
    shared.verify()


def test_a_receiver_that_refuses_connections_gets_all_when_it_is_back(troubled: Troubled) -> None:
    shared = troubled.world
    users = [fresh_user("recusa") for _ in range(3)]
    shared.receiver.refuse()
    try:
        texts = {user: shared.client.accepted(user, ttl=0) for user in users}
        wait_until(
            lambda: all(shared.client.user(user).json()["recent"] for user in users),
            "an attempt for each has failed",
        )
    finally:
        shared.receiver.listen()
    for user in users:
        attempts = wait_for_end(shared.receiver, user)
        assert attempts[-1].texts == (texts[user],)
    shared.settle()
    shared.verify()
