"""What is remembered of each attempt in the history of the whole namespace, and what may be asked
of it.

One attempt is one JSON array of about 200 bytes: it has counts and sizes, and no text of anybody.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Final, Literal, get_args
from zlib import crc32

from actor_queue.core.conversation import DEFAULT_ROUTE

PastOutcome = Literal["delivered", "failed", "dead"]
"""What an attempt ended with. `dead`: it failed, and it was its batch's last one."""

REASON_CHARS_MAX: Final = 60
MARKS_MAX: Final = 12
"""How many of a batch's messages are marked, the first ones."""
MARK_BYTES: Final = 4

_LETTERS: Final = {"delivered": "d", "failed": "f", "dead": "x"}
_OUTCOMES: Final = {letter: outcome for outcome, letter in _LETTERS.items()}
_MESSAGE_ID = re.compile(rb'\[\d+,\d+,("[^"\\]*(?:\\.[^"\\]*)*"),')


@dataclass(slots=True)
class PastAttempt:
    """One attempt that has ended. Nobody changes one; `frozen` would treble what making it costs,
    and one is made at each attempt."""

    user: str
    batch_id: str
    number: int
    """1 for the batch's first attempt."""
    outcome: PastOutcome
    status: int | None
    """The receiver's answer; None where there was none."""
    reason: str | None
    """Why it failed, at most 60 characters; None where it was delivered."""
    took_ms: int | None
    messages: int
    size: int
    """Bytes of the batch's messages as they are kept."""
    replica: str
    """Who made the attempt."""
    marks: bytes = b""
    """Four bytes for each of the first 12 messages: by them a message's id is found again."""
    at_ms: int = 0
    """When it ended, by the store's clock. Set by the store."""
    route: str = DEFAULT_ROUTE


@dataclass(frozen=True, slots=True)
class AttemptFilter:
    """Which attempts are asked for; None and the empty text do not limit."""

    user: str = ""
    """What their user begins with."""
    outcome: PastOutcome | None = None
    status: int | None = None
    since_ms: int | None = None
    """They ended no sooner than this, in milliseconds since the Unix epoch."""
    route: str | None = None
    about: tuple[str, bytes] | None = None
    """A batch's id, and the mark of a message: they are at this batch, or at one with this
    message."""

    def fits(self, attempt: PastAttempt) -> bool:
        return (
            attempt.user.startswith(self.user)
            and self.outcome in (None, attempt.outcome)
            and self.status in (None, attempt.status)
            and (self.since_ms is None or attempt.at_ms >= self.since_ms)
            and self.route in (None, attempt.route)
            and (
                self.about is None
                or attempt.batch_id == self.about[0]
                or has_mark(attempt, self.about[1])
            )
        )


# As it is stored


def line_after_time(attempt: PastAttempt) -> str:
    """`"user","batch",…]`: all of the JSON array but its first two elements, which the store adds:
    the attempt's number in the list and its time."""
    status, took_ms, reason = attempt.status, attempt.took_ms, attempt.reason
    return (
        f"{encode_basestring(attempt.user)},{encode_basestring(attempt.batch_id)},{attempt.number},"
        f'"{_LETTERS[attempt.outcome]}",{"null" if status is None else status},'
        f"{'null' if took_ms is None else took_ms},{attempt.messages},{attempt.size},"
        f'{encode_basestring(attempt.replica)},"{_base64(attempt.marks)}",'
        f"{'null' if reason is None else encode_basestring(reason[:REASON_CHARS_MAX])}"
        + ("]" if attempt.route == DEFAULT_ROUTE else f",{encode_basestring(attempt.route)}]")
    )


def _base64(marks: bytes) -> str:
    return b2a_base64(marks, newline=False).decode("ascii").rstrip("=")


def read_line(line: bytes) -> PastAttempt | None:
    """None for an attempt that was erased, and for what no attempt wrote."""
    try:
        entry = json.loads(line)
        _, at_ms, user, batch, number, letter, status, took, count, size, by, marks, why, *more = (
            entry
        )
        (route,) = more or [DEFAULT_ROUTE]
        attempt = PastAttempt(
            user,
            batch,
            number,
            _OUTCOMES[letter],  # type: ignore[arg-type]
            status,
            why,
            took,
            count,
            size,
            by,
            b64decode(marks + "=" * (-len(marks) % 4), validate=True),
            at_ms,
            route,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    numbers = (number, count, size, at_ms)
    texts = (user, batch, by, route)
    sound = (
        all(type(each) is int and each >= 0 for each in numbers)
        and all(isinstance(each, str) for each in texts)
        and isinstance(status, int | None)
        and isinstance(took, int | None)
        and isinstance(why, str | None)
    )
    return attempt if sound else None


# Messages by their ids


def marks_of(stored: Sequence[bytes]) -> bytes:
    """The marks of a batch whose messages are kept as `[seq, received_at, "message id", {…}]`."""
    return b"".join(map(_mark_in, stored[:MARKS_MAX]))


def _mark_in(item: bytes) -> bytes:
    """Empty for what no append has kept."""
    begin = item.find(b',"')
    end = item.find(b'",', begin + 2)
    written = item[begin + 1 : end + 1]
    if b"\\" not in written and 0 < begin < end:
        return _mark(written)
    match = _MESSAGE_ID.match(item)
    return _mark(match[1]) if match else b""


def mark_of(message_id: str) -> bytes:
    """Two ids in four thousand million have the same mark, so a mark finds, and proves nothing."""
    return _mark(encode_basestring(message_id).encode())


def _mark(written: bytes) -> bytes:
    return crc32(written).to_bytes(MARK_BYTES, "big")


def has_mark(attempt: PastAttempt, mark: bytes) -> bool:
    marks = attempt.marks
    return any(marks[at : at + MARK_BYTES] == mark for at in range(0, len(marks), MARK_BYTES))


OUTCOMES: Final[tuple[str, ...]] = get_args(PastOutcome)
