"""The housekeeping of the shards that are ours: how much they hold, and dead letters that are old.

Every replica does it for its own shards, so the numbers of all replicas add up to the whole.
Nothing waits for this, and what was missed once is done the next time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import trio

from actor_queue.core.horizon import HORIZON_S
from actor_queue.core.upkeep import Sizes, old_every_s, together
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.owner import Owner
from actor_queue.store.api import Store, StoreUnavailable

LOOK_S = 5.0
PAGE = 100
"""Dead letters looked at together."""
PAUSE_S = 0.05
"""Between two pages: deleting many letters must not stand in front of claims."""


class Upkeep:
    """`run()` is the timing, `run_once()` the work. With `retention_ms` 0 letters stay for ever."""

    def __init__(self, store: Store, owner: Owner, retention_ms: int, counters: Counters) -> None:
        self._store = store
        self._owner = owner
        self._retention_ms = retention_ms
        self._counters = counters
        self._sizes: dict[int, Sizes] = {}
        self._old_at = -math.inf

    @property
    def sizes(self) -> Sizes:
        """Of all shards that are ours, when they were last looked at."""
        owned = self._owner.owned()
        return together([self._sizes[shard] for shard in owned if shard in self._sizes])

    async def run(self) -> None:
        """Until cancelled."""
        every_s = LOOK_S
        if self._retention_ms:
            every_s = min(every_s, old_every_s(self._retention_ms))
        while True:
            await trio.sleep(every_s)
            await self.run_once()

    async def run_once(self) -> None:
        """One look at every shard of ours. A server that is away holds up no other."""
        now = trio.current_time()
        old = bool(self._retention_ms) and now >= self._old_at
        if old:
            self._old_at = now + old_every_s(self._retention_ms)
        async with trio.open_nursery() as looks:
            for shards in self._store.by_server(self._owner.owned()):
                looks.start_soon(self._look, shards, old)

    async def _look(self, shards: Sequence[int], old: bool) -> None:
        try:
            if old:
                for shard in shards:
                    await self._drop_old(shard)
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
