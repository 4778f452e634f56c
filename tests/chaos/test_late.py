"""What a receiver that answers later was told is judged: each violation is seen by its name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import pytest

from tests.acceptance.checker import Expected, violations
from tests.acceptance.history import Post
from tests.acceptance.receiver import Attempt
from tests.chaos.late_verdict import Said, answer_violations, as_they_ended, last_words


def post(text: str, at: float) -> Post:
    return Post("ana", text, 0.5, at, at + 0.1, 202)


def attempt(batch_id: str, texts: str, at: float, supersedes: str | None = None) -> Attempt:
    batch = {"id": batch_id} | ({"supersedes": supersedes} if supersedes else {})
    body = json.dumps({"batch": batch}).encode()
    headers = {"idempotency-key": batch_id}
    return Attempt(batch_id, "ana", tuple(texts.split()), body, headers, "", at, at + 0.01, 202)


def said(of: Attempt, verb: str, at: float, status: int, newer: int = 0, tries: int = 1) -> Said:
    return Said(of.webhook_id, of.started, verb, at, at + 0.05, status, newer, tries)


POSTS = [post("um", 0.0), post("dois", 1.0), post("três", 3.0)]
FIRST = attempt("b1", "um", 0.7)
SECOND = attempt("b2", "um dois", 1.7, "b1")
THIRD = attempt("b3", "três", 3.7)
ATTEMPTS = [FIRST, SECOND, THIRD]
WORDS = [
    said(FIRST, "latest", 1.2, 409, 1),
    said(SECOND, "latest", 2.0, 200),
    said(THIRD, "done", 4.0, 200),
]


def found(attempts: Sequence[Attempt], words: Sequence[Said]) -> set[str]:
    ended = as_they_ended(attempts, last_words(words))
    told = [*answer_violations(POSTS, attempts, words)]
    told += violations(POSTS, ended, Expected(repeats=True))
    return {each.partition(":")[0] for each in told}


def changed(place: int, **changes: object) -> list[Said]:
    word = dataclasses.replace(WORDS[place], **changes)  # type: ignore[arg-type]
    return [*WORDS[:place], word, *WORDS[place + 1 :]]


def test_a_batch_that_is_taken_back_and_comes_again_is_no_violation() -> None:
    assert found(ATTEMPTS, WORDS) == set()


def test_a_time_without_a_word_and_a_word_that_failed_are_failed_attempts() -> None:
    again = attempt("b3", "três", 6.0)
    assert found([*ATTEMPTS, again], [*WORDS[:2], said(again, "done", 6.1, 200)]) == set()
    failed = said(THIRD, "fail", 4.0, 200)
    assert found([*ATTEMPTS, again], [*WORDS[:2], failed, said(again, "done", 6.1, 200)]) == set()
    assert found(ATTEMPTS, [*WORDS[:2], failed]) == {"lost"}
    assert found(ATTEMPTS, WORDS[:2]) == {"lost"}


def test_an_end_that_nobody_answered_may_have_been_either() -> None:
    # The first try took the batch back, and the user's next batch was answered before the second.
    assert found(ATTEMPTS, changed(0, status=410, tries=2)) == set()
    assert "groundless" in found(ATTEMPTS, changed(0, status=410))
    # The first try ended it.
    assert found(ATTEMPTS, changed(2, status=410, tries=2)) == set()
    assert "lost" in found(ATTEMPTS, changed(2, status=410))


TWICE = attempt("b4", "dois três", 3.7)


@pytest.mark.parametrize(
    ("attempts", "words", "kind"),
    [
        (ATTEMPTS, changed(0, status=500), "answer"),
        (ATTEMPTS, changed(0, status=200, newer=0), "unseen"),
        (ATTEMPTS, changed(0, status=200), "groundless"),
        (ATTEMPTS, changed(0, status=200), "doubled"),
        (ATTEMPTS, changed(1, newer=1), "done"),
        ([FIRST, attempt("b2", "dois um", 1.7, "b1"), THIRD], WORDS, "content"),
        ([FIRST, attempt("b2", "um dois", 1.7), THIRD], WORDS, "supersedes"),
        ([FIRST], WORDS[:1], "lost"),
        ([*ATTEMPTS, attempt("b2", "um dois", 5.0, "b1")], WORDS, "again"),
        ([FIRST, SECOND, TWICE], [*WORDS[:2], said(TWICE, "done", 4.0, 200)], "doubled"),
        ([FIRST, SECOND, attempt("b3", "três", 1.9)], WORDS, "early"),
        ([FIRST, SECOND, dataclasses.replace(THIRD, started=1.9)], WORDS, "overlap"),
    ],
)
def test_each_violation_has_a_name(attempts: list[Attempt], words: list[Said], kind: str) -> None:
    assert kind in found(attempts, words)


def test_a_third_time_in_a_row_is_no_time_to_take_back() -> None:
    texts = ["um", "um dois", "um dois três", "um dois três quatro"]
    attempts = [
        attempt(f"b{n}", carried, float(n), f"b{n - 1}" if n else None)
        for n, carried in enumerate(texts)
    ]
    words = [said(each, "latest", each.started + 0.5, 409, 1) for each in attempts[:3]]
    told = list(answer_violations([], attempts, words))
    assert [each.partition(":")[0] for each in told] == ["endless"]


def test_what_a_failover_undoes_comes_again_and_is_not_lost() -> None:
    again = attempt("b1", "um", 2.5)
    words = [WORDS[0], said(again, "done", 2.6, 200)]
    posts = POSTS[:1]
    ended = as_they_ended([FIRST, again], last_words(words))
    assert not violations(posts, ended, Expected(repeats=True))
    told = list(answer_violations(posts, [FIRST, again], words))
    assert [each.partition(":")[0] for each in told] == ["again"]
    assert not list(answer_violations(posts, [FIRST, again], words, failovers=[(1.9, 2.4)]))


@pytest.mark.parametrize("failover", [(0.2, 1.1), (2.3, 2.4)])
def test_what_no_failover_can_have_undone_does_not_come_again(
    failover: tuple[float, float],
) -> None:
    again = attempt("b1", "um", 2.5)
    words = [WORDS[0], said(again, "done", 2.6, 200)]
    told = list(answer_violations(POSTS[:1], [FIRST, again], words, failovers=[failover]))
    assert [each.partition(":")[0] for each in told] == ["again"]
