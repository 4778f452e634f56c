"""The report's plots as files."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import plots
from benchmarks.figures import Result, Target

BARS = {"ours": [7_000.0, 90.0, 60.0], "theirs": [10_000.0, 60.0, 61.5]}


def drawn(directory: Path) -> str:
    directory.mkdir()
    result = Result("A contest", "", series={"bars": BARS})
    (name,) = plots.draw({"contest": result}, directory).values()
    return (directory / name).read_text("utf-8")


def elements(svg: str) -> list[tuple[str, dict[str, str], str]]:
    """What a browser sees: each element in its order, with its attributes and its text."""
    root = ElementTree.fromstring(svg)
    return [(each.tag, each.attrib, (each.text or "").strip()) for each in root.iter()]


def test_a_plot_is_the_same_picture_in_a_fifth_of_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = drawn(tmp_path / "ours")
    monkeypatch.setattr(plots, "in_few_lines", lambda svg: svg)
    matplotlibs = drawn(tmp_path / "matplotlibs")
    assert elements(ours) == elements(matplotlibs)
    assert 5 * ours.count("\n") < matplotlibs.count("\n")


def test_the_target_in_a_plot_is_the_one_that_the_figures_were_measured_against(
    tmp_path: Path,
) -> None:
    def drawn_with(least: float) -> str:
        result = Result("Many", "", series={"bars": {"ndjson": (24_000, 21_000, 27_000)}})
        result.add("ndjson: per core", "messages/s", [24_000], Target("at least", least))
        plots.draw({"bulk": result}, tmp_path)
        return (tmp_path / "bulk.svg").read_text("utf-8")

    assert drawn_with(20_000) != drawn_with(60_000)
    assert drawn_with(60_000) == drawn_with(60_000)
