"""What may come in: bytes become a `Message`, or a `Refused` that says why.

Owns every rule about the sender's input, and nothing else: no clock, no store, no HTTP.
A refusal names the field and the rule, never the value: what people write is theirs.

Decided here where the contract leaves it open:

- A UTF-8 byte order mark is dropped. Every other encoding is refused. What is left is kept
  byte for byte: it is one valid JSON text, so it can be put into a JSON array as it stands.
  Two things are changed in it, because no receiver could do anything with them: an escape
  that is half of a surrogate pair becomes U+FFFD, and a `message` that is null or a number
  becomes a string, so that every release finds text there. The number's text is what the
  sender wrote: `1e3` is "1e3" and `1.10` is "1.10".
- What makes the text unusable as JSON elsewhere (`core/json_text.py`) is status 400,
  anywhere in the object. A field that breaks its own rule is 422 with `field`; so is a name
  that occurs twice in one object, at any level.
- `message` may be empty. An optional field that is null or empty text is one that was not
  given; so is an empty `Idempotency-Key`.
- A numeric string for seconds is `15`, `0.5` or `-0` in plain digits, blanks around it allowed;
  no exponent, no plus sign, no comma. Parts of a millisecond count as a whole one, computed
  on the decimal digits, so that 4.35 is 4,350 ms and 0.0001 is 1 ms.
- `route` is text or an integer. Where it says `default` the message is kept without it, because a
  release that knows no routes would pass it through.
- `Idempotency-Key` is the message id as it stands, in UTF-8, except that a value in double
  quotes is taken as the structured-header string that its draft asks for: `"abc"` is `abc`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import ROUND_UP, Decimal
from typing import NoReturn
from urllib.parse import unquote_to_bytes

from actor_queue.core.conversation import DEFAULT_ROUTE, Conversation
from actor_queue.core.json_text import (
    Refused,
    read_object,
    refuse_field,
    with_text,
    without_field,
)
from actor_queue.core.message import MESSAGE_ID_BYTES_MAX, USER_BYTES_MAX, Message
from actor_queue.core.routes import RouteTable
from actor_queue.core.settings import Settings

__all__ = ["AdmissionPolicy", "Refused", "admit", "milliseconds", "user_from_path"]

ROUTES_SHOWN_MAX = 50
"""In a refusal."""

_WHOLE_SECONDS_MAX = 1e15
"""Below it every whole number of seconds is one that a float can be."""

_PLAIN_DECIMAL = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_QUOTED_STRING = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class AdmissionPolicy:
    """The limits that an operator sets."""

    default_ttl_ms: int
    """Where there are no `routes`, each of which has its own."""
    max_ttl_ms: int
    max_body_bytes: int
    routes: RouteTable | None = field(default=None, compare=False)
    """Looked at for each message; None: there is the default route alone."""
    bound: str | None = None
    """The only route that may be named, and that of messages that name none."""

    @classmethod
    def of(cls, settings: Settings, routes: RouteTable | None = None) -> AdmissionPolicy:
        return cls(
            default_ttl_ms=settings.default_ttl_ms,
            max_ttl_ms=settings.max_ttl_ms,
            max_body_bytes=settings.max_body_bytes,
            routes=routes,
        )

    def bound_to(self, route: str | None) -> AdmissionPolicy:
        """For the bearer of a key that reaches one route; None: of one that reaches all."""
        return self if route is None else replace(self, bound=route)

    def ttl_of(self, name: str) -> int | None:
        """A route's quiet time in milliseconds; None if there is no such route."""
        if self.routes is None:
            return self.default_ttl_ms if name == DEFAULT_ROUTE else None
        route = self.routes.get(name)
        return None if route is None else route.default_ttl_ms


def admit(
    body: bytes,
    policy: AdmissionPolicy,
    *,
    new_id: Callable[[], str],
    idempotency_key: str | None = None,
    arrived_ns: int = 0,
) -> Message:
    """One message from the bytes of one JSON object. Raises `Refused` with 400, 403, 413 or 422.

    `new_id` is asked only when the sender gave no `message_id` and no `idempotency_key`
    (the header's value, as text). `arrived_ns` goes into the message.
    """
    if len(body) > policy.max_body_bytes:
        _refuse_size(policy)
    body, fields = read_object(body)
    user = _user(fields)
    if type(fields.get("message")) is not str:
        body = _with_text(body, fields)
    route = DEFAULT_ROUTE if policy.bound is None else policy.bound
    if "route" in fields:
        route = _route(fields["route"], route, policy)
        if route == DEFAULT_ROUTE:
            body = without_field(body, "route")
    default_ms = policy.ttl_of(route)
    if default_ms is None:
        _refuse_route(route, policy, named=bool(fields.get("route")))
    ttl_ms = _ttl_ms(fields.get("ttl"), default_ms, policy)
    named = _message_id(fields.get("message_id"), idempotency_key)
    return Message(
        user=user if route == DEFAULT_ROUTE else Conversation(route, user).key,
        body=body,
        ttl_ms=ttl_ms,
        message_id=new_id() if named is None else named,
        remembered=named is not None,
        arrived_ns=arrived_ns,
    )


def milliseconds(field: str, given: object) -> int | None:
    """Seconds as senders write them, of any size and sign; None where none are given.

    A number, its text, null, or empty text. Raises `Refused` with 422 for anything else.
    """
    if given is None:
        return None
    if type(given) is int:
        return given * 1_000
    if type(given) is float:
        if given.is_integer() and abs(given) < _WHOLE_SECONDS_MAX:
            return int(given) * 1_000
        return _up(Decimal(repr(given)))
    if type(given) is str:
        digits = given.strip(" ")
        if not digits:
            return None
        if _PLAIN_DECIMAL.fullmatch(digits):
            return _up(Decimal(digits))
    refuse_field(field, f"`{field}` must be a number of seconds, or a string of one.")


def _up(seconds: Decimal) -> int:
    """Away from zero, so that what is less than nothing stays that: -0.0001 is no ttl of 0."""
    return int((seconds * 1_000).to_integral_value(ROUND_UP))


def text_of_edit(body: bytes) -> tuple[str, dict[str, object]]:
    """The new text in the body of an edit, by the rules of a message's, and the other fields.
    Raises `Refused` with 400 or 422."""
    body, fields = read_object(body)
    if type(fields.get("message")) is not str:
        _, fields = read_object(_with_text(body, fields))
    text = fields.pop("message")
    assert type(text) is str
    return text, fields


def message_id_of(value: object) -> str:
    """The message that a program names, as text. Raises `Refused` with 422."""
    named = _message_id(value, None)
    if named is None:
        refuse_field("message_id", f"`message_id` must have 1 to {MESSAGE_ID_BYTES_MAX} bytes.")
    return named


def user_of(value: object) -> str:
    """The user that a program names, as text. Raises `Refused` with 422."""
    return _user({"user": value})


def user_from_path(raw: bytes) -> str:
    """The user that a percent-encoded path segment names. Raises `Refused` with 400 or 404.

    `raw` is the segment as it was sent, so `%2F` is part of a name and `+` is a plus sign.
    """
    return _named_in_path(raw, "user", USER_BYTES_MAX)


def message_id_from_path(raw: bytes) -> str:
    """As `user_from_path`, of a message's id."""
    return _named_in_path(raw, "message id", MESSAGE_ID_BYTES_MAX)


def _named_in_path(raw: bytes, what: str, bytes_max: int) -> str:
    if not raw:
        raise Refused(404, "Not found", f"The path names no {what}.")
    if _BROKEN_ESCAPE.search(raw):
        raise Refused(400, "Bad path", "A % in the path is not followed by two hex digits.")
    try:
        name = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise Refused(400, "Bad path", f"The {what} in the path is not UTF-8.") from None
    if not _within(name, bytes_max):
        raise Refused(404, "Not found", f"No {what} is longer than {bytes_max} bytes.")
    return name


# Fields


def _user(fields: dict[str, object]) -> str:
    user = fields.get("user")
    if type(user) is int:
        user = str(user)
    if type(user) is not str:
        refuse_field("user", "`user` is required, a string or an integer.")
    if not _within(user, USER_BYTES_MAX):
        refuse_field("user", f"`user` must have 1 to {USER_BYTES_MAX} bytes.")
    return user


def _with_text(body: bytes, fields: dict[str, object]) -> bytes:
    """`body` with a text as its message, where a sender wrote something that has one."""
    if "message" not in fields:
        refuse_field("message", "`message` is required, a string.")
    if type(fields["message"]) not in (int, float, type(None)):
        refuse_field("message", "`message` must be a string, a number or null.")
    return with_text(body, "message")


def _route(given: object, otherwise: str, policy: AdmissionPolicy) -> str:
    """The route that a sender names; `otherwise` where it names none."""
    if type(given) is int:
        given = str(given)
    if given is not None and type(given) is not str:
        refuse_field("route", "`route` must be a string, the name of a route.")
    if not given:
        return otherwise
    if policy.bound not in (None, given):
        raise Refused(403, "Another route", f"This key reaches the route {policy.bound} only.")
    return given


def _refuse_route(route: str, policy: AdmissionPolicy, *, named: bool) -> NoReturn:
    what = "There is no such route" if named else f"There is no route {route}"
    names = [DEFAULT_ROUTE] if policy.routes is None else [each.name for each in policy.routes]
    shown = ", ".join(names[:ROUTES_SHOWN_MAX]) + (", …" if len(names) > ROUTES_SHOWN_MAX else "")
    refuse_field("route", f"{what}: `route` must be one of {shown}.")


def _ttl_ms(ttl: object, default_ms: int, policy: AdmissionPolicy) -> int:
    if ttl is None:
        return default_ms
    ttl_ms = milliseconds("ttl", ttl)
    if ttl_ms is None:
        return default_ms
    if not 0 <= ttl_ms <= policy.max_ttl_ms:
        refuse_field("ttl", f"`ttl` must be from 0 to {policy.max_ttl_ms / 1_000:g} seconds.")
    return ttl_ms


def _message_id(given: object, idempotency_key: str | None) -> str | None:
    """The name that the sender gave, if any: in the body, in the header, or alike in both."""
    if type(given) is int:
        given = str(given)
    if given is not None and type(given) is not str:
        refuse_field("message_id", "`message_id` must be a string or an integer.")
    in_body = given or None
    in_header = (idempotency_key and _unquoted(idempotency_key)) or None
    if in_body is not None and in_header is not None and in_body != in_header:
        refuse_field("message_id", "`message_id` and the header Idempotency-Key differ.")
    named = in_header if in_body is None else in_body
    if named is not None and not _within(named, MESSAGE_ID_BYTES_MAX):
        refuse_field("message_id", f"`message_id` must have 1 to {MESSAGE_ID_BYTES_MAX} bytes.")
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


def _refuse_size(policy: AdmissionPolicy) -> NoReturn:
    raise Refused(413, "Too large", f"One message may have {policy.max_body_bytes} bytes, no more.")
