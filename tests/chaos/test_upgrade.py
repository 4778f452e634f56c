"""What two releases side by side are judged by besides: no batch waits for the other release."""

from __future__ import annotations

from tests.acceptance.receiver import Attempt
from tests.chaos.upgrade import stuck_for


def attempt(batch_id: str, at: float) -> Attempt:
    return Attempt(batch_id, "ana", ("um",), b"", {}, "", at, at + 0.01, 503)


def test_a_batch_whose_next_attempt_comes_too_late_is_stuck_and_no_other() -> None:
    attempts = [attempt("b1", 1.0), attempt("b2", 1.5), attempt("b1", 2.0), attempt("b2", 9.0)]
    assert list(stuck_for(attempts, 5.0)) == ["stuck: b2 waited 7.5 s for its next attempt"]
    assert not list(stuck_for(attempts, 8.0))
