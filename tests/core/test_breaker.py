"""The breaker of one route: each rule by itself, and then an adversary around several replicas."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actor_queue.core.breaker import (
    FAILURES_MIN,
    FIRST_PACE,
    RAMP_S,
    RETRY_AFTER_MAX_MS,
    WINDOW,
    WITHIN_S,
    BreakerState,
    Close,
    Drained,
    Ended,
    Granted,
    IllegalEvent,
    Open,
    Phase,
    Refuted,
    Share,
    ToldClosed,
    ToldOpen,
    Withdrawn,
    confirmed,
    first_turn,
    is_failure,
    step,
    turn_after,
)
from actor_queue.core.outcome import Delivered, Failed, Outcome

FINE = Delivered(200)
DOWN = Failed("timed out after 30 s")
OPEN = BreakerState(Phase.OPEN)
PROBING = BreakerState(Phase.PROBING, probe=3)
RAMPING = BreakerState(Phase.RAMPING, ramp_began=100.0, closing=7)


def after(
    outcomes: list[Outcome], every_s: float = 0.1
) -> tuple[BreakerState, Open | Close | None]:
    state, effect = BreakerState(), None
    for number, outcome in enumerate(outcomes):
        state, effect = step(state, Ended(number * every_s, outcome))
    return state, effect


@pytest.mark.parametrize(
    ("outcome", "failure"),
    [
        (FINE, False),
        (DOWN, True),
        (Failed("answered 500", 500), True),
        (Failed("answered 503", 503), True),
        (Failed("answered 429", 429), True),
        *((Failed(f"answered {each}", each), False) for each in (301, 400, 401, 404, 410, 413)),
    ],
)
def test_a_complete_answer_is_a_failure_only_at_5xx_and_429(
    outcome: Outcome, failure: bool
) -> None:
    assert is_failure(outcome) is failure


@pytest.mark.parametrize("failures", [0, FAILURES_MIN - 1, FAILURES_MIN, WINDOW])
def test_7_failures_among_the_last_10_attempts_open_the_route(failures: int) -> None:
    state, effect = after([FINE] * (WINDOW - failures) + [DOWN] * failures)
    opened = failures >= FAILURES_MIN
    assert (state.phase is Phase.OPEN) is opened
    assert effect == (Open(DOWN.reason) if opened else None)


def test_attempts_of_more_than_a_minute_ago_count_no_more() -> None:
    state, _ = after([DOWN] * 3 * WINDOW, every_s=WITHIN_S / (WINDOW - 1))
    assert state.phase is Phase.CLOSED


def test_fewer_than_10_attempts_open_nothing() -> None:
    state, _ = after([DOWN] * (WINDOW - 1))
    assert state.phase is Phase.CLOSED


def test_a_replica_that_the_others_refute_goes_on_and_looks_again_at_its_next_failure() -> None:
    seen = tuple((float(at), True) for at in range(WINDOW))
    state, effect = step(OPEN, Refuted(seen))
    assert (state.phase, effect) == (Phase.CLOSED, None)
    assert step(state, Ended(10.0, DOWN))[1] == Open(DOWN.reason)
    for other in (BreakerState(), PROBING, RAMPING):
        assert step(other, Refuted(seen)) == (other, None)


@pytest.mark.parametrize("failures", range(WINDOW + 1))
def test_a_route_opens_for_all_when_the_others_fail_as_often_at_the_same_time(
    failures: int,
) -> None:
    mine = [(100.0 + n, True) for n in range(WINDOW)]
    others = [(109.0, n < failures) for n in range(WINDOW)]
    assert confirmed(mine, others, 110.0) is (failures >= FAILURES_MIN)


def test_what_others_delivered_before_that_time_keeps_no_route_closed() -> None:
    mine = [(100.0 + n / 100, True) for n in range(WINDOW)]
    assert confirmed(mine, [], 100.1)
    assert confirmed(mine, [(97.0, False)], 100.1)
    assert not confirmed(mine, [(99.0, False)], 100.1), "it may have ended a second ago unheard"


def test_only_the_probe_closes() -> None:
    for state in (OPEN, PROBING):
        assert step(state, Ended(9, FINE)) == (state, None)
        assert step(state, Ended(9, DOWN)) == (state, None)
    state, effect = step(PROBING, Ended(9, FINE, probe=True))
    assert (state.phase, state.ramp_began, effect) == (Phase.RAMPING, 9, Close())


def test_a_probe_that_fails_leaves_it_open_and_says_what_the_receiver_asked_for() -> None:
    for asked_s, told_ms in ((None, 0), (90.0, 90_000), (86_400.0, RETRY_AFTER_MAX_MS)):
        refusal = Failed("answered 503", 503, retry_after_s=asked_s)
        state, effect = step(PROBING, Ended(9, refusal, probe=True))
        assert (state.phase, effect) == (Phase.OPEN, Open("answered 503", told_ms, probe=3))


def test_a_closing_is_followed_by_one_ramp() -> None:
    state, _ = step(RAMPING, Drained())
    assert state.phase is Phase.CLOSED
    assert step(state, ToldClosed(100.1, 7))[0] == state
    assert step(state, ToldClosed(200.0, 8))[0].phase is Phase.RAMPING
    assert step(BreakerState(), ToldClosed(200.0, 0))[0] == BreakerState()


def test_a_receiver_that_falls_over_again_under_what_waited_opens_it_again() -> None:
    state = RAMPING
    for number in range(WINDOW):
        state, effect = step(state, Ended(100.0 + number, DOWN))
    assert (state.phase, effect) == (Phase.OPEN, Open(DOWN.reason))


@pytest.mark.parametrize(
    ("state", "event"), [(PROBING, Granted(4)), (OPEN, Withdrawn()), (RAMPING, Withdrawn())]
)
def test_an_event_that_cannot_happen_raises(state: BreakerState, event: Granted) -> None:
    with pytest.raises(IllegalEvent):
        step(state, event)


@pytest.mark.parametrize("replicas", [1, 2, 3, 7])
def test_all_replicas_together_begin_with_5_a_second_and_at_most_double_it(replicas: int) -> None:
    turns = []
    for place in range(replicas):
        share = Share(place, replicas)
        turn = first_turn(0.0, share)
        while turn < 8:
            turns.append(turn)
            turn = turn_after(turn, 0.0, share)
    counts = [sum(second <= turn < second + 1 for turn in turns) for second in range(8)]
    assert counts[0] <= FIRST_PACE
    for number, (before, now) in enumerate(pairwise(counts)):
        assert now <= FIRST_PACE * 2 ** (number + 1)
        assert now > before or replicas > FIRST_PACE
    assert turn_after(10.0**6, 0.0, Share(0, 1)) - 10.0**6 < math.ldexp(1, -RAMP_S)


class Replicas(RuleBasedStateMachine):
    """Two machines and one store, which they hear of late."""

    @initialize()
    def start(self) -> None:
        self.now = 0.0
        self.states = [BreakerState(), BreakerState()]
        self.open_since: int | None = None
        self.closing = 0
        self.probes = 0
        self.prober: int | None = None
        self.serial = 0

    which = st.sampled_from([0, 1])

    def take(self, at: int, event: Ended | Granted | Withdrawn | ToldOpen | ToldClosed) -> None:
        self.states[at], effect = step(self.states[at], event)
        match effect:
            case Open(probe=0) if self.open_since is None:
                self.serial += 1
                self.open_since = self.serial
            case Close():
                self.serial += 1
                self.open_since, self.closing = None, self.serial

    @rule(at=which, outcome=st.sampled_from([FINE, DOWN]), times=st.integers(1, 2 * WINDOW))
    def attempts_end(self, at: int, outcome: Outcome, times: int) -> None:
        for _ in range(times):
            self.now += 0.01
            self.take(at, Ended(self.now, outcome))

    @rule(at=which)
    def looks(self, at: int) -> None:
        if self.open_since is not None:
            self.take(at, ToldOpen())
        else:
            if self.prober == at:
                self.prober = None
            self.take(at, ToldClosed(self.now, self.closing))

    @precondition(lambda self: self.open_since is not None and self.prober is None)
    @rule(at=which)
    def asks_for_the_probe(self, at: int) -> None:
        if self.states[at].phase is Phase.OPEN:
            self.probes += 1
            self.take(at, Granted(self.probes))
            self.prober = at

    @precondition(lambda self: self.prober is not None)
    @rule(outcome=st.sampled_from([FINE, DOWN, None]))
    def the_probe_ends(self, outcome: Outcome | None) -> None:
        at, self.prober = self.prober, None
        assert at is not None
        self.now += 0.01
        self.take(at, Withdrawn() if outcome is None else Ended(self.now, outcome, probe=True))

    @rule(seconds=st.floats(0.1, 2 * WITHIN_S))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def no_two_probe_at_once(self) -> None:
        assert sum(each.phase is Phase.PROBING for each in self.states) <= 1

    @invariant()
    def nobody_who_was_told_attempts_on_an_open_route(self) -> None:
        for at in (0, 1):
            if self.open_since is not None:
                assert step(self.states[at], ToldOpen())[0].phase in (Phase.OPEN, Phase.PROBING)
            assert len(self.states[at].window) <= WINDOW


Replicas.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestReplicas = Replicas.TestCase
