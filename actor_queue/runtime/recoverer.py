"""The sweep: looks through the shards' due times and wakes actors for what it finds.

Recovery is not a boot step. The sweep runs at the start, at every shard gained, after every
reconnect and slowly all the time, and it does the same each time; so a lost nudge, a refused
actor or a crash costs bounded lateness and nothing else. What is overdue is brought in only
as fast as it goes out, in the order in which it is due.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import trio

from actor_queue.core.horizon import HORIZON_S, NEAR_S
from actor_queue.runtime.actor import answered
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.lanes import Lane
from actor_queue.runtime.owner import Owner
from actor_queue.runtime.registry import Registry
from actor_queue.runtime.routes import Gates, Place
from actor_queue.store.api import DueUser, Store, StoreUnavailable

SWEEP_S = 1.0
WITHIN_S = 2.5
"""How far the sweep looks ahead: more than two sweeps, so that missing one makes nobody late."""
STALE_S = 5.0
"""A sweep that is older says how things were, and not how they are."""
POLL_S = 0.01
RETRY_S = 0.2
KNOWN_MARGIN_S = 0.05
BURST = 50
"""Actors started before others get a turn."""
GLANCES = 1_000
"""Users looked at before others get a turn."""
LEAD_S = NEAR_S / 2
"""How long before a user who was turned away is due the sweep looks again."""
PACE_S = 0.1
"""Between two sweeps that follow each other for that reason, at least."""
DEEPER = 8
LOOK_MAX = 5_000
"""Users of one shard looked at in one sweep."""
FRESH_MS = 10_000
"""While many wait for a route that is shut, whoever has become due within this time is looked for
at each sweep; behind it, the sweep goes on where the one before has stopped."""
BESIDE_MAX = 3
"""Looks of one sweep without the routes that have as many awake as are brought in of one."""
TURNS_S = 0.5
"""Between two sweeps while a route has a pace: every turn is given out before it comes."""


class _Found(NamedTuple):
    """Somebody who is due, or was, at `at`; the store was asked at `asked` (trio clock)."""

    at: float
    user: str
    shard: int
    asked: float
    overdue: bool


class Recoverer:
    """`run()` is the timing, `run_once()` the work."""

    def __init__(
        self,
        store: Store,
        owner: Owner,
        registry: Registry,
        gates: Gates,
        counters: Counters,
    ) -> None:
        self._store = store
        self._gates = gates
        self._behind: dict[int, str] = {}
        """Where a shard's sweep goes on behind `FRESH_MS`, while routes are apart."""
        self._behind_crowds: dict[int, str] = {}
        """The same of a look without the routes that have as many awake as may be."""
        self._owner = owner
        self._registry = registry
        registry.turned_away = self._turned_away
        self._lanes = registry.lanes
        self._refused: set[Lane] = set()
        """Routes of which somebody overdue was not brought in at the last look."""
        self._counters = counters
        self._under_way: set[int] = set()
        """Shards that are being swept."""
        self._overtaken = False
        """Whether some of these should have been swept again already."""
        self._pause = trio.CancelScope()
        self._overdue: dict[int, tuple[float, float]] = {}
        """Of each shard in which somebody was due at the last look: for how long, and when that
        was."""
        self._awaited_until = -math.inf
        """When the last of those who may have been turned away is due."""

    @property
    def oldest_due_s(self) -> float:
        """For how long that user of our shards has been due who is due for longest; 0 when none is.

        As it was at the last sweep; where sweeps fail, it grows as time does.
        """
        now, owned = trio.current_time(), self._owner.owned()
        ages = [self._overdue[shard] for shard in owned if shard in self._overdue]
        return max((age_s + max(0.0, now - at - STALE_S) for age_s, at in ages), default=0.0)

    async def run(self) -> None:
        """Until cancelled. A server of a cluster that is away holds up no sweep on the others."""
        async with trio.open_nursery() as sweeps:
            while True:
                idle = [shard for shard in self._owner.owned() if shard not in self._under_way]
                self._overtaken = bool(self._under_way)
                for shards in self._store.by_server(idle):
                    self._under_way.update(shards)
                    sweeps.start_soon(self._sweep, shards)
                self._pause = trio.CancelScope(deadline=trio.current_time() + SWEEP_S)
                with self._pause:
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

    def _turned_away(self, at: float) -> None:
        """Somebody due at `at` has no timer, so a sweep must come by shortly before that."""
        self._awaited_until = max(self._awaited_until, at)
        self._look_before(at)

    def _look_before(self, at: float) -> None:
        soonest = max(at - LEAD_S, trio.current_time() + PACE_S)
        self._pause.deadline = min(self._pause.deadline, soonest)

    async def run_once(self, shards: Sequence[int]) -> None:
        """One sweep of these shards of ours, and on through those that hold more than a look sees.

        The others are not left waiting for a long backlog: after `SWEEP_S` they have their turn.
        """
        self._counters.sweeps += 1
        if self._gates.apart:
            await self._give_turns(shards)
        until = trio.current_time() + SWEEP_S
        crowded = await self._look(shards)
        while crowded:
            await self._half_done()
            if trio.current_time() > until:
                return self.look_again()
            crowded = await self._look(crowded)

    async def _look(self, shards: Sequence[int]) -> list[int]:
        """Wake who is due. The shards in which more is due than could be seen or brought in.

        Where a route has as many awake as are brought in of one, those of it who wait may hide
        everybody of another route: then this looks once more, without them.
        """
        self._lanes.look()
        self._refused.clear()
        moved, crowded = await self._bring_in(shards, ())
        for _ in range(BESIDE_MAX):
            full = self._lanes.crowded() if crowded else []
            if not full:
                break
            more, hiding = await self._bring_in(sorted(crowded), full)
            moved |= more
            if not hiding:
                break
        # With nobody new in sight those who are there do not get on: not worth asking at once.
        return sorted(crowded) if moved else []

    async def _bring_in(
        self, shards: Sequence[int], beside: Sequence[str]
    ) -> tuple[bool, set[int]]:
        """Wake who is due, but for users of the routes `beside`. Whether anybody new was seen, and
        the shards in which more is due.

        The fewer shards, the more users of each: together always more than are brought in at once,
        so those who are awake already never hide everybody else.
        """
        limit = max(8, math.ceil(2 * self._lanes.backlog_max / max(1, len(shards))))
        if self._registry.horizon_s < HORIZON_S:
            self._awaited_until = max(self._awaited_until, trio.current_time() + HORIZON_S)
        found, crowded = await self._due(shards, limit, beside)
        started = refused = 0
        for looked, (at, user, shard, asked, overdue) in enumerate(found, 1):
            if user in self._registry:
                # Its timer was set more exactly than this; only a much sooner one was missed.
                self._registry.hint(user, at + KNOWN_MARGIN_S)
            elif overdue and (lane := self._lanes.of(user)).crowded:
                self._refused.add(lane)
                crowded.add(shard)
                refused += 1
            elif self._registry.nudge(user, shard, at, asked):
                started += 1
                if started % BURST == 0:
                    await trio.lowlevel.checkpoint()
            elif overdue:
                crowded.add(shard)
                refused += 1
            if looked % GLANCES == 0:
                await trio.lowlevel.checkpoint()
        return bool(started or refused), crowded

    async def _due(
        self, shards: Sequence[int], limit: int, beside: Sequence[str]
    ) -> tuple[list[_Found], set[int]]:
        """Who is due soon, soonest first, and the shards in which more is overdue than that.

        Of each shard the first `limit` users, and more of those in which users with a timer may
        hide some without.
        """
        found: list[_Found] = []
        crowded: set[int] = set()
        within_ms = int(WITHIN_S * 1000)
        while shards:
            asked = trio.current_time()
            answers = await self._users_due(shards, within_ms, limit, beside)
            now = answered(asked)
            deeper = []
            for shard, users in zip(shards, answers, strict=True):
                if not beside:
                    self._note(shard, users, now)
                full = len(users) >= limit
                if full and users[-1].remaining_ms <= 0:
                    crowded.add(shard)
                elif full and self._may_hide(users):
                    if limit < LOOK_MAX:
                        deeper.append(shard)
                        continue
                    self._look_before(now + users[-1].remaining_ms / 1000)
                found += [
                    _Found(now + u.remaining_ms / 1000, u.user, shard, asked, u.remaining_ms <= 0)
                    for u in users
                ]
            if deeper and (reach_s := self._registry.horizon_s) < WITHIN_S:
                # Whoever is due beyond the horizon would be turned away again.
                within_ms = int(reach_s * 1000)
                self._look_before(now + reach_s)
            shards, limit = deeper, min(DEEPER * limit, LOOK_MAX)
        return sorted(found), crowded

    async def _users_due(
        self, shards: Sequence[int], within_ms: int, limit: int, beside: Sequence[str]
    ) -> list[list[DueUser]]:
        """As `Store.due`. While routes are apart, without their users, however many wait, and
        without those of the routes `beside`."""
        apart = [*self._gates.apart, *beside]
        behind = self._behind_crowds if beside else self._behind
        if not apart:
            behind.clear()
            return await self._store.due(shards, within_ms, limit)
        begin = [str(-FRESH_MS)] * len(shards)
        fresh = await self._store.due_beside(shards, within_ms, limit, apart, begin)
        begin = [behind.get(shard, "") for shard in shards]
        older = await self._store.due_beside(shards, -FRESH_MS, limit, apart, begin)
        behind.update((shard, part.after) for shard, part in zip(shards, older, strict=True))
        return [[*old.users, *new.users] for old, new in zip(older, fresh, strict=True)]

    async def _give_turns(self, shards: Sequence[int]) -> None:
        """Of routes that have a pace, as many users as have a turn soon, soonest due first."""
        rooms = self._gates.rooms()
        for route, room in rooms.items():
            room = min(room, self._lanes.backlog_max)
            found = await self._due_on(route, shards, room) if room else []
            for at, user, shard in found[:room]:
                self._registry.nudge(user, shard, at, asked=trio.current_time())
            if room and not found and set(shards) >= set(self._owner.owned()):
                self._gates.drained(route)
        if rooms:
            self._look_before(trio.current_time() + TURNS_S)

    async def _due_on(
        self, route: str, shards: Sequence[int], limit: int
    ) -> list[tuple[float, str, int]]:
        """Who of a route is due now and has no actor yet, soonest first."""
        asked = trio.current_time()
        begin = [""] * len(shards)
        parts = await self._store.due_beside(shards, 0, limit, [route], begin, only=True)
        return sorted(
            (asked + user.remaining_ms / 1000, user.user, shard)
            for shard, part in zip(shards, parts, strict=True)
            for user in part.users
        )

    async def find_due(self, route: str) -> Place | None:
        """Somebody of ours on `route` who is due; for the gate, that wants to send a probe."""
        shards = self._owner.owned()
        found = await self._due_on(route, shards, 1) if shards else []
        return (found[0][1], found[0][2]) if found else None

    def spare_ms(self, user: str) -> int:
        """See `Lane.spare_ms`; of this user's route."""
        return self._lanes.of(user).spare_ms

    def _note(self, shard: int, users: Sequence[DueUser], now: float) -> None:
        overdue_ms = -users[0].remaining_ms if users else 0
        if overdue_ms > 0:
            self._overdue[shard] = overdue_ms / 1000, now
        else:
            self._overdue.pop(shard, None)

    def _may_hide(self, users: Iterable[DueUser]) -> bool:
        """Whether behind these somebody may stand who has no timer."""
        if trio.current_time() < self._awaited_until:
            return True
        return any(user.user not in self._registry for user in users)

    async def _half_done(self) -> None:
        """Until there is room for as many again, or the next sweep should have begun."""
        registry, refused = self._registry, self._refused or set(self._lanes)
        with trio.move_on_after(SWEEP_S):
            # A poll, because a signal would be paid for by every delivery.
            while registry.full or not any(lane.roomy for lane in refused):  # noqa: ASYNC110
                await trio.sleep(POLL_S)
