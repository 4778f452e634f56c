"""docs/doors.md shows what really comes out."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from actor_queue.doors import PLATFORMS
from actor_queue.doors.vocabulary import Kind, Reason
from tests.doors.documented import TITLES, examples

PAGE = (Path(__file__).parents[2] / "docs" / "doors.md").read_text()


def test_the_examples_are_what_the_fixtures_say() -> None:
    for title, lines in examples():
        block = "\n".join(lines)
        assert f"### {title}\n\n```json\n{block}\n```\n" in PAGE, f"docs/doors.md needs:\n{block}"


def test_every_platform_kind_and_reason_is_documented() -> None:
    assert TITLES.keys() == PLATFORMS.keys()
    for word in (*PLATFORMS, *get_args(Kind), *get_args(Reason)):
        assert f"`{word}`" in PAGE, word
