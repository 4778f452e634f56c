"""What replicas tell each other over publish and subscribe. It may be late, lost or old."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DueElsewhere:
    """Another replica's message made a user of ours due in `remaining_ms`."""

    shard: int
    user: str
    remaining_ms: int


@dataclass(frozen=True, slots=True)
class Freed:
    """Shards were given back, and some of them may be ours now."""


@dataclass(frozen=True, slots=True)
class Missed:
    """The connection was new: something may have been said before."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Another replica has listeners who want to hear what happens here."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something was said that means nothing."""


@dataclass(frozen=True, slots=True)
class RoutesChanged:
    """A route was opened, closed, paused or resumed: what is kept of the routes says which."""


News = DueElsewhere | Freed | Missed | Wanted | Malformed | RoutesChanged
