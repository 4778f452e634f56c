"""Logging: JSON lines for machines, short lines for people, on standard error.

Owns the format and what libraries may say. A record is an event name and fields:
`logger.warning("store_unavailable", extra={"detail": …})`. Must not: print the text of an
exception, which may quote a message or a secret; whoever knows that a text is harmless
passes it as a field.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

from actor_queue.core.url import split

QUIET_LIBRARIES = ("asyncio", "coredis", "httpcore", "httpx", "hypercorn", "quart", "quart_trio")
FRAMES_MAX = 30

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def set_up(*, dev: bool, stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (default: standard error). May be called again."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(ForPeople() if dev else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def redact_url(url: str) -> str:
    """The URL without what may be secret in it: user and password, query, fragment."""
    try:
        parts = split(url)
    except ValueError:
        return "(unreadable address)"
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


class JsonLines(logging.Formatter):
    """One JSON object a line: `ts` (UTC), `level`, `event`, `logger`, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        for name, value in _fields(record).items():
            line.setdefault(name, value)
        return json.dumps(line, default=str)


class ForPeople(logging.Formatter):
    """`12:00:00 event name=value`, with the level only when it is not `info`."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        words = [f"{name}={value}" for name, value in _fields(record).items()]
        line = " ".join([f"{_time(record).astimezone():%H:%M:%S}", level + record.getMessage()])
        return printable(" ".join([line, *words]))


def printable(text: str) -> str:
    """`text` on one line, without characters that could steer a terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = {name: value for name, value in vars(record).items() if name not in _OWN}
    if record.exc_info and record.exc_info[0] is not None:
        fields |= _exception(record.exc_info)
    return fields


def _exception(info: _ExcInfo) -> dict[str, object]:
    kind, error, trace = info
    frames = traceback.extract_tb(trace, limit=-FRAMES_MAX)
    fields: dict[str, object] = {
        "error": kind.__qualname__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if isinstance(error, OSError) and error.strerror:
        fields["reason"] = error.strerror
    if isinstance(error, BaseExceptionGroup):
        fields["errors"] = [
            _exception((type(inner), inner, inner.__traceback__)) for inner in error.exceptions
        ]
    return fields
