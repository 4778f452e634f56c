"""What a replica counts. Plain numbers; `http` turns them into a page."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from actor_queue.core.routes import ROUTES_MAX

LATENESS_BUCKETS_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    60.0,
)
ATTEMPT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROUTES_COUNTED_MAX = 2 * ROUTES_MAX
"""A route that has left the file goes on being counted: a number that falls would read as a start
of the process."""


class Histogram:
    """Cumulative counts up to each bound, as Prometheus wants them."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(slots=True)
class RouteCounters:
    """Of one route."""

    delivered: int = 0
    delivered_messages: int = 0
    answering: int = 0
    """Attempts whose receiver answered 202 and will say later that it is done."""
    taken_back: int = 0
    """Batches whose receiver was not to answer them, because something newer waited."""
    failed: int = 0
    divided: int = 0
    dead: int = 0
    attempt_s: Histogram = field(default_factory=lambda: Histogram(ATTEMPT_BUCKETS_S))


@dataclass(slots=True)
class Counters:
    """Since the start of this replica."""

    accepted: int = 0
    duplicates: int = 0
    refused_full: int = 0
    claims: int = 0
    claims_early: int = 0
    fenced: int = 0
    routes: dict[str, RouteCounters] = field(default_factory=dict)
    """What belongs to a receiver, see `of`."""
    dead_expired: int = 0
    store_failures: int = 0
    sweeps: int = 0
    timers_put_off: int = 0
    """How often a user due within the longest horizon got no timer, because there were many."""
    history_dropped: int = 0
    """Attempts that were made and are not in the history, because Redis was away or slow."""
    deeds_lost: int = 0
    """What was done by hand and could not be noted."""
    events_malformed: int = 0
    """What came through Redis as events or nudges of others, and is none."""
    lateness_s: Histogram = field(default_factory=lambda: Histogram(LATENESS_BUCKETS_S))
    """Start of a batch's first attempt minus its due time."""
    loop_lag_s: Histogram = field(default_factory=lambda: Histogram(LATENESS_BUCKETS_S))
    """How much later than its time a task ran that only slept."""
    redis_round_trip_s: Histogram = field(default_factory=lambda: Histogram(LATENESS_BUCKETS_S))

    def of(self, route: str) -> RouteCounters:
        """Those of a route. So many are counted apart as a process will hardly see; the ones that
        come later are counted together, under the empty name."""
        found = self.routes.get(route)
        if found is None:
            name = route if len(self.routes) < ROUTES_COUNTED_MAX else ""
            found = self.routes.setdefault(name, RouteCounters())
        return found

    @property
    def delivered(self) -> int:
        """Of all routes, as the others here."""
        return sum(each.delivered for each in self.routes.values())

    @property
    def delivered_messages(self) -> int:
        return sum(each.delivered_messages for each in self.routes.values())

    @property
    def answering(self) -> int:
        return sum(each.answering for each in self.routes.values())

    @property
    def taken_back(self) -> int:
        return sum(each.taken_back for each in self.routes.values())

    @property
    def failed(self) -> int:
        return sum(each.failed for each in self.routes.values())

    @property
    def divided(self) -> int:
        return sum(each.divided for each in self.routes.values())

    @property
    def dead(self) -> int:
        return sum(each.dead for each in self.routes.values())
