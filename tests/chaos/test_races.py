"""`if latest` decides in one step: no message comes between the look and the end.

Ten thousand races: `make races`.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from tests.acceptance.service import ROOT
from tests.chaos.race_verdict import Append, Carried, Race, Story, Word, judge_races
from tests.chaos.races import run

FEW = 300
"""Some three seconds."""
DONE = "local back = ARGV[6] == '1' and newer > 0 and"


@pytest.mark.process
def test_an_end_that_is_granted_to_the_latest_leaves_nothing_unseen_and_loses_nothing() -> None:
    verdict = judge_races(run(FEW, seed=1))
    for line in verdict.lines():
        print(line)
    verdict.require()
    assert verdict.races >= FEW
    assert verdict.met > FEW / 4
    assert min(verdict.outcomes["done"], verdict.outcomes["taken back"]) > FEW / 10


@pytest.mark.process
def test_a_service_that_looks_before_it_decides_is_seen(tmp_path: Path) -> None:
    """The control: an end that believes that nothing waits."""
    package = tmp_path / "actor_queue"
    shutil.copytree(ROOT / "actor_queue", package, ignore=shutil.ignore_patterns("__pycache__"))
    script = package / "store" / "lua" / "done_v1.lua"
    assert script.read_text().count(DONE) == 1
    script.write_text(script.read_text().replace(DONE, f"newer = 0\n{DONE}"))
    verdict = judge_races(run(25, seed=2, variables={"PYTHONPATH": str(tmp_path)}))
    assert any(each.startswith("unseen:") for each in verdict.violations)


# What the judge would say


def word(called: float, returned: float, status: int = 200, newer: int | None = 0) -> Word:
    return Word(called, returned, status, newer)


B1 = Carried("b1", ("m1",), None)
B2 = Carried("b2", ("m1", "m2"), "b1")
BACK = Race(B1, Append("m2", 1.0, 1.1, 202), (word(1.2, 1.3, 409, 1),))
DONE_FIRST = Race(B2, Append("m3", 3.1, 3.2, 202), (word(3.0, 3.15),))
STORY = Story("ana", "m1", (BACK, DONE_FIRST), Carried("b3", ("m3",), None), word(4.0, 4.1))


def said(story: Story) -> set[str]:
    return {each.partition(":")[0] for each in judge_races([story]).violations}


def with_races(first: Race, second: Race = DONE_FIRST) -> Story:
    return dataclasses.replace(STORY, races=(first, second))


def with_word(race: Race, *words: Word) -> Race:
    return dataclasses.replace(race, words=words)


def test_what_the_contract_allows_is_no_violation() -> None:
    assert said(STORY) == set()
    # Both calls were under way at once, so either answer is right.
    assert judge_races([STORY]).met == 1


DONE_THOUGH = with_word(BACK, word(1.2, 1.3, 200, 0))
LAST = Carried("b3", ("m3",), None)


@pytest.mark.parametrize(
    ("story", "kind"),
    [
        (with_races(DONE_THOUGH), "unseen"),
        (with_races(with_word(BACK, word(1.2, 1.3, 200, 1))), "done"),
        (with_races(with_word(BACK, word(0.8, 0.9, 409, 1))), "groundless"),
        (with_races(with_word(BACK, word(1.2, 1.3, 409, 0))), "groundless"),
        (with_races(with_word(BACK, word(1.2, 1.3, 409, 1), word(1.2, 1.4, 200, 1))), "twice"),
        (with_races(with_word(BACK, word(1.2, 1.3, 500, None))), "answer"),
        (with_races(dataclasses.replace(BACK, append=Append("m2", 1.0, 1.1, 503))), "refused"),
        (with_races(BACK, with_word(DONE_FIRST, word(3.0, 3.15, 409, 1))), "content"),
        (dataclasses.replace(STORY, last=Carried("b3", ("m2", "m3"), None)), "doubled"),
        (dataclasses.replace(STORY, last=Carried("b3", (), None)), "lost"),
        (dataclasses.replace(STORY, last=Carried("b2", ("m3",), None)), "again"),
        (dataclasses.replace(STORY, last=Carried("b3", ("m3",), "b2")), "supersedes"),
        (dataclasses.replace(STORY, end=word(4.0, 4.1, 410, None)), "open"),
    ],
)
def test_each_violation_has_a_name(story: Story, kind: str) -> None:
    assert kind in said(story)


def test_a_third_time_in_a_row_is_no_time_to_take_back() -> None:
    def step(number: int, status: int) -> Race:
        texts = tuple(f"m{each}" for each in range(1, number + 1))
        before = f"b{number - 1}" if number > 1 else None
        append = Append(f"m{number + 1}", number, number + 0.1, 202)
        batch = Carried(f"b{number}", texts, before)
        return Race(batch, append, (word(number + 0.2, number + 0.3, status, 1),))

    races = (step(1, 409), step(2, 409), step(3, 200))
    over = Story("ana", "m1", races, Carried("b4", ("m4",), None), word(9, 9.1))
    assert said(over) == set()
    assert "endless" in said(dataclasses.replace(over, races=(*races[:2], step(3, 409))))
