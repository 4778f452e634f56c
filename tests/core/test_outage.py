"""Trouble is told at its beginning, once a minute and at its end, however it flaps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.outage import (
    Absence,
    Away,
    Back,
    Began,
    Ended,
    GoesOn,
    Outage,
    StillAway,
    Tally,
)

DOWN = "connection refused"


def test_the_first_failure_a_summary_a_minute_and_the_recovery_are_told() -> None:
    outage = Outage()
    assert outage.idle
    assert outage.failed(100.0, DOWN, "ana") == Began(DOWN)
    assert outage.failed(101.0, DOWN, "ana") is None
    assert outage.failed(102.0, DOWN, "bia") is None
    assert outage.failed(103.0, "answered 503", "bia") is None
    assert outage.summary(159.9) is None
    assert outage.summary(160.0) == GoesOn(60.0, 3, 0, 2, "answered 503")
    assert outage.summary(160.0) is None
    assert outage.failed(170.0, DOWN, "ana") is None
    assert outage.summary(220.0) == GoesOn(120.0, 1, 0, 1, DOWN)
    assert outage.succeeded(230.0) == Ended(130.0, 5)
    assert outage.succeeded(231.0) is None


def test_a_minute_without_an_attempt_has_nothing_to_be_told_and_ends_no_outage() -> None:
    outage = Outage()
    outage.failed(0.0, DOWN)
    assert outage.summary(60.0) is None
    assert outage.summary(120.0) is None
    assert outage.succeeded(130.0) == Ended(130.0, 1)


def test_what_fails_again_within_the_minute_waits_for_the_summary() -> None:
    outage = Outage()
    assert outage.failed(0.0, DOWN)
    assert outage.succeeded(1.0)
    assert outage.failed(2.0, DOWN, "ana") is None
    assert outage.succeeded(3.0) is None
    assert outage.failed(4.0, DOWN, "bia") is None
    assert outage.succeeded(5.0) is None
    assert outage.summary(60.0) == GoesOn(60.0, 2, 2, 2, DOWN)
    assert outage.summary(120.0) is None
    assert outage.idle
    assert outage.failed(121.0, DOWN) == Began(DOWN)


def test_an_outage_that_only_a_summary_told_of_has_its_recovery_told_too() -> None:
    outage = Outage()
    outage.failed(0.0, DOWN)
    outage.succeeded(1.0)
    outage.failed(2.0, DOWN)
    assert outage.summary(60.0) is not None
    assert outage.succeeded(61.0) == Ended(59.0, 1)


@given(st.lists(st.tuples(st.floats(0.001, 30), st.booleans()), max_size=300))
def test_whatever_happens_little_is_told_and_the_last_word_is_true(
    steps: list[tuple[float, bool]],
) -> None:
    outage, now, said = Outage(), 0.0, []
    failing = False
    for pause, fails in steps:
        now += pause
        if now >= outage.next_at:
            said.append((now, outage.summary(now)))
        failing = fails
        said.append((now, outage.failed(now, DOWN) if fails else outage.succeeded(now)))
    told = [(at, what) for at, what in said if what is not None]
    for at, _ in told:
        assert sum(at <= other < at + 60 for other, _ in told) <= 4
    # Two quiet minutes later nothing is left unsaid.
    for _ in range(2):
        now = max(now + 60, outage.next_at if not outage.idle else now)
        if summary := outage.summary(now):
            told.append((now, summary))
    ends = [what for _, what in told if isinstance(what, Began | Ended)]
    if not failing and ends:
        summaries_after = told[-1][1]
        assert isinstance(summaries_after, Ended | GoesOn)
    if failing:
        assert isinstance(told[-1][1], Began | GoesOn)


def test_a_count_that_grows_is_told_at_once_and_then_once_a_minute() -> None:
    tally = Tally()
    assert tally.look(0.0, 0) is None
    assert tally.look(1.0, 3) == 3
    assert tally.look(2.0, 5) is None
    assert tally.look(60.9, 9) is None
    assert tally.look(61.0, 9) == 6
    assert tally.look(200.0, 9) is None
    assert tally.look(201.0, 10) == 1


def test_what_is_away_is_named_anew_when_the_reason_changes_and_timed_when_it_is_back() -> None:
    absence = Absence()
    assert absence.look(0.0, None, "") is None
    assert absence.look(1.0, "lost", "a") == Away("lost", "a")
    assert absence.look(2.0, "lost", "a") is None
    assert absence.look(3.0, "loading", "b") == Away("loading", "b")
    assert absence.look(62.0, "loading", "b") is None
    assert absence.look(63.0, "loading", "b") == StillAway("loading", "b", 62.0)
    assert absence.look(64.0, None, "") == Back(63.0)
    assert absence.look(65.0, None, "") is None
    assert absence.look(66.0, "loading", "b") == Away("loading", "b")
