"""Routes that were open: what a receiver that fails may cost, as the replicas' logs tell it.

While its route is open nothing is attempted, and what has waited goes at a growing pace. That
excuses lateness, but only where the receiver failed for every replica just before: a route that was
opened for anything else excuses nothing, and so stays visible.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from actor_queue.core.conversation import DEFAULT_ROUTE
from tests.chaos.faults import RETRIED_S, Fault

OPEN = "route open"
FOR_EVERY_REPLICA = ("webhook fails", "webhook hangs", "webhook resets", "webhook slow")
RAMP_S = 7.0
"""From 5 attempts in the first second, twice as many in each: 600 batches, some seconds' worth."""
ONE_TROUBLE_S = 1.0
"""What had become due, and had not been claimed, when the route was opened."""


def openings(
    logs: Iterable[str], faults: Sequence[Fault], *, now: float, wall: float
) -> Iterator[Fault]:
    """Each opening of the default route as one more fault. `now` and `wall` are the same moment on
    both clocks."""
    opened: float | None = None
    for at, event in sorted(_told(logs, now - wall)):
        if event == "route_opened" and opened is None:
            opened = at
        elif event == "route_closed" and opened is not None:
            yield from _excused(opened, at, faults)
            opened = None
    if opened is not None:
        yield from _excused(opened, now, faults)


def _told(logs: Iterable[str], offset: float) -> Iterator[tuple[float, str]]:
    for log in logs:
        for line in log.splitlines():
            if '"route_opened"' in line or '"route_closed"' in line:
                told = json.loads(line)
                if told["route"] != DEFAULT_ROUTE:
                    continue
                at = datetime.fromisoformat(told["ts"].replace("Z", "+00:00"))
                yield at.timestamp() + offset, told["event"]


def _excused(opened: float, closed: float, faults: Sequence[Fault]) -> Iterator[Fault]:
    if any(
        fault.kind in FOR_EVERY_REPLICA and fault.began <= opened <= fault.ended + RETRIED_S
        for fault in faults
    ):
        began = opened - ONE_TROUBLE_S
        yield Fault(OPEN, began, closed, late_until=closed + RAMP_S, doubles=False)
