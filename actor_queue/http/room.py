"""Who makes room when no more connections fit.

A peer that is slow on purpose costs a connection for as long as the patience with honest peers
lasts, so a limit on connections alone would hand the service to whoever opens that many. Here
every connection that waits for its peer can be closed when another one wants in. Those that have
asked for nothing yet, or are in the middle of something, go before those that are idle between
requests, the oldest first; idle ones go where they are the majority. An honest request is in the
middle of something for milliseconds, and is younger than thousands that are not honest. A
connection whose request is being worked on waits for nobody but us, and stays.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import Final, Protocol

import trio

PACE_BYTES_PER_S: Final = 1_000
"""A peer that sends as fast as this does not grow older meanwhile."""
AT_ONCE: Final = 64
"""The part of all places that slow peers leave at once: they come at once, too."""
SPARED_S: Final = 0.25
"""Whoever has been at something for less is not closed: an honest peer may need a moment."""


class Guest(Protocol):
    """A connection, as far as its place matters."""

    idle: bool
    """Whether it waits for a request's first byte."""
    served: bool
    """Whether it has had an answer."""
    since: float
    """When it began what it is at, on the Trio clock; later for whoever keeps the pace."""


class Room:
    """The connections that wait for their peers, of at most `places`."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._waiting: dict[trio.CancelScope, Guest] = {}

    def enter(self, scope: trio.CancelScope, guest: Guest) -> None:
        """`guest` waits for its peer inside `scope`, until `leave`."""
        self._waiting[scope] = guest

    def leave(self, scope: trio.CancelScope) -> None:
        del self._waiting[scope]

    def make(self) -> int:
        """Close some slow connections, or an idle one; how many it were.

        None where most are too young to be judged: a moment later they are not.
        """
        youngest = trio.current_time() - SPARED_S
        idle: list[trio.CancelScope] = []
        slow: list[trio.CancelScope] = []
        for scope, guest in self._waiting.items():
            if guest.idle and guest.served:
                idle.append(scope)
            elif guest.since <= youngest and not scope.cancel_called:
                slow.append(scope)
        leaving = nsmallest(max(1, self._places // AT_ONCE), slow, key=self._since)
        if not leaving and 2 * len(idle) >= self._places:
            leaving = nsmallest(
                1, (scope for scope in idle if not scope.cancel_called), self._since
            )
        for scope in leaving:
            scope.cancel()
        return len(leaving)

    def end_idle(self) -> None:
        """Close all that are in the middle of nothing."""
        for scope, guest in self._waiting.items():
            if guest.idle:
                scope.cancel()

    def _since(self, scope: trio.CancelScope) -> float:
        return self._waiting[scope].since
