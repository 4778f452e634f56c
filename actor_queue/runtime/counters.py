"""What a replica counts. Plain numbers; `http` turns them into a page."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

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
class Counters:
    """Since the start of this replica."""

    accepted: int = 0
    duplicates: int = 0
    refused_full: int = 0
    claims: int = 0
    claims_early: int = 0
    fenced: int = 0
    delivered: int = 0
    delivered_messages: int = 0
    failed: int = 0
    divided: int = 0
    dead: int = 0
    dead_expired: int = 0
    store_failures: int = 0
    sweeps: int = 0
    timers_put_off: int = 0
    """How often a user due within the longest horizon got no timer, because there were many."""
    events_malformed: int = 0
    """What came through Redis as events or nudges of others, and is none."""
    lateness_s: Histogram = field(default_factory=lambda: Histogram(LATENESS_BUCKETS_S))
    """Start of a batch's first attempt minus its due time."""
    attempt_s: Histogram = field(default_factory=lambda: Histogram(ATTEMPT_BUCKETS_S))
