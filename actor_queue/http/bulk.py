"""`POST /api/messages`: many messages in one request, read and answered as a stream.

Three tasks in a row: cut and admit, push, send answers. Admission is at most `CHUNKS_AHEAD` chunks
ahead of the push, so a slow store slows the reading, and the time it takes is used to admit what
comes next. What has gathered then is pushed together, because a call costs the store and the
service more than a message in it does. One push follows the other: a user's messages keep their
order.

Answers may wait in memory up to `ANSWERS_BYTES_MAX`, because many clients read nothing until
they have sent everything. A client that sends more than about 100,000 messages in a request
has to read meanwhile; otherwise nothing more is read from it either, and it is cut off.

A compressed body is decoded on the way, at most three pieces of 64 KiB ahead of the cutting.

A request of one chunk is little work and takes no place. At most `REQUESTS_MAX` longer ones are
under way at once; the next one is answered 503 before any of its messages was taken. Where one of
them waits for a client that is behind its pace, that one ends with a 408 and leaves its place: what
it had sent was taken.

Once the store has failed, the rest of the request is answered 503 without being tried. So
whoever sends again what was answered 503, in order, keeps its order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    HTTPScope,
)

from actor_queue.core.admission import AdmissionPolicy, Refused, admit
from actor_queue.core.codings import coding_of
from actor_queue.core.message import Appended
from actor_queue.http.auth import Keys
from actor_queue.http.backend import Acceptor
from actor_queue.http.chunks import CHUNK_MESSAGES_MAX, CHUNKS_AHEAD, Ahead, Chunk, gathered
from actor_queue.http.elements import Array, Cutter, Lines
from actor_queue.http.ingest import answer_to
from actor_queue.http.pace import Pace
from actor_queue.http.problem import (
    JSON_TYPE,
    Problem,
    method_not_allowed,
    problem_of,
    send_problem,
    unavailable,
)
from actor_queue.http.query import query_refusal
from actor_queue.http.request import Head, arrival_of
from actor_queue.http.traffic import Traffic
from actor_queue.store.api import StoreUnavailable

if TYPE_CHECKING:
    from actor_queue.http.arrivals import Arrival

ROUTE: Final = "/api/messages"
MORE_AT_HAND_BYTES: Final = 32_768
"""Who has sent so much at once has probably sent more. From anybody else the next part is awaited
when the store is through with what came before: its time is not the client's."""
ANSWERS_BYTES_MAX: Final = 16 * 1024 * 1024
REQUESTS_MAX: Final = 16
SHORT_BYTES_MAX: Final = 65_536
"""Without a place, a body whose `Content-Length` is no more is read whole, and then judged: the
network may bring even a small one in several parts."""

SPARED_S: Final = 1.0
"""A client that is less behind its pace keeps its place."""
GAVE_WAY: Final = Problem(
    408, "the rest of this request came too slowly, and others waited for its place"
)
NO_PLACE: Final = unavailable(f"{REQUESTS_MAX} long requests with many messages are under way")

NDJSON_TYPE: Final = b"application/x-ndjson"
_NDJSON_TYPES: Final = {
    NDJSON_TYPE,
    b"application/ndjson",
    b"application/jsonl",
    b"application/x-jsonlines",
    b"application/json-lines",
}


class Bulk:
    """The ASGI handler for many messages."""

    def __init__(self, backend: Acceptor, keys: Keys, traffic: Traffic) -> None:
        self._backend = backend
        self._keys = keys
        self._traffic = traffic
        self._policy = AdmissionPolicy.of(backend.settings, backend.routes)
        self._places = _Places(traffic)

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        head = Head.of(scope["headers"])
        policy = self._policy_for(scope, head)
        refusal = policy if isinstance(policy, Problem) else None
        if isinstance(policy, AdmissionPolicy):
            arrival = arrival_of(scope)
            try:
                refusal = await self._stream(head, policy, arrival, receive, send)
            finally:
                arrival.awaited = True
                arrival.hand_on()
        if refusal is not None:
            await send_problem(send, refusal)
        self._traffic.answers[ROUTE, 200 if refusal is None else refusal.status] += 1

    def bound_for_head(self, scope: Mapping[str, Any], head: Head) -> str | Problem | None:
        """What a head is answered at any time, but for its coding; if nothing, the only route that
        its key reaches, None: it reaches all."""
        if scope["method"] != "POST":
            return method_not_allowed("POST")
        bound = self._keys.bound(head.authorization, "ingest", scope)
        refusal = bound if isinstance(bound, Problem) else head.form_refusal()
        if refusal is None:
            refusal = query_refusal(scope["query_string"]) or _key_refusal(head.idempotency_key)
        return bound if refusal is None else refusal

    def refusal_of_long(self) -> Problem | None:
        """What one more long request is answered now, whoever sends it."""
        reason = self._backend.unready()
        if reason is not None:
            return unavailable(reason)
        return NO_PLACE if self._places.are_taken() else None

    def _policy_for(self, scope: HTTPScope, head: Head) -> AdmissionPolicy | Problem:
        """What its messages are judged by, or why there is no need to read them."""
        bound = self.bound_for_head(scope, head)
        if isinstance(bound, Problem):
            return bound
        try:
            coding_of(head.content_encoding)
        except Refused as refused:
            return problem_of(refused)
        reason = self._backend.unready()
        return self._policy.bound_to(bound) if reason is None else unavailable(reason)

    async def _stream(
        self,
        head: Head,
        policy: AdmissionPolicy,
        arrival: Arrival,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> Problem | None:
        """Answer 200 and a result per message; a problem if there is none and the body is wrong."""
        limit = self._policy.max_body_bytes
        lines = head.media_type in _NDJSON_TYPES
        answers = _Answers(send, lines=lines)
        cutter = Cutter(Lines(limit) if lines else Array(limit), head.coding, limit)
        short = (head.content_length or SHORT_BYTES_MAX + 1) <= SHORT_BYTES_MAX
        pace = Pace(self._backend.settings.min_pace)
        body = _Body(receive, self._places, cutter, pace, short=short)
        with body:
            async with anyio.create_task_group() as tasks:
                admitted, chunks = anyio.create_memory_object_stream[Chunk](CHUNKS_AHEAD)
                ahead = Ahead()
                tasks.start_soon(self._push_all, chunks, ahead, answers, arrival)
                tasks.start_soon(answers.send_all)
                async with admitted:
                    refusal = await self._admit_all(body, cutter, admitted, ahead, arrival, policy)
                    answers.withheld = refusal is not None
        return None if refusal is None else head.explained(refusal, cutter.beginning)

    async def _admit_all(
        self,
        body: _Body,
        cutter: Cutter,
        admitted: MemoryObjectSendStream[Chunk],
        ahead: Ahead,
        arrival: Arrival,
        policy: AdmissionPolicy,
    ) -> Problem | None:
        """Cut and admit until the body ends, or the client has gone. What was admitted stands.

        A fault of the body as a whole is the last result; it is returned if it is the only one.
        """
        empty = True
        while body.more and cutter.fault is None:
            if not body.more_at_hand:
                await ahead.caught_up()
            arrival.awaited = empty  # nobody waits for the rest of a stream
            came = await body.receive()
            if came is None or (isinstance(came, Problem) and empty):
                return came
            if isinstance(came, Problem):
                await admitted.send(Chunk([], [came]))
                return None
            for elements in came:
                for start in range(0, len(elements), CHUNK_MESSAGES_MAX):
                    some = elements[start : start + CHUNK_MESSAGES_MAX]
                    chunk = self._admit(some, policy, arrival)
                    if empty or admitted.statistics().tasks_waiting_receive:
                        arrival.take_in_hand()  # it will be pushed as soon as that task runs
                    empty = False
                    ahead.handed += len(chunk.refusals)
                    await admitted.send(chunk)
                if not elements:  # as many bytes may follow as one read decodes to
                    await anyio.lowlevel.checkpoint()
        if cutter.fault is None:
            return None
        problem = problem_of(cutter.fault)
        if empty:
            return problem
        await admitted.send(Chunk([], [problem]))
        return None

    def _admit(self, elements: list[bytes], policy: AdmissionPolicy, arrival: Arrival) -> Chunk:
        chunk = Chunk([], [])
        arrived_ns = arrival.arrived_ns
        new_id = self._backend.new_id
        for element in elements:
            try:
                message = admit(element, policy, new_id=new_id, arrived_ns=arrived_ns)
            except Refused as refused:
                chunk.refusals.append(problem_of(refused))
            else:
                chunk.refusals.append(None)
                chunk.messages.append(message)
        return chunk

    async def _push_all(
        self,
        chunks: MemoryObjectReceiveStream[Chunk],
        ahead: Ahead,
        answers: _Answers,
        arrival: Arrival,
    ) -> None:
        down: Problem | None = None
        async with chunks:
            async for chunk in gathered(chunks):
                appended: list[Appended] = []
                arrival.hand_on()
                if chunk.messages and down is None:
                    try:
                        appended = await self._backend.push(chunk.messages)
                    except StoreUnavailable as trouble:
                        down = unavailable(trouble.detail)
                ahead.through(len(chunk.refusals))
                await answers.put(self._results(chunk, appended, down))
        answers.end()

    def _results(self, chunk: Chunk, appended: list[Appended], down: Problem | None) -> list[str]:
        """One JSON text per element, in order."""
        counts = self._traffic.bulk_messages
        outcomes = iter(appended)
        results: list[str] = []
        for refusal in chunk.refusals:
            answer = refusal or down or answer_to(next(outcomes))
            if isinstance(answer, str):
                counts[202] += 1
                results.append(answer)
            else:
                counts[answer.status] += 1
                results.append(json.dumps(answer.as_json()))
        return results


def _key_refusal(idempotency_key: bytes | None) -> Problem | None:
    """One name for many messages would be ignored, and a repetition would double them all."""
    if idempotency_key is None or idempotency_key.strip(b' "') == b"":
        return None
    return Problem(
        422,
        "Idempotency-Key names one message, and these are many: give each message its message_id",
        title="Invalid field",
        field="message_id",
    )


class _Places:
    """Who works on a request that may be of many chunks."""

    def __init__(self, traffic: Traffic) -> None:
        self._taken: set[_Body] = set()
        self._traffic = traffic

    def take(self, body: _Body) -> bool:
        """Whether `body` has a place, from before or from now on."""
        if body in self._taken:
            return True
        if len(self._taken) >= REQUESTS_MAX:
            self._take_from_the_slowest()
        if len(self._taken) < REQUESTS_MAX:
            self._taken.add(body)
            return True
        return False

    def are_taken(self) -> bool:
        """Whether one more would find no place, nor anybody who has to leave one."""
        return len(self._taken) >= REQUESTS_MAX and self._slowest().behind_s() <= SPARED_S

    def _slowest(self) -> _Body:
        return max(self._taken, key=_Body.behind_s)

    def _take_from_the_slowest(self) -> None:
        slowest = self._slowest()
        if slowest.behind_s() > SPARED_S:
            slowest.give_way()
            self._taken.discard(slowest)
            self._traffic.peers_too_slow["stream"] += 1

    def leave(self, body: _Body) -> None:
        self._taken.discard(body)


class _Body:
    """A request's elements as they come. Holds a place, if it has to, until it is left."""

    def __init__(
        self,
        receive: ASGIReceiveCallable,
        places: _Places,
        cutter: Cutter,
        pace: Pace,
        *,
        short: bool,
    ) -> None:
        self._receive = receive
        self._places = places
        self._cutter = cutter
        self._short = short
        self._pace = pace
        self._wait: anyio.CancelScope | None = None
        self._gave_way = False
        self.more = True
        self.more_at_hand = False

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._places.leave(self)

    def behind_s(self) -> float:
        """How far the client is behind its pace, if it is waited for."""
        return 0.0 if self._wait is None else self._pace.behind_s()

    def give_way(self) -> None:
        """End the wait for a client, and with it the request."""
        assert self._wait is not None
        self._gave_way = True
        self._wait.cancel()

    async def receive(self) -> Iterator[list[bytes]] | Problem | None:
        """The next elements; None if the client has gone; a problem that ends the request: the
        503 of the first call, or the 408 of a client whose place somebody else needed.

        Nothing else runs between the read and the return: see `Arrival.take_in_hand`.
        """
        data = b""
        while True:
            event = await self._next()
            if event is None:
                return GAVE_WAY
            if event["type"] != "http.request":
                return None
            data += event["body"]
            self.more = event["more_body"]
            self.more_at_hand = len(event["body"]) >= MORE_AT_HAND_BYTES
            if not (self.more and self._short) or self._places.take(self):
                break
        elements = self._cutter.feed(data, last=not self.more)
        begun: list[list[bytes]] = []
        if not self.more:
            # Of a compressed body one piece and its end; there may be much more behind it.
            begun = list(islice(elements, 3))
        is_one_chunk = len(begun) < 3 and sum(map(len, begun)) <= CHUNK_MESSAGES_MAX
        if (self.more or not is_one_chunk) and not self._places.take(self):
            return NO_PLACE
        return chain(begun, elements)

    async def _next(self) -> ASGIReceiveEvent | None:
        """What the server has of the request; None if its place was needed."""
        self._pace.wait()
        with anyio.CancelScope() as self._wait:
            event = await self._receive()
            self._pace.heard(len(event["body"]) if event["type"] == "http.request" else 0)
        self._wait = None
        return None if self._gave_way else event


class _Answers:
    """Results on their way to the client: put by one task, sent by another."""

    def __init__(self, send: ASGISendCallable, *, lines: bool) -> None:
        self._send = send
        self._lines = lines
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._ended = False
        self._begun = False
        self._came = anyio.Event()
        self._went = anyio.Event()
        self.withheld = False
        """Nothing is to be sent: the answer will be another."""

    async def put(self, results: list[str]) -> None:
        """Hand over results; waits while too many have not been sent yet."""
        while self._bytes >= ANSWERS_BYTES_MAX:
            await self._went.wait()
        if self._lines:
            piece = "\n".join(results) + "\n"
        else:
            piece = (", " if self._begun else "[") + ", ".join(results)
        self._begun = True
        self._pieces.append(piece.encode("ascii"))
        self._bytes += len(piece)
        self._came.set()

    def end(self) -> None:
        self._ended = True
        if not self._lines:
            self._pieces.append(b"]" if self._begun else b"[]")
        self._came.set()

    async def send_all(self) -> None:
        """Send until the end. Whatever has gathered goes in one piece."""
        await self._came.wait()
        if self.withheld:
            return
        content_type = NDJSON_TYPE if self._lines else JSON_TYPE
        await self._send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", content_type)],
            }
        )
        while not self._ended:
            await self._send_gathered(more=True)
            await self._came.wait()
        await self._send_gathered(more=False)

    async def _send_gathered(self, *, more: bool) -> None:
        self._came = anyio.Event()
        body = b"".join(self._pieces)
        self._pieces.clear()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        self._bytes -= len(body)
        self._went.set()
        self._went = anyio.Event()
