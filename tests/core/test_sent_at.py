"""When a message was sent, and the order that follows from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.sent_at import as_sent, sent_s

MOMENT_S = 1_738_199_985


@pytest.mark.parametrize(
    "given",
    [
        MOMENT_S, float(MOMENT_S), MOMENT_S * 1_000, str(MOMENT_S), f" {MOMENT_S}000 ",
        f"{MOMENT_S}.000", "2025-01-30T01:19:45Z", "2025-01-30t01:19:45z", "2025-01-30 01:19:45.0Z",
        "2025-01-29T22:19:45-03:00", "2025-01-30T06:49:45+05:30", "2025-01-30T01:19:45-00:00",
    ],
)  # fmt: skip
def test_each_way_to_say_a_moment_means_the_same(given: object) -> None:
    assert sent_s(given) == MOMENT_S


def test_fractions_count_and_a_leap_second_follows_the_second_before() -> None:
    assert sent_s("2025-01-30T01:19:45.25Z") == sent_s(MOMENT_S * 1_000 + 250) == MOMENT_S + 0.25
    assert sent_s("2016-12-31T23:59:60Z") == sent_s("2017-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "given",
    [
        None, True, False, [], {}, "", "ontem", "1e9", "-5", -5, 0, 1e300, float("inf"), 10**400,
        float("nan"), "9" * 16, "2025-01-30", "2025-01-30T01:19:45", "2025-02-30T01:19:45Z",
        "2025-01-30T25:19:45Z", "2025-01-30T01:19:61Z", "2025-01-30T01:19:45+25:00",
        "0001-01-01T00:00:00Z", "٢٠٢٥-01-30T01:19:45Z",
    ],
)  # fmt: skip
def test_what_is_no_moment_moves_nothing(given: object) -> None:
    assert sent_s(given) is None
    assert as_sent([(2, given), (1, given)], lambda item: item[1]) == [(2, given), (1, given)]


@given(st.lists(st.tuples(st.integers(), st.sampled_from([None, "x", 5, 6, 7.5, 7500000000000]))))
def test_the_order_is_stable_and_whoever_says_no_time_stays_in_place(
    items: list[tuple[int, object]],
) -> None:
    found = as_sent(items, lambda item: item[1])
    assert sorted(map(repr, found)) == sorted(map(repr, items))
    for before, after in zip(items, found, strict=True):
        assert (sent_s(before[1]) is None) == (sent_s(after[1]) is None)
        assert sent_s(before[1]) is not None or before == after
    timed = [item for item in items if sent_s(item[1]) is not None]
    assert [item for item in found if sent_s(item[1]) is not None] == sorted(
        timed, key=lambda item: sent_s(item[1]) or 0
    )
    assert as_sent(found, lambda item: item[1]) == found
