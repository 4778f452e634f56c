"""The report's plots, drawn from the stored figures. A plot for each benchmark that has one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

from benchmarks.figures import CDF_POINTS, Result

WIDTH, HEIGHT = 7.5, 3.6
INK, SOFT, TARGET = "#1f6f78", "#a9cfd2", "#c2410c"
COLOURS = ("#1f6f78", "#d97706", "#6b4f9e", "#7a8a8c")
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7e7",
    "axes.axisbelow": True,
    "svg.hashsalt": "actor-queue",
}


def draw(results: Mapping[str, Result], directory: Path) -> dict[str, str]:
    """Write the plots; returns their file names by benchmark."""
    drawn = {}
    for name, plot in PLOTS.items():
        if name in results:
            with mpl.rc_context(STYLE):
                figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT), layout="constrained")
                plot(axes, results[name])
                file = directory / f"{name}.svg"
                figure.savefig(file, metadata={"Date": None})
                plt.close(figure)
            file.write_text(in_few_lines(file.read_text("utf-8")), "utf-8")
            drawn[name] = f"{name}.svg"
    return drawn


def in_few_lines(svg: str) -> str:
    """The same picture with a line for each group and not for each point, so that a new figure is a
    change that one can read. XML takes a line break in an attribute for a space, and SVG takes what
    stands between elements for nothing."""
    svg = re.sub(r' d="[^"]*"', lambda path: path[0].replace("\n", " "), svg)
    return re.sub(r">\n\s*(?=<(?:path|use|defs|/defs|/g)\b)", ">", svg)


def _ingest(axes: Any, result: Result) -> None:
    bars = result.series["bars"]
    widest = max(len(by_connections) for by_connections in bars.values())
    for place, connections in enumerate(("32", "64")):
        values = [by[connections] for by in bars.values()]
        heights = [median for median, *_ in values]
        spread = [[m - low for m, low, *_ in values], [high - m for m, _, high, *_ in values]]
        at = [row + (place - (widest - 1) / 2) * 0.38 for row in range(len(bars))]
        colour = COLOURS[place]
        axes.barh(at, heights, 0.36, xerr=spread, color=colour, label=f"{connections} connections")
        for y, (median, _, high, cpu_us) in zip(at, values, strict=True):
            axes.text(max(median, high), y, f"  {median:,.0f}/s · {cpu_us:.0f} µs", va="center")
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.margins(x=0.3)
    axes.set_xlabel("POST /api/message, requests/s (median, min to max) · CPU per request")
    axes.legend(frameon=False, loc="lower right")


def _contest(axes: Any, result: Result) -> None:
    bars = result.series["bars"]
    names = list(bars)
    own, redis = ([values[place] for values in bars.values()] for place in (1, 2))
    axes.barh(names, own, 0.6, color=INK, label="the process that answers")
    axes.barh(names, redis, 0.6, left=own, color=SOFT, label="Redis")
    for y, (per_s, *costs) in enumerate(bars.values()):
        axes.text(sum(costs), y, f"  {per_s:,.0f}/s · {sum(costs):,.0f} µs", va="center")
    axes.invert_yaxis()
    axes.margins(x=0.3)
    axes.set_xlabel("POST /api/message, CPU of a message in µs (median) · requests/s of one core")
    axes.legend(frameon=False, loc="lower right")


def _bulk(axes: Any, result: Result) -> None:
    bars = result.series["bars"]
    values = list(bars.values())
    spread = [[m - low for m, low, _ in values], [high - m for m, _, high in values]]
    axes.barh(list(bars), [median for median, *_ in values], 0.5, xerr=spread, color=INK)
    for y, (median, _, high) in enumerate(values):
        axes.text(high, y, f"  {median:,.0f}", va="center")
    axes.invert_yaxis()
    _target(axes, result, "target")
    axes.margins(x=0.2)
    axes.set_xlabel("POST /api/messages, messages/s per core of the service (median, min to max)")
    axes.legend(frameon=False, loc="lower right")


def _lateness(axes: Any, result: Result) -> None:
    shares = [100 * place / CDF_POINTS for place in range(CDF_POINTS + 1)]
    for colour, (plan, curves) in zip(COLOURS, result.series.items(), strict=False):
        for style, (what, values) in zip(("-", ":"), curves.items(), strict=False):
            shown = [max(each, 0.5) for each in values]
            axes.plot(shown, shares, style, color=colour, label=f"{plan}, {what}")
    axes.set_xscale("log")
    axes.set_xlim(left=1)
    axes.xaxis.set_major_formatter("{x:g}")
    _target(axes, result, "target for p99")
    axes.axhline(99, color=TARGET, linewidth=0.6, linestyle="--")
    axes.set_xlabel("webhook's arrival after due, ms")
    axes.set_ylabel("% of webhooks")
    axes.legend(frameon=False, loc="lower right")


def _memory(axes: Any, result: Result) -> None:
    bars = result.series["bars"]
    largest = [max(values) for values in bars.values()]
    axes.barh(list(bars), largest, 0.5, color=INK)
    for y, value in enumerate(largest):
        axes.text(max(value, 0), y, f"  {value:,.0f}", va="center")
    axes.invert_yaxis()
    _target(axes, result, "target")
    axes.margins(x=0.15)
    axes.set_xlabel("bytes of resident memory per waiting user")
    axes.legend(frameon=False, loc="lower right")


def _restart(axes: Any, result: Result) -> None:
    data = result.series["per second"]
    bucket_s = data["bucket_s"]
    for number, values in enumerate(data["rounds"]):
        at = [(place + 0.5) * bucket_s for place in range(len(values))]
        axes.plot(at, values, color=COLOURS[number], label=f"round {number + 1}")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds since the process was started")
    axes.set_ylabel("webhooks/s")
    axes.legend(frameon=False, loc="lower right")


def _target(axes: Any, result: Result, label: str) -> None:
    """That of the first figure that has one, as it was when that was measured: what a plot shows
    and what the table beside it says must not differ."""
    at = next(each.target.value for each in result.figures if each.target is not None)
    axes.axvline(at, color=TARGET, linewidth=1.2, linestyle="--", label=label)


PLOTS: dict[str, Callable[[Any, Result], None]] = {
    "ingest": _ingest,
    "contest": _contest,
    "bulk": _bulk,
    "lateness": _lateness,
    "memory": _memory,
    "restart": _restart,
}
