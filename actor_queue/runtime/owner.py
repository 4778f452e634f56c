"""Which shards are ours: heartbeats, leases, the trust window, hand-over.

The ring says who *should* own a shard, a lease who *does*; a live lease is never stolen. Runs
in the engine's own loop, so a replica whose engine is stuck cannot keep its leases alive.

Hand-over waits for nothing: the shard is given back at once and its heir is told. Attempts
under way go on here, with the lease they were claimed under, and are settled with it; the heir
sees them as under way until their limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from actor_queue.core.lease import LeaseTimes, TrustWindow
from actor_queue.core.ring import assign
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.events import EventBus
from actor_queue.store.api import Lease, LeaseHeld, Replica, Store, StoreUnavailable

RETRY_S = 0.2
"""After a round that the store did not answer."""
RETURN_S = 0.5
"""After an outage everybody's lease has run out: who comes back first leaves the others theirs."""
SETTLE_ROUNDS = 2
"""A newcomer is seen this often before shards are given up for it."""
MOVES_PART = 8
"""At most this part of all shards is given up in one round."""
EXPIRED_S = 0.005
"""Added to what is left of somebody's time before looking whether it is over."""


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
        attempt_s: float,
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
        self._attempt_s = attempt_s
        self._counters = counters
        self._events = events
        self._clock = clock
        self._held: dict[int, _Held] = {}
        self._given: dict[int, _Held] = {}
        self._unsure: set[int] = set()
        """Shards of which the store did not say whether we took them, or gave them back."""
        self._seen: dict[str, int] = {}
        self._ring: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._draining = False
        self._after_outage = False
        self._round_now = trio.Event()
        self.gained = trio.Event()
        """Set when shards were acquired; whoever waits for it puts a fresh one."""
        self.members: tuple[Replica, ...] = ()

    # What the actors ask

    def claimable(self, shard: int) -> Lease | None:
        """See `Leases.claimable`."""
        held = self._held.get(shard)
        if held is None or self._draining or not held.trust.holds(self._clock()):
            return None
        return held.lease

    def trusted(self, shard: int) -> Lease | None:
        """See `Leases.trusted`."""
        held = self._held.get(shard) or self._given.get(shard)
        if held is None or not held.trust.holds(self._clock()):
            return None
        return held.lease

    def doubt(self, shard: int) -> None:
        """See `Leases.doubt`."""
        self._given.pop(shard, None)
        if self._held.pop(shard, None) is not None:
            self.look_again()

    def owned(self) -> list[int]:
        """The shards in which a claim may be started now."""
        return [shard for shard in self._held if self.claimable(shard) is not None]

    def look_again(self) -> None:
        """Something has changed: do not wait for the next round."""
        self._round_now.set()

    # The loop

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._round_now = trio.Event()
            try:
                pause_s = await self.run_once()
                self._after_outage = False
            except StoreUnavailable:
                self._counters.store_failures += 1
                self._after_outage = True
                pause_s = RETRY_S
            with trio.move_on_after(pause_s):
                await self._round_now.wait()

    async def run_once(self) -> float:
        """Renew what is ours, give up and take what should move. Seconds until the next round."""
        began = self._clock()
        await self._renew()
        if self._draining:
            return self._times.renew_every_s
        self.members = tuple(await self._store.heartbeat(self._replica, self._ttl_ms))
        self._count_rounds()
        if self._after_outage:
            return RETURN_S
        await self._give_up()
        soonest_free_s = await self._acquire()
        # From the beginning, as trust is: after a slow round little of it is left.
        renew_in_s = max(0.0, began + self._times.renew_every_s - self._clock())
        return min(renew_in_s, soonest_free_s, self._soonest_silence_s())

    def drain(self) -> None:
        """Start nothing new. What is under way may finish: the leases stay until `release`."""
        self._draining = True

    async def release(self) -> None:
        """Leave, and hand everything over. A store that is away lets the leases run out instead."""
        self._draining = True
        try:
            # Whoever joined since the last round may be the heir of everything: a rolling deploy.
            self.members = tuple(await self._store.heartbeat(self._replica, self._ttl_ms))
            await self._store.leave(self._replica)
            others = [member.id for member in self.members if member.id != self._replica]
            heirs = dict(enumerate(assign(others, self._shards))) if others else {}
            await self._hand_over(list(self._held), heirs)
        except StoreUnavailable:
            self._counters.store_failures += 1
            self._held.clear()

    # Keep

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
                if not each.trust.holds(self._clock()):
                    # Trust had lapsed, and whoever woke meanwhile was sent away.
                    self.gained.set()
                self._held[shard] = _Held(each.lease, each.trust.extended(asked_at, self._times))
            else:
                del self._held[shard]
                self._counters.fenced += 1
                self._events.publish("moved", shard=shard, owner=None)

    def _count_rounds(self) -> None:
        """How many rounds in a row each other member was seen."""
        present = [member.id for member in self.members if member.id != self._replica]
        self._seen = {name: self._seen.get(name, 0) + 1 for name in present}

    def _soonest_silence_s(self) -> float:
        """When somebody who says nothing more will count as gone."""
        others = [member.seen_ms_ago for member in self.members if member.id != self._replica]
        return (self._ttl_ms - max(others)) / 1000 + EXPIRED_S if others else float("inf")

    # Give

    async def _give_up(self) -> None:
        settled = [name for name, rounds in self._seen.items() if rounds >= SETTLE_ROUNDS]
        assigned = self._assigned([self._replica, *settled])
        heirs = {
            shard: owner
            for shard, owner in enumerate(assigned)
            if owner != self._replica and shard in self._held
        }
        moves_max = max(1, self._shards // MOVES_PART)
        await self._hand_over(sorted(heirs)[:moves_max], heirs)

    async def _hand_over(self, shards: Sequence[int], heirs: dict[int, str]) -> None:
        if not shards:
            return
        now = self._clock()
        window = TrustWindow(now + self._attempt_s)
        leases = []
        for shard in shards:
            held = self._held.pop(shard)
            leases.append(held.lease)
            if held.trust.holds(now):
                self._given[shard] = _Held(held.lease, window)
        self._unsure.update(shards)
        await self._store.release(leases, heirs)
        self._unsure.difference_update(shards)
        for shard in shards:
            self._events.publish("moved", shard=shard, owner=heirs.get(shard))

    # Take

    async def _acquire(self) -> float:
        """Take what should be ours and is free. Seconds until more of it may be.

        Also what may be ours already: asked again under the same nonce the store tells, and what
        should be another's is handed over in the next round and need not wait for its lease to end.
        """
        assigned = self._assigned([member.id for member in self.members] or [self._replica])
        wanted = [
            shard
            for shard, owner in enumerate(assigned)
            if shard not in self._held and (owner == self._replica or shard in self._unsure)
        ]
        soonest_free_s = float("inf")
        if not wanted:
            return soonest_free_s
        asked_at = self._clock()
        self._unsure.update(wanted)
        answers = await self._store.acquire(wanted, self._replica, self._nonce, self._ttl_ms)
        self._unsure.difference_update(wanted)
        window = TrustWindow.opened(asked_at, self._times)
        for answer in answers:
            match answer:
                case Lease(shard):
                    self._held[shard] = _Held(answer, window)
                    self._given.pop(shard, None)
                    self._events.publish("moved", shard=shard, owner=self._replica)
                    self.gained.set()
                case LeaseHeld(_, _, remaining_ms):
                    soonest_free_s = min(soonest_free_s, remaining_ms / 1000 + EXPIRED_S)
        return soonest_free_s

    def _assigned(self, members: Sequence[str]) -> tuple[str, ...]:
        names = tuple(sorted({self._replica, *members}))
        if self._ring[0] != names:
            self._ring = (names, assign(names, self._shards))
        return self._ring[1]
