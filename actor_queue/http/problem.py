"""Error answers: RFC 9457 `application/problem+json`, and how any plain answer is sent.

A problem says what the sender can do; it never quotes what the sender sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
from hypercorn.typing import ASGISendCallable
from msgspec import UNSET

from actor_queue.core.codings import ACCEPTED, UnknownCoding
from actor_queue.core.json_text import Refused
from actor_queue.http import models

PROBLEM_TYPE: Final = b"application/problem+json"
JSON_TYPE: Final = b"application/json"
STORE_RETRY_AFTER_S: Final = 1

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal. `title` is the status' own name unless there is a better one."""

    status: int
    detail: str
    title: str = ""
    field: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def as_model(self) -> models.Problem:
        """The members of the body; `type` is absent, which means `about:blank`."""
        return models.Problem(
            title=self.title or HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            field=UNSET if self.field is None else self.field,
        )

    def as_json(self) -> dict[str, object]:
        """The members of the body as a dict."""
        body: dict[str, object] = msgspec.to_builtins(self.as_model())
        return body

    def render(self) -> bytes:
        return msgspec.json.encode(self.as_model())


def retry_after(seconds: int) -> tuple[bytes, bytes]:
    return (b"retry-after", str(max(1, seconds)).encode())


def unavailable(detail: str) -> Problem:
    """Nothing was accepted; the same request can be repeated after a second."""
    return Problem(503, detail, headers=(retry_after(STORE_RETRY_AFTER_S),))


def not_found(detail: str = "there is nothing at this path") -> Problem:
    return Problem(404, detail)


def method_not_allowed(allow: str) -> Problem:
    return Problem(405, f"this path answers {allow}", headers=((b"allow", allow.encode()),))


def problem_of(refused: Refused) -> Problem:
    """What the rules of the core refuse, as an answer."""
    headers = ((b"accept-encoding", ACCEPTED.encode()),) if type(refused) is UnknownCoding else ()
    return Problem(refused.status, refused.detail, refused.title, refused.field, headers)


INTERNAL = Problem(500, "the service failed to answer; its log says where")


async def send_problem(send: ASGISendCallable, problem: Problem) -> None:
    await send_body(send, problem.status, PROBLEM_TYPE, problem.render(), problem.headers)


async def send_body(
    send: ASGISendCallable, status: int, content_type: bytes, body: bytes, headers: Headers = ()
) -> None:
    """A whole answer, with its length, so that the connection stays usable."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", content_type),
                (b"content-length", str(len(body)).encode()),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_nothing(send: ASGISendCallable) -> None:
    """204: everything that is to be said is in the headers."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
