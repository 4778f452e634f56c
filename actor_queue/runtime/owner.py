"""Which shards are ours: heartbeats, leases, the trust window, hand-over.

The ring says who *should* own a shard, a lease who *does*; a live lease is never stolen. Runs
in the engine's own loop, so a replica whose engine is stuck cannot keep its leases alive.

Hand-over waits for nothing: the shard is given back at once and everybody is told, because who
gives it cannot know who will stay, or who has just come. Attempts under way go on here, with the
lease they were claimed under, and are settled with it; the heir sees them as under way until
their limit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import trio

from actor_queue.core.lease import LeaseTimes, TrustWindow, next_renewal
from actor_queue.core.ring import assign, moves_max, to_acquire, to_give_up
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.events import EventBus
from actor_queue.runtime.journal import Journal
from actor_queue.store.api import Lease, LeaseHeld, Replica, Store, StoreUnavailable

RETRY_S = 0.2
"""After a call that the store did not answer."""
RETURN_S = 0.5
"""After an outage nobody is known to live: who comes back first leaves the others theirs."""
GIVE_TURNS = 3
"""So often a shard is given back whose owner was not told whether it was."""
ECHO_S = 0.2
"""After a look that followed news comes another one: members who saw somebody join or leave at
different moments have left a free shard to each other."""
EXPIRED_S = 0.005
"""Added to what is left of somebody's time before looking whether it is over."""
LEAVE_MAX_S = 5.0
"""For giving everything back; what is left then runs out by itself."""
LEAVE_POLL_S = 0.02
LEAD_S = 0.005
"""What is due to be extended so soon is extended now: the rest of a pause that ended early, or
that another clock measured, may be too short to be slept through."""


@dataclass(frozen=True, slots=True)
class _Held:
    lease: Lease
    asked_at: float
    """When it was last extended, as `Owner._clock` said before."""
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
        attempt_s: Callable[[], float],
        counters: Counters,
        events: EventBus,
        journal: Journal,
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
        self._journal = journal
        self._clock = clock
        self._held: dict[int, _Held] = {}
        self._given: dict[int, _Held] = {}
        self._renewing: set[int] = set()
        self._moving: set[int] = set()
        """Shards that are being taken or given back."""
        self._unsure: set[int] = set()
        """Shards of which the store did not say whether we took them, or gave them back."""
        self._since: dict[str, float] = {}
        """Since when each other member has been seen without a break."""
        self._gave_at = -math.inf
        self._news = self._followed = 0
        """How often somebody said that shards may be free, and how often before the last look."""
        self._ring: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._draining = self._lapsed = False
        self._heard_at = math.inf
        """When the store last said who lives."""
        self._pause = trio.CancelScope()
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

    def held(self, shard: int) -> Lease | None:
        """See `Leases.held`."""
        held = self._held.get(shard)
        return None if held is None else held.lease

    def doubt(self, shard: int) -> None:
        """See `Leases.doubt`."""
        self._given.pop(shard, None)
        if self._held.pop(shard, None) is not None:
            # An extension may be on its way: what is ours all the same must not be nobody's.
            self._unsure.add(shard)
            self._journal.shards_lost([shard], "claim")
            self.look_again()

    def _note_trust(self) -> None:
        now = self._clock()
        lapsed = [shard for shard, held in self._held.items() if not held.trust.holds(now)]
        if lapsed or self._lapsed:
            self._journal.leases_held(lapsed, self._held.keys() - lapsed)
        self._lapsed = bool(lapsed)

    def owned(self) -> list[int]:
        """The shards in which a claim may be started now."""
        return [shard for shard in self._held if self.claimable(shard) is not None]

    def look_again(self) -> None:
        """Something has changed: do not wait for the next round."""
        self._news += 1
        self._pause.cancel()

    def _look_in(self, seconds: float) -> None:
        self._pause.deadline = min(self._pause.deadline, trio.current_time() + seconds)

    # The loops

    async def run(self) -> None:
        """Until cancelled. A server of a cluster that is away holds up nothing on the others."""
        async with trio.open_nursery() as self._calls:
            self._calls.start_soon(self._keep_leases)
            await self._keep_rounds()

    async def _keep_leases(self) -> None:
        """Extend, in one round trip, all that are due to be; soon again what was not answered."""
        while True:
            pause_s = RETRY_S
            self._note_trust()
            idle = [shard for shard in self._held if shard not in self._renewing]
            for shards in self._store.by_server(idle):
                asked_at = min(self._held[shard].asked_at for shard in shards)
                left_s = next_renewal(asked_at, self._times) - self._clock()
                if left_s > LEAD_S:
                    pause_s = min(pause_s, left_s)
                else:
                    self._renewing.update(shards)
                    self._calls.start_soon(self._renew, [self._held[shard] for shard in shards])
            await trio.sleep(pause_s)

    async def _keep_rounds(self) -> None:
        while not self._draining:
            # From the beginning, as trust is: after a slow round little of it is left.
            self._pause = trio.CancelScope(deadline=trio.current_time() + self._times.renew_every_s)
            try:
                await self.run_once()
            except StoreUnavailable:
                self._failed()
            with self._pause:
                await trio.sleep_forever()

    async def run_once(self) -> None:
        """Say that we live and hear who else does, give up and take what should move."""
        self.members = tuple(await self._store.heartbeat(self._replica, self._ttl_ms))
        self._note_members()
        self._look_in(self._soonest_silence_s())
        if self._news != self._followed:
            self._followed = self._news
            self._look_in(ECHO_S)
        heard_at, self._heard_at = self._heard_at, self._clock()
        if self._heard_at - heard_at > self._times.ttl_s - self._times.renew_every_s:
            # Others who had spoken just before we last heard may be forgotten by now.
            self._look_in(RETURN_S)
        elif not self._draining:
            self._give_up()
            self._take()

    async def leave(self) -> None:
        """Start nothing new, give everything back, and let the others take it at once.

        Attempts under way may go on. A store that is away lets the leases run out instead.
        """
        self._draining = True
        with trio.move_on_after(LEAVE_MAX_S):
            try:
                # First, so that nobody who looks for an heir finds us.
                await self._store.leave(self._replica)
            except StoreUnavailable:
                self._counters.store_failures += 1
            while self._held or self._moving or self._unsure:
                async with trio.open_nursery() as calls:
                    # What is being taken, or may have been taken, becomes ours yet.
                    self._ask_for(calls, sorted(self._unsure - self._moving))
                    self._hand_over(calls, list(self._held))
                if self._moving or self._unsure:
                    await trio.sleep(LEAVE_POLL_S)

    # Keep

    async def _renew(self, held: Sequence[_Held]) -> None:
        asked_at = self._clock()
        try:
            kept = await self._store.renew([each.lease for each in held], self._ttl_ms)
        except StoreUnavailable:
            self._counters.store_failures += 1
            return
        finally:
            self._renewing.difference_update(each.lease.shard for each in held)
        lost: list[int] = []
        for each, ours in zip(held, kept, strict=True):
            shard = each.lease.shard
            if self._held.get(shard) != each:
                continue
            if ours:
                if not each.trust.holds(self._clock()):
                    # Trust had lapsed, and whoever woke meanwhile was sent away.
                    self.gained.set()
                trust = each.trust.extended(asked_at, self._times)
                self._held[shard] = _Held(each.lease, asked_at, trust)
            else:
                del self._held[shard]
                self._counters.fenced += 1
                self._events.publish("moved", shard=shard, owner=None)
                lost.append(shard)
                self.look_again()
        if lost:
            self._journal.shards_lost(lost, "renewal")

    def _failed(self) -> None:
        self._counters.store_failures += 1
        self._look_in(RETRY_S)

    def _note_members(self) -> None:
        now = trio.current_time()
        others = [member.id for member in self.members if member.id != self._replica]
        self._since = {name: self._since.get(name, now) for name in others}

    def _soonest_silence_s(self) -> float:
        """When somebody who says nothing more will count as gone."""
        others = [member.seen_ms_ago for member in self.members if member.id != self._replica]
        return (self._ttl_ms - max(others)) / 1000 + EXPIRED_S if others else math.inf

    # Give

    def _give_up(self) -> None:
        """Some of what others should own: of those who have stayed for a while, and not at once.

        And not what all of them together leave with us: nobody would take it.
        """
        now, pace_s = trio.current_time(), self._times.renew_every_s
        settled = [name for name, since in self._since.items() if now >= since + pace_s - LEAD_S]
        ours = to_acquire(self._replica, self._assigned(list(self._since)), ())
        movable = self._held.keys() - set(ours)
        assigned = self._assigned(settled)
        theirs = to_give_up(self._replica, assigned, movable, moves_max(self._shards))
        if theirs and now < self._gave_at + pace_s:
            self._look_in(self._gave_at + pace_s - now)
        elif theirs:
            self._gave_at = now
            self._hand_over(self._calls, theirs)

    def _hand_over(self, calls: trio.Nursery, shards: Sequence[int]) -> None:
        now = self._clock()
        window = TrustWindow(now + self._attempt_s())
        self._moving.update(shards)
        for part in self._store.by_server(shards):
            gone = [self._held.pop(shard) for shard in part]
            for held in gone:
                if held.trust.holds(now):
                    self._given[held.lease.shard] = _Held(held.lease, held.asked_at, window)
            calls.start_soon(self._give, [held.lease for held in gone])

    async def _give(self, leases: Sequence[Lease]) -> None:
        shards = [lease.shard for lease in leases]
        self._unsure.update(shards)
        try:
            for _ in range(GIVE_TURNS):
                if await self._try_to_give(leases):
                    self._unsure.difference_update(shards)
                    return
                await trio.sleep(RETRY_S)
        finally:
            self._moving.difference_update(shards)

    async def _try_to_give(self, leases: Sequence[Lease]) -> bool:
        try:
            await self._store.release(leases)
            await self._store.tell_free(self._replica)
        except StoreUnavailable:
            self._counters.store_failures += 1
            return False
        for lease in leases:
            self._events.publish("moved", shard=lease.shard, owner=None)
        why: Literal["balance", "stop"] = "stop" if self._draining else "balance"
        self._journal.shards_given([lease.shard for lease in leases], why)
        return True

    # Take

    def _take(self) -> None:
        """Take what should be ours and is free.

        Also what may be ours already: asked again under the same nonce the store tells, and what
        should be another's is handed over in the next round and need not wait for its lease to end.
        """
        assigned = self._assigned([member.id for member in self.members] or [self._replica])
        busy = self._held.keys() | self._moving
        wanted = sorted({*to_acquire(self._replica, assigned, busy), *(self._unsure - busy)})
        self._ask_for(self._calls, wanted)

    def _ask_for(self, calls: trio.Nursery, shards: Sequence[int]) -> None:
        self._moving.update(shards)
        for part in self._store.by_server(shards):
            calls.start_soon(self._acquire, part)

    async def _acquire(self, shards: Sequence[int]) -> None:
        asked_at, news = self._clock(), self._news
        try:
            answers = await self._store.acquire(shards, self._replica, self._nonce, self._ttl_ms)
        except StoreUnavailable:
            self._unsure.update(shards)
            self._failed()
            return
        finally:
            self._moving.difference_update(shards)
        self._unsure.difference_update(shards)
        window = TrustWindow.opened(asked_at, self._times)
        taken: list[Lease] = []
        for answer in answers:
            match answer:
                case Lease(shard):
                    self._held[shard] = _Held(answer, asked_at, window)
                    self._given.pop(shard, None)
                    self._events.publish("moved", shard=shard, owner=self._replica)
                    taken.append(answer)
                    self.gained.set()
                case LeaseHeld(_, _, remaining_ms):
                    # The answer may be older than the news that it is free.
                    self._look_in(remaining_ms / 1000 + EXPIRED_S if news == self._news else 0)
        if taken:
            alive = (member.id for member in self.members)
            self._journal.shards_taken(taken, alive, len(self._held))

    def _assigned(self, members: Sequence[str]) -> tuple[str, ...]:
        names = tuple(sorted({self._replica, *members}))
        if self._ring[0] != names:
            self._ring = (names, assign(names, self._shards))
        return self._ring[1]
