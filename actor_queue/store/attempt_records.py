"""One line of a user's recent history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AttemptOutcome = Literal["delivered", "retry", "dead", "divided", "taken_back", "failed", "unknown"]
"""What followed from an attempt. `taken_back`: its receiver asked whether anything newer waits, and
something did; `failed`: nothing, because another one had delivered the batch;
`unknown`: its replica did not say within the attempt's limit what came of it."""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One line of a user's recent history."""

    batch_id: str
    number: int
    at_ms: int
    outcome: AttemptOutcome
    """`failed`: nothing followed, because another attempt had delivered the batch."""
    messages: int
    status: int | None
    reason: str | None
    answer: str | None = None
    """The beginning of what the receiver said, where the attempt failed. It may repeat what a
    person wrote."""
    replica: str | None = None
    """Who made the attempt; None where a replica of the first release did."""
    took_ms: int | None = None
