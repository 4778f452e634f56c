"""The pages as files: which stands where, what is vendored, and that they say the same in each
language."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from actor_queue.http.page_files import DOCS, OPERATE, PLAYGROUND
from tests.http.client import call
from tests.http.conftest import Served

PAGES = Path(str(files("actor_queue.http") / "pages"))
WORD = re.compile(r'^  "?([^\s":][^":]*)"?: (?=["{m])', re.MULTILINE)
PLACEHOLDER = re.compile(r"\{(\w+)\}")
MARKUP = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")
IMPORT = re.compile(r'from "(\.[^"]+)"')
SPOKEN = re.compile(r'\bt\("([^"]+)"')
SPOKEN_PREFIX = re.compile(r"\bt\(`([a-z.-]+)\$")


def test_the_first_page_of_serve_is_the_operators_view_and_writes_to_nobody(
    shared: Served,
) -> None:
    first = call(shared.address, "GET", "/").body
    assert first == call(shared.address, "GET", "/operate").body
    assert b"static/operate/main.js" in first
    assert b"composer" not in first
    assert b'data-playground="no"' in first


def test_every_module_that_a_page_loads_comes_with_the_package() -> None:
    for module in modules():
        for found in IMPORT.findall(module.read_text()):
            assert (module.parent / found).is_file(), f"{module.name} imports {found}"
    for page in (DOCS, OPERATE, PLAYGROUND):
        for reference in re.findall(r'(?:src|href)="(static/[^"]+)"', (PAGES / page).read_text()):
            assert (PAGES / reference.removeprefix("static/")).is_file(), f"{page}: {reference}"


def test_no_page_makes_markup_or_code_of_text() -> None:
    for module in modules():
        assert MARKUP.search(module.read_text()) is None, module.name


def test_what_is_vendored_is_what_its_list_says() -> None:
    listed = {}
    for line in (PAGES / "vendor" / "VENDORED.txt").read_text().splitlines():
        words = line.split()
        if len(words) == 4 and len(words[3]) == 64:
            name, release, licence, digest = words
            assert re.fullmatch(r"\S+@\d+\.\d+\.\d+", release)
            assert licence in {"MIT", "Apache-2.0", "0BSD"}
            listed[name] = digest
    there = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (PAGES / "vendor").iterdir()
        if path.name != "VENDORED.txt"
    }
    assert listed == there


def test_each_sentence_is_said_in_each_language_with_the_same_values() -> None:
    english, portuguese = sentences("words-en.js"), sentences("words-pt.js")
    assert english.keys() == portuguese.keys()
    for name, text in english.items():
        said = set(PLACEHOLDER.findall(text)), set(PLACEHOLDER.findall(portuguese[name]))
        assert said[0] == said[1], name


def test_every_sentence_that_a_page_asks_for_exists() -> None:
    known = sentences("words-en.js").keys()
    for module in modules():
        text = module.read_text()
        for name in SPOKEN.findall(text):
            assert name in known or name == "name", f"{module.name}: {name}"
        for prefix in SPOKEN_PREFIX.findall(text):
            assert any(name.startswith(prefix) for name in known), f"{module.name}: {prefix}"
    page = (PAGES / OPERATE).read_text()
    for name in re.findall(r'data-t(?:-label|-wrong)?="([^"]+)"', page):
        assert name in known, name


@pytest.mark.parametrize("page", [OPERATE, PLAYGROUND, DOCS])
def test_no_page_has_a_script_or_a_style_of_its_own(page: str) -> None:
    text = (PAGES / page).read_text()
    assert re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", text) is None


def modules() -> Iterator[Path]:
    for path in sorted(PAGES.rglob("*.js")):
        if "vendor" not in path.parts:
            yield path


def sentences(name: str) -> dict[str, str]:
    """Each sentence's name and the rest of its line, where all its forms are."""
    found: dict[str, str] = {}
    for line in (PAGES / "operate" / name).read_text().splitlines():
        match = WORD.match(line)
        if match is not None:
            assert match[1] not in found, f"{name} says {match[1]} twice"
            found[match[1]] = line[match.end() :]
    return found
