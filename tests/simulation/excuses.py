"""How much of a delay no fault excuses."""

from __future__ import annotations

from tests.simulation.history import History, Trouble


class Excuses:
    """The times of a history in which a delay is excused, put together: everybody's, and, where one
    is named, those of one route. The trouble of one route excuses no other."""

    def __init__(self, history: History, route: str | None = None) -> None:
        self._merged: list[tuple[float, float]] = []
        ours = [each for each in history.of(Trouble) if each.route in (None, route)]
        for trouble in sorted(ours, key=lambda trouble: trouble.start):
            if self._merged and trouble.start <= self._merged[-1][1]:
                start, end = self._merged[-1]
                self._merged[-1] = (start, max(end, trouble.end))
            else:
                self._merged.append((trouble.start, trouble.end))

    def unexcused_s(self, start: float, end: float) -> float:
        """Of the time from `start` to `end`."""
        excused = sum(max(0.0, min(end, high) - max(start, low)) for low, high in self._merged)
        return end - start - excused
