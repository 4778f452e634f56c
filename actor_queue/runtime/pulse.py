"""How promptly this process and its Redis answer, measured all the time: two numbers that explain
every other delay.

A late loop makes everything late, and a slow Redis every claim; neither shows in a count of what
was done.
"""

from __future__ import annotations

from typing import Final

import trio

from actor_queue.runtime.counters import Counters
from actor_queue.store.api import Store, StoreUnavailable

LAG_EVERY_S: Final = 0.25
PING_EVERY_S: Final = 1.0


async def keep_measuring(store: Store, counters: Counters) -> None:
    """Until cancelled. Costs some hundred microseconds a second."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_lag, counters)
        nursery.start_soon(_round_trips, store, counters)


async def _lag(counters: Counters) -> None:
    """How much later than its time a task runs that only slept."""
    while True:
        due = trio.current_time() + LAG_EVERY_S
        await trio.sleep_until(due)
        counters.loop_lag_s.observe(trio.current_time() - due)


async def _round_trips(store: Store, counters: Counters) -> None:
    """One that Redis does not answer is in `store_failures`, not here."""
    while True:
        await trio.sleep(PING_EVERY_S)
        asked = trio.current_time()
        try:
            await store.ping()
        except StoreUnavailable:
            counters.store_failures += 1
        else:
            counters.redis_round_trip_s.observe(trio.current_time() - asked)
