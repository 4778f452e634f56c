"""The line of an attempt: written and read back, and what others wrote is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.history import (
    MARKS_MAX,
    REASON_CHARS_MAX,
    PastAttempt,
    has_mark,
    line_after_time,
    mark_of,
    marks_of,
    read_line,
)
from actor_queue.core.message import USER_BYTES_MAX

NUMBERS = st.integers(0, 2**53)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=USER_BYTES_MAX // 4)
PAST = st.builds(
    PastAttempt,
    user=TEXTS,
    batch_id=st.text("b0123456789abcdef", min_size=1),
    number=NUMBERS,
    outcome=st.sampled_from(["delivered", "failed", "dead"]),
    status=st.none() | st.integers(100, 599),
    reason=st.none() | st.text(min_size=1, max_size=REASON_CHARS_MAX),
    took_ms=st.none() | NUMBERS,
    messages=NUMBERS,
    size=NUMBERS,
    replica=st.text("r-0123456789abcdef"),
    marks=st.lists(st.binary(min_size=4, max_size=4), max_size=MARKS_MAX).map(b"".join),
    at_ms=NUMBERS,
    route=st.sampled_from(["default", "vendas"]),
)


def stored(attempt: PastAttempt) -> bytes:
    return f"[7,{attempt.at_ms},{line_after_time(attempt)}".encode("utf-8", "surrogatepass")


@given(PAST)
def test_an_attempt_is_read_as_it_was_written(attempt: PastAttempt) -> None:
    assert read_line(stored(attempt)) == attempt


@given(st.binary(max_size=60) | st.recursive(st.none() | NUMBERS | TEXTS, st.lists).map(
    lambda value: json.dumps(value).encode()
))  # fmt: skip
def test_what_no_attempt_wrote_is_none_and_no_crash(line: bytes) -> None:
    read_line(line)


@pytest.mark.parametrize("place", range(1, 13))
def test_an_attempt_of_which_one_value_is_of_another_kind_is_none(place: int) -> None:
    good = PastAttempt("ana", "b1", 1, "failed", 500, "why", 5, 1, 9, "r", b"abcd", 3)
    entry = json.loads(stored(good))
    entry[place] = {}
    assert read_line(json.dumps(entry).encode()) is None
    assert read_line(b"[7]") is None
    assert read_line(b"[" * 100_000) is None


def test_the_longest_reason_is_cut() -> None:
    told = PastAttempt("a", "b", 1, "failed", None, "x" * 99, 5, 1, 9, "r", at_ms=3)
    read = read_line(stored(told))
    assert read is not None
    assert read.reason == "x" * REASON_CHARS_MAX


@given(st.lists(TEXTS, max_size=20))
def test_the_first_messages_of_a_batch_are_marked(names: list[str]) -> None:
    items = [
        f"[{n},{n},{json.dumps(name, ensure_ascii=False)},{{}}]".encode()
        for n, name in enumerate(names)
    ]
    marks = marks_of(items)
    assert len(marks) == 4 * min(len(names), MARKS_MAX)
    attempt = PastAttempt("a", "b", 1, "failed", None, None, 5, 1, 9, "r", marks)
    assert all(has_mark(attempt, mark_of(name)) for name in names[:MARKS_MAX])
