"""The sweep: looks through the shards' due times and wakes actors for what it finds.

Recovery is not a boot step. The sweep runs at the start, at every shard gained, after every
reconnect and slowly all the time, and it does the same each time; so a lost nudge, a refused
actor or a crash costs bounded lateness and nothing else. What is overdue is brought in only
as fast as it goes out, in the order in which it is due.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import trio

from actor_queue.runtime.actor import answered
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.owner import Owner
from actor_queue.runtime.registry import AT_ONCE_S, Registry
from actor_queue.store.api import Store, StoreUnavailable

SWEEP_S = 1.0
WITHIN_S = AT_ONCE_S
"""How far the sweep looks ahead: more than two sweeps, so that missing one makes nobody late."""
BACKLOG_MAX = 400
"""Overdue users brought in at once: enough to keep every slot busy, too few to stall the loop."""
POLL_S = 0.01
RETRY_S = 0.2
KNOWN_MARGIN_S = 0.05
BURST = 50
"""Actors started before others get a turn."""


class Recoverer:
    """`run()` is the timing, `run_once()` the work."""

    def __init__(
        self, store: Store, owner: Owner, registry: Registry, slots_max: int, counters: Counters
    ) -> None:
        self._store = store
        self._owner = owner
        self._registry = registry
        self._backlog_max = max(BACKLOG_MAX, 2 * slots_max)
        self._counters = counters
        self._under_way: set[int] = set()
        """Shards that are being swept."""
        self._overtaken = False
        """Whether some of these should have been swept again already."""

    async def run(self) -> None:
        """Until cancelled. A server of a cluster that is away holds up no sweep on the others."""
        async with trio.open_nursery() as sweeps:
            while True:
                idle = [shard for shard in self._owner.owned() if shard not in self._under_way]
                self._overtaken = bool(self._under_way)
                for shards in self._store.by_server(idle):
                    self._under_way.update(shards)
                    sweeps.start_soon(self._sweep, shards)
                with trio.move_on_after(SWEEP_S):
                    await self._owner.gained.wait()
                self._owner.gained = trio.Event()

    async def _sweep(self, shards: Sequence[int]) -> None:
        try:
            await self.run_once(shards)
        except StoreUnavailable:
            self._counters.store_failures += 1
            await trio.sleep(RETRY_S)
            self.look_again()
        finally:
            self._under_way.difference_update(shards)
            if self._overtaken:
                self.look_again()

    def look_again(self) -> None:
        """Something may have been missed: do not wait for the next sweep."""
        self._owner.gained.set()

    async def run_once(self, shards: Sequence[int]) -> None:
        """One sweep of these shards of ours, and on through those that hold more than a look sees.

        The others are not left waiting for a long backlog: after `SWEEP_S` they have their turn.
        """
        self._counters.sweeps += 1
        until = trio.current_time() + SWEEP_S
        crowded = await self._look(shards)
        while crowded:
            await self._half_done()
            if trio.current_time() > until:
                return self.look_again()
            crowded = await self._look(crowded)

    async def _look(self, shards: Sequence[int]) -> list[int]:
        """Wake who is due. The shards in which more is due than could be seen or brought in.

        The fewer shards, the more users of each: together always more than are brought in at once,
        so those who are awake already never hide everybody else.
        """
        limit = max(8, math.ceil(2 * self._backlog_max / max(1, len(shards))))
        asked = trio.current_time()
        answers = await self._store.due(shards, int(WITHIN_S * 1000), limit)
        now = answered(asked)
        found = sorted(
            (user.remaining_ms, user.user, shard)
            for shard, users in zip(shards, answers, strict=True)
            for user in users
        )
        crowded = {
            shard
            for shard, users in zip(shards, answers, strict=True)
            if len(users) == limit and users[-1].remaining_ms <= 0
        }
        started = refused = 0
        for remaining_ms, user, shard in found:
            if user in self._registry:
                # Its timer was set more exactly than this; only a much sooner one was missed.
                self._registry.hint(user, now + remaining_ms / 1000 + KNOWN_MARGIN_S)
            elif remaining_ms <= 0 and self._registry.awake >= self._backlog_max:
                crowded.add(shard)
                refused += 1
            else:
                self._registry.nudge(user, shard, now + remaining_ms / 1000, asked)
                started += 1
                if started % BURST == 0:
                    await trio.lowlevel.checkpoint()
        # With nobody new in sight those who are there do not get on: not worth asking at once.
        return sorted(crowded) if started or refused else []

    async def _half_done(self) -> None:
        """Until there is room for as many again."""
        # A poll, because a signal would be paid for by every delivery.
        while self._registry.awake > self._backlog_max // 2:  # noqa: ASYNC110
            await trio.sleep(POLL_S)
