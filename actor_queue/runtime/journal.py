"""What an operator is told: one line for what matters, a summary for what repeats itself.

The runtime reports here; rules about what is worth a line are in `core/outage.py`, names and levels
in `core/log_events.py`. Lines go to the standard library's `logging`; `app/logs.py` decides their
form. Must not: be told a message's text or a secret, or wait for anybody.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Literal

import anyio

from actor_queue.core.alerts import Alerts
from actor_queue.core.conversation import (
    DEFAULT_ROUTE,
    conversation_of,
    key_to_bytes,
    route_of,
)
from actor_queue.core.delivery import loggable
from actor_queue.core.outage import (
    Absence,
    Away,
    Back,
    Began,
    Ended,
    GoesOn,
    Outage,
    StillAway,
    Tally,
)
from actor_queue.core.outcome import Delivered, Outcome
from actor_queue.runtime.lines import tell
from actor_queue.store.api import Lease, StoreUnavailable
from actor_queue.transport.refusals import LOST, kind_of_trouble

LOOK_S = 1.0
"""An outage of Redis that is shorter may go unnoticed."""
HOLDS_MAX = 10_000
"""Holds whose end is waited for here; the end of later ones is not told."""
HOLD_MARGIN_S = 1.0
"""After a hold should have ended until the store is asked whether it did."""
HOLD_RETRY_S = 5.0
RANGES_SHOWN_MAX = 20
NAME_DIGEST_BYTES = 6
"""48 bits: among a million users two share a name with a probability of 1 in 500."""

Tell = Callable[..., None]
"""Called with an event's name and its fields."""


class UserNames:
    """How the log names a user: `u-` and a hash that only this namespace can compute.

    The key is random and kept in Redis, so the name stays the same over restarts and replicas, and
    a list of phone numbers is no help in undoing it. With `plain`, users are named as they are.
    """

    def __init__(self, *, plain: bool) -> None:
        self._plain = plain
        self.key = b""

    def hashed(self, user: str) -> str:
        """The hash, also where the log names users as they are."""
        digest = blake2b(key_to_bytes(user), key=self.key, digest_size=NAME_DIGEST_BYTES)
        return f"u-{digest.hexdigest()}"

    def __call__(self, user: str) -> str:
        if not self._plain:
            return self.hashed(user)
        route, name = conversation_of(user)
        return name if route == DEFAULT_ROUTE else f"{name} (route {route})"


_Watched = tuple[Tally, str, Callable[[], int], Callable[[], dict[str, object]]]


class Journal:
    """One replica's. Every method returns at once."""

    def __init__(
        self,
        names: UserNames,
        *,
        tell: Tell = tell,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self.names = names
        self._tell = tell
        self._clock = clock
        self._receivers: dict[str, Outage] = {}
        """By route: those of which an attempt failed lately."""
        self._store = Absence()
        self._alerts: Alerts | None = None
        self._tallies: list[_Watched] = []
        self._holds: list[tuple[float, str]] = []
        self._held: dict[str, float] = {}
        self._lapsed: set[int] = set()

    async def run(
        self, trouble: Callable[[], str | None], ran_out: Callable[[str], Awaitable[bool]]
    ) -> None:
        """Look from time to time, until cancelled.

        `trouble` says why the store cannot be used, `ran_out` whether a user's hold ended by time.
        """
        while True:
            await anyio.sleep(LOOK_S)
            self.look(trouble())
            if self._holds:
                await self._end_holds(ran_out)

    def look(self, trouble: str | None) -> None:
        """Say what has become due to be said."""
        now = self._clock()
        self._look_at_store(now, trouble)
        for route, receiver in list(self._receivers.items()):
            if now >= receiver.next_at and (period := receiver.summary(now)):
                self._summarise(route, period)
            if receiver.idle:
                del self._receivers[route]
        for tally, event, count, facts in self._tallies:
            if new := tally.look(now, count()):
                self._tell(event, count=new, **facts())

    def watch(
        self, event: str, count: Callable[[], int], facts: Callable[[], dict[str, object]] = dict
    ) -> None:
        """Tell of a number that grows, with some facts, at most once a minute."""
        self._tallies.append((Tally(), event, count, facts))

    def alert_operators(self) -> Alerts:
        """From now on keep what operators are told by webhook, too."""
        self._alerts = Alerts()
        return self._alerts

    # The receiver

    def attempted(self, user: str, outcome: Outcome) -> None:
        """An attempt is over. Costs a comparison while all is well."""
        if self._alerts is not None:
            if isinstance(outcome, Delivered):
                self._alerts.delivered(self._clock(), route_of(user))
            else:
                self._alerts.failed(self._clock(), route_of(user), loggable(outcome.reason))
        if isinstance(outcome, Delivered):
            if not self._receivers:
                return
            route = route_of(user)
            receiver = self._receivers.get(route)
            if receiver is not None and (end := receiver.succeeded(self._clock())):
                self._recovered(route, end)
            return
        route = route_of(user)
        if (receiver := self._receivers.get(route)) is None:
            receiver = self._receivers[route] = Outage()
        if began := receiver.failed(self._clock(), outcome.reason, user):
            self._began(began, user)

    def _began(self, began: Began, user: str) -> None:
        told = {"reason": loggable(began.reason), "user": self.names(user)}
        self._tell("receiver_failing", **_on(route_of(user)), **told)

    def _recovered(self, route: str, end: Ended) -> None:
        told = {"after_s": round(end.after_s, 1), "attempts_failed": end.failures}
        self._tell("receiver_recovered", **_on(route), **told)

    def _summarise(self, route: str, period: GoesOn) -> None:
        self._tell(
            "receiver_still_failing",
            **_on(route),
            for_s=round(period.for_s, 1),
            attempts_failed=period.failures,
            attempts_delivered=period.successes,
            users=period.users,
            reason=loggable(period.reason),
        )

    def route_opened(self, route: str, reason: str) -> None:
        self._tell("route_opened", route=route, reason=loggable(reason))

    def route_probe_failed(self, route: str, probe: int, reason: str) -> None:
        self._tell("route_probe_failed", route=route, probe=probe, reason=loggable(reason))

    def route_closed(self, route: str, after_s: float) -> None:
        self._tell("route_closed", route=route, after_s=round(after_s, 1))

    def route_paused(self, route: str, by: str | None) -> None:
        self._tell("route_paused", route=route, **({} if by is None else {"key": by}))

    def route_resumed(self, route: str) -> None:
        self._tell("route_resumed", route=route)

    def dead_letter(self, user: str, batch_id: str, attempts: int, reason: str) -> None:
        name, why = self.names(user), loggable(reason)
        told = {"batch": batch_id, "user": name, "attempts": attempts, "reason": why}
        self._tell("dead_letter", **_on(route_of(user)), **told)
        if self._alerts is not None:
            letter = {"id": batch_id, "user": name, "attempts": attempts, "reason": why}
            letter["route"] = route_of(user)
            self._alerts.dead_letter(letter)

    # Redis

    def _look_at_store(self, now: float, trouble: str | None) -> None:
        why = None if trouble is None else kind_of_trouble(trouble)
        match self._store.look(now, why, trouble or ""):
            case Away(why=kind, reason=reason):
                if kind == LOST:
                    self._tell("redis_lost", reason=reason)
                else:
                    self._tell("redis_refusing", why=kind, reason=reason)
            case StillAway(why=kind, reason=reason, for_s=for_s):
                self._tell("redis_still_away", why=kind, reason=reason, for_s=round(for_s, 1))
            case Back(after_s=after_s):
                self._tell("redis_back", after_s=round(after_s, 1))

    # Shards

    def shards_taken(self, leases: Sequence[Lease], members: Iterable[str], held: int) -> None:
        """One line for all that were taken together from the same replica for the same reason."""
        alive = set(members)
        groups: defaultdict[tuple[str, str | None], list[int]] = defaultdict(list)
        for lease in leases:
            why, owner = lease.taken
            gone = why == "lease_ended" and owner not in alive
            groups["dead_member" if gone else why, owner].append(lease.shard)
        for (reason, owner), shards in sorted(groups.items(), key=lambda group: group[1]):
            self._about("shards_taken", shards, why=reason, owner_before=owner, held=held)

    def shards_given(self, shards: Sequence[int], why: Literal["balance", "stop"]) -> None:
        self._about("shards_given", shards, why=why)

    def shards_lost(self, shards: Sequence[int], why: Literal["renewal", "claim"]) -> None:
        """Another replica has them: the store said so when we renewed, or claimed."""
        self._lapsed.difference_update(shards)
        self._about("shards_lost", shards, why=why)

    def leases_held(self, lapsed: Iterable[int], sound: Iterable[int]) -> None:
        """Which of the leases that are held may be relied upon, and which may not any more."""
        lapsed = set(lapsed)
        if new := lapsed - self._lapsed:
            self._about("lease_lapsed", sorted(new))
        if again := self._lapsed.intersection(sound):
            self._about("lease_regained", sorted(again))
        self._lapsed = lapsed

    def _about(self, event: str, shards: Sequence[int], **fields: object) -> None:
        known = {name: value for name, value in fields.items() if value is not None}
        self._tell(event, count=len(shards), shards=ranges(shards), **known)

    # Holds

    def hold_began(self, user: str, for_ms: int) -> None:
        self._tell("hold_began", user=self.names(user), for_s=for_ms / 1000)
        if len(self._holds) < HOLDS_MAX:
            self._await_end(user, self._clock() + for_ms / 1000 + HOLD_MARGIN_S)

    def hold_released(self, user: str) -> None:
        self._held.pop(user, None)
        self._tell("hold_ended", user=self.names(user), how="by_hand")

    def _await_end(self, user: str, at: float) -> None:
        self._held[user] = at
        heapq.heappush(self._holds, (at, user))

    async def _end_holds(self, ran_out: Callable[[str], Awaitable[bool]]) -> None:
        while self._holds and self._holds[0][0] <= self._clock():
            at, user = heapq.heappop(self._holds)
            if self._held.get(user) != at:
                continue  # released, or held anew
            try:
                # Another replica may have released it, or held it for longer.
                if await ran_out(user):
                    self._tell("hold_ended", user=self.names(user), how="by_time")
            except StoreUnavailable:
                self._await_end(user, self._clock() + HOLD_RETRY_S)
            else:
                if self._held.get(user) == at:
                    del self._held[user]


def _on(route: str) -> dict[str, object]:
    """The field that names a route. Lines about the default one look as they always have."""
    return {} if route == DEFAULT_ROUTE else {"route": route}


def ranges(shards: Sequence[int]) -> str:
    """`0-5,7`, of at most `RANGES_SHOWN_MAX` ranges."""
    found: list[list[int]] = []
    for shard in sorted(shards):
        if found and found[-1][1] == shard - 1:
            found[-1][1] = shard
        else:
            found.append([shard, shard])
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in found[:RANGES_SHOWN_MAX]]
    return ",".join(shown) + (",…" if len(found) > RANGES_SHOWN_MAX else "")
