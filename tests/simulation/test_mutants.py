"""The checker notices mistakes: those that show in a few seeds. `docs/simulation.md` has all."""

from __future__ import annotations

import pytest

from tests.simulation.__main__ import HUNT_START, page, title
from tests.simulation.mutant import hunt
from tests.simulation.mutants import MUTANTS

SEEDS_MAX = 40
QUICK = {
    "a claim without a fence",
    "a claim without a fence, by owners that ignore their trust window",
    "the trust window is ignored",
    "an expired lease is as good as a live one",
    "a live lease is stolen",
    "a new owner gets the old epoch",
    "a lease is renewed for anybody",
    "an owner does not hear that it lost its lease",
    "a shard is given back before claiming in it stops",
    "due is not looked at again",
    "a repeated claim starts a new attempt",
    "each attempt has an id of its own",
    "a takeover does not wait for the attempt's limit",
    "a hold is ignored",
    "the ack goes before the attempt",
    "a failed attempt is settled as a success",
    "a retry is not in the timer index",
    "a late ack ends another attempt's turn",
    "a delivered batch is retried",
    "a delivered batch becomes a dead letter",
    "a delivered batch is claimed again",
    "a drop takes an attempt under way",
    "a message id is not remembered",
    "a message id is remembered although the message was refused",
    "dividing loses the second half",
    "the halves swap",
    "the first half's ack lets both go",
    "the second half goes behind newer messages",
    "the sweep skips who is in flight",
    "other owners are not told of sooner steps",
    "a letter whose replay is queued is deleted",
    "the messages of a deleted letter stay",
    "a job that is taken up skips a page",
    "a job passes over what got no answer",
    "a reserve that refuses claims too",
    "there is no reserve",
    "an edit counts no bytes",
    "a revoke leaves the count of its closed batch",
    "an edit changes what was claimed",
    "a horizon that never grows again",
    "a taken-back batch is appended behind the newer ones",
    "a batch is taken back as often as its receiver likes",
    "a batch does not say what it supersedes",
    "an old attempt's token is accepted",
    "an answer after its time is accepted",
    "an extension without an end",
    "who says nothing in time was done",
    "who wants no other attempt gets one",
    "the owner is not told that a batch is done",
    "a dead route takes the slots of the others",
    "one breaker for all routes",
    "a breaker that spends retries",
    "a probe's time is not moved when it is granted",
    "nobody is told of a pause",
}


def test_the_quick_ones_exist() -> None:
    assert {mutant.name for mutant in MUTANTS} >= QUICK


def test_every_mistake_can_still_be_made() -> None:
    for mutant in MUTANTS:
        for edit in mutant.edits:
            edit.check_applies()


def test_the_page_has_a_line_for_every_mistake_and_for_no_other() -> None:
    _, lines, _ = page()
    assert list(lines) == [title(mutant) for mutant in MUTANTS]


@pytest.mark.parametrize(
    "mutant", [each for each in MUTANTS if each.name in QUICK], ids=lambda each: each.name
)
def test_a_mistake_is_noticed(mutant: object) -> None:
    assert hunt(mutant, HUNT_START, SEEDS_MAX) is not None  # type: ignore[arg-type]
