"""`GET /api/events`: what happens at all replicas, as server-sent events. Raw ASGI: it never ends.

A listener that reads too slowly misses events; nobody waits for it, and `dropped` says how
many. There is no history: a listener that comes back asks the other endpoints what is the case now.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import anyio
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from actor_queue.http.auth import Caller, Keys
from actor_queue.http.backend import Backend
from actor_queue.http.problem import Problem, method_not_allowed, send_problem
from actor_queue.http.query import query_refusal
from actor_queue.http.request import Head
from actor_queue.http.traffic import Traffic
from actor_queue.runtime.events import DROPPED, Event, EventBus, Listener

ROUTE: Final = "/api/events"
HEARTBEAT_S: Final = 15.0
RECONNECT_MS: Final = 1_000
RECONNECT_LATER_MS: Final = 30_000
"""Asked of a client that was put out: it would put out another one at once."""
PUT_OUT: Final = b": put out, because too many listen and this one was furthest behind or oldest"
EVENTS_PER_SEND_MAX: Final = 500
PAUSE_S: Final = 0.1
"""Between two pieces of a stream: what happens meanwhile travels together."""
PAUSE_EACH_S: Final = 0.05
PAUSE_S_MAX: Final = 0.5
"""Many listeners have longer pauses, so that all of them together are written to about as often as
two are. The first event after a quiet time is never kept waiting."""
LOOK_AT_KEY_S: Final = 15.0
"""A session that has ended in the middle of a stream is seen so much later at most."""
JOIN_S: Final = 1.0
"""For the other replicas to hear that somebody listens; then the stream begins all the same."""


class Events:
    """The ASGI handler. Ends with the client, or when the server stops."""

    def __init__(self, backend: Backend, keys: Keys, traffic: Traffic) -> None:
        self._backend = backend
        self._keys = keys
        self._traffic = traffic

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        caller = self._judge(scope)
        refusal = caller if isinstance(caller, Problem) else None
        if scope["method"] not in {"GET", "HEAD"}:
            refusal = method_not_allowed("GET, HEAD")
        refusal = refusal or query_refusal(scope["query_string"])
        if refusal is None:
            with self._backend.events.listen(_party(caller)) as events:
                bound = _bound(caller)
                try:
                    await _joined(self._backend.events)
                    self._traffic.answers[ROUTE, 200] += 1
                    await self._stream(scope, events, bound, receive, send)
                finally:
                    self._traffic.streams_put_out += events.put_out
            await _end(send, events)
        else:
            self._traffic.answers[ROUTE, refusal.status] += 1
            await send_problem(send, refusal)

    def _judge(self, scope: HTTPScope) -> Caller | Problem | None:
        return self._keys.judge(Head.of(scope["headers"]).authorization, "read", scope)

    async def _stream(
        self,
        scope: HTTPScope,
        events: Listener,
        bound: str | None,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> None:
        headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with trio.open_nursery() as nursery:
            if scope["method"] == "GET":
                nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
                nursery.start_soon(_until_stopping, scope, nursery.cancel_scope)
                nursery.start_soon(self._until_otherwise, scope, bound, nursery.cancel_scope)
                await _send(send, b"retry: %d\n\n" % RECONNECT_MS)
                with suppress(anyio.EndOfStream):
                    while True:
                        await _send(send, await _next_text(events, bound))
                        await trio.sleep(_pause_s(self._backend.events.listeners))
                nursery.cancel_scope.cancel()

    async def _until_otherwise(
        self, request: HTTPScope, bound: str | None, scope: trio.CancelScope
    ) -> None:
        """A stream lasts no longer than what opened it, its key or its session, and no longer than
        its key is bound to what it was bound to. The client comes back, and hears what it may."""
        while not isinstance(caller := self._judge(request), Problem) and _bound(caller) == bound:
            with trio.move_on_after(LOOK_AT_KEY_S):
                await self._keys.changed.wait()
        scope.cancel()


def _party(caller: Caller | Problem | None) -> str | None:
    """Whose streams count together: all of one key, and of the sessions that it opened."""
    return caller.entries[0].key if isinstance(caller, Caller) else None


async def _end(send: ASGISendCallable, events: Listener) -> None:
    if events.put_out:
        await _send(send, b"retry: %d\n%b\n\n" % (RECONNECT_LATER_MS, PUT_OUT))
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _joined(bus: EventBus) -> None:
    """Whoever sees the answer begin misses nothing of the other replicas that comes afterwards."""
    if bus.joined is not None:
        with trio.move_on_after(JOIN_S):
            await bus.joined.wait()


def _pause_s(listeners: int) -> float:
    return min(max(PAUSE_S, PAUSE_EACH_S * listeners), PAUSE_S_MAX)


async def _next_text(events: Listener, bound: str | None) -> bytes:
    """What has happened since the last call, or a comment that keeps proxies from hanging up. Only
    what is of the route `bound`, if there is one."""
    with trio.move_on_after(HEARTBEAT_S) as patience:
        found = [await events.receive()]
        while not _is_of(found[-1], bound):
            found = [await events.receive()]
    if patience.cancelled_caught:
        return b": still here\n\n"
    for _ in range(EVENTS_PER_SEND_MAX):
        try:
            found.append(events.receive_nowait())
        except anyio.WouldBlock:
            break
    return b"".join(event.text for event in found if _is_of(event, bound))


def _is_of(event: Event, route: str | None) -> bool:
    """How many were lost is told to everybody: some of them may have been of the route."""
    return route is None or event.name == DROPPED or event.data.get("route") == route


def _bound(caller: Caller | Problem | None) -> str | None:
    """The only route that the listener's key reaches."""
    entry = caller.entry_for("read") if isinstance(caller, Caller) else None
    return None if entry is None else entry.route


async def _send(send: ASGISendCallable, text: bytes) -> None:
    await send({"type": "http.response.body", "body": text, "more_body": True})


async def _until_gone(receive: ASGIReceiveCallable, scope: trio.CancelScope) -> None:
    while (await receive())["type"] == "http.request":
        pass
    scope.cancel()


async def _until_stopping(request: HTTPScope, scope: trio.CancelScope) -> None:
    stopping = request.get("state", {}).get("stopping")
    if isinstance(stopping, trio.Event):
        await stopping.wait()
        scope.cancel()
