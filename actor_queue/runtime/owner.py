"""Which shards are ours: heartbeats, leases, the trust window.

Runs in the engine's own loop, so a replica whose engine is stuck cannot keep its leases alive.
A replica alone takes every shard that is free; one whose lease is still held by a replica
that died is taken the moment it runs out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from actor_queue.core.lease import LeaseTimes, TrustWindow
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.events import EventBus
from actor_queue.store.api import Lease, LeaseHeld, Replica, Store, StoreUnavailable

RETRY_S = 0.2
"""After a round that the store did not answer."""
HEARTBEATS_MISSED_MAX = 3


@dataclass(frozen=True, slots=True)
class _Held:
    lease: Lease
    trust: TrustWindow


def awake_time() -> float:
    """Monotonic seconds that go on while the machine sleeps: no lease outlives a nap."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class Owner:
    """Implements `runtime.actor.Leases`."""

    def __init__(
        self,
        store: Store,
        *,
        replica: str,
        nonce: str,
        shards: int,
        lease_ttl_ms: int,
        counters: Counters,
        events: EventBus,
        clock: Callable[[], float] = awake_time,
    ) -> None:
        self._store = store
        self._replica = replica
        self._nonce = nonce
        self._shards = shards
        self._ttl_ms = lease_ttl_ms
        self._times = LeaseTimes.of(lease_ttl_ms)
        self._counters = counters
        self._events = events
        self._clock = clock
        self._held: dict[int, _Held] = {}
        self._draining = False
        self._round_now = trio.Event()
        self.gained = trio.Event()
        """Set when shards were acquired; whoever waits for it puts a fresh one."""
        self.members: tuple[Replica, ...] = ()

    # What the actors ask

    def claimable(self, shard: int) -> Lease | None:
        """See `Leases.claimable`."""
        return None if self._draining else self.trusted(shard)

    def trusted(self, shard: int) -> Lease | None:
        """See `Leases.trusted`."""
        held = self._held.get(shard)
        if held is None or not held.trust.holds(self._clock()):
            return None
        return held.lease

    def doubt(self, shard: int) -> None:
        """See `Leases.doubt`."""
        if self._held.pop(shard, None) is not None:
            self._round_now.set()

    def owned(self) -> list[int]:
        """The shards in which a claim may be started now."""
        now = self._clock()
        if self._draining:
            return []
        return [shard for shard, held in self._held.items() if held.trust.holds(now)]

    # The loop

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                pause_s = await self.run_once()
            except StoreUnavailable:
                self._counters.store_failures += 1
                pause_s = RETRY_S
            with trio.move_on_after(pause_s):
                await self._round_now.wait()
            self._round_now = trio.Event()

    async def run_once(self) -> float:
        """Renew what is ours, take what is free. Returns seconds until the next round."""
        await self._renew()
        self.members = tuple(
            await self._store.heartbeat(self._replica, self._ttl_ms * HEARTBEATS_MISSED_MAX)
        )
        missing = [shard for shard in range(self._shards) if shard not in self._held]
        if not missing or self._draining:
            return self._times.renew_every_s
        soonest_free_s = await self._acquire(missing)
        return min(self._times.renew_every_s, soonest_free_s)

    def drain(self) -> None:
        """Start nothing new. What is under way may finish: the leases stay until `release`."""
        self._draining = True

    async def release(self) -> None:
        """Give everything back. A store that is away lets the leases run out instead."""
        leases = [held.lease for held in self._held.values()]
        self._draining = True
        self._held.clear()
        try:
            await self._store.release(leases)
            await self._store.leave(self._replica)
        except StoreUnavailable:
            self._counters.store_failures += 1

    async def _renew(self) -> None:
        held = list(self._held.values())
        if not held:
            return
        asked_at = self._clock()
        kept = await self._store.renew([each.lease for each in held], self._ttl_ms)
        for each, ours in zip(held, kept, strict=True):
            shard = each.lease.shard
            if self._held.get(shard) != each:
                continue
            if ours:
                window = each.trust.extended(asked_at, self._times)
                self._held[shard] = _Held(each.lease, window)
            else:
                del self._held[shard]
                self._counters.fenced += 1
                self._events.publish("moved", shard=shard, owner=None)

    async def _acquire(self, shards: Sequence[int]) -> float:
        asked_at = self._clock()
        answers = await self._store.acquire(shards, self._replica, self._nonce, self._ttl_ms)
        soonest_free_s = self._times.renew_every_s
        window = TrustWindow.opened(asked_at, self._times)
        for answer in answers:
            match answer:
                case Lease(shard):
                    self._held[shard] = _Held(answer, window)
                    self._events.publish("moved", shard=shard, owner=self._replica)
                    self.gained.set()
                case LeaseHeld(_, _, remaining_ms):
                    soonest_free_s = min(soonest_free_s, remaining_ms / 1000 + 0.005)
        return soonest_free_s
