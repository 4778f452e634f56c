"""Verbs for many from a terminal: counted first, asked about, and done piece after piece."""

from __future__ import annotations

import json

import pytest

from actor_queue.core.message import Message
from tests.cli.conftest import Ours, Run, Scripted


def waiting(ours: Ours, *users: str) -> None:
    for user in users:
        ours.engine.messages[user].append(Message(user, b"{}", 9_000, f"m-{user}", True))


@pytest.mark.parametrize("verb", ["flush", "hold", "drop"])
def test_a_verb_for_many_says_how_many_and_does_nothing_where_nobody_can_be_asked(
    run: Run, ours: Ours, verb: str
) -> None:
    waiting(ours, "ana", "ana-2", "bia")
    said = run(verb, "--user", "ana", "--url", ours.url)
    assert said.status == 2
    assert "2 users with 2 messages" in said.err
    assert "--yes" in said.err
    assert all(piece.dry_run for _, _, piece, _ in ours.engine.for_many)


def test_yes_does_it_and_a_dry_run_only_counts(run: Run, ours: Ours) -> None:
    waiting(ours, "ana", "ana-2", "bia")
    options = ("--user", "ana", "--state", "collecting", "--url", ours.url)
    said = run("hold", "--seconds", "60", *options, "--dry-run", "--json")
    assert json.loads(said.out) == {"would": 2, "messages": 2, "passed_over": 0}
    said = run("hold", "--seconds", "60", *options, "--yes")
    assert (said.status, said.out) == (0, "done: 2\n")
    verb, wanted, piece, for_ms = ours.engine.for_many[-1]
    assert (verb, wanted.user, wanted.state, for_ms) == ("hold", "ana", "collecting", 60_000)
    assert not piece.dry_run


def test_a_verb_goes_on_with_the_cursor_until_all_is_done(run: Run, scripted: Scripted) -> None:
    answers = iter(
        [
            {"success": True, "done": 1_000, "messages": 1_200, "passed_over": 2, "cursor": "c1"},
            {"success": True, "done": 5, "messages": 5, "passed_over": 0, "cursor": None},
        ]
    )

    class Each(dict[str, tuple[int, object]]):
        def get(self, *_: object) -> object:  # type: ignore[override]
            return 200, next(answers)

    scripted.answers = Each()
    said = run("release", "--all", "--yes", "--url", scripted.url)
    assert (said.status, said.out) == (0, "done: 1005\npassed over: 2\n")
    assert "1000 " in said.err
    assert [request.body for request in scripted.requests] == [{}, {"cursor": "c1"}]


@pytest.mark.parametrize(
    "words",
    [
        ("flush",),
        ("drop", "ana", "--user", "an"),
        ("hold", "ana", "--all"),
        ("release", "--all", "--state", "held"),
        ("flush", "ana", "--dry-run"),
        ("drop", "--user", ""),
        ("drop", "--user", "an", "--everything"),
        ("dead", "replay"),
        ("dead", "drop", "b1", "--status", "410"),
    ],
)
def test_whom_a_verb_means_must_be_said_in_one_way(
    run: Run, ours: Ours, words: tuple[str, ...]
) -> None:
    assert run(*words, "--yes", "--url", ours.url).status == 2
    assert ours.engine.for_many == []


def test_dead_letters_are_replayed_and_dropped_by_filter(run: Run, ours: Ours) -> None:
    for number, user in enumerate(("ana", "ana-2", "bia")):
        ours.engine.bury(f"b{number}", user=user)
    some = ("--user", "ana", "--reason", "answered", "--status", "500", "--url", ours.url)
    counted = {"would": 2, "messages": 2, "passed_over": 0}
    for verb in ("replay", "drop"):
        assert json.loads(run("dead", verb, *some, "--dry-run", "--json").out) == counted
    said = run("dead", "replay", *some, "--per-second", "20", "--yes")
    assert (said.status, said.out) == (0, "replayed: 2\n")
    assert ours.engine.job.per_second == 20
    assert run("dead", "drop", *some, "--yes").out == "dropped: 2\n"
    assert list(ours.engine.letters) == ["b2"]
