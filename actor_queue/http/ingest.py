"""`POST /api/message`: the hot path, without a framework.

Read, admit, push, answer. The 202 is sent only when the store has the message. A client that
goes away while the store is asked changes nothing: nobody reads from the connection then.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from json.encoder import encode_basestring_ascii as json_string
from math import ceil
from typing import Final, Literal, cast

import anyio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from actor_queue.core.admission import AdmissionPolicy, Refused, admit
from actor_queue.core.codings import coded_bytes_max
from actor_queue.core.conversation import DEFAULT_ROUTE, conversation_of
from actor_queue.core.message import Accepted, Appended, Full, Message
from actor_queue.http.auth import Keys
from actor_queue.http.backend import Acceptor
from actor_queue.http.faults import FaultLog
from actor_queue.http.health import OK
from actor_queue.http.origins import Origins, Verdict
from actor_queue.http.plain import (
    HEAD_BYTES_REMEMBERED,
    HEADS_REMEMBERED,
    Answer,
    PlainHead,
    Request,
    Route,
    Written,
    read_head,
)
from actor_queue.http.plain_doors import DoorHead, Event, PlainDoors
from actor_queue.http.problem import (
    INTERNAL,
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

Kind = Literal["message", "alive"]
Begun = bytes | Problem | Answer | Event | None
"""What a request is answered, or None for one whose message has been handed to the store."""


class Ingest:
    """The ASGI handler for one message. `PlainIngest` answers most of them, and answers alike."""

    def __init__(self, backend: Acceptor, keys: Keys, traffic: Traffic) -> None:
        self._backend = backend
        self._keys = keys
        self._answers = traffic.answers
        self._policy = AdmissionPolicy.of(backend.settings, backend.routes)

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
            policy = self._policy_for(scope, head)
        except Refused as refused:
            return problem_of(refused)
        if isinstance(policy, Problem):
            return policy
        body = await read_body(receive, self._policy.max_body_bytes, head.coding)
        if not isinstance(body, bytes):
            return body
        try:
            message = admit(
                body,
                policy,
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

    def _policy_for(self, scope: HTTPScope, head: Head) -> AdmissionPolicy | Problem:
        """What its message is judged by, or what can be refused before the body is read. Raises
        `Refused` for its coding."""
        if scope["method"] != "POST":
            return method_not_allowed("POST")
        bound = self._keys.bound(head.authorization, "ingest", scope)
        refusal = bound if isinstance(bound, Problem) else head.form_refusal()
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
        if reason is not None:
            return unavailable(reason)
        return self._policy.bound_to(cast(str | None, bound))


class PlainIngest:
    """The same for plain requests, all that came together at once, and the health check."""

    def __init__(
        self,
        backend: Acceptor,
        keys: Keys,
        origins: Origins,
        traffic: Traffic,
        doors: PlainDoors | None = None,
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._origins = origins
        self._traffic = traffic
        self._doors = doors
        self._answers = traffic.answers
        self._faults = FaultLog()
        self._policy = AdmissionPolicy.of(backend.settings, backend.routes)
        self._written = Written()
        prefix = backend.settings.root_path.rstrip("/").encode()
        self._kinds: dict[tuple[str, bytes], Kind] = {}
        for start in {b"", prefix}:
            self._kinds["POST", start + ROUTE.encode()] = "message"
            self._kinds["GET", start + b"/healthz"] = "alive"
        self._routes: dict[bytes, Route] = {}
        self._keys_changed = keys.changed

    def route(self, head: bytes) -> Route | None:
        """See `plain.Handler`."""
        if self._keys.changed is not self._keys_changed:
            self._keys_changed = self._keys.changed
            self._routes.clear()
        route = self._routes.get(head)
        if route is None:
            route = self._read(head)
            if route is not None and len(head) <= HEAD_BYTES_REMEMBERED and not _is_unique(route):
                if len(self._routes) >= HEADS_REMEMBERED:
                    self._routes.clear()
                self._routes[head] = route
        return route

    def _read(self, head: bytes) -> Route | None:
        parts = read_head(head)
        if parts is None:
            return None
        kind = self._kinds.get((parts.method, parts.path))
        if kind is None and self._doors is not None:
            route = self._doors.route(parts)
            return route if route and self._is_nobodys_concern(parts, None) else None
        if kind is None or not self._is_nobodys_concern(parts, kind):
            return None
        if kind == "alive":
            return Route(0, None, False) if parts.length == 0 else None
        fields = Head.of(parts.fields)
        shown = Shown()
        asked = {"headers": parts.fields, "state": {"guest": shown}}
        bound = self._keys.bound(fields.authorization, "ingest", asked)
        refusal = bound if isinstance(bound, Problem) else fields.form_refusal()
        if refusal is None and parts.length > self._policy.max_body_bytes:
            refusal = too_large(self._policy.max_body_bytes)
        policy = self._policy.bound_to(bound if isinstance(bound, str) else None)
        return Route(parts.length, refusal, shown.known, (fields, policy))

    def _is_nobodys_concern(self, parts: PlainHead, kind: Kind | None) -> bool:
        """Whether `Host` and `Origin` neither forbid the request nor change its answer."""
        if not self._origins.concern(parts.fields):
            return True
        ingest = kind == "message"
        return self._origins.judge(parts.method, parts.fields, ingest=ingest) == Verdict()

    async def answer(self, requests: list[Request]) -> list[bytes]:
        """See `plain.Handler`."""
        answers: list[Begun] = []
        messages: list[Message] = []
        further: list[int] = []
        reason = self._backend.unready()
        for place, request in enumerate(requests):
            try:
                answer = self._judge(request, reason)
            except Exception as error:  # noqa: BLE001  # it ends one request, and not its group
                self._failed(error)
                answer = INTERNAL
            if isinstance(answer, Message):
                messages.append(answer)
                answers.append(None)
                continue
            answers.append(answer)
            if isinstance(answer, Event):
                messages += answer.messages
                if answer.actions is not None:
                    further.append(place)
        if further:
            async with anyio.create_task_group() as tasks:
                for place in further:
                    tasks.start_soon(self._carry_out, answers, place)
                outcomes = iter(await self._backend.push_each(messages) if messages else ())
        else:
            outcomes = iter(await self._backend.push_each(messages) if messages else ())
        return [self._answer(self._outcome(answer, outcomes)) for answer in answers]

    def _outcome(
        self, begun: Begun, outcomes: Iterator[Appended | StoreUnavailable]
    ) -> Appended | StoreUnavailable | Problem | bytes | Answer:
        if begun is None:
            return next(outcomes)
        if isinstance(begun, Event):
            assert self._doors is not None
            return self._doors.settled(begun, list(islice(outcomes, len(begun.messages))))
        return begun

    async def _carry_out(self, answers: list[Begun], place: int) -> None:
        event = answers[place]
        assert self._doors is not None
        assert isinstance(event, Event)
        try:
            answers[place] = await self._doors.carry_out(event)
        except Exception as error:  # noqa: BLE001  # as above
            self._failed(error)
            answers[place] = INTERNAL

    def _failed(self, error: Exception) -> None:
        self._traffic.requests_failed += 1
        self._faults.write("request_failed", error)

    def _judge(
        self, request: Request, reason: str | None
    ) -> Message | Problem | bytes | Event | Answer:
        """The message that a request brings, or what it is answered without one."""
        route = request.route
        if route.key is None:
            return OK
        if isinstance(route.key, DoorHead):
            assert self._doors is not None
            return self._doors.judge(request, reason)
        if route.refusal is not None:
            return route.refusal
        if reason is not None and not request.under_way:
            return unavailable(reason)
        head, policy = cast(tuple[Head, AdmissionPolicy], route.key)
        try:
            return admit(
                request.body,
                policy,
                new_id=self._backend.new_id,
                idempotency_key=_key_text(head.idempotency_key),
                arrived_ns=request.arrived_ns,
            )
        except Refused as refused:
            return head.explained(problem_of(refused), request.body)

    def _answer(self, answer: Appended | StoreUnavailable | Problem | bytes | Answer) -> bytes:
        if isinstance(answer, Answer):
            return answer.head
        if isinstance(answer, bytes):
            return self._written.ok(200, answer)
        if isinstance(answer, Accepted):
            self._answers[ROUTE, 202] += 1
            return self._written.ok(202, accepted_json(answer).encode("ascii"))
        if isinstance(answer, Full):
            answer = full(answer)
        elif isinstance(answer, StoreUnavailable):
            answer = unavailable(answer.detail)
        self._answers[ROUTE, answer.status] += 1
        return self._written.problem(answer)


def _is_unique(route: Route) -> bool:
    """Whether no other request will have this head."""
    return isinstance(route.key, DoorHead) and route.key.signed


class Shown:
    """Whether a head shows a key that there is."""

    known = False


def answer_to(appended: Appended) -> str | Problem:
    """The 202 object as JSON text in ASCII, or the 429."""
    if isinstance(appended, Full):
        return full(appended)
    return accepted_json(appended)


def accepted_json(accepted: Accepted) -> str:
    route, user = conversation_of(accepted.user)
    at = "" if route == DEFAULT_ROUTE else f' "route": {json_string(route)},'
    return (
        f'{{"success": true, "user": {json_string(user)},{at}'
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
