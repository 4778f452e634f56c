"""`POST /api/message`: the hot path, without a framework.

Read, admit, push, answer. The 202 is sent only when the store has the message. A client that
goes away while the store is asked changes nothing: nobody reads from the connection then.
"""

from __future__ import annotations

from json.encoder import encode_basestring_ascii as json_string
from math import ceil
from typing import Final

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from actor_queue.core.admission import AdmissionPolicy, Refused, admit
from actor_queue.core.codings import coded_bytes_max
from actor_queue.core.message import Accepted, Appended, Full
from actor_queue.http.auth import Keys
from actor_queue.http.backend import Backend
from actor_queue.http.problem import (
    JSON_TYPE,
    Problem,
    method_not_allowed,
    problem_of,
    retry_after,
    send_body,
    send_problem,
    unavailable,
)
from actor_queue.http.query import query_refusal
from actor_queue.http.request import Head, arrival_of, read_body, too_large
from actor_queue.http.traffic import Traffic
from actor_queue.store.api import StoreUnavailable

ROUTE: Final = "/api/message"


class Ingest:
    """The ASGI handler for one message."""

    def __init__(self, backend: Backend, keys: Keys, traffic: Traffic) -> None:
        self._backend = backend
        self._keys = keys
        self._answers = traffic.answers
        self._policy = AdmissionPolicy.of(backend.settings)

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        answer = await self._answer(scope, receive)
        if isinstance(answer, str):
            self._answers[ROUTE, 202] += 1
            await send_body(send, 202, JSON_TYPE, answer.encode("ascii"))
        elif answer is not None:
            self._answers[ROUTE, answer.status] += 1
            await send_problem(send, answer)

    async def _answer(self, scope: HTTPScope, receive: ASGIReceiveCallable) -> str | Problem | None:
        """The 202's body, or a problem; None when nobody is there to be answered."""
        head = Head.of(scope["headers"])
        try:
            refusal = self._refusal(scope, head)
        except Refused as refused:
            return problem_of(refused)
        if refusal is not None:
            return refusal
        body = await read_body(receive, self._policy.max_body_bytes, head.coding)
        if not isinstance(body, bytes):
            return body
        try:
            message = admit(
                body,
                self._policy,
                new_id=self._backend.new_id,
                idempotency_key=_key_text(head.idempotency_key),
                arrived_ns=arrival_of(scope).arrived_ns,
            )
            [appended] = await self._backend.push([message])
        except Refused as refused:
            return head.explained(problem_of(refused), body)
        except StoreUnavailable as trouble:
            return unavailable(trouble.detail)
        return answer_to(appended)

    def _refusal(self, scope: HTTPScope, head: Head) -> Problem | None:
        """What can be refused before the body is read. Raises `Refused` for its coding."""
        if scope["method"] != "POST":
            return method_not_allowed("POST")
        refusal = self._keys.refusal(head.authorization, "ingest", scope) or head.form_refusal()
        if refusal is None and scope["query_string"]:
            refusal = query_refusal(scope["query_string"])
        if refusal is not None:
            return refusal
        limit = room = self._policy.max_body_bytes
        if head.content_encoding and head.coding is not None:
            room = coded_bytes_max(limit)
        if (head.content_length or 0) > room:
            return too_large(limit)
        reason = self._backend.unready()
        return None if reason is None else unavailable(reason)


def answer_to(appended: Appended) -> str | Problem:
    """The 202 object as JSON text in ASCII, or the 429."""
    if isinstance(appended, Full):
        return full(appended)
    return accepted_json(appended)


def accepted_json(accepted: Accepted) -> str:
    return (
        f'{{"success": true, "user": {json_string(accepted.user)},'
        f' "message_id": {json_string(accepted.message_id)}, "pending": {accepted.pending},'
        f' "fires_in": {accepted.due_in_ms / 1000},'
        f' "duplicate": {"true" if accepted.duplicate else "false"}}}'
    )


FULL_OF: Final = {
    "messages": "be more than AQ_MAX_PENDING",
    "bytes": "have more bytes than AQ_MAX_PENDING_BYTES",
}


def full(appended: Full) -> Problem:
    return Problem(
        429,
        f"{appended.pending} messages of this user are waiting already; with this one they would"
        f" {FULL_OF[appended.of]} allows",
        headers=(retry_after(ceil(appended.due_in_ms / 1000)),),
    )


def _key_text(header: bytes | None) -> str | None:
    """Raises `Refused` for a header that is no text."""
    if header is None:
        return None
    try:
        return header.decode()
    except UnicodeDecodeError:
        raise Refused(
            422, "Invalid field", "the header Idempotency-Key must be UTF-8", "message_id"
        ) from None
