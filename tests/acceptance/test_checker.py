"""The checker is tested too: each kind of violation, planted in a history, is reported."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest

from tests.acceptance.checker import Expected, undelivered, verify, violations
from tests.acceptance.history import Post
from tests.acceptance.receiver import Attempt

Histories = tuple[list[Post], list[Attempt]]


def post(
    text: str, at: float, *, user: str = "ana", status: int | None = 202, ttl_s: float = 1.0
) -> Post:
    return Post(user, text, ttl_s, called=at, returned=at + 0.01, status=status)


def attempt(
    webhook_id: str,
    texts: Sequence[str],
    started: float,
    *,
    user: str = "ana",
    status: int | None = 200,
    took_s: float | None = 0.1,
) -> Attempt:
    return Attempt(
        webhook_id=webhook_id,
        user=user,
        texts=tuple(texts),
        body=f"{webhook_id}{','.join(texts)}".encode(),
        headers={"idempotency-key": webhook_id},
        line="",
        started=started,
        ended=None if took_s is None else started + took_s,
        status=status,
    )


def history() -> Histories:
    """Two users; ana's first batch fails once, and her third message waits behind it."""
    posts = [post("a", 0.0), post("b", 0.5), post("c", 1.6), post("x", 0.1, user="bia")]
    attempts = [
        attempt("b1", ["x"], 1.12, user="bia"),
        attempt("a1", ["a", "b"], 1.52, status=500),
        attempt("a1", ["a", "b"], 2.52),
        attempt("a2", ["c"], 2.63),
    ]
    return posts, attempts


STRICT = Expected(late_s=0.05)


def test_a_history_without_fault_is_accepted() -> None:
    assert violations(*history(), STRICT) == []
    verify(*history(), STRICT)


def lose_a_message(posts: list[Post], attempts: list[Attempt]) -> None:
    del attempts[3]


def lose_one_of_a_batch(posts: list[Post], attempts: list[Attempt]) -> None:
    for i in (1, 2):
        attempts[i] = dataclasses.replace(attempts[i], texts=("a",))


def never_answer_2xx(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts[3] = dataclasses.replace(attempts[3], status=500)


def invent(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts.append(attempt("a3", ["nobody said this"], 5.0))


def deliver_what_was_refused(posts: list[Post], attempts: list[Attempt]) -> None:
    posts.append(post("r", 2.7, status=422))
    attempts.append(attempt("a3", ["r"], 5.0))


def send_to_another_user(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts[0] = dataclasses.replace(attempts[0], user="eva")


def change_the_bytes(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts[2] = dataclasses.replace(attempts[2], body=b"other bytes")


def change_the_key(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts[2].headers["idempotency-key"] = "other"


def deliver_under_a_second_id(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts.append(attempt("a3", ["c"], 5.0))


def carry_twice(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts[3] = dataclasses.replace(attempts[3], texts=("c", "c"))


def swap_within_a_batch(posts: list[Post], attempts: list[Attempt]) -> None:
    for i in (1, 2):
        attempts[i] = dataclasses.replace(attempts[i], texts=("b", "a"))


def swap_batches(posts: list[Post], attempts: list[Attempt]) -> None:
    posts[2] = dataclasses.replace(posts[2], called=-1.0, returned=-0.9)


def overlap(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts[2] = dataclasses.replace(attempts[2], ended=2.64)


def overlap_with_one_that_never_ends(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts[1] = dataclasses.replace(attempts[1], status=None, ended=None)


def overlap_a_long_one_behind_a_short_one(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts[1] = dataclasses.replace(attempts[1], ended=2.70)


def send_the_next_before_this_one_succeeded(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts[2] = dataclasses.replace(attempts[2], started=4.0, ended=4.1)


def send_the_next_although_this_one_never_succeeded(
    posts: list[Post], attempts: list[Attempt]
) -> None:
    attempts[2] = dataclasses.replace(attempts[2], status=503)


def go_back_to_an_old_batch(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts.append(attempt("a1", ["a", "b"], 5.0))


def repeat_after_success(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts.append(attempt("a2", ["c"], 5.0))


def come_early(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts[0] = dataclasses.replace(attempts[0], started=1.09, ended=1.1)


def come_late(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts[0] = dataclasses.replace(attempts[0], started=1.2, ended=1.3)


def come_late_behind_another(posts: list[Post], attempts: list[Attempt]) -> None:
    attempts[3] = dataclasses.replace(attempts[3], started=2.8, ended=2.9)


PLANTED: list[tuple[Callable[[list[Post], list[Attempt]], None], str]] = [
    (lose_a_message, "lost"),
    (lose_one_of_a_batch, "lost"),
    (never_answer_2xx, "lost"),
    (invent, "invented"),
    (deliver_what_was_refused, "invented"),
    (send_to_another_user, "invented"),
    (change_the_bytes, "changed"),
    (change_the_key, "changed"),
    (deliver_under_a_second_id, "doubled"),
    (carry_twice, "doubled"),
    (swap_within_a_batch, "disorder"),
    (swap_batches, "disorder"),
    (overlap, "overlap"),
    (overlap_with_one_that_never_ends, "overlap"),
    (overlap_a_long_one_behind_a_short_one, "overlap"),
    (send_the_next_before_this_one_succeeded, "unresolved"),
    (send_the_next_although_this_one_never_succeeded, "unresolved"),
    (go_back_to_an_old_batch, "unresolved"),
    (repeat_after_success, "repeated"),
    (come_early, "early"),
    (come_late, "late"),
    (come_late_behind_another, "late"),
]


@pytest.mark.parametrize(("plant", "kind"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_a_planted_violation_is_reported(
    plant: Callable[[list[Post], list[Attempt]], None], kind: str
) -> None:
    posts, attempts = history()
    plant(posts, attempts)
    kinds = {sentence.partition(":")[0] for sentence in violations(posts, attempts, STRICT)}
    assert kind in kinds
    with pytest.raises(AssertionError, match=kind):
        verify(posts, attempts, STRICT)


def test_what_the_contract_allows_is_no_violation() -> None:
    posts, attempts = history()
    # Nobody could say whether this was kept, so it may arrive or not.
    posts.append(post("u", 3.0, status=503))
    posts.append(post("v", 3.1, status=None))
    attempts.append(attempt("a3", ["u"], 4.2))
    # A success whose answer was lost, and the same batch again.
    attempts.append(attempt("a3", ["u"], 5.2))
    assert violations(posts, attempts, Expected(late_s=0.05, repeats=True)) == []


def test_a_message_that_is_sent_again_until_it_is_accepted_is_one_message() -> None:
    posts = [post("a", 0.0, status=503), post("a", 1.0, status=None), post("a", 2.0)]
    # It may have been kept at any of the three.
    for started in (1.0, 2.0, 3.0):
        assert violations(posts, [attempt("a1", ["a"], started)], Expected()) == []
    assert violations(posts, [attempt("a1", ["a"], 0.9)], Expected())
    assert violations(posts, [], Expected())


def test_dropped_and_dead_and_flushed_messages_are_excused_by_name() -> None:
    posts, attempts = history()
    attempts[2] = dataclasses.replace(attempts[2], status=500)
    assert violations(posts, attempts, Expected(gone={"a", "b"}, dead={"a1"})) == []
    posts, attempts = history()
    attempts[0] = dataclasses.replace(attempts[0], started=0.2, ended=0.3)
    assert violations(posts, attempts, Expected(closed_early={"bia"})) == []
    assert violations(posts, attempts, Expected())


def test_the_maximum_wait_counts_from_the_first_message() -> None:
    posts = [post(text, at) for text, at in (("a", 0.0), ("b", 0.9), ("c", 1.8))]
    sent = [attempt("a1", ["a", "b", "c"], 2.01)]
    assert violations(posts, sent, Expected(max_wait_s=2.0, late_s=0.05)) == []
    assert violations(posts, sent, Expected())
    assert violations(posts, sent, Expected(max_wait_s=1.9, late_s=0.05))
    assert violations(posts, sent, Expected(max_wait_s=2.1))


def test_what_is_not_delivered_yet_can_be_asked() -> None:
    posts, attempts = history()
    assert undelivered(posts, attempts) == set()
    assert undelivered(posts, attempts[:2]) == {"a", "b", "c"}
