"""`AQ_MAX_ACTORS`: no more timers than that, and nobody is late because there are so few."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import trio

from actor_queue.core.horizon import HORIZON_S, NEAR_S, horizon_s
from actor_queue.core.outcome import Outcome
from actor_queue.runtime import lanes
from tests.runtime.harness import REFUSED, Replica, Sent, Stage, run, stage, taken, until, users_in

LATE_S = 0.002
BESIDES = 40
"""Actors of users who are due now, besides the timers: twice the deliveries of these tests."""


class Burst:
    """Users who post one after the other, each with a quiet time of their own."""

    def __init__(self, s: Stage, replica: Replica) -> None:
        self.s, self.replica = s, replica
        self.due: dict[str, float] = {}
        self.most = 0
        self.shortest = math.inf

    async def post(self, user: str, ttl_s: float) -> None:
        await self.replica.post(user, "oi", ttl_s)
        self.due[user] = trio.current_time() + ttl_s
        self.look()

    def look(self) -> None:
        self.most = max(self.most, self.replica.engine.actors)
        self.shortest = min(self.shortest, self.replica.engine.horizon_s)

    def check(self) -> None:
        late = {sent.user: sent.at - self.due[sent.user] for sent in self.s.seen}
        assert late.keys() == self.due.keys()
        assert max(late.values()) <= LATE_S
        assert self.replica.engine.actors == 0
        assert self.replica.engine.horizon_s == HORIZON_S


def test_the_horizon_shrinks_with_the_free_places_and_nobody_shortens_it_below_the_least() -> None:
    places = [horizon_s(count, 1_000) for count in range(1_200)]
    assert places[:751] == [HORIZON_S] * 751
    assert places[1_000:] == [NEAR_S] * 200
    assert all(near < far for far, near in itertools.pairwise(places[750:1_001]))


@pytest.mark.parametrize(("shards", "ttl_s"), [(1, 8), (16, 4)])
def test_with_fewer_timers_than_users_nobody_is_late(shards: int, ttl_s: float) -> None:
    async def main() -> None:
        async with stage(shards=shards, max_actors=20) as s:
            burst = Burst(s, await s.start("ra"))
            for number in range(400):
                await burst.post(f"user-{number}", ttl_s)
                await trio.sleep(0.008)
            await trio.sleep(ttl_s)
            assert burst.most <= 20
            assert burst.shortest < ttl_s
            burst.check()

    run(main)


def test_whoever_is_due_soon_is_in_time_although_those_who_wait_long_came_first() -> None:
    async def main() -> None:
        draw = random.Random(1)
        async with stage(shards=2, max_actors=50) as s:
            burst = Burst(s, await s.start("ra"))
            for number in range(150):
                await burst.post(f"patient-{number}", draw.uniform(20, 40))
            for number in range(400):
                await burst.post(f"user-{number}", draw.choice((0, 0.1, 0.3, 1, 3, 9)))
                await trio.sleep(0.004)
            await trio.sleep(41)
            assert burst.most <= 50 + NEAR_S / 0.004
            burst.check()

    run(main)


def test_retries_that_are_waited_for_keep_nobody_else_from_a_timer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "BACKLOG_MAX", BESIDES)

    async def main() -> None:
        async with stage(
            shards=1, max_deliveries=20, max_actors=20, retry_schedule_ms=(15_000,)
        ) as s:
            burst = Burst(s, await s.start("ra"))

            async def answer(sent: Sent) -> Outcome:
                return REFUSED if sent.user.startswith("failing") else await taken(sent)

            s.answer = answer
            for number in range(90):
                await burst.replica.post(f"failing-{number}", "oi", ttl_s=0)
                await trio.sleep(0.001)
            s.seen.clear()
            for number in range(150):
                await burst.post(f"user-{number}", 1)
                await trio.sleep(0.01)
            await trio.sleep(5)
            assert burst.most <= 20 + BESIDES
            late = [sent.at - burst.due[sent.user] for sent in s.seen]
            assert len(late) == 150
            assert max(late) <= LATE_S
            s.answer = taken
            await trio.sleep(25)
            assert len(s.seen) == 240

    run(main)


def test_what_is_due_at_once_while_every_slot_is_taken_waits_in_the_store_and_not_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "BACKLOG_MAX", BESIDES)

    async def main() -> None:
        async with stage(shards=4, max_actors=50, max_deliveries=20) as s:
            a = await s.start("ra")

            async def answer(sent: Sent) -> Outcome:
                await trio.sleep(0.1)
                return await taken(sent)

            s.answer = answer
            start = trio.current_time()
            most = 0
            for number in range(200):
                await a.post(f"user-{number}", "oi", ttl_s=0)
                most = max(most, a.engine.actors)
            assert most <= 50 + BESIDES
            await until(lambda: len(s.seen) == 200)
            # No slot was ever idle.
            assert trio.current_time() - start <= 200 / 20 * 0.1 + 0.1

    run(main)


def test_users_with_a_timer_do_not_hide_those_without_from_the_sweep() -> None:
    async def main() -> None:
        async with stage(shards=64, max_actors=40) as s:
            burst = Burst(s, await s.start("ra"))
            users = users_in(7, shards=64, count=60)
            for user in users[:40]:
                await burst.post(user, 3)
            for user in users[40:]:
                await burst.post(user, 3.05)
            assert burst.most < 40
            await trio.sleep(4)
            burst.check()

    run(main)
