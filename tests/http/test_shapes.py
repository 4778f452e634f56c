"""What of a user's state is worked out for the API's answer."""

from __future__ import annotations

import pytest

from actor_queue.core.upkeep import DAY_MS
from actor_queue.http.shapes import dead_letter, user_line
from actor_queue.store.api import AttemptRecord, BatchSummary, DeadLetter, UserView

LIMIT_MS = 31_000


def view(
    *recent: AttemptRecord, due_in_ms: int | None = 28_400, retry_in_ms: int | None = None
) -> UserView:
    batch = BatchSummary("b1", 3, "quiet", 2, 1, 0, retry_in_ms)
    return UserView("ana", "delivering", 0, due_in_ms, None, batch, recent)


def attempt(batch_id: str, reason: str | None) -> AttemptRecord:
    return AttemptRecord(batch_id, 1, 0, "retry", 2, None, reason)


@pytest.mark.parametrize(
    ("due_in_ms", "retry_in_ms", "attempt_for"),
    [
        (28_400, None, 2.6),
        (0, None, 31.0),
        (99_000, None, 0.0),  # a replica with a longer AQ_WEBHOOK_TIMEOUT makes the attempt
        (5_000, 5_000, None),
        (None, None, None),
    ],
)
def test_an_attempt_under_way_says_for_how_long(
    due_in_ms: int | None, retry_in_ms: int | None, attempt_for: float | None
) -> None:
    batch = user_line(view(due_in_ms=due_in_ms, retry_in_ms=retry_in_ms), LIMIT_MS, None).batch
    assert batch is not None
    assert batch.attempt_for == attempt_for


def test_a_batch_says_why_its_own_last_attempt_failed() -> None:
    newest_first = [
        attempt("b1", None),  # still under way
        attempt("b1", "answered 503"),
        attempt("b1", "connection refused"),
        attempt("b0", "name not found"),
    ]
    assert failure(view(*newest_first)) == "answered 503"
    assert failure(view(*newest_first[3:])) is None


def failure(of: UserView) -> str | None:
    batch = user_line(of, LIMIT_MS, None).batch
    assert batch is not None
    return batch.failure


def test_a_dead_letter_says_when_it_will_be_deleted() -> None:
    letter = DeadLetter("b1", "ana", 1_738_200_000_000, 6, "answered 500", 3, False)
    assert dead_letter(letter, 2 * DAY_MS).expires_at == "2025-02-01T01:20:00.000Z"
    assert dead_letter(letter, 0).expires_at is None
