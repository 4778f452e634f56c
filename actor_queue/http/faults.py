"""How an unforeseen error is named in the log: what and where, never what it was about.

An exception's text and a traceback's lines can quote a message, so neither is written.
"""

from __future__ import annotations

import logging
import time
import traceback
from typing import Final

ERRORS_SHOWN_MAX: Final = 3
LINES_MAX: Final = 10
"""In one window: the cause of a fault is in its first lines, the counters have the rest."""
WINDOW_S: Final = 10.0

log = logging.getLogger(__name__)


class FaultLog:
    """Faults of ours while serving, so few lines that a fault cannot fill a disk."""

    def __init__(self) -> None:
        self._window_ends_s = 0.0
        self._lines = 0

    def write(self, what: str, error: BaseException) -> None:
        now_s = time.monotonic()
        if now_s >= self._window_ends_s:
            self._window_ends_s = now_s + WINDOW_S
            self._lines = 0
        self._lines += 1
        if self._lines <= LINES_MAX:
            log.error("%s: %s", what, described(error))


def described(error: BaseException) -> str:
    """`ValueError at actor_queue.http.api:123`; of a group, its first members."""
    if isinstance(error, BaseExceptionGroup):
        shown = [described(inner) for inner in error.exceptions[:ERRORS_SHOWN_MAX]]
        return " + ".join(shown)
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return type(error).__name__
    frame, line = frames[-1]
    return f"{type(error).__name__} at {frame.f_globals.get('__name__', '?')}:{line}"
