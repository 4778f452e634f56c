"""The parts of a request that the raw handlers look at: a few headers, and the body."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import trio
from hypercorn.typing import ASGIReceiveCallable

from actor_queue.http.problem import Problem

USER_IN_SCOPE: Final = "actor_queue.user"
"""Where the dispatcher leaves the user whom a path names."""
BODY_TOTAL_S: Final = 60.0
"""For a whole body of bounded size; the server cuts one that stands still sooner."""

_MULTIPART: Final = b"multipart/form-data"
_FORM: Final = b"application/x-www-form-urlencoded"
_NOT_A_FORM: Final = Problem(415, "send JSON (content-type: application/json), not a form")


@dataclass(slots=True)
class Head:
    """The headers that matter here. None where one is missing."""

    authorization: bytes | None = None
    content_type: bytes = b""
    content_length: int | None = None
    idempotency_key: bytes | None = None

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]]) -> Head:
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
        return head

    @property
    def media_type(self) -> bytes:
        return self.content_type.partition(b";")[0].strip().lower()

    def form_refusal(self) -> Problem | None:
        """Gateways label JSON as they like; a form in parts is never JSON, so say so clearly."""
        return _NOT_A_FORM if self.media_type == _MULTIPART else None

    def explained(self, problem: Problem) -> Problem:
        """What was wrong with a body that is no JSON: `curl -d` calls JSON a form, so that a body
        is a form is only said when it is not JSON."""
        return _NOT_A_FORM if problem.status == 400 and self.media_type == _FORM else problem


async def read_body(receive: ASGIReceiveCallable, bytes_max: int) -> bytes | Problem | None:
    """The whole body; a 413 as soon as it is over `bytes_max`; None if the client has gone."""
    event = await receive()
    if event["type"] != "http.request":
        return None
    if not event["more_body"]:  # the common case: a small body comes with its head
        return event["body"] if len(event["body"]) <= bytes_max else too_large(bytes_max)
    with trio.CancelScope(deadline=trio.current_time() + BODY_TOTAL_S):
        return await _read_on(receive, event["body"], bytes_max)
    return Problem(408, f"the body did not come within {BODY_TOTAL_S:g} seconds")


async def _read_on(
    receive: ASGIReceiveCallable, begun: bytes, bytes_max: int
) -> bytes | Problem | None:
    body = bytearray(begun)
    more = True
    while more and len(body) <= bytes_max:
        event = await receive()
        if event["type"] != "http.request":
            return None
        body += event["body"]
        more = event["more_body"]
    return bytes(body) if len(body) <= bytes_max else too_large(bytes_max)


def too_large(bytes_max: int) -> Problem:
    return Problem(413, f"the body may have {bytes_max} bytes, no more")
