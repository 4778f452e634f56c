"""Moments as people and programs write them: Unix time, RFC 3339, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from actor_queue.core.json_text import refuse_field

MILLISECONDS_FROM = 100_000_000_000
"""A number from here on is in milliseconds: as seconds it would be the year 5138."""
_NUMBER = re.compile(r"[0-9]{1,13}(\.[0-9]{1,9})?")
_AGO = re.compile(r"([0-9]{1,9})([smhd])")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?)?"
)


def moment_ms(name: str, given: object, now_ms: int) -> int:
    """Milliseconds since 1970 of what the field `name` holds.

    A number of seconds or of milliseconds, or its text; a date or a time of RFC 3339, in UTC where
    it does not say; or `90s`, `10m`, `2h`, `3d`: so long before `now_ms`.

    Raises `Refused` with 422.
    """
    text = str(given).strip(" ") if type(given) in (int, float, str) else ""
    found = None
    if _NUMBER.fullmatch(text):
        number = float(text)
        found = round(number if number >= MILLISECONDS_FROM else number * 1_000)
    elif ago := _AGO.fullmatch(text):
        found = max(0, now_ms - int(ago[1]) * _UNIT_MS[ago[2]])
    elif _DATE.fullmatch(text):
        found = _of_date(text)
    if found is None or found < 0:
        refuse_field(
            name,
            f"{name} must be a time such as 2025-01-30T01:19:45Z, seconds or milliseconds since"
            " 1970, or how long ago: 90s, 10m, 2h or 3d",
        )
    return found


def _of_date(text: str) -> int | None:
    try:
        at = datetime.fromisoformat(text.upper())
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000)
    except (ValueError, OverflowError):
        return None
