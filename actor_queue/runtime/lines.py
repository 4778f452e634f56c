"""One line in the log, by its event's name. Imports nothing heavy: every command may use it."""

from __future__ import annotations

import logging
import traceback

from actor_queue.core.log_events import LEVEL_OF

ERRORS_SHOWN_MAX = 3

log = logging.getLogger("actor_queue")

_LEVELS = logging.getLevelNamesMapping()


def tell(event: str, **fields: object) -> None:
    """One line in the log. `event` is in `LOG_EVENTS`; a field must be harmless to show.

    A program that uses the library sees `event name='value'`, whatever its own formatter is.
    """
    level = _LEVELS[LEVEL_OF[event].upper()]
    if log.isEnabledFor(level):
        text = " ".join([event, *(f"{name}={value!r}" for name, value in fields.items())])
        log.log(level, "%s", text, extra={"event": event, "fields": fields})


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
