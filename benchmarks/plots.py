"""The report's plots, drawn from the stored figures. A plot for each benchmark that has one."""

from __future__ import annotations

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
                plot(axes, results[name].series)
                figure.savefig(directory / f"{name}.svg", metadata={"Date": None})
                plt.close(figure)
            drawn[name] = f"{name}.svg"
    return drawn


def _ingest(axes: Any, series: Mapping[str, Any]) -> None:
    bars = series["bars"]
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


def _bulk(axes: Any, series: Mapping[str, Any]) -> None:
    bars = series["bars"]
    values = list(bars.values())
    spread = [[m - low for m, low, _ in values], [high - m for m, _, high in values]]
    axes.barh(list(bars), [median for median, *_ in values], 0.5, xerr=spread, color=INK)
    for y, (median, _, high) in enumerate(values):
        axes.text(high, y, f"  {median:,.0f}", va="center")
    axes.invert_yaxis()
    _line(axes.axvline, 20_000, "target")
    axes.margins(x=0.2)
    axes.set_xlabel("POST /api/messages, messages/s per core of the service (median, min to max)")
    axes.legend(frameon=False, loc="lower right")


def _lateness(axes: Any, series: Mapping[str, Any]) -> None:
    shares = [100 * place / CDF_POINTS for place in range(CDF_POINTS + 1)]
    for colour, (plan, curves) in zip(COLOURS, series.items(), strict=False):
        for style, (what, values) in zip(("-", ":"), curves.items(), strict=False):
            shown = [max(each, 0.5) for each in values]
            axes.plot(shown, shares, style, color=colour, label=f"{plan}, {what}")
    axes.set_xscale("log")
    axes.set_xlim(left=1)
    axes.xaxis.set_major_formatter("{x:g}")
    _line(axes.axvline, 10, "target for p99")
    axes.axhline(99, color=TARGET, linewidth=0.6, linestyle="--")
    axes.set_xlabel("webhook's arrival after due, ms")
    axes.set_ylabel("% of webhooks")
    axes.legend(frameon=False, loc="lower right")


def _memory(axes: Any, series: Mapping[str, Any]) -> None:
    bars = series["bars"]
    largest = [max(values) for values in bars.values()]
    axes.barh(list(bars), largest, 0.5, color=INK)
    for y, value in enumerate(largest):
        axes.text(max(value, 0), y, f"  {value:,.0f}", va="center")
    axes.invert_yaxis()
    _line(axes.axvline, 5_000, "target")
    axes.margins(x=0.15)
    axes.set_xlabel("bytes of resident memory per waiting user")
    axes.legend(frameon=False, loc="lower right")


def _restart(axes: Any, series: Mapping[str, Any]) -> None:
    data = series["per second"]
    bucket_s = data["bucket_s"]
    for number, values in enumerate(data["rounds"]):
        at = [(place + 0.5) * bucket_s for place in range(len(values))]
        axes.plot(at, values, color=COLOURS[number], label=f"round {number + 1}")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds since the process was started")
    axes.set_ylabel("webhooks/s")
    axes.legend(frameon=False, loc="lower right")


def _line(draw_line: Callable[..., Any], at: float, label: str) -> None:
    draw_line(at, color=TARGET, linewidth=1.2, linestyle="--", label=label)


PLOTS: dict[str, Callable[[Any, Mapping[str, Any]], None]] = {
    "ingest": _ingest,
    "bulk": _bulk,
    "lateness": _lateness,
    "memory": _memory,
    "restart": _restart,
}
