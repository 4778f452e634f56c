"""A flood of lines is cut and counted, and no kind takes another's place."""

from __future__ import annotations

from actor_queue.core.flood import KINDS_MAX, LINES_A_SECOND_MAX, Flood


def test_the_first_lines_of_a_second_pass_and_the_others_are_counted_once() -> None:
    flood = Flood()
    admitted = [flood.admits("a", 5.0) for _ in range(100)]
    assert sum(admitted) == LINES_A_SECOND_MAX
    assert flood.admits("b", 5.5)
    assert list(flood.left_out(5.9)) == []
    assert list(flood.left_out(6.0)) == [("a", 100 - LINES_A_SECOND_MAX)]
    assert list(flood.left_out(6.0)) == []
    assert flood.admits("a", 6.0)


def test_kinds_without_end_share_one_count() -> None:
    flood = Flood()
    admitted = sum(flood.admits(f"kind {n}", 1.0) for n in range(KINDS_MAX + 500))
    assert admitted == KINDS_MAX + LINES_A_SECOND_MAX
    assert list(flood.left_out(3.0)) == [("other", 500 - LINES_A_SECOND_MAX)]
