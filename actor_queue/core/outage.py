"""What to say about something that keeps failing: at first, once a minute, and when it is over.

Nothing here reads a clock or writes a line: whoever reports an attempt is handed what to say, if
anything. `now` is seconds on any monotonic clock. One that flaps says no more than three things a
minute: after a beginning was said, the next one waits for the minute's summary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SUMMARY_EVERY_S = 60.0
USERS_COUNTED_MAX = 10_000
"""More different users than this in one summary are not told apart."""


@dataclass(frozen=True, slots=True)
class Began:
    """The first failure after all was well."""

    reason: str


@dataclass(frozen=True, slots=True)
class GoesOn:
    """The summary of one period, of which nothing was said yet."""

    for_s: float
    """Since the outage began, or since the summary before where it comes and goes."""
    failures: int
    successes: int
    users: int
    """How many different ones failed, at most `USERS_COUNTED_MAX`."""
    reason: str
    """Of the last failure."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The first success after failures that were told of."""

    after_s: float
    failures: int
    """Of the whole outage."""


class Outage:
    """One thing that can fail, from its first failure to its recovery."""

    def __init__(self, every_s: float = SUMMARY_EVERY_S) -> None:
        self._every_s = every_s
        self._since: float | None = None
        self._total = 0
        self._announced = False
        self._quiet_until = -math.inf
        self._period_began = 0.0
        self._failures = self._successes = 0
        self._users: set[object] = set()
        self._reason = ""
        self.next_at = math.inf
        """When `summary` has something to look at; infinite while all is well."""

    @property
    def idle(self) -> bool:
        """Whether a success is no news: nothing failed lately."""
        return self.next_at == math.inf

    def failed(self, now: float, reason: str, user: object = None) -> Began | None:
        """An attempt for `user` failed."""
        self._reason = reason
        if self._since is None:
            self._since, self._total = now, 0
        self._total += 1
        if not self._announced and now >= self._quiet_until:
            self._announced = True
            self._start_period(now)
            return Began(reason)
        if len(self._users) < USERS_COUNTED_MAX:
            self._users.add(user)
        self._failures += 1
        return None

    def succeeded(self, now: float) -> Ended | None:
        """An attempt succeeded."""
        if self.idle:
            return None
        self._successes += 1
        if self._since is None:
            return None
        since, self._since = self._since, None
        if not self._announced:
            return None
        self._announced = False
        self._forget_period()
        return Ended(now - since, self._total)

    def summary(self, now: float) -> GoesOn | None:
        """Called at `next_at` or later: what the period was like."""
        if now < self.next_at:
            return None
        if not self._failures:
            # A receiver whose next retry is minutes away has nothing to be said about.
            self.next_at = math.inf if self._since is None else now + self._every_s
            self._forget_period()
            return None
        began = self._period_began if self._since is None else self._since
        said = GoesOn(now - began, self._failures, self._successes, len(self._users), self._reason)
        self._announced = self._since is not None
        self._start_period(now)
        return said

    def _start_period(self, now: float) -> None:
        self._period_began = now
        self.next_at = self._quiet_until = now + self._every_s
        self._forget_period()

    def _forget_period(self) -> None:
        self._failures = self._successes = 0
        self._users.clear()


class Tally:
    """Something that has no recovery, only a count that grows: refused requests, say."""

    def __init__(self, every_s: float = SUMMARY_EVERY_S) -> None:
        self._every_s = every_s
        self._told = 0
        self._next_at = -math.inf

    def look(self, now: float, total: int) -> int | None:
        """How many to tell of; `total` is the count so far. At most once in `every_s`."""
        if total <= self._told or now < self._next_at:
            return None
        new, self._told = total - self._told, total
        self._next_at = now + self._every_s
        return new


@dataclass(frozen=True, slots=True)
class Away:
    """Something that is needed is away since just now, or for another reason than before."""

    why: str
    reason: str


@dataclass(frozen=True, slots=True)
class StillAway:
    """As before, for another period."""

    why: str
    reason: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Back:
    """It is there again."""

    after_s: float


class Absence:
    """Something that is looked at from time to time and is there, or is not for a reason."""

    def __init__(self, every_s: float = SUMMARY_EVERY_S) -> None:
        self._every_s = every_s
        self._since: float | None = None
        self._why = ""
        self._next_at = math.inf

    def look(self, now: float, why: str | None, reason: str) -> Away | StillAway | Back | None:
        """What to say after a look that found it missing because of `why`; None: it is there."""
        if why is None:
            since, self._since, self._why = self._since, None, ""
            return None if since is None else Back(now - since)
        if self._since is None:
            self._since = now
        if why != self._why:
            self._why, self._next_at = why, now + self._every_s
            return Away(why, reason)
        if now >= self._next_at:
            self._next_at = now + self._every_s
            return StillAway(why, reason, now - self._since)
        return None
