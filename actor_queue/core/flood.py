"""How many lines of one kind a log may take in a second, and how many it did not take.

A fault that is told at every message must not fill a disk, nor hide the lines of other kinds.
`now` is seconds on any monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

LINES_A_SECOND_MAX = 10
KINDS_MAX = 1_000
"""Kinds counted apart from each other; those that come later share one count."""
WINDOW_S = 1.0
OTHERS = "other"


@dataclass(slots=True)
class _Window:
    ends_at: float
    lines: int = 0
    left_out: int = 0


class Flood:
    """Of each kind the first lines of a second; the others are counted."""

    def __init__(self, lines_max: int = LINES_A_SECOND_MAX) -> None:
        self._lines_max = lines_max
        self._windows: dict[str, _Window] = {}

    def admits(self, kind: str, now: float) -> bool:
        """Whether one more line of this kind may be written now."""
        if kind not in self._windows and len(self._windows) >= KINDS_MAX:
            kind = OTHERS
        window = self._windows.setdefault(kind, _Window(now + WINDOW_S))
        if now >= window.ends_at:
            window.ends_at, window.lines = now + WINDOW_S, 0
        window.lines += 1
        if window.lines <= self._lines_max:
            return True
        window.left_out += 1
        return False

    def left_out(self, now: float) -> Iterator[tuple[str, int]]:
        """Each kind whose second is over, and how many of its lines were left out: told once."""
        for kind, window in self._windows.items():
            if window.left_out and now >= window.ends_at:
                count, window.left_out = window.left_out, 0
                yield kind, count
