"""What may be asked of the API: query parameters and small JSON bodies, checked by hand.

Everything wrong is a `Refused` with 400 or 422 and the field's name. A field that is not
known is refused too: a misspelt `seconds` must not hold a user for the default hour.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Final, NoReturn, cast, get_args

from actor_queue.core.admission import Refused
from actor_queue.store.api import UserState

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000
CURSOR_CHARACTERS_MAX: Final = 1_000
HOLD_DEFAULT_S: Final = 3_600
HOLD_MAX_S: Final = 7 * 86_400

STATES: Final[tuple[str, ...]] = get_args(UserState)


def limit(query: Mapping[str, str]) -> int:
    text = query.get("limit") or str(LIMIT_DEFAULT)
    if text.isascii() and text.isdigit() and len(text) <= len(str(LIMIT_MAX)):
        number = int(text)
        if 1 <= number <= LIMIT_MAX:
            return number
    return _refuse("limit", f"limit must be a whole number from 1 to {LIMIT_MAX}")


def cursor(query: Mapping[str, str]) -> str | None:
    text = query.get("cursor") or None
    if text is not None and len(text) > CURSOR_CHARACTERS_MAX:
        refuse_cursor()
    return text


def refuse_cursor() -> NoReturn:
    _refuse("cursor", "cursor must be one that an earlier page ended with")


def state(query: Mapping[str, str]) -> UserState | None:
    text = query.get("state") or None
    if text is not None and text not in STATES:
        _refuse("state", f"state must be one of {', '.join(STATES)}")
    return cast(UserState | None, text)


def typing_ttl_ms(body: bytes, ttl_max_ms: int) -> int | None:
    """Of `{"ttl": seconds}`; None for the user's own."""
    given = _object(body, "ttl").get("ttl")
    if given is None:
        return None
    return _milliseconds("ttl", given, ttl_max_ms)


def hold_ms(body: bytes) -> int:
    """Of `{"seconds": seconds}`."""
    given = _object(body, "seconds").get("seconds")
    if given is None:
        return HOLD_DEFAULT_S * 1000
    return _milliseconds("seconds", given, HOLD_MAX_S * 1000)


def nothing(body: bytes) -> None:
    """For a request that takes no body; an empty object will do."""
    _object(body, None)


def _milliseconds(field: str, given: object, at_most_ms: int) -> int:
    if type(given) not in (int, float):
        _refuse(field, f"{field} must be a number of seconds")
    # Compared before it is multiplied: a number of a thousand digits is no float.
    number = cast(float, given)
    if not 0 < number <= at_most_ms / 1000:
        _refuse(field, f"{field} must be over 0 and at most {at_most_ms / 1000:g} seconds")
    return math.ceil(number * 1000)


def _object(body: bytes, field: str | None) -> dict[str, object]:
    if not body.strip():
        return {}
    try:
        value = json.loads(
            body.decode(), parse_constant=_refuse_constant, object_pairs_hook=_distinct
        )
    except (ValueError, RecursionError):
        # ValueError is also what bytes that are not UTF-8 and numbers of 5,000 digits raise.
        raise Refused(400, "Not JSON", "the body must be a JSON object, or empty") from None
    if not isinstance(value, dict):
        raise Refused(400, "Not an object", "the body must be a JSON object, or empty")
    for name in value:
        if name != field:
            _refuse_unknown(field)
    return value


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise Refused(422, "Invalid field", "a field occurs twice in the same object")
    return dict(pairs)


def _refuse_constant(name: str) -> NoReturn:
    raise Refused(400, "Not JSON", f"the body contains {name}, which is not JSON")


def _refuse_unknown(field: str | None) -> NoReturn:
    known = "no fields" if field is None else f"only the field {field}"
    raise Refused(422, "Invalid field", f"the body may have {known}", field)


def _refuse(field: str, detail: str) -> NoReturn:
    raise Refused(422, "Invalid field", detail, field)
