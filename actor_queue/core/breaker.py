"""The breaker of one route: when its receiver is not asked, and how it is asked again.

Theory. A receiver that answers nobody is not helped by being called, and each call spends one of a
batch's few retries. So a route whose attempts fail is opened for all replicas at once: nothing is
attempted, until one attempt, the probe, has shown that the receiver answers again. What has waited
then goes at a growing pace, because a receiver that has just come up falls over under all of it.

Each replica counts the attempts that it makes itself; whichever sees enough failures opens the
route for all. The truth is one entry in the store, and this machine is what one replica makes of
it, so

- before a replica tells the store that a route is open, it looks at what the others have written
  down of the same time, because it may be the one that the network has cut off (`Refuted`);
- the machine opens by itself, before the store has been told: the attempts that end meanwhile are
  settled as those of an open route;
- only the store grants a probe, so that two replicas never send one at the same time;
- only a probe closes. An attempt that was under way when the route opened says how the receiver
  was before that, and a receiver that answers three of ten would otherwise open and close for ever.

        CLOSED --Ended, too many failed--> OPEN --Granted--> PROBING
          ^                                ^  <--Ended, failed--+ |
          +--Drained-- RAMPING --Ended,----+                      |
                          ^    too many failed                    |
                          +--------------Ended, answered----------+

`ToldOpen` and `ToldClosed` are what the store says, of the other replicas' doing. Events that a
phase does not know raise `IllegalEvent` and change nothing. Times are seconds on the replica's
monotonic clock; the core never reads it. Prior art: the circuit breaker of M. Nygard, Release It!
(2007), and the slow start of TCP.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from actor_queue.core.outcome import Failed, Outcome

WINDOW: Final = 10
"""The last attempts of a route that are looked at."""
FAILURES_MIN: Final = 7
"""So many failures among them open the route."""
WITHIN_S: Final = 60.0
"""An attempt that ended longer ago says nothing about now."""
BACK_S: Final = 2.0
"""The others' attempts of so long ago are looked at where one's own are all younger: an attempt is
in the history a second after its end."""
FIRST_PROBE_MS: Final = 5_000
"""From the opening to the first probe; from each failed probe to the next it is twice as long."""
LAST_PROBE_MS: Final = 60_000
"""The longest that grows to. A `Retry-After` may ask for more, up to `RETRY_AFTER_MAX_MS`."""
RETRY_AFTER_MAX_MS: Final = 600_000
"""No answer keeps a whole route shut for longer than this."""
FIRST_PACE: Final = 5
"""Attempts in the first second after a closing, of all replicas together."""
RAMP_S: Final = 16
"""After so many doublings the pace is above what any installation sends."""
SLACK: Final = 1.000_001
AHEAD_S: Final = 1.0
"""Turns that are farther away than this are not given out: whoever would have to wait for so long
is found again by the sweep, and costs no memory meanwhile."""
TOO_MANY_REQUESTS: Final = 429
SERVER_ERROR: Final = 500


Window = Sequence[tuple[float, bool]]
"""Attempts: when each ended, and whether it failed."""


class Phase(Enum):
    """What is done with a route's attempts."""

    CLOSED = "closed"
    """They are made."""
    OPEN = "open"
    """None is made."""
    PROBING = "probing"
    """One is made, by this replica."""
    RAMPING = "ramping"
    """They are made at a growing pace."""


@dataclass(frozen=True, slots=True)
class BreakerState:
    """`window` has, of the last attempts, when each ended and whether it failed; oldest first."""

    phase: Phase = Phase.CLOSED
    window: tuple[tuple[float, bool], ...] = ()
    probe: int = 0
    """The number of the probe that this replica makes."""
    ramp_began: float = -math.inf
    """When the route was closed."""
    closing: int = 0
    """The last closing that the store told of."""


# Events


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt ended at `at`."""

    at: float
    outcome: Outcome
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Granted:
    """The store gave probe `number` to this replica."""

    number: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The probe was not made: there was nobody to make it for."""


@dataclass(frozen=True, slots=True)
class ToldOpen:
    """The store says that the route is open."""


@dataclass(frozen=True, slots=True)
class ToldClosed:
    """The store says that the route is not open, and that it was until `at`.

    `closing` tells one closing from the others; 0 where the store remembers none.
    """

    at: float
    closing: int = 0


@dataclass(frozen=True, slots=True)
class Refuted:
    """The attempts of all replicas together say that the receiver answers: it is this replica that
    does not reach it. `window` is what it had seen when it opened."""

    window: tuple[tuple[float, bool], ...]


@dataclass(frozen=True, slots=True)
class Drained:
    """Nothing waits for its turn any more."""


Event = Ended | Granted | Withdrawn | ToldOpen | ToldClosed | Refuted | Drained


# Effects: what the store has to be told


@dataclass(frozen=True, slots=True)
class Open:
    """The route is open; or, with a `probe`, it stays so."""

    reason: str
    retry_after_ms: int = 0
    probe: int = 0


@dataclass(frozen=True, slots=True)
class Close:
    """The probe was answered."""


Effect = Open | Close


class IllegalEvent(Exception):
    """An event that cannot happen in this phase: a bug in the shell."""


def is_failure(outcome: Outcome) -> bool:
    """Whether the receiver did not answer, or said that it cannot work.

    Any other complete answer, `400` or `413` say, comes from a receiver that is alive.
    """
    if not isinstance(outcome, Failed):
        return False
    return was_failure("failed", outcome.status)


def was_failure(outcome: str, status: int | None) -> bool:
    """The same of an attempt that the history has."""
    if outcome == "delivered":
        return False
    return status is None or status == TOO_MANY_REQUESTS or status >= SERVER_ERROR


def confirmed(mine: Window, others: Window, now: float) -> bool:
    """Whether the route is open for all, where this replica's attempts have opened it here.

    The others' attempts of the same time have to fail as often; in any order, on one clock. They
    are not simply counted together: a replica that the network has cut off repeats what fails, and
    would outvote those who deliver. Where nobody else made an attempt, nobody knows better.
    """
    since = min((at for at, _ in mine), default=now)
    same_time = [failed for at, failed in others if at >= min(since, now - BACK_S)]
    return not same_time or sum(same_time) * WINDOW >= len(same_time) * FAILURES_MIN


def step(state: BreakerState, event: Event) -> tuple[BreakerState, Effect | None]:
    """The state after `event`, and what to tell the store, if anything."""
    match state.phase, event:
        case ((Phase.CLOSED | Phase.RAMPING), Ended(probe=False)):
            return _ended(state, event)
        case _, Ended():
            return _ended_while_shut(state, event)
        case Phase.OPEN, Granted(number):
            return replace(state, phase=Phase.PROBING, probe=number), None
        case ((Phase.CLOSED | Phase.RAMPING), Granted()):
            # News that the route was closed has overtaken the store's answer.
            return state, None
        case Phase.PROBING, Withdrawn():
            return replace(state, phase=Phase.OPEN, probe=0), None
        case ((Phase.CLOSED | Phase.RAMPING), ToldOpen()):
            return BreakerState(Phase.OPEN, closing=state.closing), None
        case ((Phase.OPEN | Phase.PROBING), ToldOpen()):
            return state, None
        case _, ToldClosed():
            return _told_closed(state, event), None
        case Phase.OPEN, Refuted(window):
            return BreakerState(Phase.CLOSED, window, closing=state.closing), None
        case _, Refuted():
            return state, None
        case ((Phase.CLOSED | Phase.RAMPING), Drained()):
            return replace(state, phase=Phase.CLOSED), None
        case ((Phase.OPEN | Phase.PROBING), Drained()):
            return state, None
    raise IllegalEvent(f"{type(event).__name__} while {state.phase.value}")


def _ended(state: BreakerState, event: Ended) -> tuple[BreakerState, Effect | None]:
    failed = is_failure(event.outcome)
    recent = (*state.window[-WINDOW + 1 :], (event.at, failed))
    window = tuple(each for each in recent if each[0] > event.at - WITHIN_S)
    failures = sum(bad for _, bad in window)
    if not failed or len(window) < WINDOW or failures < FAILURES_MIN:
        return replace(state, window=window), None
    return BreakerState(Phase.OPEN, closing=state.closing), _opening(event.outcome, 0)


def _ended_while_shut(state: BreakerState, event: Ended) -> tuple[BreakerState, Effect | None]:
    """The probe, or an attempt that was under way when the route opened: that one says nothing."""
    if not event.probe or state.phase is not Phase.PROBING:
        return state, None
    if is_failure(event.outcome):
        return replace(state, phase=Phase.OPEN, probe=0), _opening(event.outcome, state.probe)
    return BreakerState(Phase.RAMPING, ramp_began=event.at, closing=state.closing), Close()


def _opening(outcome: Outcome, probe: int) -> Open:
    assert isinstance(outcome, Failed)
    asked_ms = math.ceil((outcome.retry_after_s or 0.0) * 1_000)
    return Open(outcome.reason, min(asked_ms, RETRY_AFTER_MAX_MS), probe)


def _told_closed(state: BreakerState, told: ToldClosed) -> BreakerState:
    if state.phase is Phase.RAMPING:
        return replace(state, closing=told.closing)
    # Where the route counts as closed, it was opened and closed without a word of that reaching us.
    if state.phase is Phase.CLOSED and told.closing in (0, state.closing):
        return state
    return BreakerState(Phase.RAMPING, ramp_began=told.at, closing=told.closing)


# The pace after a closing


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of the pace is this replica's: the `place`-th of `replicas`, from 0."""

    place: int
    replicas: int


def pace(elapsed_s: float) -> float:
    """Attempts in a second, of all replicas together, so long after the closing."""
    return FIRST_PACE * 2.0 ** min(max(math.floor(elapsed_s), 0), RAMP_S)


def first_turn(ramp_began: float, share: Share) -> float:
    """When this replica's first attempt may go: the replicas' turns alternate."""
    return ramp_began + share.place / FIRST_PACE


def turn_after(turn: float, ramp_began: float, share: Share) -> float:
    """The turn that follows the one at `turn`: rather a little late than one too many a second."""
    return turn + SLACK * share.replicas / pace(turn - ramp_began)
