"""What may be asked of the API: query parameters and small JSON bodies, checked by hand.

Everything wrong is a `Refused` with 400 or 422 and the field's name. A field that is not
known is refused too: a misspelt `seconds` must not hold a user for the default hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn, cast, get_args

from actor_queue.core.admission import Refused, milliseconds
from actor_queue.core.json_text import BYTE_ORDER_MARK, read_object
from actor_queue.store.api import CURSOR_CHARACTERS_MAX, UserState

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000
HOLD_DEFAULT_S: Final = 3_600
HOLD_MAX_S: Final = 7 * 86_400

STATES: Final[tuple[str, ...]] = get_args(UserState)


def limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", "").strip(" ") or str(LIMIT_DEFAULT)
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
    return _milliseconds("ttl", body, ttl_max_ms)


def hold_ms(body: bytes) -> int:
    """Of `{"seconds": seconds}`."""
    given = _milliseconds("seconds", body, HOLD_MAX_S * 1000)
    return HOLD_DEFAULT_S * 1000 if given is None else given


def nothing(body: bytes) -> None:
    """For a request that takes no body; an empty object will do."""
    _object(body, None)


def _milliseconds(field: str, body: bytes, at_most_ms: int) -> int | None:
    given = milliseconds(field, _object(body, field).get(field))
    if given is not None and not 0 < given <= at_most_ms:
        _refuse(field, f"{field} must be over 0 and at most {at_most_ms / 1000:g} seconds")
    return given


def _object(body: bytes, field: str | None) -> dict[str, object]:
    if not body.removeprefix(BYTE_ORDER_MARK).strip():
        return {}
    _, fields = read_object(body)
    for name in fields:
        if name != field:
            _refuse_unknown(field)
    return fields


def _refuse_unknown(field: str | None) -> NoReturn:
    known = "no fields" if field is None else f"only the field {field}"
    raise Refused(422, "Invalid field", f"the body may have {known}", field)


def _refuse(field: str, detail: str) -> NoReturn:
    raise Refused(422, "Invalid field", detail, field)
