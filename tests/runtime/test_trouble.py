"""The store is away, or its answers are lost, at any step."""

from __future__ import annotations

import pytest
import trio

from actor_queue.core.outcome import Delivered, Outcome
from actor_queue.runtime.actor import STORE_PAUSE_S
from actor_queue.runtime.routes import RETRY_S
from actor_queue.store.api import StoreUnavailable
from tests.runtime.harness import (
    FAILED,
    REFUSED,
    Answer,
    Fault,
    Replica,
    Sent,
    Stage,
    in_turn,
    run,
    stage,
    until,
)

USERS = 30
STEPS = range(20)
"""Round trips of the story below, and a few more."""


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("fault", ["refused", "lost"])
def test_whichever_call_goes_wrong_nothing_is_lost_doubled_or_reordered(
    fault: Fault, times: int
) -> None:
    async def main(step: int) -> None:
        async with stage(retry_schedule_ms=(500, 500), lease_ttl_ms=9_000) as s:
            a = await s.start("ra")
            s.answer = in_turn(FAILED, takes_s=0.25)
            s.fail_call(step, fault, times)
            for number in range(4):
                await a.post_surely("ana", str(number), 0.3, f"id-{number}")
                await trio.sleep(0.2 if number % 2 else 0.4)
            await trio.sleep(8)
            s.check({"ana": ["0", "1", "2", "3"]})
            assert s.seen[-1].outcome == Delivered(200)
            # Every batch went through once: only a failure, never a lost answer, repeats one.
            assert len(s.seen) == len({sent.batch.id for sent in s.seen}) + 1
            view = await a.engine.describe("ana")
            assert (view.state, view.pending) == ("idle", 0)

    for step in STEPS:
        run(lambda step=step: main(step), seed=step)  # type: ignore[misc]


def test_while_the_store_is_away_nothing_is_sent_and_afterwards_everything_goes_soon() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            for number in range(10):
                await a.post(f"user-{number}", "oi", ttl_s=2)
            s.down = True
            await trio.sleep(60)
            assert s.seen == []
            assert a.engine.counters.store_failures > 0
            back, s.down = trio.current_time(), False
            await trio.sleep(10)
            assert s.texts() == [["oi"]] * 10
            # A round every 0.2 s, 0.5 s for who else comes back, a sweep.
            assert max(s.times(back)) <= 0.2 + 0.5 + 1.0
            assert len({sent.batch.id for sent in s.seen}) == 10

    run(main)


@pytest.mark.parametrize("away_s", [1, 12])
def test_an_outcome_that_could_not_be_recorded_is_recorded_when_the_store_is_back(
    away_s: float,
) -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(1_000,)) as s:
            a = await s.start("ra")

            async def answer(sent: Sent) -> Outcome:
                s.down = True
                return Delivered(200)

            s.answer = answer
            await a.post("ana", "oi", ttl_s=0)
            await trio.sleep(away_s)
            s.down = False
            await trio.sleep(2 * STORE_PAUSE_S)
            assert (await a.engine.describe("ana")).state == "idle"
            await trio.sleep(100)
            assert s.texts() == [["oi"]]
            assert a.engine.counters.delivered == 1

    run(main)


def test_the_store_is_asked_at_a_walking_pace_while_claims_fail() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            for number in range(5):
                await a.post(f"user-{number}", "oi", ttl_s=1)
            broken_since = trio.current_time() + 1

            def refuse(name: str) -> None:
                if name == "claim_v4":
                    raise_away()

            a.runner.before = refuse
            await trio.sleep(11)
            claims = len(s.calls("claim_v4", broken_since))
            assert claims >= 5 * 10 / (2 * STORE_PAUSE_S) - 5
            assert claims <= 5 * 10 / STORE_PAUSE_S + 5
            assert len(s.asked) < 500
            a.runner.before = lambda name: None
            await trio.sleep(1)
            assert len(s.seen) == 5

    run(main)


def raise_away() -> None:
    raise StoreUnavailable("read only", executed=False)


def refused_once() -> Answer:
    """Of the two attempts that a schedule of one retry allows, the second is taken."""
    refused = set[str]()

    async def answer(sent: Sent) -> Outcome:
        if sent.batch.id in refused:
            return Delivered(200)
        refused.add(sent.batch.id)
        return REFUSED

    return answer


def check_made_twice(s: Stage, a: Replica) -> None:
    """Every batch was attempted twice, in decent time; no attempt that was not made counts."""
    assert s.texts() == [["oi"]] * 2 * USERS
    assert min(sent.deadline_s for sent in s.seen) >= 1
    assert a.engine.counters.dead == 0
    assert a.engine.gates.blocked("default") is None


@pytest.mark.parametrize("lag_s", [1.4, 1.9, 4.5])
def test_an_attempt_that_has_little_time_left_is_not_made_and_not_spent(lag_s: float) -> None:
    """The receiver, which did nothing wrong, is not taken for dead."""

    async def main() -> None:
        async with stage(webhook_timeout_ms=2_000, retry_schedule_ms=(500,)) as s:
            a = await s.start("ra")
            s.answer = refused_once()
            slow_until = trio.current_time() + 3.5
            a.runner.lag_s = lambda name: (
                lag_s if name == "claim_v4" and trio.current_time() < slow_until else 0.0
            )
            for number in range(USERS):
                await a.post(f"user-{number}", "oi", ttl_s=1)
            await trio.sleep(60)
            check_made_twice(s, a)
            assert max(s.times(slow_until)) <= lag_s + 2

    run(main)


@pytest.mark.parametrize("away_s", [1.5, 2.5])
def test_an_attempt_whose_claim_was_answered_too_late_has_its_whole_time_when_it_is_made(
    away_s: float,
) -> None:
    async def main() -> None:
        async with stage(webhook_timeout_ms=2_000, retry_schedule_ms=(500,)) as s:
            a = await s.start("ra")
            s.answer = refused_once()
            for number in range(USERS):
                await a.post(f"user-{number}", "oi", ttl_s=1)

            def cut(name: str) -> None:
                if name == "claim_v4" and not s.down:
                    s.down = True
                    raise_away()

            a.runner.after = cut
            await until(lambda: s.down)
            a.runner.after = lambda name: None
            await trio.sleep(away_s)
            s.down = False
            back = trio.current_time()
            await trio.sleep(30)
            check_made_twice(s, a)
            assert max(s.times(back)) <= 3

    run(main)


class UnluckyAtFirst(Replica):
    """Its first look at what is kept of the routes fails."""

    def __init__(self, s: Stage, name: str, seed: int) -> None:
        super().__init__(s, name, seed)

        def refuse_once(name: str) -> None:
            if name == "routes_v1":
                self.runner.before = lambda name: None
                raise_away()

        self.runner.before = refuse_once


def test_a_first_look_at_the_routes_that_failed_is_soon_repeated() -> None:
    """Nobody gets a turn before it, because any route may be open."""

    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra", kind=UnluckyAtFirst)
            await a.post("ana", "oi", ttl_s=0)
            began = trio.current_time()
            await until(lambda: len(s.seen) == 1)
            assert s.times(began)[0] <= RETRY_S + 0.05

    run(main)
