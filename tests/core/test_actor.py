"""One user's machine, transition by transition."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from actor_queue.core.actor import (
    ActorState,
    Attempted,
    Barred,
    Claim,
    Claimed,
    Deliver,
    Empty,
    Event,
    IllegalEvent,
    Later,
    Lost,
    Nudged,
    Phase,
    Policy,
    Settle,
    Settled,
    Sleep,
    Stop,
    Trouble,
    Vanished,
    Woke,
    started,
    step,
)
from actor_queue.core.batch import Attempt, Batch
from actor_queue.core.outcome import Ack, Bury, Delivered, Failed, Retry

POLICY = Policy(retry_schedule_ms=(1_000, 5_000), horizon_s=120.0)
NOW = 1_000.0
BATCH = Batch("b0001ff", "ana", 1, "quiet", "classic", 1, 2, 3, 4, (b'[1,1,"m",{}]',))
FIRST = Attempt(BATCH, 1, 31_000)
RETRY = Settle(FIRST, Retry(1_000, "answered 500"), 500)

WAITING = ActorState(Phase.WAITING, due=NOW + 15, heard=NOW)
ASKING = ActorState(Phase.WAITING, due=NOW + 0.3, asking=True)
CLAIMING = ActorState(Phase.CLAIMING)
CLAIMING_WITH_NEWS = ActorState(Phase.CLAIMING, due=NOW + 4, heard=NOW)
DELIVERING = ActorState(Phase.DELIVERING, attempt=FIRST)
DELIVERING_WITH_NEWS = replace(DELIVERING, due=NOW + 4, heard=NOW)
SETTLING = ActorState(Phase.SETTLING, attempt=FIRST, settle=RETRY)
SETTLING_WITH_NEWS = replace(SETTLING, due=NOW + 4, heard=NOW)
DONE = ActorState(Phase.DONE)
BUSY = (CLAIMING, DELIVERING, SETTLING)


def fresh_news(at: float) -> Nudged:
    """Asked for after everything else had been heard."""
    return Nudged(at, asked=NOW + 1, heard=NOW + 1.1)


def old_news(at: float) -> Nudged:
    return Nudged(at, asked=NOW - 1, heard=NOW + 1.1)


def test_whoever_is_barred_by_its_route_keeps_no_timer_whatever_news_has_come() -> None:
    for state in (CLAIMING, CLAIMING_WITH_NEWS):
        assert step(state, Barred(), POLICY) == (DONE, Stop())


def test_an_attempt_that_does_not_count_is_settled_so_even_after_the_last_retry() -> None:
    last = replace(FIRST, number=9)
    delivering = replace(DELIVERING, attempt=last)
    event = Attempted(Failed("answered 500", 500), 0.5, spent=False)
    _, settle = step(delivering, event, POLICY)
    assert isinstance(settle, Settle)
    assert settle.verdict == Retry(1_000, "answered 500", spent=False)


def test_a_new_actor_sleeps_until_it_is_due() -> None:
    state, effect = started(NOW + 15, NOW)
    assert (state.phase, state.due, effect) == (Phase.WAITING, NOW + 15, Sleep())


def test_a_new_actor_does_not_believe_news_older_than_itself() -> None:
    state, _ = started(NOW + 2, NOW)
    state, _ = step(state, old_news(NOW + 15), POLICY)
    assert state.due == NOW + 2


# Waiting


def test_a_deadline_that_passed_is_a_question_to_the_store() -> None:
    assert step(WAITING, Woke(), POLICY) == (CLAIMING, Claim())


@pytest.mark.parametrize("at", [NOW + 3, NOW + 40])
def test_fresh_news_moves_a_deadline_either_way(at: float) -> None:
    state, effect = step(WAITING, fresh_news(at), POLICY)
    assert (state.phase, state.due, effect) == (Phase.WAITING, at, None)


def test_old_news_moves_a_deadline_sooner_and_never_later() -> None:
    assert step(WAITING, old_news(NOW + 3), POLICY)[0].due == NOW + 3
    assert step(WAITING, old_news(NOW + 40), POLICY)[0].due == NOW + 15


def test_news_asked_for_in_the_moment_of_the_last_answer_counts_as_old() -> None:
    simultaneous = Nudged(NOW + 40, asked=NOW, heard=NOW)
    assert step(WAITING, simultaneous, POLICY)[0].due == NOW + 15


def test_old_news_makes_what_is_known_no_older() -> None:
    overtaken = Nudged(NOW + 40, asked=NOW - 3, heard=NOW - 2)
    assert step(WAITING, overtaken, POLICY)[0].heard == NOW


def test_nobody_waits_beyond_the_horizon() -> None:
    assert step(WAITING, fresh_news(NOW + 500), POLICY) == (DONE, Stop())
    assert step(CLAIMING, Later(NOW + 500, NOW), POLICY) == (DONE, Stop())
    assert step(SETTLING, Settled(NOW + 500, NOW), POLICY) == (DONE, Stop())


def test_the_horizon_itself_is_still_waited_for() -> None:
    state, effect = step(CLAIMING, Later(NOW + POLICY.horizon_s, NOW), POLICY)
    assert (state.phase, effect) == (Phase.WAITING, Sleep())


@pytest.mark.parametrize("at", [NOW, NOW + 31, NOW + 500])
def test_no_news_counts_until_a_claim_without_an_answer_was_repeated(at: float) -> None:
    assert step(ASKING, fresh_news(at), POLICY) == (ASKING, None)
    assert step(ASKING, Woke(), POLICY) == (CLAIMING, Claim())


# Claiming


def test_a_granted_attempt_is_carried_out() -> None:
    state, effect = step(CLAIMING, Claimed(FIRST), POLICY)
    assert (state, effect) == (DELIVERING, Deliver(FIRST))


def test_too_early_is_waited_out() -> None:
    state, effect = step(CLAIMING, Later(NOW + 9, NOW), POLICY)
    assert (state, effect) == (ActorState(Phase.WAITING, NOW + 9, NOW), Sleep())


def test_trouble_while_claiming_is_a_pause_and_the_same_question() -> None:
    state, effect = step(CLAIMING_WITH_NEWS, Trouble(NOW + 0.3), POLICY)
    assert (state, effect) == (ASKING, Sleep())


def test_nothing_to_do_is_the_end() -> None:
    assert step(CLAIMING, Empty(), POLICY) == (DONE, Stop())


@pytest.mark.parametrize("answer", [Empty(), Later(NOW + 9, NOW)])
def test_news_heard_while_claiming_outlives_an_older_answer(answer: Event) -> None:
    state, effect = step(CLAIMING_WITH_NEWS, answer, POLICY)
    assert (state.phase, state.due, effect) == (Phase.WAITING, NOW + 4, Sleep())


# Delivering


def test_a_delivered_batch_is_acknowledged() -> None:
    state, effect = step(DELIVERING, Attempted(Delivered(204), 0.5), POLICY)
    settle = Settle(FIRST, Ack(), 204)
    assert (state.phase, state.settle, effect) == (Phase.SETTLING, settle, settle)


def test_a_failed_attempt_is_retried_on_the_schedule() -> None:
    _, effect = step(DELIVERING, Attempted(Failed("answered 500", 500), 0.5), POLICY)
    assert effect == RETRY


@pytest.mark.parametrize(
    ("number", "outcome"), [(3, Failed("timed out")), (1, Failed("answered 410", 410, final=True))]
)
def test_the_last_or_a_final_failure_is_buried(number: int, outcome: Failed) -> None:
    state = replace(DELIVERING, attempt=Attempt(BATCH, number, 31_000))
    _, effect = step(state, Attempted(outcome, 0.5), POLICY)
    assert isinstance(effect, Settle)
    assert effect.verdict == Bury(outcome.reason)


# Settling


def test_a_settled_batch_with_nothing_behind_it_is_the_end() -> None:
    assert step(SETTLING, Settled(None, NOW), POLICY) == (DONE, Stop())


def test_a_settled_batch_tells_the_next_deadline() -> None:
    state, effect = step(SETTLING, Settled(NOW + 5, NOW), POLICY)
    assert (state, effect) == (ActorState(Phase.WAITING, NOW + 5, NOW), Sleep())


@pytest.mark.parametrize("at", [None, NOW + 9])
def test_news_heard_while_settling_outlives_an_older_answer(at: float | None) -> None:
    state, _ = step(SETTLING_WITH_NEWS, Settled(at, NOW), POLICY)
    assert (state.phase, state.due) == (Phase.WAITING, NOW + 4)


def test_trouble_while_settling_repeats_the_same_verdict_later() -> None:
    state, effect = step(SETTLING, Trouble(NOW + 0.3), POLICY)
    assert (state, effect) == (SETTLING, replace(RETRY, at=NOW + 0.3))
    assert step(state, Trouble(NOW + 0.7), POLICY) == (SETTLING, replace(RETRY, at=NOW + 0.7))


def test_a_batch_that_vanished_is_a_question_to_the_store() -> None:
    state, effect = step(SETTLING_WITH_NEWS, Vanished(), POLICY)
    assert (state, effect) == (CLAIMING_WITH_NEWS, Claim())


# Whatever it is doing


@pytest.mark.parametrize("state", BUSY)
def test_news_while_busy_is_remembered_and_changes_nothing_else(state: ActorState) -> None:
    for at, due in ((NOW + 7, NOW + 7), (NOW + 4, NOW + 4), (NOW + 9, NOW + 4)):
        news = fresh_news(at)
        following, effect = step(state, news, POLICY)
        assert effect is None
        assert following == replace(state, due=due, heard=news.heard)
        state = following


@pytest.mark.parametrize("state", BUSY)
def test_a_lost_shard_ends_the_actor_at_once(state: ActorState) -> None:
    assert step(state, Lost(), POLICY) == (DONE, Stop())


EVENTS: tuple[Event, ...] = (
    fresh_news(NOW + 3),
    Woke(),
    Claimed(FIRST),
    Later(NOW + 9, NOW),
    Empty(),
    Lost(),
    Trouble(NOW + 0.3),
    Attempted(Delivered(200), 0.5),
    Settled(None, NOW),
    Vanished(),
)
LEGAL = {
    Phase.WAITING: {Nudged, Woke},
    Phase.CLAIMING: {Nudged, Claimed, Later, Empty, Lost, Trouble},
    Phase.DELIVERING: {Nudged, Attempted, Lost},
    Phase.SETTLING: {Nudged, Settled, Vanished, Lost, Trouble},
    Phase.DONE: set(),
}
ILLEGAL = [
    pytest.param(state, event, id=f"{type(event).__name__} while {state.phase.value}")
    for state, event in itertools.product((WAITING, CLAIMING, DELIVERING, SETTLING, DONE), EVENTS)
    if type(event) not in LEGAL[state.phase]
]


@pytest.mark.parametrize(("state", "event"), ILLEGAL)
def test_an_illegal_event_raises_and_changes_nothing(state: ActorState, event: Event) -> None:
    before = replace(state)
    with pytest.raises(IllegalEvent, match=f"{type(event).__name__} while {state.phase.value}"):
        step(state, event, POLICY)
    assert state == before


def test_every_event_is_tried_in_every_phase() -> None:
    legal = sum(len(events) for events in LEGAL.values())
    assert len(EVENTS) * len(Phase) == legal + len(ILLEGAL)
