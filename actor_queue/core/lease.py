"""Lease arithmetic: how long a replica may believe that a shard is its own.

A lease is granted on the store's clock, some time between sending the request and reading the
answer. Counted on the own monotonic clock from before the request was sent, `ttl` later it may
be over, and `margin` before that the replica stops starting anything (River,
`internal/leadership/doc.go`). The trust window is a courtesy that spares useless work; safety
comes from the epoch that the store checks.
"""

from __future__ import annotations

from dataclasses import dataclass

MARGIN_MIN_S = 0.25
"""What a scheduling delay between the check and the act may take, usually."""
MARGIN_PART = 10
RENEWALS_PER_TTL = 3
"""Two renewals in a row may fail before the lease does."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Everything that follows from the lease's time to live. Seconds."""

    ttl_s: float
    margin_s: float
    renew_every_s: float

    @classmethod
    def of(cls, ttl_ms: int) -> LeaseTimes:
        assert ttl_ms > 0, "a lease must last"
        ttl_s = ttl_ms / 1_000
        renew_every_s = ttl_s / RENEWALS_PER_TTL
        # A margin of more than a third would end the trust before a second renewal could help.
        margin_s = min(max(ttl_s / MARGIN_PART, MARGIN_MIN_S), renew_every_s)
        return cls(ttl_s=ttl_s, margin_s=margin_s, renew_every_s=renew_every_s)


@dataclass(frozen=True, slots=True)
class TrustWindow:
    """Until when, on the monotonic clock in seconds, a lease may be relied upon."""

    trusted_until: float

    @classmethod
    def opened(cls, attempt_started: float, times: LeaseTimes) -> TrustWindow:
        """After a granted acquire or renew whose request was sent after `attempt_started`."""
        return cls(attempt_started + times.ttl_s - times.margin_s)

    @classmethod
    def closed(cls) -> TrustWindow:
        """Nothing is known, or the store said no."""
        return cls(float("-inf"))

    def holds(self, now: float) -> bool:
        """Whether a claim or an attempt may be started at `now`. When in doubt, no."""
        return now < self.trusted_until

    def extended(self, attempt_started: float, times: LeaseTimes) -> TrustWindow:
        """After another grant. An answer that was overtaken by a later one shortens nothing."""
        return max(
            self, self.opened(attempt_started, times), key=lambda window: window.trusted_until
        )


def next_renewal(attempt_started: float, times: LeaseTimes) -> float:
    """When to send the next renewal, whatever came of the one sent at `attempt_started`."""
    return attempt_started + times.renew_every_s
