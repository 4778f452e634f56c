"""What is overdue goes out as fast as the receiver takes it, and never more of it is in memory than
that needs."""

from __future__ import annotations

import pytest
import trio

from actor_queue.core.message import Message
from actor_queue.runtime.recoverer import BACKLOG_MAX, BURST, SWEEP_S
from actor_queue.store.redis import RedisStore
from actor_queue.testing.memory import MemoryRunner
from tests.runtime.harness import (
    Replica,
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
