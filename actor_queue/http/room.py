"""Who makes room when no more connections fit.

A peer that is slow on purpose costs a connection for as long as the patience with honest peers
lasts, so a limit on connections alone would hand the service to whoever opens that many. Here
every connection that waits for its peer can be closed when another one wants in. Those that have
asked for nothing yet, or are in the middle of something, go before those that are idle between
requests; idle ones go where they are the majority. An honest request is in the middle of something
for milliseconds, and is younger than thousands that are not honest. A connection whose request is
being worked on waits for nobody but us, and stays.

Among equals those go first that never showed a key, then those of an address that has more than
its share of the places, then those that are furthest behind.
"""

from __future__ import annotations

from collections import Counter
from heapq import nsmallest
from typing import Final, Protocol

import trio

from actor_queue.http.pace import Pace

AT_ONCE: Final = 64
"""The part of all places that slow peers leave at once: they come at once, too."""
SPARED_S: Final = 0.25
"""Whoever is less behind is not closed: an honest peer may need a moment."""
MANY: Final = 8
"""The part of all places that are many: of strangers, and of one address unless it is set."""


class Place(Protocol):
    """What a guest waits in; a `trio.CancelScope` is one."""

    @property
    def cancel_called(self) -> bool: ...

    def cancel(self) -> None:
        """End the wait, and with it the connection."""
        ...


class Guest(Protocol):
    """A connection, as far as its place matters."""

    idle: bool
    """Whether it waits for a request's first byte."""
    served: bool
    """Whether it has had an answer."""
    known: bool
    """Whether it has shown a key."""
    address: str
    """Where it comes from; "" where that is nowhere in particular."""
    pace: Pace
    """How far it is behind with what it is at."""


class Room:
    """The connections that wait for their peers, of at most `places`."""

    def __init__(self, places: int, share_max: int = 0) -> None:
        """`share_max` is how many places one address has before it has too many."""
        self._places = places
        self._share_max = share_max or places // MANY
        self._waiting: dict[Place, Guest] = {}
        self._addresses: Counter[str] = Counter()

    def enter(self, scope: Place, guest: Guest) -> None:
        """`guest` waits for its peer inside `scope`, until `leave`."""
        self._waiting[scope] = guest

    def leave(self, scope: Place) -> None:
        del self._waiting[scope]

    def make(self) -> int:
        """Close some slow connections, or an idle one; how many it were.

        None where most are too young to be judged: a moment later they are not.
        """
        youngest = trio.current_time() - SPARED_S
        self._addresses = Counter(guest.address for guest in self._waiting.values())
        idle: list[Place] = []
        slow: list[Place] = []
        strangers = 0
        for scope, guest in self._waiting.items():
            if scope.cancel_called:
                continue
            if guest.idle and guest.served:
                idle.append(scope)
                continue
            strangers += not guest.known
            if guest.pace.since <= youngest:
                slow.append(scope)
        if strangers * MANY >= self._places:  # one of them will soon be old enough
            slow = [scope for scope in slow if not self._waiting[scope].known]
        many = max(1, self._places // AT_ONCE)
        leaving = nsmallest(many, slow, key=self._merit)
        if not leaving and 2 * len(idle) >= self._places:
            # Many at once, because looking through all of them for each newcomer would take longer
            # than the newcomer's request; of those who have shown a key only one.
            unknown = [scope for scope in idle if not self._waiting[scope].known]
            leaving = nsmallest(many, unknown, key=self._merit) or nsmallest(
                1, idle, key=self._merit
            )
        for scope in leaving:
            scope.cancel()
        return len(leaving)

    def end_idle(self) -> None:
        """Close all that are in the middle of nothing."""
        for scope, guest in list(self._waiting.items()):
            if guest.idle:
                scope.cancel()

    def _merit(self, scope: Place) -> tuple[bool, bool, float]:
        """The least goes first."""
        guest = self._waiting[scope]
        within = not guest.address or self._addresses[guest.address] <= self._share_max
        return guest.known, within, guest.pace.since
