"""What a benchmark hands back: figures with their targets, and series for the plots.

Owns nothing but arithmetic and the shape that is written to `figures.json`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

CDF_POINTS = 200


@dataclass(frozen=True, slots=True)
class Target:
    """`value` is in the figure's unit."""

    sense: Literal["at least", "at most", "under"]
    value: float

    def met_by(self, value: float) -> bool:
        match self.sense:
            case "at least":
                return value >= self.value
            case "at most":
                return value <= self.value
            case "under":
                return value < self.value


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity: a value for each round."""

    name: str
    unit: str
    values: tuple[float, ...]
    target: Target | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target; None where there is none."""
        return None if self.target is None else self.target.met_by(self.median)


@dataclass(slots=True)
class Result:
    """One benchmark's outcome. `series` holds what its plot needs, by name."""

    title: str
    method: str
    """How it was measured, in sentences for the report."""
    figures: list[Figure] = field(default_factory=list)
    series: dict[str, Any] = field(default_factory=dict)

    def add(
        self, name: str, unit: str, values: Sequence[float], target: Target | None = None
    ) -> None:
        if values:
            self.figures.append(Figure(name, unit, tuple(values), target))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, stored: dict[str, Any]) -> Result:
        figures = [
            Figure(
                each["name"],
                each["unit"],
                tuple(each["values"]),
                Target(**each["target"]) if each["target"] else None,
            )
            for each in stored["figures"]
        ]
        return cls(stored["title"], stored["method"], figures, stored["series"])


Benchmark = Callable[[bool], Result]
"""Called with True for a quick look: fewer rounds, smaller numbers."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A webhook as the receiver saw it. Unix seconds."""

    at: float
    user: str
    messages: int
    due_at: float | None
    """From the detailed body."""


def arrivals(dump: Path) -> list[Arrival]:
    """What `benchmarks.receiver` wrote."""
    return [_arrival(*line.split(b" ", 1)) for line in dump.read_bytes().splitlines()]


def _arrival(moment_ns: bytes, text: bytes) -> Arrival:
    body = json.loads(text)
    due_at = None
    if "batch" in body:
        due_at = datetime.fromisoformat(body["batch"]["due_at"]).timestamp()
    return Arrival(int(moment_ns) / 1e9, body["user"], len(body["messages"]), due_at)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank, of values in order."""
    return ordered[round((len(ordered) - 1) * share)]


def cdf(values: Sequence[float]) -> list[float]:
    """`CDF_POINTS` + 1 quantiles, from the smallest to the greatest value."""
    ordered = sorted(values)
    return [quantile(ordered, place / CDF_POINTS) for place in range(CDF_POINTS + 1)]
