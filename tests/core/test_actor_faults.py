"""The test of the test: faults planted in the machine behind a user's timer, each of which must be
caught by the adversary within a bounded number of examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import Phase as HypothesisPhase
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from actor_queue.core import actor as rules
from actor_queue.core.actor import ActorState, Effect, Event, Phase, Policy, Settle
from actor_queue.core.outcome import Ack, Bury, Failed, Retry
from tests.core.actor_machine import ActorMachine
from tests.core.actor_world import PAUSE_MS, Step

EXAMPLES_MAX = 1_000
STEPS = 40

Result = tuple[ActorState, Effect | None]
Fault = Callable[[ActorState, Event, Policy], Result]
FAULTS: dict[str, Fault] = {}
CAUGHT_BY = (AssertionError, rules.IllegalEvent)


def fault(plant: Fault) -> Fault:
    FAULTS[plant.__name__] = plant
    return plant


# News


@fault
def news_while_claiming_forgotten(state: ActorState, event: Event, policy: Policy) -> Result:
    if state.phase is Phase.CLAIMING and isinstance(event, rules.Nudged):
        return state, None
    return rules.step(state, event, policy)


@fault
def news_while_delivering_forgotten(state: ActorState, event: Event, policy: Policy) -> Result:
    if state.phase is Phase.SETTLING and isinstance(event, rules.Settled | rules.Vanished):
        state = replace(state, due=None)
    if isinstance(event, rules.Settled):
        event = replace(event, at=None)
    return rules.step(state, event, policy)


@fault
def news_while_settling_forgotten(state: ActorState, event: Event, policy: Policy) -> Result:
    if state.phase is Phase.SETTLING and isinstance(event, rules.Nudged):
        return state, None
    return rules.step(state, event, policy)


@fault
def old_news_moves_a_deadline_later(state: ActorState, event: Event, policy: Policy) -> Result:
    if isinstance(event, rules.Nudged):
        event = replace(event, asked=math.inf)
    return rules.step(state, event, policy)


@fault
def the_latest_news_wins_while_busy(state: ActorState, event: Event, policy: Policy) -> Result:
    busy = state.phase in (Phase.CLAIMING, Phase.DELIVERING, Phase.SETTLING)
    if busy and isinstance(event, rules.Nudged):
        return replace(state, due=event.at, heard=event.heard), None
    return rules.step(state, event, policy)


@fault
def news_puts_off_a_repeated_claim(state: ActorState, event: Event, policy: Policy) -> Result:
    return rules.step(replace(state, asking=False), event, policy)


@fault
def news_wakes_nobody_sooner(state: ActorState, event: Event, policy: Policy) -> Result:
    if state.phase is Phase.WAITING and isinstance(event, rules.Nudged):
        assert state.due is not None
        event = replace(event, at=max(event.at, state.due))
    return rules.step(state, event, policy)


# Answers


@fault
def later_is_ignored_and_asked_again_at_once(
    state: ActorState, event: Event, policy: Policy
) -> Result:
    if state.phase is Phase.CLAIMING and isinstance(event, rules.Later):
        return state, rules.Claim()
    return rules.step(state, event, policy)


@fault
def later_is_a_little_too_late(state: ActorState, event: Event, policy: Policy) -> Result:
    if isinstance(event, rules.Later):
        event = replace(event, at=event.at + 0.002)
    return rules.step(state, event, policy)


@fault
def empty_is_waited_out_for_ever(state: ActorState, event: Event, policy: Policy) -> Result:
    if isinstance(event, rules.Empty):
        return ActorState(Phase.WAITING, math.inf), rules.Sleep()
    return rules.step(state, event, policy)


@fault
def a_lost_shard_is_delivered_to(state: ActorState, event: Event, policy: Policy) -> Result:
    if state.phase is Phase.DELIVERING and isinstance(event, rules.Lost):
        assert state.attempt is not None
        return state, rules.Deliver(state.attempt)
    return rules.step(state, event, policy)


@fault
def a_lost_shard_is_asked_about_for_ever(state: ActorState, event: Event, policy: Policy) -> Result:
    if state.phase is Phase.CLAIMING and isinstance(event, rules.Lost):
        return ActorState(Phase.WAITING, 0.0), rules.Sleep()
    return rules.step(state, event, policy)


@fault
def a_vanished_batch_means_nothing_waits(state: ActorState, event: Event, policy: Policy) -> Result:
    if isinstance(event, rules.Vanished):
        return ActorState(Phase.DONE), rules.Stop()
    return rules.step(state, event, policy)


@fault
def trouble_while_settling_counts_as_settled(
    state: ActorState, event: Event, policy: Policy
) -> Result:
    if state.phase is Phase.SETTLING and isinstance(event, rules.Trouble):
        event = rules.Settled(None, event.at - PAUSE_MS / 1_000)
    return rules.step(state, event, policy)


@fault
def trouble_while_claiming_ends_the_actor(
    state: ActorState, event: Event, policy: Policy
) -> Result:
    if state.phase is Phase.CLAIMING and isinstance(event, rules.Trouble):
        return ActorState(Phase.DONE), rules.Stop()
    return rules.step(state, event, policy)


@fault
def trouble_is_met_without_a_pause(state: ActorState, event: Event, policy: Policy) -> Result:
    if state.phase is Phase.CLAIMING and isinstance(event, rules.Trouble):
        return state, rules.Claim()
    return rules.step(state, event, policy)


# Verdicts


def another_verdict(result: Result, change: Callable[[Settle], Settle]) -> Result:
    state, effect = result
    if isinstance(effect, Settle):
        settle = change(effect)
        return replace(state, settle=settle), settle
    return result


@fault
def a_failure_is_acknowledged(state: ActorState, event: Event, policy: Policy) -> Result:
    return another_verdict(
        rules.step(state, event, policy), lambda settle: replace(settle, verdict=Ack(), status=200)
    )


@fault
def a_retry_has_no_delay(state: ActorState, event: Event, policy: Policy) -> Result:
    return another_verdict(
        rules.step(state, event, policy),
        lambda settle: (
            replace(settle, verdict=replace(settle.verdict, after_ms=0))
            if isinstance(settle.verdict, Retry)
            else settle
        ),
    )


@fault
def a_repeated_verdict_is_another_one(state: ActorState, event: Event, policy: Policy) -> Result:
    result = rules.step(state, event, policy)
    if isinstance(event, rules.Trouble):
        return another_verdict(result, lambda settle: replace(settle, verdict=Bury("gave up")))
    return result


@fault
def a_final_failure_is_tried_again(state: ActorState, event: Event, policy: Policy) -> Result:
    if isinstance(event, rules.Attempted) and isinstance(event.outcome, Failed):
        event = replace(event, outcome=replace(event.outcome, final=False))
    return rules.step(state, event, policy)


@fault
def a_batch_is_tried_for_ever(state: ActorState, event: Event, policy: Policy) -> Result:
    return rules.step(state, event, replace(policy, retry_schedule_ms=(400, 1_000, 1_000, 1_000)))


@fault
def the_horizon_is_forgotten(state: ActorState, event: Event, policy: Policy) -> Result:
    return rules.step(state, event, replace(policy, horizon_s=math.inf))


@pytest.mark.parametrize("name", FAULTS)
def test_the_adversary_catches(name: str) -> None:
    with pytest.raises(CAUGHT_BY):
        run(FAULTS[name])


def test_the_adversary_catches_a_claim_repeated_under_another_token() -> None:
    with pytest.raises(CAUGHT_BY):
        run(rules.step, fresh_token=True)


def run(plant: Step, *, fresh_token: bool = False) -> None:
    parts = {"take_step": staticmethod(plant), "fresh_token": fresh_token}
    Faulty = type("Faulty", (ActorMachine,), parts)
    run_state_machine_as_test(
        Faulty,
        settings=settings(
            max_examples=EXAMPLES_MAX,
            stateful_step_count=STEPS,
            phases=[HypothesisPhase.generate],
            derandomize=True,
            database=None,
            report_multiple_bugs=False,
        ),
    )
