"""The guides name only what exists, and each is there in both languages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from actor_queue.core.doors import Platform
from actor_queue.core.variables import BY_NAME

GUIDES = Path(__file__).parent.parent / "docs" / "guides"
PAGES = sorted(GUIDES.glob("*.md"))
ROOT = GUIDES.parent.parent
BESIDE = ("docs/receivers.md", "examples/README.md", "examples/n8n/README.md")
LINKING = [*PAGES, *(ROOT / each for each in BESIDE)]
SUBJECTS = [page.stem for page in PAGES if page.stem != "README" and "." not in page.stem]


def code(page: Path) -> list[str]:
    """The blocks of a page that one pastes, without words of any language."""
    blocks = re.findall(r"```\w*\n(.*?)```", page.read_text(), re.DOTALL)
    return [re.sub(r'"[^"]*"|=\S.*', "", block) for block in blocks]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_guide_names_only_settings_that_exist(page: Path) -> None:
    named = set(re.findall(r"\bAQ_[A-Z_]+\b", page.read_text()))
    assert named <= BY_NAME.keys()


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_link_in_a_guide_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_guide_in_portuguese_has_the_same_steps_as_the_english_one(subject: str) -> None:
    english, portuguese = GUIDES / f"{subject}.md", GUIDES / f"{subject}.pt.md"
    assert code(english) == code(portuguese)
    steps = re.compile(r"^(##|\d+\.|\|---)", re.MULTILINE)
    assert steps.findall(english.read_text()) == steps.findall(portuguese.read_text())
    addresses = re.compile(r"https?://[\w.{}/-]+")
    assert set(addresses.findall(english.read_text())) == {
        each.replace("{versão}", "{version}") for each in addresses.findall(portuguese.read_text())
    }


def test_every_platform_with_a_door_has_a_guide_that_the_index_names() -> None:
    index = (GUIDES / "README.md").read_text()
    for subject in {*get_args(Platform), "n8n"}:
        assert f"]({subject}.md)" in index
        assert f"]({subject}.pt.md)" in index
        assert f"/in/{subject}" in (GUIDES / f"{subject}.md").read_text() or subject == "n8n"
