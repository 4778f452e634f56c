"""The machine behind one user's timer task.

Theory. The store knows the truth about a user: what waits, what is in flight, when the next
step is due. An actor is a hint with a deadline. It sleeps, asks the store for what is due
(the *claim*), carries an attempt to the receiver, and tells the store what came of it (the
*settlement*). Therefore

- a timer that fires too early costs one question, a timer that is lost costs the delay of
  the sweep, and neither can lose, repeat or reorder a message;
- a retry is not a second road: the settlement answers with the next due time, and the same
  sleep and the same claim follow;
- a receiver that answers 202 and will say later that it is done is waited for in the store, as a
  retry is: the settlement moves the attempt's limit, and when that has passed the same claim makes
  the next attempt, or hands over the last one once more to be buried;
- news that arrives while the actor is busy (`Nudged`) is remembered, because the answer it
  waits for may be older than the news;
- answers do not arrive in the store's order. News may move a deadline later only if it was
  asked for after everything we know had been heard; anything else is a rumour, believed only
  when it is sooner.

        WAITING --Woke--> CLAIMING --Claimed--> DELIVERING --Attempted--> SETTLING
           ^                 |                                               |
           +--Later/Trouble--+                        +--Settled: next due---+
           +------------------------------------------+
        CLAIMING --Claimed: unanswered--> SETTLING
        CLAIMING --Empty/Lost/Barred--> DONE <--Settled: nothing/Lost-- SETTLING

Events that a phase does not know raise `IllegalEvent` and change nothing. Times are seconds
on the replica's monotonic clock; the core never reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from actor_queue.core.answers import ACCEPTED, UNANSWERED
from actor_queue.core.batch import Attempt
from actor_queue.core.delivery import ANSWER_BYTES_MAX, REASON_CHARACTERS_MAX, decide, printable
from actor_queue.core.outcome import Bury, Failed, Outcome, Verdict


class Phase(Enum):
    """What an actor is doing."""

    WAITING = "waiting"
    CLAIMING = "claiming"
    DELIVERING = "delivering"
    SETTLING = "settling"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class ActorState:
    """`due` is the deadline while waiting, the earliest news while busy.

    `heard` is when the last answer or news arrived. `asking` while a claim has to be repeated
    whose answer was lost: only the repetition can tell what the store did, so no news counts.
    """

    phase: Phase
    due: float | None = None
    heard: float = float("-inf")
    asking: bool = False
    attempt: Attempt | None = None
    settle: Settle | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decides."""

    retry_schedule_ms: Sequence[int]
    horizon_s: float
    """Nobody waits in memory for longer than this; the sweep finds the user in time."""


# Events


@dataclass(frozen=True, slots=True)
class Nudged:
    """The next step is at `at`: the store was asked at `asked` and its answer came at `heard`."""

    at: float
    asked: float
    heard: float


@dataclass(frozen=True, slots=True)
class Woke:
    """The deadline has passed."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The store handed over an attempt."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Later:
    """The store says: not before `at`."""

    at: float
    heard: float


@dataclass(frozen=True, slots=True)
class Empty:
    """The store says: nothing waits."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The shard is not ours (any more)."""


@dataclass(frozen=True, slots=True)
class Barred:
    """The user's route is open or paused. The sweep finds the user when it is not any more."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """The store cannot be asked; try again at `at`."""

    at: float


@dataclass(frozen=True, slots=True)
class Attempted:
    """The receiver's answer. `jitter` was drawn from [0, 1)."""

    outcome: Outcome
    jitter: float
    took_ms: int | None = None
    spent: bool = True
    """False: the attempt failed while its route was open, and does not count."""
    answer_within_ms: int | None = None
    """See `core.delivery.decide`."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The store took the verdict; the user's next step is at `at`, or there is none."""

    at: float | None
    heard: float


@dataclass(frozen=True, slots=True)
class Vanished:
    """The batch was settled or dropped before: only a claim can tell what comes next."""


Event = (
    Nudged
    | Woke
    | Claimed
    | Later
    | Empty
    | Lost
    | Barred
    | Trouble
    | Attempted
    | Settled
    | Vanished
)


# Effects: exactly one thing to do next


@dataclass(frozen=True, slots=True)
class Sleep:
    """Until the state's `due`, which news may move."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Ask the store for what is due, with a slot among the deliveries already taken."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Carry the attempt to the receiver."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Settle:
    """Tell the store; not before `at`, if given."""

    attempt: Attempt
    verdict: Verdict
    status: int | None
    """What the receiver answered, if it did."""
    at: float | None = None
    answer: str | None = None
    """The beginning of what the receiver said, where the attempt failed."""
    took_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing more to do for this user."""


Effect = Sleep | Claim | Deliver | Settle | Stop


class IllegalEvent(Exception):
    """An event that cannot happen in this phase: a bug in the shell."""


def started(due: float, heard: float) -> tuple[ActorState, Effect]:
    """A new actor, to wake at `due`, as was heard at `heard`."""
    return ActorState(Phase.WAITING, due, heard), Sleep()


def step(state: ActorState, event: Event, policy: Policy) -> tuple[ActorState, Effect | None]:
    """The state after `event`, and what to do next (None: go on with what is being done)."""
    match state.phase, event:
        case Phase.WAITING, Nudged():
            return _moved(state, event, policy)
        case ((Phase.CLAIMING | Phase.DELIVERING | Phase.SETTLING), Nudged(at)):
            return replace(state, due=_sooner(at, state.due), heard=event.heard), None
        case Phase.WAITING, Woke():
            return ActorState(Phase.CLAIMING), Claim()
        case Phase.CLAIMING, Claimed(attempt) if attempt.unanswered:
            settle = Settle(attempt, Bury(UNANSWERED), ACCEPTED)
            return replace(state, phase=Phase.SETTLING, attempt=attempt, settle=settle), settle
        case Phase.CLAIMING, Claimed(attempt):
            return replace(state, phase=Phase.DELIVERING, attempt=attempt), Deliver(attempt)
        case Phase.CLAIMING, Later(at, heard):
            return _rest(at, state.due, heard, policy)
        case Phase.CLAIMING, Trouble(at):
            return ActorState(Phase.WAITING, at, asking=True), Sleep()
        case Phase.CLAIMING, Empty():
            return _rest(None, state.due, state.heard, policy)
        case ((Phase.CLAIMING | Phase.DELIVERING | Phase.SETTLING), Lost()):
            return ActorState(Phase.DONE), Stop()
        case Phase.CLAIMING, Barred():
            return ActorState(Phase.DONE), Stop()
        case Phase.DELIVERING, Attempted():
            return _attempted(state, event, policy)
        case Phase.SETTLING, Settled(at, heard):
            return _rest(at, state.due, heard, policy)
        case Phase.SETTLING, Vanished():
            return ActorState(Phase.CLAIMING, state.due, state.heard), Claim()
        case Phase.SETTLING, Trouble(at):
            assert state.settle is not None
            return state, replace(state.settle, at=at)
    raise IllegalEvent(f"{type(event).__name__} while {state.phase.value}")


def _moved(state: ActorState, news: Nudged, policy: Policy) -> tuple[ActorState, Effect | None]:
    """News for a sleeper: its deadline moves, or it is too far away to be waited for."""
    if state.asking:
        return state, None
    assert state.due is not None
    at = news.at if news.asked > state.heard else min(news.at, state.due)
    heard = max(state.heard, news.heard)
    if at > heard + policy.horizon_s:
        return ActorState(Phase.DONE), Stop()
    return ActorState(Phase.WAITING, at, heard), None


def _attempted(state: ActorState, event: Attempted, policy: Policy) -> tuple[ActorState, Effect]:
    attempt, outcome, answer = state.attempt, event.outcome, None
    assert attempt is not None
    if isinstance(outcome, Failed):
        # Whoever delivers may be a program that says anything.
        outcome = replace(outcome, reason=printable(outcome.reason, REASON_CHARACTERS_MAX))
        answer = outcome.answer and printable(outcome.answer, ANSWER_BYTES_MAX)
    messages = len(attempt.batch.stored)
    verdict = decide(
        outcome,
        attempt.number,
        policy.retry_schedule_ms,
        event.jitter,
        messages,
        event.answer_within_ms,
        spent=event.spent,
    )
    settle = Settle(attempt, verdict, outcome.status, answer=answer, took_ms=event.took_ms)
    return replace(state, phase=Phase.SETTLING, settle=settle), settle


def _rest(
    at: float | None, news: float | None, heard: float, policy: Policy
) -> tuple[ActorState, Effect]:
    """The answer says `at`; news that came meanwhile may be younger than the answer."""
    due = _sooner(at, news)
    if due is None or due > heard + policy.horizon_s:
        return ActorState(Phase.DONE), Stop()
    return ActorState(Phase.WAITING, due, heard), Sleep()


def _sooner(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
