"""The report, written anew from `figures.json` each time; a miss is shown as a miss."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Result
from benchmarks.missed import why
from benchmarks.plots import draw

DIRECTORY = Path(__file__).parent / "report"
FIGURES = DIRECTORY / "figures.json"
OTHERS_CORES_MAX = 0.1
"""A result that was disturbed by more than this is shown and not kept: whoever reads a report reads
its numbers and not the line beneath them."""

INTRODUCTION = """\
# Benchmarks

Written by `make bench`; the raw figures are in [figures.json](figures.json). Real processes on
one machine: the service on core 0, and on core 1 the load generator, the receiver of the webhooks
and Valkey (append-only file, `appendfsync everysec`), which the service reaches on a unix socket.
Every value is the median of its rounds, with the smallest and greatest beside it. Read ratios and
CPU first: they survive a busy machine, rates and milliseconds do not. "Others" is how many cores
other work took meanwhile, on average; a run in which that was more than 0.1 is not in this report.
"""


def store(name: str, result: Result, about: Mapping[str, Any]) -> bool:
    """Put one benchmark's result in the place of its last one. False where it was disturbed."""
    if about["others_cores"] > OTHERS_CORES_MAX:
        return False
    DIRECTORY.mkdir(exist_ok=True)
    stored = load()
    stored[name] = {**result.as_json(), "about": dict(about)}
    FIGURES.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")
    return True


def load() -> dict[str, Any]:
    return json.loads(FIGURES.read_text()) if FIGURES.exists() else {}


def write(order: list[str]) -> Path:
    """The report of everything that is stored, in this order."""
    stored = load()
    results = {name: Result.of_json(stored[name]) for name in order if name in stored}
    plots = draw(results, DIRECTORY)
    parts = [INTRODUCTION, _summary(results), _missed(results)]
    for name, result in results.items():
        parts.append(_section(name, result, stored[name]["about"], plots.get(name)))
    path = DIRECTORY / "report.md"
    path.write_text("\n".join(parts))
    return path


def _summary(results: Mapping[str, Result]) -> str:
    lines = ["## Targets", "", *_head(with_section=True)]
    for result in results.values():
        lines += [_row(each, result.title) for each in result.figures if each.target is not None]
    return "\n".join([*lines, ""])


def _missed(results: Mapping[str, Result]) -> str:
    paragraphs = [line for each in why(results) for line in (each, "")]
    return "\n".join(["## What is missed, and why", "", *paragraphs]) if paragraphs else ""


def _section(name: str, result: Result, about: Mapping[str, Any], plot: str | None) -> str:
    lines = [f"## {result.title}", "", result.method, ""]
    if plot is not None:
        lines += [f"![{result.title}]({plot})", ""]
    lines += [*_head(with_section=False), *(_row(each) for each in result.figures), ""]
    return "\n".join([*lines, _footing(name, about), ""])


def _head(*, with_section: bool) -> list[str]:
    first = "| | " if with_section else "| "
    rule = "|---|---|" if with_section else "|---|"
    return [
        f"{first}figure | median (min to max) | unit | target | |",
        f"{rule}--:|---|---|---|",
    ]


def _row(figure: Figure, section: str | None = None) -> str:
    values = _number(figure.median)
    if len(figure.values) > 1:
        values += f" ({_number(min(figure.values))} to {_number(max(figure.values))})"
    target = ""
    if figure.target is not None:
        target = f"{figure.target.sense} {_number(figure.target.value)}"
    met = {None: "", True: "met", False: "**missed**"}[figure.met]
    first = "" if section is None else f"| {section} "
    return f"{first}| {figure.name} | {values} | {figure.unit} | {target} | {met} |"


def _number(value: float) -> str:
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _footing(name: str, about: Mapping[str, Any]) -> str:
    machine = about["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    return (
        f"`python -m benchmarks {name}{' --quick' if about['quick'] else ''}"
        f"{' --first' if about['priority'] != 'no priority' else ''}`"
        f" · {about['at']} · others: {about['others_cores']:.2f} cores of {machine['cores']},"
        f" {about['priority']} · {machine['processor']}, Linux {machine['kernel']},"
        f" Python {machine['python']}, Valkey {machine['valkey']}, {versions}"
    )
