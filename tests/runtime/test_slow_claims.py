"""The store takes long to answer claims, and that for good: no receiver has to pay for it."""

from __future__ import annotations

import pytest
import trio

from actor_queue.core.breaker import WINDOW
from actor_queue.core.outcome import Delivered
from tests.runtime.harness import FAILED, after, run, stage, taken

TIMEOUT_S = 0.2
MANY = 3 * WINDOW


def lag(by_s: float, name: str) -> float:
    return by_s if name.startswith("claim_v") else 0.0


@pytest.mark.parametrize("lag_s", [0.08, 0.12, 0.195, 1.5])
def test_where_every_claim_is_slow_each_receiver_soon_has_its_whole_time(lag_s: float) -> None:
    """One that needs most of its time is not taken for dead, and none of its batches dies."""

    async def main() -> None:
        async with stage(webhook_timeout_ms=200, retry_schedule_ms=(500,)) as s:
            a = await s.start("ra")
            s.answer = after(0.8 * TIMEOUT_S)
            a.runner.lag_s = lambda name: lag(lag_s, name)
            for number in range(MANY):
                await a.post(f"user-{number}", "oi", ttl_s=1)
            await trio.sleep(30)
            assert a.engine.counters.delivered == MANY
            assert a.engine.counters.dead == 0
            assert a.engine.gates.blocked("default") is None
            assert {sent.deadline_s for sent in s.seen[-WINDOW:]} == {TIMEOUT_S}
            s.check({f"user-{number}": ["oi"] for number in range(MANY)})

    run(main)


def test_an_open_route_is_probed_although_every_claim_is_slow() -> None:
    """Each probe is another claim, of an actor that has just begun."""

    async def main() -> None:
        async with stage(webhook_timeout_ms=200, retry_schedule_ms=(500,)) as s:
            a = await s.start("ra")
            s.answer = after(0, FAILED)
            for number in range(WINDOW):
                await a.post(f"user-{number}", "oi", ttl_s=1)
            await trio.sleep(2)
            assert a.engine.gates.blocked("default") == "open"
            s.answer = taken
            a.runner.lag_s = lambda name: lag(0.12, name)
            await trio.sleep(60)
            assert a.engine.gates.blocked("default") is None
            assert a.engine.counters.delivered == WINDOW

    run(main)


def test_an_attempt_that_had_not_its_whole_time_is_nobodys_failure_when_that_is_over() -> None:
    """The schedule allows no retry, so it would be a dead letter."""

    async def main() -> None:
        async with stage(webhook_timeout_ms=1_000, retry_schedule_ms=()) as s:
            a = await s.start("ra")
            s.answer = after(0.8)
            a.runner.lag_s = lambda name: lag(0.4, name)
            await a.post("ana", "oi", ttl_s=1)
            await trio.sleep(10)
            assert [sent.outcome == Delivered(200) for sent in s.seen] == [False, True]
            assert (a.engine.counters.dead, a.engine.counters.delivered) == (0, 1)
            assert (await a.engine.describe("ana")).state == "idle"

    run(main)


def test_a_receiver_that_never_answers_is_given_up_although_every_claim_is_slow() -> None:
    async def main() -> None:
        async with stage(webhook_timeout_ms=1_000, retry_schedule_ms=(500,)) as s:
            a = await s.start("ra")
            s.answer = after(60)
            a.runner.lag_s = lambda name: lag(0.4, name)
            await a.post("ana", "oi", ttl_s=1)
            await trio.sleep(20)
            assert a.engine.counters.dead == 1
            assert [round(sent.deadline_s, 2) for sent in s.seen] == [0.6, 1, 1]

    run(main)


def test_when_claims_are_quick_again_a_dead_replicas_attempt_is_soon_taken_over() -> None:
    """The time that claims lost is asked for on top of an attempt's own only while they lose it."""

    async def main() -> None:
        async with stage(webhook_timeout_ms=1_000) as s:
            a = await s.start("ra")
            a.runner.lag_s = lambda name: lag(0.9, name)
            await a.post("ana", "oi", ttl_s=1)
            await trio.sleep(10)
            a.runner.lag_s = lambda name: 0.0
            assert a.engine.gates.blocked("default") is None
            for number in range(100):
                await a.post(f"user-{number}", "oi", ttl_s=0)
            await trio.sleep(5)
            assert a.engine._recoverer.spare_ms("ana") == 0

    run(main)
