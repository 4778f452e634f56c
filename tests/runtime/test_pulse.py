"""What is measured all the time: how late the loop is, and how long Redis takes to answer."""

from __future__ import annotations

import trio
import trio.testing

from actor_queue.runtime.counters import Counters
from actor_queue.runtime.pulse import LAG_EVERY_S, PING_EVERY_S, keep_measuring
from actor_queue.store.api import StoreUnavailable

LOOKS = 20


class Slow:
    """A Redis that answers every second PING, after 30 ms."""

    def __init__(self) -> None:
        self.asked = 0

    async def ping(self) -> None:
        self.asked += 1
        await trio.sleep(0.03)
        if self.asked % 2:
            raise StoreUnavailable("Redis is away", executed=False)


def measured(store: Slow, seconds: float) -> Counters:
    counters = Counters()

    async def main() -> None:
        with trio.move_on_after(seconds):
            await keep_measuring(store, counters)  # type: ignore[arg-type]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return counters


def test_each_round_trip_is_measured_and_one_without_an_answer_is_a_failure() -> None:
    store = Slow()
    counters = measured(store, LOOKS * (PING_EVERY_S + 0.03) + 0.1)
    assert store.asked == LOOKS
    answered = counters.redis_round_trip_s
    assert (sum(answered.counts), counters.store_failures) == (LOOKS // 2, LOOKS // 2)
    assert round(answered.total, 6) == round(LOOKS // 2 * 0.03, 6)


def test_a_loop_that_keeps_time_has_no_lag_and_one_that_stands_still_has() -> None:
    counters = measured(Slow(), LOOKS * LAG_EVERY_S + 0.1)
    assert sum(counters.loop_lag_s.counts) == LOOKS
    assert counters.loop_lag_s.total == 0

    async def main() -> None:
        counters = Counters()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_measuring, Slow(), counters)  # type: ignore[arg-type]
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(LAG_EVERY_S + 2.0)
            await trio.testing.wait_all_tasks_blocked()
            assert counters.loop_lag_s.total == 2.0
            nursery.cancel_scope.cancel()

    clock = trio.testing.MockClock()
    trio.run(main, clock=clock)
