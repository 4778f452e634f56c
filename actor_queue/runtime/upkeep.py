"""The housekeeping of the shards that are ours: how much they hold, and dead letters that are old.

Every replica does it for its own shards, so the numbers of all replicas add up to the whole.
Nothing waits for this, and what was missed once is done the next time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import trio

from actor_queue.core.horizon import HORIZON_S
from actor_queue.core.routes import RouteTable
from actor_queue.core.upkeep import Sizes, old_every_s, together
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.owner import Owner
from actor_queue.runtime.waiting import WaitingByRoute
from actor_queue.store.api import Store, StoreUnavailable

LOOK_S = 5.0
NEW_S = 1.0
"""Between two looks for shards of which nothing is known yet, as of those that came just now."""
PAGE = 100
"""Dead letters looked at together."""
PAUSE_S = 0.05
"""Between two pages: deleting many letters must not stand in front of claims."""


class Upkeep:
    """`run()` is the timing, `run_once()` the work. With `retention_ms` 0 letters stay for ever."""

    def __init__(
        self,
        store: Store,
        owner: Owner,
        retention_ms: int,
        routes: RouteTable,
        counters: Counters,
    ) -> None:
        self._store = store
        self._by_route = WaitingByRoute(store, owner, routes, counters)
        self._owner = owner
        self._retention_ms = retention_ms
        self._counters = counters
        self._sizes: dict[int, Sizes] = {}
        self._old_at = -math.inf

    @property
    def sizes(self) -> Sizes | None:
        """Of all shards that are ours, when they were last looked at.

        None where that is not known of each of them, or where none is ours: a 0 would read as if
        nothing waited.
        """
        owned = self._owner.owned()
        if not owned or any(shard not in self._sizes for shard in owned):
            return None
        return together([self._sizes[shard] for shard in owned])

    @property
    def waiting(self) -> Mapping[str, int] | None:
        """See `WaitingByRoute.counts`; None where that is not known."""
        return None if (sizes := self.sizes) is None else self._by_route.counts(sizes.waiting)

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._by_route.run)
            await self._run()

    async def _run(self) -> None:
        every_s = LOOK_S
        if self._retention_ms:
            every_s = min(every_s, old_every_s(self._retention_ms))
        pause_s = min(NEW_S, every_s)
        due_at = trio.current_time() + every_s
        while True:
            await trio.sleep(pause_s)
            if trio.current_time() + pause_s / 2 >= due_at:
                due_at = trio.current_time() + every_s
                await self.run_once()
            else:
                await self._look_at_new()

    async def _look_at_new(self) -> None:
        owned = self._owner.owned()
        for shard in self._sizes.keys() - owned:
            del self._sizes[shard]  # if it becomes ours again, this will be old
        if new := [shard for shard in owned if shard not in self._sizes]:
            await self._look_at(new, old=False)

    async def run_once(self) -> None:
        """One look at every shard of ours. A server that is away holds up no other."""
        now = trio.current_time()
        old = bool(self._retention_ms) and now >= self._old_at
        if old:
            self._old_at = now + old_every_s(self._retention_ms)
        await self._look_at(self._owner.owned(), old=old)

    async def _look_at(self, wanted: Sequence[int], *, old: bool) -> None:
        async with trio.open_nursery() as looks:
            for shards in self._store.by_server(wanted):
                looks.start_soon(self._look, shards, old)

    async def _look(self, shards: Sequence[int], old: bool) -> None:
        try:
            if old:
                for shard in shards:
                    await self._drop_old(shard)
            await self._store.erase_rest(shards)
            sizes = await self._store.sizes(shards, int(HORIZON_S * 1000))
            self._sizes.update(zip(shards, sizes, strict=True))
        except StoreUnavailable:
            self._counters.store_failures += 1

    async def _drop_old(self, shard: int) -> None:
        passed = 0
        while (lease := self._owner.claimable(shard)) is not None:
            page = await self._store.dead_expire(lease, self._retention_ms, PAGE, passed)
            if page is None:
                return  # the lease is another's; its renewal will say so
            self._counters.dead_expired += page.dropped
            passed += page.kept
            if not page.more:
                return
            await trio.sleep(PAUSE_S)
