"""The gate of each route: whether an attempt may be made, and when.

Asked before each claim. It answers from memory, and at once where all routes are well. The rules
are in `core/breaker.py`; what all replicas have to agree on is in the store. News of a change
comes by publish and subscribe, and a look every `LOOK_S` makes up for news that was lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, assert_never

import trio

from actor_queue.core import breaker
from actor_queue.core.breaker import (
    AHEAD_S,
    RAMP_S,
    BreakerState,
    Close,
    Drained,
    Effect,
    Ended,
    Event,
    Granted,
    Open,
    Phase,
    Refuted,
    Share,
    ToldClosed,
    ToldOpen,
    Withdrawn,
)
from actor_queue.core.conversation import route_of
from actor_queue.core.history import AttemptFilter
from actor_queue.core.outcome import Outcome
from actor_queue.core.routes import RouteTable
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.journal import Journal
from actor_queue.runtime.receivers import Blocked, Receivers, look_at_routes
from actor_queue.store.api import Replica, Store, StoreUnavailable
from actor_queue.store.base import ATTEMPT_MARGIN_MS
from actor_queue.store.routes_api import ALL_WELL, Probe, RouteState, RouteStates

LOOK_S = 2.0
"""Between two looks at what the store keeps of the routes."""
RETRY_S = 0.25
"""Before a store that could not be asked is asked again."""
LOOKED_AT = 100
"""Of the last attempts of all replicas, before a route is opened for all."""
CANDIDATE_S = 0.5
"""Between two looks for somebody who is due, once a probe may go and nobody is."""

Place = tuple[str, int]
"""A user and the user's shard."""
Wake = Callable[[str, int], None]


class Sweep(Protocol):
    """What looks through the timer indexes of this replica's shards."""

    def look_again(self) -> None:
        """Conversations that had to wait may go on."""
        ...

    async def find_due(self, route: str) -> Place | None:
        """Somebody on `route` who is due."""
        ...

    def spare_ms(self, user: str) -> int:
        """How much longer than its receiver's time an attempt may take."""
        ...


@dataclass(slots=True)
class _Gate:
    """One route, as this replica sees it."""

    state: BreakerState = field(default_factory=BreakerState)
    kept: RouteState = ALL_WELL
    """As the store had it at the last look."""
    probe_at: float = 0.0
    """While it is open: when the next probe may go."""
    probe: Probe | None = None
    """The last one that was granted to this replica."""
    candidate: str | None = None
    """The user whose next attempt is that probe."""
    turn_at: float = 0.0
    """While it is ramping: the next free turn."""
    seen: tuple[tuple[float, bool], ...] = ()
    """The attempts that opened it here."""
    to_tell: Effect | None = None
    """What the store has not heard yet."""

    def probes_with(self, user: str) -> bool:
        """Whether this user's attempt is the probe; none is made while somebody has paused it."""
        return self.candidate == user and self.kept.paused is None

    @property
    def shut(self) -> bool:
        return self.kept.paused is not None or self.state.phase in (Phase.OPEN, Phase.PROBING)


class Gates:
    """Of one replica. `run` keeps them in step with the store."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        counters: Counters,
        members: Callable[[], Sequence[Replica]],
        routes: RouteTable,
    ) -> None:
        self._store = store
        self._journal = journal
        self._counters = counters
        self._members = members
        self._routes = routes
        self._gates: dict[str, _Gate] = {}
        self._apart: dict[str, _Gate] = {}
        """Those that are not simply closed."""
        self.known = trio.Event()
        """Set at the first look: before that, any route may be open."""
        self._news = trio.Event()
        self._look_at = -math.inf
        self._sweep: Sweep
        self._wake: Wake

    def serve(self, sweep: Sweep, wake: Wake) -> None:
        """Before anything else: who finds the users that go on, and who wakes one for a probe."""
        self._sweep, self._wake = sweep, wake

    # What an actor asks

    def turn(self, user: str) -> float | None:
        """In how many seconds this user's attempt may be made; None: not in the near future."""
        gate = self._apart.get(route_of(user)) if self._apart else None
        if gate is None or gate.probes_with(user):
            return 0.0
        if gate.shut:
            return None
        now = trio.current_time()
        turn = max(gate.turn_at, now)
        if turn - now > AHEAD_S:
            return None
        gate.turn_at = breaker.turn_after(turn, gate.state.ramp_began, self._share())
        return turn - now

    def bars(self, user: str) -> bool:
        """Whether this user's route is open or paused, and the user is not its probe."""
        gate = self._apart.get(route_of(user)) if self._apart else None
        return gate is not None and gate.shut and not gate.probes_with(user)

    def not_made(self, user: str) -> None:
        """A claim has led to no attempt: where it was to be a probe, somebody else's has to be."""
        gate = self._apart.get(route_of(user)) if self._apart else None
        if gate is not None and gate.candidate == user:
            self._withdraw(route_of(user), gate)
            gate.probe_at = trio.current_time()
            self._news.set()

    def attempted(self, user: str, outcome: Outcome) -> bool:
        """An attempt has ended. Whether it counts as one of those that its batch may have."""
        route = route_of(user)
        gate = self._gates.get(route)
        if gate is None:
            gate = self._gates[route] = _Gate()
        probe = gate.candidate == user
        if probe:
            gate.candidate = None
        self._step(route, gate, Ended(trio.current_time(), outcome, probe))
        shut = gate.state.phase in (Phase.OPEN, Phase.PROBING)
        return not (shut and breaker.is_failure(outcome))

    # What the sweep asks

    @property
    def apart(self) -> Collection[str]:
        """Routes that are open, paused, or have a pace."""
        return self._apart.keys()

    def rooms(self) -> Mapping[str, int]:
        """Of the routes that have a pace, how many turns are free."""
        found = {}
        for route, gate in list(self._apart.items()):
            if gate.shut:
                continue
            now = trio.current_time()
            if now >= gate.state.ramp_began + RAMP_S:
                self.drained(route)
                continue
            ahead_s = AHEAD_S - (max(gate.turn_at, now) - now)
            rate = breaker.pace(now - gate.state.ramp_began) / self._share().replicas
            found[route] = math.ceil(ahead_s * rate) if ahead_s > 0 else 0
        return found

    def drained(self, route: str) -> None:
        """Nobody on that route is due any more."""
        gate = self._apart.get(route)
        if gate is not None and not gate.shut and gate.turn_at <= trio.current_time():
            self._step(route, gate, Drained())

    def _share(self) -> Share:
        names = sorted(each.id for each in self._members())
        place = names.index(self._store.replica) if self._store.replica in names else 0
        return Share(place, max(1, len(names)))

    # Whoever wonders why nothing goes

    def blocked(self, route: str) -> Blocked | None:
        """Why nothing is attempted on that route, as this replica knows it; None: it is."""
        if route not in self._routes:
            return "missing"
        gate = self._apart.get(route)
        if gate is None or not gate.shut:
            return None
        return "open" if gate.kept.paused is None else "paused"

    def is_open(self, route: str) -> bool:
        """Whether the breaker of a route holds back its attempts, as this replica knows it."""
        gate = self._apart.get(route)
        return gate is not None and gate.state.phase in (Phase.OPEN, Phase.PROBING)

    def is_paused(self, route: str) -> bool:
        """Whether somebody has paused a route, as this replica knows it."""
        gate = self._apart.get(route)
        return gate is not None and gate.kept.paused is not None

    # By hand

    async def receivers(self, only: str | None) -> Receivers:
        """How the route `only` is, or all of them."""
        return await look_at_routes(self._store, self._routes, only)

    async def pause(self, route: str, by: str | None, why: str | None) -> bool:
        """See `RouteStore.route_pause`."""
        paused = await self._store.route_pause(route, by, why)
        self.look_again()
        if paused:
            self._journal.route_paused(route, by)
        return paused

    async def resume(self, route: str) -> tuple[bool, bool]:
        """See `RouteStore.route_resume`."""
        resumed = await self._store.route_resume(route)
        self.look_again()
        if resumed[0]:
            self._journal.route_resumed(route)
        return resumed

    # In step with the store

    def look_again(self) -> None:
        """What is kept of the routes may have changed."""
        self._look_at = -math.inf
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._news = trio.Event()
            try:
                pause_s = await self._run_once()
            except StoreUnavailable:
                self._counters.store_failures += 1
                # The look that failed has not been, and nobody goes before the first one has.
                self._look_at = -math.inf
                pause_s = RETRY_S
            with trio.move_on_after(pause_s):
                await self._news.wait()

    async def _run_once(self) -> float:
        """Tell the store, look, probe. In how many seconds there is something to do again."""
        for route, gate in list(self._gates.items()):
            if gate.to_tell is not None:
                await self._tell(route, gate, gate.to_tell)
        if trio.current_time() >= self._look_at:
            self._look_at = trio.current_time() + LOOK_S
            self._apply(await self._store.routes())
            self.known.set()
        next_at = self._look_at
        for route, gate in list(self._apart.items()):
            if gate.state.phase in (Phase.OPEN, Phase.PROBING) and gate.kept.paused is None:
                if trio.current_time() >= gate.probe_at:
                    await self._probe(route, gate)
                next_at = min(next_at, gate.probe_at)
        return max(0.0, next_at - trio.current_time())

    async def _tell(self, route: str, gate: _Gate, effect: Effect) -> None:
        match effect:
            case Open(probe=0) if not await self._confirmed(route, gate):
                self._step(route, gate, Refuted(gate.seen))
                self._sweep.look_again()
            case Open(reason, retry_after_ms, probe=0):
                _, new = await self._store.route_open(route, reason, retry_after_ms)
                if new:
                    self._journal.route_opened(route, reason)
            case Open(reason, retry_after_ms):
                assert gate.probe is not None
                await self._store.route_probe_failed(route, gate.probe, reason, retry_after_ms)
                self._journal.route_probe_failed(route, gate.probe.number, reason)
            case Close():
                assert gate.probe is not None
                at_ms = await self._store.route_close(route, gate.probe)
                if at_ms is not None:
                    since_s = (at_ms - gate.probe.since_ms) / 1000
                    self._journal.route_closed(route, since_s)
            case _:
                assert_never(effect)
        if gate.to_tell is effect:
            gate.to_tell = None
        self._look_at = -math.inf

    async def _confirmed(self, route: str, gate: _Gate) -> bool:
        """Whether the other replicas' attempts, as far as the history has them, leave the route as
        this replica found it. Where there is no history, its own have to do."""
        now, now_ms = trio.current_time(), (await self._store.routes()).now_ms
        lately = AttemptFilter(since_ms=now_ms - round(breaker.WITHIN_S * 1000), route=route)
        page = await self._store.attempts(lately, LOOKED_AT, None)
        others = [
            (now - (now_ms - each.at_ms) / 1000, breaker.was_failure(each.outcome, each.status))
            for each in page.attempts
            if each.replica != self._store.replica
        ]
        return breaker.confirmed(gate.seen, others, now)

    def _apply(self, states: RouteStates) -> None:
        now = trio.current_time()
        for route in {*states.routes, *self._gates}:
            gate = self._gates.setdefault(route, _Gate())
            if gate.to_tell is not None:
                # The store will be told something newer than what it has said.
                continue
            kept, was_shut = states.of(route), gate.shut
            gate.kept = kept
            if kept.opened is None:
                ago_s = (states.now_ms - kept.closed_at_ms) / 1000 if kept.closed_at_ms else 0.0
                self._step(route, gate, ToldClosed(now - max(0.0, ago_s), kept.closed_at_ms))
            else:
                gate.probe_at = now + kept.opened.probe_in_ms / 1000
                probe = gate.probe
                if gate.candidate and probe and probe.since_ms != kept.opened.since_ms:
                    self._withdraw(route, gate)
                self._step(route, gate, ToldOpen())
            if was_shut and not gate.shut:
                self._sweep.look_again()

    async def _probe(self, route: str, gate: _Gate) -> None:
        """The time for a probe has come: ask for it, if there is anybody to make it for."""
        self._withdraw(route, gate)
        configured = self._routes.get(route)
        if configured is None:
            # Nobody knows where its batches would go: the sweep leaves them where they are.
            gate.probe_at = trio.current_time() + LOOK_S
            return
        found = await self._sweep.find_due(route)
        gate.probe_at = trio.current_time() + CANDIDATE_S
        if found is None:
            return
        takes_ms = configured.timeout_ms + self._sweep.spare_ms(found[0]) + ATTEMPT_MARGIN_MS
        answer = await self._store.route_probe(route, takes_ms)
        if not isinstance(answer, Probe):
            self._look_at = -math.inf
            return
        self._step(route, gate, Granted(answer.number))
        if gate.state.phase is Phase.PROBING:
            gate.probe, (gate.candidate, shard) = answer, found
            gate.probe_at = trio.current_time() + takes_ms / 1000
            self._wake(gate.candidate, shard)

    def _withdraw(self, route: str, gate: _Gate) -> None:
        gate.candidate = None
        if gate.state.phase is Phase.PROBING:
            self._step(route, gate, Withdrawn())

    def _step(self, route: str, gate: _Gate, event: Event) -> None:
        before = gate.state
        gate.state, effect = breaker.step(before, event)
        if isinstance(effect, Open) and not effect.probe and isinstance(event, Ended):
            gate.seen = (*before.window[1 - breaker.WINDOW :], (event.at, True))
        if gate.state.phase is Phase.RAMPING and before.phase is not Phase.RAMPING:
            gate.turn_at = breaker.first_turn(gate.state.ramp_began, self._share())
            gate.candidate = None
            if trio.current_time() >= gate.state.ramp_began + RAMP_S:
                gate.state, _ = breaker.step(gate.state, Drained())
        if gate.shut or gate.state.phase is Phase.RAMPING:
            self._apart[route] = gate
        else:
            self._apart.pop(route, None)
        if effect is not None:
            gate.to_tell = effect
            self._news.set()
            if isinstance(effect, Close):
                self._sweep.look_again()
