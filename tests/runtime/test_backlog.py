"""What is overdue goes out as fast as the receiver takes it, and never more of it is in memory than
that needs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from actor_queue.core.conversation import Conversation
from actor_queue.core.message import Message
from actor_queue.core.outcome import Outcome
from actor_queue.core.routes import Route
from actor_queue.runtime.lanes import BACKLOG_MAX
from actor_queue.runtime.recoverer import BURST, SWEEP_S
from actor_queue.store.redis import RedisStore
from actor_queue.testing.memory import MemoryRunner
from tests.runtime.harness import (
    Replica,
    Sent,
    Stage,
    after,
    message,
    now_ms,
    run,
    stage,
    until,
    users_in,
)

CALL_MAX = 500
TURN_S = 0.005


async def append_unheard(s: Stage, messages: list[Message]) -> None:
    """Straight into the store, and no engine is told."""
    store = RedisStore(MemoryRunner(now_ms, server=s.server), s.settings, clock=now_ms)
    for begin in range(0, len(messages), CALL_MAX):
        await store.append(messages[begin : begin + CALL_MAX])


def test_20000_overdue_users_are_never_in_memory_at_once() -> None:
    users = 20_000

    async def main() -> None:
        async with stage(shards=16, max_deliveries=200) as s:
            await append_unheard(s, [message(f"user-{n}", "oi", 0) for n in range(users)])
            s.answer = after(0.2)
            a = await s.start("ra")
            start = trio.current_time()
            most = 0
            while len(s.seen) < 600:
                most = max(most, a.engine.actors)
                await trio.sleep(TURN_S)
            assert most <= BACKLOG_MAX + 2 * BURST
            assert trio.current_time() - start <= 600 / 200 * 0.2 + 2 * TURN_S

    run(main)


@pytest.mark.parametrize(("shards", "users"), [(64, 30), (64, 300), (16, 300), (1, 1_000)])
def test_a_backlog_in_one_shard_of_many_goes_out_without_a_pause(shards: int, users: int) -> None:
    async def main() -> None:
        async with stage(shards=shards) as s:
            overdue = users_in(shards // 2, shards, users)
            await append_unheard(s, [message(user, "oi", 0) for user in overdue])
            await s.start("ra")
            start = trio.current_time()
            await until(lambda: len(s.seen) == users)
            assert trio.current_time() - start < 2 * SWEEP_S

    run(main)


def test_a_slow_receiver_s_backlog_does_not_keep_the_sweep_from_another_shard() -> None:
    """Somebody due in a shard just taken over is found although nothing of the backlog moves."""

    async def main() -> None:
        async with stage(shards=4, max_deliveries=1_000, webhook_timeout_ms=60_000) as s:
            slow = users_in(0, 4, 300)
            await append_unheard(s, [message(user, "oi", 0) for user in slow])
            s.answer = after(50)
            a: Replica = await s.start("ra")
            await until(lambda: len(s.seen) == 300)
            start = trio.current_time()
            await append_unheard(s, [message("ana", "oi", 2)])
            await until(lambda: bool(s.of("ana")))
            assert trio.current_time() - start <= 2 + SWEEP_S
            assert a.engine.actors == 301

    run(main)


def test_a_long_queue_before_a_slow_receiver_hides_nobody_of_another_route() -> None:
    """Its receiver answers 2xx, so no breaker opens, and all its places are taken."""

    async def main() -> None:
        async with stage(shards=1, max_deliveries=10, webhook_timeout_ms=100_000) as s:
            default = Route.default(s.settings)
            s.routes.replace([default, replace(default, name="live")])
            await append_unheard(s, [message(f"user-{n}", "oi", 0) for n in range(6_000)])
            await trio.sleep(20)
            live = [Conversation("live", f"u{n}").key for n in range(3)]
            slow, quick = after(30), after(0.1)

            async def answer(sent: Sent) -> Outcome:
                return await (quick if sent.batch.route == "live" else slow)(sent)

            s.answer = answer
            await append_unheard(s, [message(live[0], "oi", 0)])
            a = await s.start("ra")
            start = trio.current_time()
            for number in range(3):
                await until(lambda n=number: len(_live(s)) > n)
                late_s = trio.current_time() - start
                assert late_s < LATE_S, f"number {number} came {late_s} s late"
                await trio.sleep(7)
                start = trio.current_time()
                await append_unheard(s, [message(live[(number + 1) % 3], "oi", 0)])
            assert a.engine.oldest_due_s > 20, "the slow route's users are not forgotten"
            assert a.engine.actors <= BACKLOG_MAX + 2 * BURST + len(live)
            taken = [sent for sent in s.seen if sent.batch.route == "default"]
            assert len(taken) >= 10, "all places of the slow route are taken"

    run(main)


def _live(s: Stage) -> list[Sent]:
    return [sent for sent in s.seen if sent.batch.route == "live"]


LATE_S = 3 * SWEEP_S
"""Who has no timer waits for a sweep, and behind so many for the page that reaches there."""
