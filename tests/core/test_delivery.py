"""What follows from an attempt."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.delivery import (
    RETRY_AFTER_MAX_S,
    UNSPENT_DELAY_MS,
    decide,
    loggable,
    outcome_of_status,
    retry_after_seconds,
)
from actor_queue.core.outcome import (
    Ack,
    Bury,
    Delivered,
    Divide,
    Failed,
    Retry,
    timed_out,
)

SCHEDULE_MS = (1_000, 5_000, 15_000)
NOW_S = 784_111_117.0  # eleven minutes before the date that RFC 9110 uses: 1994-11-06 08:38:37


def test_a_delivered_batch_is_acknowledged_at_any_attempt() -> None:
    assert decide(Delivered(200), 99, SCHEDULE_MS, 0.0, 3) == Ack()


@pytest.mark.parametrize("number", [1, 99])
def test_an_attempt_that_is_not_spent_is_never_the_last_one(number: int) -> None:
    failed = Failed("answered 503", 503, retry_after_s=9_000.0)
    for schedule_ms, after_ms in ((SCHEDULE_MS, SCHEDULE_MS[0]), ((), UNSPENT_DELAY_MS)):
        verdict = decide(failed, number, schedule_ms, 0.5, 3, spent=False)
        assert verdict == Retry(after_ms, "answered 503", spent=False)


@pytest.mark.parametrize("number", [1, 99])
def test_a_final_failure_is_buried_at_once(number: int) -> None:
    assert decide(Failed("answered 410", 410, final=True), number, SCHEDULE_MS, 0.5, 3) == Bury(
        "answered 410"
    )


def test_each_retry_has_its_own_delay_and_after_the_last_the_batch_is_dead() -> None:
    verdicts = [decide(Failed("x"), number, SCHEDULE_MS, 0.5, 3) for number in (1, 2, 3, 4)]
    assert verdicts == [Retry(1_000, "x"), Retry(5_000, "x"), Retry(15_000, "x"), Bury("x")]


def test_without_a_schedule_the_first_failure_is_the_last() -> None:
    assert decide(Failed("x"), 1, (), 0.5, 3) == Bury("x")


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 3))
def test_jitter_moves_a_delay_by_a_fifth_at_most(jitter: float, number: int) -> None:
    verdict = decide(Failed("x"), number, SCHEDULE_MS, jitter, 3)
    assert isinstance(verdict, Retry)
    assert 0.8 * SCHEDULE_MS[number - 1] <= verdict.after_ms <= 1.2 * SCHEDULE_MS[number - 1]


def test_jitter_uses_the_whole_range() -> None:
    delays = [decide(Failed("x"), 1, SCHEDULE_MS, jitter, 3) for jitter in (0.0, 0.25, 0.75)]
    assert delays == [Retry(800, "x"), Retry(900, "x"), Retry(1_100, "x")]


@pytest.mark.parametrize(
    ("asked_s", "after_ms"), [(0.0, 1_000), (0.5, 1_000), (1.0005, 1_001), (60.0, 60_000)]
)
def test_a_receiver_that_asks_for_more_time_gets_it(asked_s: float, after_ms: int) -> None:
    assert decide(Failed("x", 429, asked_s), 1, SCHEDULE_MS, 0.5, 3) == Retry(after_ms, "x")


@pytest.mark.parametrize(
    ("asked_s", "after_ms"), [(float("inf"), 86_400_000), (1e300, 86_400_000), (-5.0, 1_000)]
)
def test_no_receiver_gets_more_than_a_day_or_less_than_the_schedule(
    asked_s: float, after_ms: int
) -> None:
    assert decide(Failed("x", 429, asked_s), 1, SCHEDULE_MS, 0.5, 3) == Retry(after_ms, "x")


def test_asking_for_time_does_not_buy_another_attempt() -> None:
    assert decide(Failed("x", 429, 60.0), 4, SCHEDULE_MS, 0.5, 3) == Bury("x")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_success(status: int) -> None:
    assert outcome_of_status(status, 5.0) == Delivered(status)


@pytest.mark.parametrize("status", [101, 199, 300, 301, 304, 400, 404, 429, 500, 503])
def test_any_other_status_can_be_tried_again(status: int) -> None:
    assert outcome_of_status(status, 5.0) == Failed(f"answered {status}", status, 5.0, final=False)


def test_gone_is_final() -> None:
    assert outcome_of_status(410, None) == Failed("answered 410", 410, None, final=True)


@pytest.mark.parametrize("number", [1, 99])
def test_a_batch_that_is_too_large_is_divided_until_a_message_alone_dies(number: int) -> None:
    too_large = outcome_of_status(413, 60.0)
    assert decide(too_large, number, SCHEDULE_MS, 0.5, 2) == Divide("answered 413")
    assert decide(too_large, number, SCHEDULE_MS, 0.5, 1) == Bury("answered 413")
    final = Failed("too large, and no smaller", 413, final=True)
    assert isinstance(decide(final, number, SCHEDULE_MS, 0.5, 2), Bury)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("86401", RETRY_AFTER_MAX_S),
        ("9" * 90, RETRY_AFTER_MAX_S),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 660.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 660.0),
        ("Sun Nov  6 08:49:37 1994", 660.0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        ("Sun, 06 Nov 2094 08:00:00 GMT", RETRY_AFTER_MAX_S),
    ],
)
def test_retry_after_is_read_in_every_form_that_http_allows(header: str, seconds: float) -> None:
    assert retry_after_seconds(header, NOW_S) == seconds


def test_a_date_without_a_zone_is_not_in_this_machines_zone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "UTC+7")
        time.tzset()
        assert retry_after_seconds("Sun Nov  6 08:49:37 1994", NOW_S) == 660.0
    time.tzset()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "soon",
        "-1",
        "1e3",
        "0x10",
        "NaN",
        "inf",
        "\uff11",
        "9" * 5_000,
        "Sun, 99 Nov 1994 08:49:37 GMT",
    ],
)
def test_a_retry_after_that_makes_no_sense_leaves_the_schedule_alone(header: str) -> None:
    assert retry_after_seconds(header, NOW_S) is None


@given(
    st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ \S*")
)
def test_any_retry_after_is_either_understood_or_ignored(header: str) -> None:
    seconds = retry_after_seconds(header, NOW_S)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_MAX_S


@given(st.integers(0, 86_400))
def test_a_date_is_as_far_away_as_it_says(seconds: int) -> None:
    assert retry_after_seconds(formatdate(NOW_S + seconds, usegmt=True), NOW_S) == seconds


@pytest.mark.parametrize(
    ("left_s", "said"),
    [(4.0, "4"), (3.98, "4"), (29.8, "30"), (0.2, "0.2"), (2.5, "2.5"), (1.4, "1.4"),
     (3_599.9, "3600"), (0.004, "0.004"), (0.0, "0")],
)  # fmt: skip
def test_a_time_limit_is_told_as_it_was_set_and_not_as_what_the_claim_left_of_it(
    left_s: float, said: str
) -> None:
    assert timed_out(left_s) == f"timed out after {said} s"


@pytest.mark.parametrize("to", ["https://bot/s3cret", "/s3cret?x=s3cret", "https://bot/ s3cret"])
def test_the_log_has_no_path_of_the_address_that_a_redirect_names(to: str) -> None:
    failed = outcome_of_status(308, None, redirected_to=to)
    assert isinstance(failed, Failed)
    assert "s3cret" in failed.reason
    assert "s3cret" not in loggable(failed.reason)
    assert loggable(failed.reason).startswith("answered 308 to ")
    assert loggable("answered 500") == "answered 500"
