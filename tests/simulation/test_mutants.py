"""The checker notices mistakes: those that show in a few seeds. `docs/simulation.md` has all."""

from __future__ import annotations

import pytest

from tests.simulation.__main__ import HUNT_START
from tests.simulation.mutants import MUTANTS, hunt

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
    "a drop takes an attempt under way",
    "a message id is not remembered",
    "a message id is remembered although the message was refused",
    "a batch is as large as its messages make it",
    "dividing loses the second half",
    "the halves swap",
    "the first half's ack lets both go",
    "the second half goes behind newer messages",
    "a half is a batch like any other",
    "the sweep skips who is in flight",
    "other owners are not told of sooner steps",
}


def test_the_quick_ones_exist() -> None:
    assert {mutant.name for mutant in MUTANTS} >= QUICK


def test_every_mistake_can_still_be_made() -> None:
    for mutant in MUTANTS:
        for edit in mutant.edits:
            edit.check_applies()


@pytest.mark.parametrize(
    "mutant", [each for each in MUTANTS if each.name in QUICK], ids=lambda each: each.name
)
def test_a_mistake_is_noticed(mutant: object) -> None:
    assert hunt(mutant, HUNT_START, SEEDS_MAX) is not None  # type: ignore[arg-type]
