"""Plain requests: what a request is whose answer needs no general HTTP machinery.

Nearly every request that a gateway sends is of one kind: HTTP/1.1 with a length, whole, for one
message. `Plain` recognises it, and nothing besides: where anything is unusual, also where it is
only rare, the request goes to Hypercorn and h11, which judge it. So the grammar here is a part of
theirs, not another one: whatever is plain has the same meaning there. Tests hold both promises.

The heads of one sender are alike but for the length, so a head that was found plain is remembered
with all that follows from it, also what its key may do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from time import time
from typing import Final, Literal, NamedTuple, Protocol
from wsgiref.handlers import format_date_time

from actor_queue.http.problem import JSON_TYPE, PROBLEM_TYPE, Problem
from actor_queue.http.targets import is_host

HEAD_END: Final = b"\r\n\r\n"
HEAD_BYTES_MAX: Final = 4_096
"""A longer head is not plain."""
HEADERS_MAX: Final = 64
BODY_BYTES_MAX: Final = 65_536
"""Nor is a request with a longer body."""
HEADS_REMEMBERED: Final = 512
HEAD_BYTES_REMEMBERED: Final = 1_024

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e]*)\r\n")
_FIRST = re.compile(rb"(GET|POST) (/[\x21\x22\x24-\x7e]*) HTTP/1\.1\r\n")
_LENGTH = re.compile(rb"[0-9]{1,9}")
_BETWEEN: Final = b"\t "

_ODD: Final = frozenset(
    {
        b"transfer-encoding",
        b"content-encoding",
        b"cookie",
        b"expect",
        b"upgrade",
        b"te",
        b"trailer",
        b"http2-settings",
        b"proxy-connection",
    }
)
_ONCE: Final = frozenset(
    {b"host", b"content-length", b"content-type", b"authorization", b"idempotency-key"}
)

Field = tuple[bytes, bytes]
Method = Literal["GET", "POST"]


class PlainHead(NamedTuple):
    """A plain request's head, taken apart."""

    method: Method
    path: bytes
    fields: list[Field]
    """Names in small letters, values without blanks around them."""
    length: int
    """Bytes of the body."""


def read_head(head: bytes) -> PlainHead | None:
    """The head, up to and with its empty line; None if it is not plain."""
    if len(head) > HEAD_BYTES_MAX:
        return None
    first = _FIRST.match(head)
    if first is None:
        return None
    method, path = first.groups()
    lines = _LINE.findall(head, first.end())
    size = sum([len(name) + len(value) + 3 for name, value in lines])
    if first.end() + size != len(head) - 2:
        return None
    fields = [(name.lower(), value.strip(_BETWEEN)) for name, value in lines]
    length = _length(fields)
    if length is None or (method == b"GET" and length):
        return None
    return PlainHead("GET" if method == b"GET" else "POST", path, fields, length)


def _length(fields: list[Field]) -> int | None:
    """The length of the body, where everything about the head is plain."""
    seen: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in _ODD:
            return None
        if name in _ONCE:
            if name in seen:
                return None
            seen[name] = value
        elif name == b"connection" and value.lower() != b"keep-alive":
            return None
    if len(fields) > HEADERS_MAX or not is_host(seen.get(b"host", b"")):
        return None
    length = seen.get(b"content-length", b"0")
    return int(length) if _LENGTH.fullmatch(length) else None


class Answer(NamedTuple):
    """A whole answer. A body that many are sent is not copied for each of them."""

    head: bytes
    """With the body, where that is nobody else's."""
    body: bytes = b""


class Route(NamedTuple):
    """What a plain head asks for, as far as the head alone decides it."""

    length: int
    """Bytes of the body."""
    refusal: Problem | None
    """What it is answered whatever its body is; the body need not come for it."""
    known: bool
    """Whether it shows a key that there is."""
    key: object = None
    """What the handler made of it."""
    at_once: Callable[[], Answer | None] | None = None
    """Answers for the head alone, whether its body has come or not; None where the body has to be
    read after all, and then by somebody else. The request never reaches `Handler.answer`."""
    may_bring: bool = False
    """Whether `at_once` may be None and the request then brings messages, whose order counts."""


class Request(NamedTuple):
    """A plain request that is here in full."""

    route: Route
    body: bytes
    arrived_ns: int
    """See `arrivals.Arrival`."""
    under_way: bool = False
    """The service was told to stop when the request had begun and was not here in full."""


class Handler(Protocol):
    """Who answers plain requests."""

    def route(self, head: bytes) -> Route | None:
        """None: not plain, or not for this handler."""
        ...

    def is_stranger(self, came: bytes) -> bool:
        """Whether the first request in `came`, which is not plain or not whole, comes from nobody
        who is known, and so can bring no message whose order counts."""
        ...

    async def answer(self, requests: list[Request]) -> list[bytes]:
        """The whole answers, each as `written` makes them, in any case one for each request."""
        ...


class Written:
    """Answers as bytes, as h11 and Hypercorn would write them. The `Date` is made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._end = b""

    def ok(self, status: int, body: bytes, content_type: bytes = JSON_TYPE) -> bytes:
        return b"HTTP/1.1 %d \r\ncontent-type: %b\r\ncontent-length: %d\r\n%b%b" % (
            status,
            content_type,
            len(body),
            self._date(),
            body,
        )

    def problem(self, problem: Problem, *more: Field, by_quart: bool = False) -> bytes:
        """`by_quart`: with the headers in its order, the problem's own first."""
        body = problem.render()
        own = lines_of((*problem.headers, *more))
        return b"HTTP/1.1 %d \r\n%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b%b" % (
            problem.status,
            own if by_quart else b"",
            PROBLEM_TYPE,
            len(body),
            b"" if by_quart else own,
            self._date(),
            body,
        )

    def kept(self, lines: bytes, body: bytes) -> Answer:
        """A 200 whose `lines`, its headers but the date, were written before."""
        return Answer(b"HTTP/1.1 200 \r\n%b%b" % (lines, self._date()), body)

    def _date(self) -> bytes:
        now = int(time())
        if now != self._second:
            self._second = now
            self._end = b"date: %b\r\n\r\n" % format_date_time(now).encode()
        return self._end


def closing(answer: bytes) -> bytes:
    """The answer as the last one of its connection."""
    head, end, body = answer.partition(HEAD_END)
    status, line_break, fields = head.partition(b"\r\n")
    before, date, after = fields.rpartition(b"date: ")
    return b"".join((status, line_break, before, b"connection: close\r\n", date, after, end, body))


def lines_of(fields: Iterable[Field]) -> bytes:
    return b"".join([b"%b: %b\r\n" % field for field in fields])
