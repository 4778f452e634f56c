"""When a message was sent, as its sender says, and the order that follows from it.

Gateways redeliver in parallel, so messages arrive in another order than people wrote them in. What
is decided here is decided again for each attempt at a batch, by every replica and every release, so
it depends on nothing but the messages themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, TypeVar, cast

MILLISECONDS_FROM: Final = 100_000_000_000
"""A number from here on is in milliseconds: as seconds it would be the year 5138."""
YEAR_10000_S: Final = 253_402_300_800

_NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,18})?")
_RFC3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,18})?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)

T = TypeVar("T")


def sent_s(value: object) -> float | None:
    """Unix seconds: of seconds, of milliseconds, of the text of either, or of a time of RFC 3339.

    None for anything else. It passes through all the same, and its message stays where it is.
    """
    if type(value) is str:
        text = value.strip(" ")
        if not _NUMBER.fullmatch(text):
            return _of_rfc3339(text)
        number = float(text)
    elif type(value) is int or type(value) is float:
        if not 0 < value < YEAR_10000_S * 1_000:
            return None
        number = float(value)
    else:
        return None
    seconds = number / 1_000 if number >= MILLISECONDS_FROM else number
    return seconds if 0 < seconds < YEAR_10000_S else None


def as_sent(items: Sequence[T], sent_at: Callable[[T], object]) -> list[T]:
    """`items`, of which those whose `sent_at` is a time stand in the order of these times.

    Those without one stay where they are; the others share the places that are left. Those of the
    same time stay as they were.
    """
    times = [sent_s(sent_at(item)) for item in items]
    places = [place for place, at in enumerate(times) if at is not None]
    found = list(items)
    for place, source in zip(
        places, sorted(places, key=lambda place: cast(float, times[place])), strict=True
    ):
        found[place] = items[source]
    return found


def _of_rfc3339(text: str) -> float | None:
    parts = _RFC3339.fullmatch(text)
    if parts is None:
        return None
    year, month, day, hour, minute, second = map(int, parts.group(1, 2, 3, 4, 5, 6))
    fraction, sign, hours, minutes = parts.group(7, 8, 9, 10)
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    leap = second == 60
    try:
        zone = timezone(-offset if sign == "-" else offset) if sign else UTC
        at = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=zone)
    except ValueError:
        return None
    found = at.timestamp() + leap + float(fraction or 0)
    return found if found > 0 else None
