"""Who waits, by route: for `/metrics`, in the shards that are ours.

The timer index of a shard knows a route only by the names in it, so they have to be looked at. That
is done in pages, a bounded number of them a round: however many wait, the server is asked for less
than a hundredth of its time, and a number may be as old as it takes to look at all. Where there is
one route, everybody who waits is that one's, and nothing is looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import trio

from actor_queue.core.routes import RouteTable
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.owner import Owner
from actor_queue.store.api import Store, StoreUnavailable

ROUND_S = 5.0
PAGE = 1_000
"""Conversations that one question looks at: about half a millisecond of the server."""
PAGES_MAX = 100
"""In a round, but one of each shard at least."""
PAUSE_S = 0.02


class WaitingByRoute:
    """`run()` is the timing, `run_once()` the work."""

    def __init__(self, store: Store, owner: Owner, routes: RouteTable, counters: Counters) -> None:
        self._store = store
        self._owner = owner
        self._routes = routes
        self._counters = counters
        self._whole: dict[int, Counter[str]] = {}
        """Of each shard that was looked at to its end, as it was then."""
        self._part: dict[int, tuple[int, Counter[str]]] = {}
        """Of each shard, how far the look has come that is not at its end, and what it found."""

    def counts(self, waiting: int) -> Mapping[str, int] | None:
        """By route, of those that are configured; `''` stands for all others together. `waiting`
        are they all. None while a shard of ours has not been looked at."""
        if self._single():
            return {route.name: waiting for route in self._routes}
        owned = self._owner.owned()
        if any(shard not in self._whole for shard in owned):
            return None
        found = dict.fromkeys((route.name for route in self._routes), 0)
        for shard in owned:
            for route, count in self._whole[shard].items():
                name = route if route in self._routes else ""
                found[name] = found.get(name, 0) + count
        return found

    def _single(self) -> bool:
        return len(self._routes) == 1 and not self._store.unrouted()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(ROUND_S)
            try:
                await self.run_once()
            except StoreUnavailable:
                self._counters.store_failures += 1

    async def run_once(self) -> None:
        """A page of each shard of ours, and more of those that have more, as far as a round may."""
        owned = list(self._owner.owned())
        for known in (self._whole, self._part):
            for shard in known.keys() - owned:
                del known[shard]
        if self._single():
            return
        left, pages = owned, 0
        while left:
            pages += len(left)
            await self._look(left)
            left = [shard for shard in left if shard in self._part]
            left = left[: max(0, PAGES_MAX - pages)]
            await trio.sleep(PAUSE_S)

    async def _look(self, shards: list[int]) -> None:
        """One page of each, from where the one before has ended."""
        begin = [self._part.get(shard, (0, Counter()))[0] for shard in shards]
        pages = await self._store.waiting_by_route(shards, begin, PAGE)
        for shard, (looked, counts) in zip(shards, pages, strict=True):
            at, before = self._part.pop(shard, (0, Counter()))
            found = before + Counter(counts)
            if looked < PAGE:
                self._whole[shard] = found
            else:
                self._part[shard] = (at + looked, found)
