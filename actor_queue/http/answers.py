"""`/api/answers/{ticket}…`: a receiver that answered 202 says how it goes on.

The ticket is all that is needed: it is made for one attempt at one batch, and stands in no log and
in no label. Raw ASGI, because whoever waits for news must keep nobody else waiting.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NoReturn, cast
from urllib.parse import parse_qsl

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from actor_queue.core.admission import Refused, milliseconds
from actor_queue.core.answers import ANSWER_MAX_MS, Ticket
from actor_queue.core.answers import PATH as PREFIX_TEXT
from actor_queue.core.codings import coded_bytes_max
from actor_queue.core.delivery import ANSWER_BYTES_MAX, RETRY_AFTER_MAX_S, printable
from actor_queue.core.json_text import (
    BYTE_ORDER_MARK,
    NAME_CHARACTERS_SHOWN,
    read_object,
    refuse_field,
)
from actor_queue.core.message import MESSAGE_ID_BYTES_MAX
from actor_queue.http.backend import Backend
from actor_queue.http.problem import (
    JSON_TYPE,
    Problem,
    method_not_allowed,
    not_found,
    problem_of,
    retry_after,
    send_body,
    send_problem,
    unavailable,
)
from actor_queue.http.query import query_refusal
from actor_queue.http.request import Head, read_body, too_large
from actor_queue.http.shapes import moment
from actor_queue.http.traffic import Traffic
from actor_queue.runtime.answers import WAIT_MAX_S, AnswerVerbs, TooManyWait
from actor_queue.store.answers_api import Answered
from actor_queue.store.api import StoreUnavailable

PREFIX: Final = PREFIX_TEXT.encode()
BODY_BYTES_MAX: Final = 4_096
ROUTE: Final = "/api/answers/{ticket}"
SENT_MAX: Final = 50
"""A bot's answer is a handful of messages."""
VERBS: Final = ("done", "extend", "fail")
TICKET_IN_SCOPE: Final = "actor_queue.ticket"
"""Where the dispatcher leaves what stands behind the prefix."""

_UNKNOWN: Final = not_found("no batch has this address for answers")
_OVER: Final = Problem(
    410,
    "the time for this answer is over, or the batch has another attempt, or it was settled: what"
    " this receiver has done counts for nothing",
)
_MANY: Final = Problem(
    503, "too many calls wait for news: ask again, or without `wait`", headers=(retry_after(5),)
)

Reply = tuple[int, dict[str, object]]
_Verb = Callable[[AnswerVerbs, Ticket, bytes], Awaitable[Reply | Problem]]


class AnswerAddresses:
    """The ASGI handler."""

    def __init__(self, backend: Backend, traffic: Traffic) -> None:
        self._backend = backend
        self._answers = traffic.answers

    def knows(self, text: str) -> bool:
        """Whether this is a ticket of ours, be its time over or not."""
        try:
            return self._backend.answers.ticket(text) is not None
        except StoreUnavailable:
            return False

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        path = cast(dict[str, bytes], scope)[TICKET_IN_SCOPE].decode("latin-1")
        text, _, verb = path.removesuffix("/").partition("/")
        label = f"{ROUTE}/{verb}" if verb in VERBS else ROUTE
        try:
            reply = await self._reply(scope, receive, text, verb)
        except Refused as refused:
            reply = problem_of(refused)
        except StoreUnavailable as trouble:
            reply = unavailable(trouble.detail)
        except TooManyWait:
            reply = _MANY
        if isinstance(reply, Problem):
            self._answers[label, reply.status] += 1
            await send_problem(send, reply)
        elif reply is not None:
            status, body = reply
            self._answers[label, status] += 1
            headers = [(b"cache-control", b"no-store")]
            await send_body(send, status, JSON_TYPE, json.dumps(body).encode(), headers)

    async def _reply(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, text: str, verb: str
    ) -> Reply | Problem | None:
        """None when nobody is there to be answered."""
        if verb not in ("", *VERBS):
            return _UNKNOWN
        allowed = ("POST",) if verb else ("GET", "HEAD")
        if scope["method"] not in allowed:
            return method_not_allowed(", ".join(allowed))
        if refusal := query_refusal(scope["query_string"], () if verb else ("wait",)):
            return refusal
        verbs = self._backend.answers
        ticket = verbs.ticket(text)
        if ticket is None:
            return _UNKNOWN
        if not verb:
            return await _look(verbs, ticket, scope["query_string"])
        head = Head.of(scope["headers"])
        if (head.content_length or 0) > coded_bytes_max(BODY_BYTES_MAX):
            return too_large(BODY_BYTES_MAX)
        body = await read_body(receive, BODY_BYTES_MAX, head.coding)
        if not isinstance(body, bytes):
            return body
        return await _SAID[verb](verbs, ticket, body)


async def _look(verbs: AnswerVerbs, ticket: Ticket, query: bytes) -> Reply | Problem:
    wait_ms = milliseconds("wait", dict(parse_qsl(query.decode("latin-1"))).get("wait")) or 0
    if wait_ms < 0:
        refuse_field("wait", "wait must be at least 0 seconds")
    seen = await verbs.wait(ticket, _at_most(wait_ms, WAIT_MAX_S * 1000) / 1000)
    return _OVER if seen is None else (200, _state(seen))


async def _done(verbs: AnswerVerbs, ticket: Ticket, body: bytes) -> Reply | Problem:
    given = _fields(body, ("if", "sent"))
    condition = given.get("if")
    if condition not in (None, "latest"):
        refuse_field("if", "if can only be latest")
    if sent := _ids(given.get("sent")):
        await verbs.sent(ticket, sent)
    answer = await verbs.done(ticket, only_latest=condition is not None)
    if answer is None or answer.state == "failed":
        return _OVER
    if answer.state == "taken_back":
        return 409, {"newer": answer.newer, "taken_back": True}
    return 200, {"state": "done", "newer": answer.newer}


def _ids(given: object) -> list[str]:
    """Ids of messages, as texts or whole numbers."""
    if given is None:
        return []
    ids = given if isinstance(given, list) and len(given) <= SENT_MAX else [None]
    found = [str(each) if type(each) in (str, int) else "" for each in ids]
    if not all(1 <= len(each.encode()) <= MESSAGE_ID_BYTES_MAX for each in found):
        refuse_field("sent", f"sent must be an array of at most {SENT_MAX} ids of messages")
    return found


async def _extend(verbs: AnswerVerbs, ticket: Ticket, body: bytes) -> Reply | Problem:
    for_ms = milliseconds("seconds", _fields(body, ("seconds",)).get("seconds"))
    if for_ms is None or for_ms <= 0:
        refuse_field("seconds", "seconds must be there, and over 0")
    answer = await verbs.extend(ticket, _at_most(for_ms, ANSWER_MAX_MS))
    if answer is None or answer.state != "answering":
        return _OVER
    return 200, {"until": _until(answer), "newer": answer.newer}


async def _fail(verbs: AnswerVerbs, ticket: Ticket, body: bytes) -> Reply | Problem:
    given = _fields(body, ("reason", "retry_after", "retry"))
    reason, retry = given.get("reason"), given.get("retry")
    if reason is not None and type(reason) is not str:
        refuse_field("reason", "reason must be a text")
    if retry not in (None, True, False) or type(retry) in (int, float):
        refuse_field("retry", "retry must be true or false")
    after_ms = milliseconds("retry_after", given.get("retry_after"))
    if after_ms is not None and after_ms < 0:
        refuse_field("retry_after", "retry_after must be at least 0 seconds")
    said = printable(reason, ANSWER_BYTES_MAX) or None if reason else None
    after_s = None if after_ms is None else _at_most(after_ms, RETRY_AFTER_MAX_S * 1000) / 1000
    answer = await verbs.fail(ticket, said, after_s, retry=retry is not False)
    if answer is None or answer.state != "failed":
        return _OVER
    return 200, {"state": "failed", "newer": answer.newer}


_SAID: Final[Mapping[str, _Verb]] = {"done": _done, "extend": _extend, "fail": _fail}


def _at_most(given_ms: int, most_ms: float) -> int:
    """A number may have a thousand digits, and no division takes that."""
    return min(given_ms, int(most_ms))


def _fields(body: bytes, known: tuple[str, ...]) -> dict[str, object]:
    """Of a JSON object; nothing at all is an empty one, an empty text a field that was not
    given."""
    if not body.removeprefix(BYTE_ORDER_MARK).strip():
        return {}
    _, fields = read_object(body)
    for name in fields:
        if name not in known:
            _refuse_unknown(name, known)
    return {name: value for name, value in fields.items() if value != ""}


def _refuse_unknown(name: str, known: tuple[str, ...]) -> NoReturn:
    takes = f"only the field{'s' * (len(known) > 1)} {', '.join(known)}"
    raise Refused(422, "Invalid field", f"the body may have {takes}", name[:NAME_CHARACTERS_SHOWN])


def _state(seen: Answered) -> dict[str, object]:
    return {"state": seen.state, "newer": seen.newer, "until": _until(seen)}


def _until(seen: Answered) -> str | None:
    return None if seen.until_ms is None else moment(seen.until_ms)
