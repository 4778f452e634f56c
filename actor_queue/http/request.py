"""The parts of a request that the raw handlers look at: a few headers, and the body."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

import anyio
from hypercorn.typing import ASGIReceiveCallable, HTTPScope

from actor_queue.core.codings import Decoder, coded_bytes_max, coding_of
from actor_queue.core.json_text import BYTE_ORDER_MARK, Refused
from actor_queue.http.problem import Problem, problem_of

if TYPE_CHECKING:
    from actor_queue.http.arrivals import Arrival

USER_IN_SCOPE: Final = "actor_queue.user"
"""Where the dispatcher leaves the user whom a path names."""
MESSAGE_IN_SCOPE: Final = "actor_queue.message"
"""And the id of the message."""
BODY_TOTAL_S: Final = 60.0
"""For a whole body of bounded size; the server cuts one that stands still sooner."""

_MULTIPART: Final = b"multipart/form-data"
_FORM: Final = b"application/x-www-form-urlencoded"
NOT_A_FORM: Final = "send JSON (content-type: application/json), not a form"
_FORM_BEGINS = re.compile(rb"(?:[\w.~*+%-][\w.~*+%\[\]-]*)?=|%7[Bb]|%5[Bb]")
_UNREADABLE: Final = frozenset({"Not JSON", "Not UTF-8"})
_LABEL_HINT: Final = (
    " (It came as a form: curl -d says so unless it is told -H 'content-type: application/json'.)"
)

Header = tuple[bytes, bytes]


class _Unknown:
    """The arrival of a request that another server has read."""

    arrived_ns = 0
    awaited = False

    def take_in_hand(self) -> None: ...

    def hand_on(self) -> None: ...


_UNKNOWN: Final = _Unknown()


def arrival_of(scope: HTTPScope) -> Arrival:
    """When the bytes read so far arrived. Only our own server tells: it puts its reader there."""
    return cast("Arrival", scope.get("state", {}).get("reader", _UNKNOWN))


@dataclass(slots=True)
class Head:
    """The headers that matter here. None where one is missing."""

    authorization: bytes | None = None
    content_type: bytes = b""
    content_length: int | None = None
    idempotency_key: bytes | None = None
    content_encoding: bytes = b""

    @classmethod
    def of(cls, headers: Iterable[Header]) -> Head:
        head = cls()
        for name, value in headers:
            if name == b"content-length":
                head.content_length = int(value)
            elif name == b"content-type":
                head.content_type = value
            elif name == b"authorization":
                head.authorization = value
            elif name == b"idempotency-key":
                head.idempotency_key = value
            elif name == b"content-encoding":  # may be a list, on several lines
                head.content_encoding += value + b","
        return head

    @property
    def media_type(self) -> bytes:
        return self.content_type.partition(b";")[0].strip().lower()

    @property
    def is_form(self) -> bool:
        """Whether the body is called a form, in one part."""
        return self.media_type == _FORM

    @property
    def coding(self) -> str | None:
        """The body's coding. Raises `UnknownCoding`."""
        return coding_of(self.content_encoding) if self.content_encoding else None

    def form_refusal(self) -> Problem | None:
        """Gateways label JSON as they like; a form in parts is never JSON, so say so clearly."""
        return Problem(415, NOT_A_FORM) if self.media_type == _MULTIPART else None

    def explained(self, problem: Problem, body: bytes) -> Problem:
        """What was wrong with a body that is no JSON, where it is called a form. `curl -d` calls
        JSON a form: one that is meant as JSON is told what is wrong with it as JSON."""
        if problem.status != 400 or not self.is_form:
            return problem
        if is_form(body):
            return Problem(415, NOT_A_FORM)
        if problem.title in _UNREADABLE:
            return replace(problem, detail=problem.detail + _LABEL_HINT)
        return problem


def is_form(body: bytes) -> bool:
    """Whether a body begins as `name=value`, or as JSON that was encoded like one."""
    beginning = body.removeprefix(BYTE_ORDER_MARK).lstrip()
    return _FORM_BEGINS.match(beginning) is not None


async def read_body(
    receive: ASGIReceiveCallable, bytes_max: int, coding: str | None = None
) -> bytes | Problem | None:
    """The whole body, decoded; a 413 as soon as it is over `bytes_max`; None if the client has
    gone."""
    event = await receive()
    if event["type"] != "http.request":
        return None
    if not event["more_body"] and coding is None:  # the common case: it comes with its head
        return event["body"] if len(event["body"]) <= bytes_max else too_large(bytes_max)
    with anyio.move_on_after(BODY_TOTAL_S):
        return await _read_on(receive, event["body"], event["more_body"], bytes_max, coding)
    return Problem(408, f"the body did not come within {BODY_TOTAL_S:g} seconds")


async def _read_on(
    receive: ASGIReceiveCallable, came: bytes, more: bool, bytes_max: int, coding: str | None
) -> bytes | Problem | None:
    body = _Body(bytes_max, coding)
    try:
        while body.take(came) and more:
            event = await receive()
            if event["type"] != "http.request":
                return None
            came, more = event["body"], event["more_body"]
        return body.whole()
    except Refused as refused:
        return problem_of(refused)


class _Body:
    """A body as far as it has come, never much more of it than its limit."""

    def __init__(self, bytes_max: int, coding: str | None) -> None:
        self._bytes_max = bytes_max
        self._room = bytes_max if coding is None else coded_bytes_max(bytes_max)
        self._decoder = None if coding is None else Decoder(coding)
        self._body = bytearray()
        self._over = False

    def take(self, data: bytes) -> bool:
        """False once it is too large. Raises `Refused` for what cannot be decoded."""
        self._room -= len(data)
        self._over = self._room < 0
        for piece in (data,) if self._decoder is None else self._decoder.feed(data):
            self._body += piece
            if len(self._body) > self._bytes_max:
                self._over = True
                break
        return not self._over

    def whole(self) -> bytes | Problem:
        if self._over:
            return too_large(self._bytes_max)
        if self._decoder is not None:
            self._decoder.finish()
        return bytes(self._body)


def too_large(bytes_max: int) -> Problem:
    return Problem(413, f"the body may have {bytes_max} bytes, no more")
