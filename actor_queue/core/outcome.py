"""What came of an attempt. Expected failures are values; only bugs are exceptions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver acknowledged with a complete 2xx."""

    status: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed; whether and when to try again is decided elsewhere."""

    reason: str
    """For people: `answered 503`, `timed out after 30 s`, `connection refused`. Never the body: it
    may stand in a log."""
    status: int | None = None
    """The HTTP status, when there was a complete one."""
    retry_after_s: float | None = None
    """What the receiver asked for, already turned into seconds from now; ≥ 0."""
    final: bool = False
    """The receiver never wants this batch (410): no retry."""
    answer: str | None = None
    """The beginning of what the receiver answered, for people: at most `delivery.ANSWER_BYTES_MAX`
    characters, none that steers a terminal. It may repeat what a person wrote, so it never stands
    in a log."""


Outcome = Delivered | Failed

ROUNDED_SHARE = 0.01
"""A time limit that is off a whole second by no more than this part of it is told as that second:
claiming the batch has taken some milliseconds of the limit that was set."""


def timed_out(limit_s: float) -> str:
    """`timed out after 4 s`, also where of those 4 seconds 3.98 were left."""
    whole = round(limit_s)
    near = abs(whole - limit_s) <= whole * ROUNDED_SHARE
    return f"timed out after {whole if near else f'{limit_s:.3g}'} s"


@dataclass(frozen=True, slots=True)
class Ack:
    """Settle: the batch is done."""


@dataclass(frozen=True, slots=True)
class AnswersLater:
    """Settle: the receiver has the batch, and says within `within_ms` that it is done."""

    within_ms: int


@dataclass(frozen=True, slots=True)
class Retry:
    """Settle: try again `after_ms` from now."""

    after_ms: int
    reason: str
    spent: bool = True
    """False: the attempt counts as if it had not been made, because its route was open."""


@dataclass(frozen=True, slots=True)
class Bury:
    """Settle: the batch becomes a dead letter."""

    reason: str


@dataclass(frozen=True, slots=True)
class Divide:
    """Settle: the batch is too large for its receiver and becomes two."""

    reason: str


Verdict = Ack | AnswersLater | Retry | Bury | Divide
