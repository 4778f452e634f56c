"""The store's clock seen from here: store milliseconds to local monotonic seconds.

Each sample is a reading of the store's clock (whole milliseconds, rounded down) and the local
times before the question and after the answer. The reading was taken somewhere between, so

    before - (reading + 1 ms)  <  local - store  ≤  after - reading

The right-hand side of every sample is a bound from above: a deadline computed with it is never
early, and late by at most that sample's round trip plus 1 ms. The least of them is the best, as
in Cristian's algorithm (Distributed Computing 3, 1989).

Clocks drift apart, so a bound is trusted less as it ages: it grows by `DRIFT_MAX`. All bounds
grow alike, therefore the best one stays the best until a new sample beats it, and one number is
the whole memory. A store clock that steps forward gives a lower bound, which is taken at once;
one that steps back contradicts the bound we hold, and then the new sample replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass

DRIFT_MAX = 500e-6
"""Local seconds per second that two clocks may part: the fastest that NTP slews one."""
READING_S = 0.001
"""The resolution of a reading."""


@dataclass(frozen=True, slots=True)
class StoreClock:
    """What is known. Begin with `StoreClock.first(...)`, go on with `observed(...)`."""

    _bound: float
    """Upper bound of local - store, in seconds, as it would be at local time 0."""

    @classmethod
    def first(cls, store_ms: int, local_before: float, local_after: float) -> StoreClock:
        assert local_before <= local_after, "an answer came before its question"
        return cls(_bound_of(store_ms, local_after))

    def observed(self, store_ms: int, local_before: float, local_after: float) -> StoreClock:
        """With one more sample, which is the newest."""
        newest = self.first(store_ms, local_before, local_after)
        if self.stepped_back(store_ms, local_before):
            return newest
        return min(self, newest, key=lambda clock: clock._bound)

    def stepped_back(self, store_ms: int, local_before: float) -> bool:
        """Whether a sample cannot be true of the clock that we knew: deadlines are later now."""
        least_offset = local_before - (store_ms / 1_000 + READING_S)
        return least_offset > self._offset(local_before)

    def local(self, store_ms: int, now: float) -> float:
        """The local time by which the store's clock has reached `store_ms`, seen from `now`."""
        return store_ms / 1_000 + self._offset(now)

    def store_ms(self, now: float) -> float:
        """What the store's clock shows at least, at local time `now`."""
        return (now - self._offset(now)) * 1_000

    def _offset(self, now: float) -> float:
        return self._bound + DRIFT_MAX * now


def _bound_of(store_ms: int, local_after: float) -> float:
    return local_after - store_ms / 1_000 - DRIFT_MAX * local_after
