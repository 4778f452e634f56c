"""What is counted of the shards' keys, and how often old dead letters are looked for."""

from __future__ import annotations

from typing import NamedTuple

DAY_MS = 86_400_000
OLD_EVERY_S_MIN = 1.0
OLD_EVERY_S_MAX = 60.0
OLD_LOOKS = 20
"""In the time for which a dead letter is kept: it is deleted a twentieth of that late, at most."""


class Sizes(NamedTuple):
    """Of one shard, or of several together."""

    waiting: int = 0
    """Users for whom something is due, now or later."""
    due_soon: int = 0
    """Of these, who is due within the time that was asked for."""
    dead: int = 0
    """Dead letters."""


class Expired(NamedTuple):
    """What became of one page of a shard's oldest dead letters."""

    dropped: int
    kept: int
    """Old ones that stay: their replay is queued, or they are none of ours. The next page begins
    behind them."""
    more: bool
    """Whether there may be another page."""


def together(sizes: list[Sizes]) -> Sizes:
    """Their sum."""
    return Sizes(*map(sum, zip(Sizes(), *sizes, strict=True)))


def old_every_s(retention_ms: int) -> float:
    """Between two looks for dead letters that are older than `retention_ms`."""
    return min(max(retention_ms / 1000 / OLD_LOOKS, OLD_EVERY_S_MIN), OLD_EVERY_S_MAX)
