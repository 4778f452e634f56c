"""The log: one line an event on standard error, as text or as JSON.

Owns the form, the limits and what libraries may say. A record is an event's name and fields, made
by `runtime.journal.tell`. Must not: print the text of an exception or of a library, which may
quote a message or a secret; whoever knows that a text is harmless passes it as a field.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

from actor_queue.app.line_writer import PIECE_BYTES_MAX, LineWriter
from actor_queue.core.flood import Flood
from actor_queue.core.settings import LogForm, LogLevel, Settings
from actor_queue.core.url import shown_receiver, split
from actor_queue.core.variables import VARIABLES
from actor_queue.runtime.lines import tell

FRAMES_MAX = 15
ERRORS_MAX = 5
FIELD_CHARS_MAX = 300
LINE_BYTES_MAX = PIECE_BYTES_MAX - 256
LIBRARY = "library"
OURS = "actor_queue"
AT_EXIT_S = 1.0
"""A reader that reads nothing delays the end of the process by this much at most."""
FLOOD_LOOK_S = 1.0

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
_Fields = dict[str, object]


def set_up(
    form: LogForm = "text", level: LogLevel = "info", *, stream: TextIO | None = None
) -> None:
    """Send all logs to standard error, or to `stream`. May be called again.

    Uncaught exceptions are logged too, by kind and place: Python would print their texts.
    """
    global _handler
    _handler = _Handler(as_json if form == "json" else as_text, stream)
    root = logging.getLogger()
    root.handlers[:] = [_handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(OURS).setLevel(level.upper())
    if stream is not None:
        return
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread


def name_replica(replica: str) -> None:
    """From now on every line has the field `replica`."""
    if _handler is not None:
        _handler.replica = replica


def complain(sentence: str) -> None:
    """One sentence for people on standard error, after the lines of the log."""
    if _handler is not None and _handler.writer is not None:
        _handler.writer.write(f"actor-queue: {sentence}")
    else:
        sys.stderr.write(f"actor-queue: {sentence}\n")
        sys.stderr.flush()


def flush(within_s: float = AT_EXIT_S) -> None:
    """Before the process ends: wait a moment for what was said last."""
    if _handler is not None:
        _handler.tell_left_out()
        if _handler.writer is not None:
            _handler.writer.flush(within_s)


_handler: _Handler | None = None
atexit.register(flush)


class _Handler(logging.Handler):
    """Bounds, forms and writes. Locked by `logging` itself."""

    def __init__(self, form: Callable[[_Fields], str], stream: TextIO | None) -> None:
        super().__init__()
        self.replica: str | None = None
        self._form = form
        self._stream = stream
        self._flood = Flood()
        self._looked_at = 0.0
        self._timer: threading.Timer | None = None
        self.writer = LineWriter(_stderr(), self._dropped) if stream is None else None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            kind = _kind(record)
            now = time.monotonic()
            self._tell_left_out(now)
            if self._flood.admits(kind, now):
                self._write(_line(record, self.replica))
            elif self._timer is None:
                # Nothing may follow that could tell how many were left out.
                self._timer = threading.Timer(FLOOD_LOOK_S, self.tell_left_out)
                self._timer.daemon = True
                self._timer.start()
        except Exception:  # noqa: BLE001  # a line that cannot be written must end nothing
            self._write({"ts": _time(record.created), "level": "error", "event": "lines_dropped"})

    def tell_left_out(self) -> None:
        with self.lock or threading.Lock():
            self._timer = None
            self._tell_left_out(float("inf"))

    def _tell_left_out(self, now: float) -> None:
        for kind, lines in self._flood.left_out(now):
            self._write(self._own("and_more", of=kind, lines=lines))

    def _own(self, event: str, **fields: object) -> _Fields:
        head: _Fields = {"ts": _time(time.time()), "level": "warning", "event": event}
        return head | ({"replica": self.replica} if self.replica else {}) | fields

    def _dropped(self, lines: int) -> str:
        return self._form(self._own("lines_dropped", lines=lines))

    def _write(self, fields: _Fields) -> None:
        line = _fitting(fields, self._form)
        if self.writer is not None:
            self.writer.write(line)
        elif self._stream is not None:
            self._stream.write(line + "\n")


def _stderr() -> int | None:
    """The descriptor of standard error; None when the process was started without one.

    Its number is then taken, so that no connection gets it and is written to by accident.
    """
    if sys.stderr is not None:
        return 2
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    return None


# A line's fields


def _kind(record: logging.LogRecord) -> str:
    """What a flood is counted by."""
    return _event(record) if _is_ours(record) else f"{LIBRARY} {record.name}"


def _event(record: logging.LogRecord) -> str:
    return str(getattr(record, "event", record.msg))


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name == OURS or record.name.startswith(f"{OURS}.")


def _line(record: logging.LogRecord, replica: str | None) -> _Fields:
    ours = _is_ours(record)
    line: _Fields = {
        "ts": _time(record.created),
        "level": record.levelname.lower(),
        "event": _event(record) if ours else LIBRARY,
    }
    if replica is not None:
        line["replica"] = replica
    if not ours:
        line |= {"logger": record.name, "at": f"{record.module}:{record.lineno}"}
    else:
        for name, value in getattr(record, "fields", {}).items():
            line.setdefault(name, value)
    if record.exc_info and record.exc_info[0] is not None:
        for name, value in exception_fields(record.exc_info).items():
            line[name if name not in line else f"error_{name}"] = value
    return line


def exception_fields(info: _ExcInfo) -> _Fields:
    """`error`, the kind, and `at`, where it was raised; what it says only where it is harmless."""
    kind, error, trace = info
    frames = traceback.extract_tb(trace, limit=-FRAMES_MAX)
    fields: _Fields = {
        "error": kind.__qualname__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if isinstance(error, OSError) and error.strerror:
        fields["reason"] = error.strerror
    if isinstance(error, BaseExceptionGroup):
        fields["errors"] = [
            exception_fields((type(inner), inner, inner.__traceback__))
            for inner in error.exceptions[:ERRORS_MAX]
        ]
    return fields


def _time(seconds: float) -> str:
    """RFC 3339 in UTC."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# A line's form


def _fitting(fields: _Fields, form: Callable[[_Fields], str]) -> str:
    """A line that is written in one piece: what does not fit is left out from its end."""
    line = form(fields)
    while len(line.encode("utf-8", "backslashreplace")) > LINE_BYTES_MAX and len(fields) > 4:
        kept = list(fields)[:-2] if "cut" in fields else list(fields)[:-1]
        fields = {name: fields[name] for name in kept} | {"cut": True}
        line = form(fields)
    return line


def as_json(fields: _Fields) -> str:
    """One JSON object, in ASCII."""
    return json.dumps({name: _short(value) for name, value in fields.items()}, default=str)


def as_text(fields: _Fields) -> str:
    """`2025-01-30T01:19:45.120Z info ready replica=r-1`: time, level, event, then `name=value`.

    A value with spaces, quotes or characters that could steer a terminal stands in double quotes,
    escaped as in JSON: no value can look like another field or another line.
    """
    rest = [f"{name}={_value(value)}" for name, value in fields.items() if name not in _HEAD]
    return " ".join([*(_value(fields[name]) for name in _HEAD), *rest])


_HEAD = ("ts", "level", "event")


def _value(value: object) -> str:
    value = _short(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    plain = text and all(char.isprintable() and char not in ' "=\\' for char in text)
    return text if plain else quoted(text)


def printable(text: str) -> str:
    """`text` on one line, without characters that could steer a terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def quoted(text: str) -> str:
    """In double quotes, on one line, without characters that could steer a terminal."""
    inner = "".join(
        char if char.isprintable() and char not in '"\\' else json.dumps(char)[1:-1]
        for char in text
    )
    return f'"{inner}"'


def _short(value: object) -> object:
    if isinstance(value, str) and len(value) > FIELD_CHARS_MAX:
        return value[:FIELD_CHARS_MAX] + "…"
    return value


# Exceptions that nobody caught


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    tell("crashed", **exception_fields((kind, error, trace)))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _unraisable(args: Any) -> None:
    if args.exc_value is not None:
        _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


# What may be shown of the settings


def redact_url(url: str) -> str:
    """The URL without what may be secret in it: user and password, query, fragment."""
    try:
        parts = split(url)
    except ValueError:
        return "(unreadable address)"
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def shown_settings(settings: Settings) -> dict[str, object]:
    """The settings that differ from their defaults, by their outside names, without secrets."""
    defaults = Settings()
    shown: dict[str, object] = {}
    for variable in VARIABLES:
        if variable.field is None:
            continue
        value = getattr(settings, variable.field)
        if value == getattr(defaults, variable.field):
            continue
        if variable.name in _SECRETS:
            shown[variable.name] = _SECRETS[variable.name](value)
        elif variable.secret:
            shown[variable.name] = "(set)"
        else:
            shown[variable.name] = _setting(variable.field, value)
    return shown


_SECRETS: Mapping[str, Callable[[Any], object]] = {
    "REDIS_URL": redact_url,
    "WEBHOOK_URL": shown_receiver,
    "AQ_ALERT_URL": shown_receiver,
    "WEBHOOK_SECRET": len,
    "AQ_API_KEYS": lambda keys: ",".join(each.scope for each in keys[:20]),
}
"""How those are shown of which something may be."""


def _setting(field: str, value: object) -> object:
    """As one would write it: times in seconds."""
    if field.endswith("_ms"):
        times = value if isinstance(value, tuple) else (value,)
        return ",".join(f"{each / 1000:g}" for each in times)
    return value
