"""The store's clock as seen from here, through answers that take their time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.clock import DRIFT_MAX, READING_S, StoreClock

ROUNDING_S = 1e-5
"""Doubles near 1.8e9 are this coarse, and more."""


@dataclass(frozen=True)
class World:
    """A store whose clock is `offset` behind the local one and runs at its own rate."""

    offset_s: float
    rate: float

    def store_s(self, local: float) -> float:
        return local * self.rate - self.offset_s

    def local_s(self, store_s: float) -> float:
        return (store_s + self.offset_s) / self.rate

    def sample(self, sent: float, there: float, back: float) -> tuple[int, float, float]:
        return math.floor(self.store_s(sent + there) * 1_000), sent, sent + there + back


worlds = st.builds(
    World,
    offset_s=st.floats(-2e9, 1e6),
    rate=st.floats(1 - 0.9 * DRIFT_MAX, 1 + 0.9 * DRIFT_MAX),
)
trips = st.tuples(st.floats(0, 30), st.floats(0, 0.5), st.floats(0, 0.5))
"""A pause, the way there, the way back; seconds."""


def followed(
    world: World, steps: list[tuple[float, float, float]]
) -> tuple[StoreClock, float, list[tuple[float, float]]]:
    """The clock after all samples, the time then, and of each (when it came, its round trip)."""
    now, clock, seen = 0.0, None, []
    for pause, there, back in steps:
        sample = world.sample(now + pause, there, back)
        now = sample[2]
        if clock is None:
            clock = StoreClock.first(*sample)
        else:
            assert not clock.stepped_back(*sample[:2])
            clock = clock.observed(*sample)
        seen.append((now, there + back))
    assert clock is not None
    return clock, now, seen


@given(worlds, st.lists(trips, min_size=1, max_size=20), st.floats(0, 60))
def test_a_deadline_is_never_early(
    world: World, steps: list[tuple[float, float, float]], ahead_s: float
) -> None:
    clock, now, _ = followed(world, steps)
    due_ms = math.ceil(world.store_s(now + ahead_s) * 1_000)
    early_s = world.local_s(due_ms / 1_000) - clock.local(due_ms, now)
    # Until the deadline the clocks may part further than is known now.
    assert early_s <= ROUNDING_S + DRIFT_MAX * (ahead_s + READING_S)


@given(worlds, st.lists(trips, min_size=1, max_size=20))
def test_a_deadline_is_late_by_the_fastest_recent_round_trip_at_most(
    world: World, steps: list[tuple[float, float, float]]
) -> None:
    clock, now, seen = followed(world, steps)
    due_ms = math.ceil(world.store_s(now) * 1_000)
    late_s = clock.local(due_ms, now) - world.local_s(due_ms / 1_000)
    for came, round_trip_s in seen:
        drifted_s = 2 * DRIFT_MAX * (now - came + round_trip_s + READING_S)
        assert late_s <= round_trip_s + READING_S + drifted_s + ROUNDING_S


def test_the_fastest_of_many_answers_decides() -> None:
    clock = StoreClock.first(0, 0.0, 0.100).observed(1_000, 1.0, 1.002).observed(2_000, 2.0, 2.300)
    assert clock.local(3_000, 2.3) == pytest.approx(3.002, abs=0.001)


def test_an_old_answer_is_forgotten_when_the_clocks_part() -> None:
    # One fast answer long ago, then slow ones from a store that now runs 400 ppm slow.
    world = World(offset_s=-1_000.0, rate=1 - 400e-6)
    steps = [(0.0, 0.0, 0.001)] + [(10.0, 0.02, 0.02)] * 60
    clock, now, _ = followed(world, steps)
    late_s = clock.local(math.ceil(world.store_s(now) * 1_000), now) - now
    assert 0 <= late_s < 0.050


def test_a_store_clock_that_steps_forward_is_followed_at_once() -> None:
    clock = StoreClock.first(1_000, 1.0, 1.001).observed(62_000, 2.0, 2.001)
    assert clock.local(63_000, 2.0) == pytest.approx(3.001)


def test_a_store_clock_that_steps_back_contradicts_and_is_followed_at_once() -> None:
    clock = StoreClock.first(100_000, 1.0, 1.001)
    assert clock.stepped_back(41_000, 2.0)
    clock = clock.observed(41_000, 2.0, 2.001)
    assert clock.local(42_000, 2.0) == pytest.approx(3.001)


def test_a_slow_answer_contradicts_nothing() -> None:
    clock = StoreClock.first(1_000, 1.0, 1.001)
    assert not clock.stepped_back(1_500, 1.2)
    assert clock.observed(1_500, 1.2, 9.0) == clock


@given(worlds, st.lists(trips, min_size=1, max_size=10))
def test_the_store_shows_at_least_what_is_claimed(
    world: World, steps: list[tuple[float, float, float]]
) -> None:
    clock, now, _ = followed(world, steps)
    assert clock.store_ms(now) <= world.store_s(now) * 1_000 + ROUNDING_S * 1_000


def test_an_answer_before_its_question_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        StoreClock.first(0, 2.0, 1.0)
