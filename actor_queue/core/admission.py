"""What may come in: bytes become a `Message`, or a `Refused` that says why.

Owns every rule about the sender's input, and nothing else: no clock, no store, no HTTP.
A refusal names the field and the rule, never the value: what people write is theirs.

Decided here where the contract leaves it open:

- A UTF-8 byte order mark is dropped. Every other encoding is refused. What is left is kept
  byte for byte: it is one valid JSON text, so it can be put into a JSON array as it stands.
- What makes the text unusable as JSON elsewhere (NaN, 1e999, lone surrogates, more than
  `DEPTH_MAX` levels, numbers of more than `NUMBER_CHARACTERS_MAX` characters) is status 400,
  anywhere in the object. A field that breaks its own rule is 422 with `field`; so is a name
  that occurs twice in one object, at any level.
- `message` may be empty. `message_id: null` is no message id.
- A numeric string for `ttl` is `15`, `0.5` or `-0` in plain digits, blanks around it allowed;
  no exponent, no plus sign, no comma. Parts of a millisecond count as a whole one, computed
  on the decimal digits, so that 4.35 is 4,350 ms and 0.0001 is 1 ms.
- `Idempotency-Key` is the message id as it stands, in UTF-8, except that a value in double
  quotes is taken as the structured-header string that its draft asks for: `"abc"` is `abc`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn, cast
from urllib.parse import unquote_to_bytes

from actor_queue.core.message import MESSAGE_ID_BYTES_MAX, USER_BYTES_MAX, Message
from actor_queue.core.settings import Settings

DEPTH_MAX = 64
"""Levels of objects and arrays, the message itself included."""
NUMBER_CHARACTERS_MAX = 1_000
NAME_CHARACTERS_SHOWN = 50
"""A field's name in a refusal is cut to this."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_PLAIN_DECIMAL = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_QUOTED_STRING = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Refused(Exception):
    """The input is refused: the parts of an RFC 9457 problem."""

    def __init__(self, status: int, title: str, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.field = field


@dataclass(frozen=True, slots=True)
class AdmissionPolicy:
    """The limits that an operator sets."""

    default_ttl_ms: int
    max_ttl_ms: int
    max_body_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> AdmissionPolicy:
        return cls(
            default_ttl_ms=settings.default_ttl_ms,
            max_ttl_ms=settings.max_ttl_ms,
            max_body_bytes=settings.max_body_bytes,
        )


def admit(
    body: bytes,
    policy: AdmissionPolicy,
    *,
    new_id: Callable[[], str],
    idempotency_key: str | None = None,
) -> Message:
    """One message from the bytes of one JSON object. Raises `Refused` with 400, 413 or 422.

    `new_id` is asked only when the sender gave no `message_id` and no `idempotency_key`
    (the header's value, as text).
    """
    if len(body) > policy.max_body_bytes:
        _refuse_size(policy)
    if body.startswith(_BYTE_ORDER_MARK):
        body = body[len(_BYTE_ORDER_MARK) :]
    fields = _object(body)
    user = _user(fields)
    _require_message(fields)
    ttl_ms = _ttl_ms(fields.get("ttl"), policy)
    named = _message_id(fields.get("message_id"), idempotency_key)
    return Message(
        user=user,
        body=body,
        ttl_ms=ttl_ms,
        message_id=new_id() if named is None else named,
        remembered=named is not None,
    )


def user_from_path(raw: bytes) -> str:
    """The user that a percent-encoded path segment names. Raises `Refused` with 400 or 404.

    `raw` is the segment as it was sent, so `%2F` is part of a name and `+` is a plus sign.
    """
    if not raw:
        raise Refused(404, "Not found", "The path names no user.")
    if _BROKEN_ESCAPE.search(raw):
        raise Refused(400, "Bad path", "A % in the path is not followed by two hex digits.")
    try:
        user = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise Refused(400, "Bad path", "The user in the path is not UTF-8.") from None
    if not _within(user, USER_BYTES_MAX):
        raise Refused(404, "Not found", f"No user is longer than {USER_BYTES_MAX} bytes.")
    return user


# Bytes to an object


def _object(body: bytes) -> dict[str, object]:
    try:
        value = _DECODER.decode(body.decode())
    except UnicodeDecodeError as error:
        raise Refused(400, "Not UTF-8", f"Byte {error.start} of the body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        what = error.msg.rstrip(": ")
        where = f"line {error.lineno}, column {error.colno}"
        raise Refused(400, "Not JSON", f"The body is not JSON: {what} at {where}.") from None
    except RecursionError:
        _refuse_depth()
    if type(value) is not dict:
        raise Refused(400, "Not an object", "The body is JSON, but not an object.")
    # Both checks cost more than they are worth unless a glance says that they may matter.
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX:
        _require_shallow(value)
    if b"\\u" in body and _SURROGATE_ESCAPE.search(body):
        _require_encodable(value)
    return value


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        _refuse_repetition(name)
    return fields


def _integer(text: str) -> int:
    if len(text) > NUMBER_CHARACTERS_MAX:
        _refuse_long_number()
    return int(text)


def _finite(text: str) -> float:
    if len(text) > NUMBER_CHARACTERS_MAX:
        _refuse_long_number()
    number = float(text)
    if math.isinf(number):
        raise Refused(400, "Not JSON", "A number in the body is too large for any receiver.")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise Refused(400, "Not JSON", f"The body is not JSON: it contains {name}.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_distinct,
    parse_int=_integer,
    parse_float=_finite,
    parse_constant=_refuse_constant,
)


def _require_shallow(value: object) -> None:
    """Level by level and not by recursion: the depth is what is in doubt."""
    level = [value]
    for _ in range(DEPTH_MAX):
        below: list[object] = []
        for container in level:
            children = (
                container.values() if type(container) is dict else cast(list[object], container)
            )
            below += [child for child in children if type(child) is dict or type(child) is list]
        if not below:
            return
        level = below
    _refuse_depth()


def _require_encodable(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Refused(
            400, "Not Unicode", "A \\u escape in the body is half of a surrogate pair."
        ) from None


# Fields


def _user(fields: dict[str, object]) -> str:
    user = fields.get("user")
    if type(user) is int:
        user = str(user)
    if type(user) is not str:
        _refuse_field("user", "`user` is required, a string or an integer.")
    if not _within(user, USER_BYTES_MAX):
        _refuse_field("user", f"`user` must have 1 to {USER_BYTES_MAX} bytes.")
    return user


def _require_message(fields: dict[str, object]) -> None:
    if type(fields.get("message")) is not str:
        _refuse_field("message", "`message` is required, a string.")


def _ttl_ms(ttl: object, policy: AdmissionPolicy) -> int:
    if ttl is None:
        return policy.default_ttl_ms
    if type(ttl) is int:
        ttl_ms = ttl * 1_000
    elif type(ttl) is float:
        ttl_ms = math.ceil(Decimal(repr(ttl)) * 1_000)
    elif type(ttl) is str and _PLAIN_DECIMAL.fullmatch(digits := ttl.strip(" ")):
        ttl_ms = math.ceil(Decimal(digits) * 1_000)
    else:
        _refuse_field("ttl", "`ttl` must be a number of seconds, or a string of one.")
    if not 0 <= ttl_ms <= policy.max_ttl_ms:
        _refuse_field("ttl", f"`ttl` must be from 0 to {policy.max_ttl_ms / 1_000:g} seconds.")
    return ttl_ms


def _message_id(given: object, idempotency_key: str | None) -> str | None:
    """The name that the sender gave, if any: in the body, in the header, or alike in both."""
    if type(given) is int:
        given = str(given)
    if given is not None and type(given) is not str:
        _refuse_field("message_id", "`message_id` must be a string or an integer.")
    header = None if idempotency_key is None else _unquoted(idempotency_key)
    if given is not None and header is not None and given != header:
        _refuse_field("message_id", "`message_id` and the header Idempotency-Key differ.")
    named = header if given is None else given
    if named is not None and not _within(named, MESSAGE_ID_BYTES_MAX):
        _refuse_field("message_id", f"`message_id` must have 1 to {MESSAGE_ID_BYTES_MAX} bytes.")
    return named


def _unquoted(header: str) -> str:
    """RFC 9651 strings escape only the quote and the backslash."""
    quoted = _QUOTED_STRING.fullmatch(header)
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else header


def _within(text: str, bytes_max: int) -> bool:
    """Whether `text` is 1 to `bytes_max` bytes of UTF-8; text that cannot be encoded is not."""
    if text.isascii():
        return 1 <= len(text) <= bytes_max
    try:
        return len(text.encode()) <= bytes_max
    except UnicodeEncodeError:
        return False


# Refusals


def _refuse_size(policy: AdmissionPolicy) -> NoReturn:
    raise Refused(413, "Too large", f"One message may have {policy.max_body_bytes} bytes, no more.")


def _refuse_depth() -> NoReturn:
    raise Refused(
        400, "Too deep", f"The body has more than {DEPTH_MAX} levels of objects and arrays."
    ) from None


def _refuse_long_number() -> NoReturn:
    raise Refused(
        400, "Number too long", f"A number has more than {NUMBER_CHARACTERS_MAX} characters."
    )


def _refuse_repetition(name: str) -> NoReturn:
    # A name can hold half a surrogate pair here, and a refusal must be possible to encode.
    shown = name.encode(errors="replace").decode()
    if len(shown) > NAME_CHARACTERS_SHOWN:
        shown = shown[: NAME_CHARACTERS_SHOWN - 1] + "…"
    _refuse_field(shown, "A field occurs twice in the same object.")


def _refuse_field(field: str, detail: str) -> NoReturn:
    raise Refused(422, "Invalid field", detail, field)
