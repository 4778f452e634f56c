"""`GET /api/events`: what happens at all replicas, as server-sent events. Raw ASGI: it never ends.

A listener that reads too slowly misses events; nobody waits for it, and `dropped` says how
many. There is no history: a listener that comes back asks the other endpoints what is the case now.
"""

from __future__ import annotations

import json
from typing import Final

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from actor_queue.http.auth import Keys
from actor_queue.http.backend import Backend
from actor_queue.http.problem import method_not_allowed, send_problem, unavailable
from actor_queue.http.query import query_refusal
from actor_queue.http.request import Head
from actor_queue.http.traffic import Traffic
from actor_queue.runtime.events import Event, EventBus, Listener

ROUTE: Final = "/api/events"
HEARTBEAT_S: Final = 15.0
RECONNECT_MS: Final = 1_000
EVENTS_PER_SEND_MAX: Final = 100
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
        refusal = self._keys.refusal(Head.of(scope["headers"]).authorization, "read", scope)
        if scope["method"] not in {"GET", "HEAD"}:
            refusal = method_not_allowed("GET, HEAD")
        refusal = refusal or query_refusal(scope["query_string"])
        if refusal is None:
            try:
                with self._backend.events.listen() as events:
                    await _joined(self._backend.events)
                    self._traffic.answers[ROUTE, 200] += 1
                    await _stream(scope, events, receive, send)
            except OverflowError as error:
                refusal = unavailable(str(error))
        if refusal is not None:
            self._traffic.answers[ROUTE, refusal.status] += 1
            await send_problem(send, refusal)


async def _joined(bus: EventBus) -> None:
    """Whoever sees the answer begin misses nothing of the other replicas that comes afterwards."""
    if bus.joined is not None:
        with trio.move_on_after(JOIN_S):
            await bus.joined.wait()


async def _stream(
    scope: HTTPScope,
    events: Listener,
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
            await _send(send, f"retry: {RECONNECT_MS}\n\n")
            while True:
                await _send(send, await _next_text(events))
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _next_text(events: Listener) -> str:
    """What has happened since the last call, or a comment that keeps proxies from hanging up."""
    with trio.move_on_after(HEARTBEAT_S) as patience:
        text = _text_of(await events.receive())
    if patience.cancelled_caught:
        return ": still here\n\n"
    for _ in range(EVENTS_PER_SEND_MAX):
        try:
            text += _text_of(events.receive_nowait())
        except trio.WouldBlock:
            break
    return text


def _text_of(event: Event) -> str:
    return f"event: {event.name}\ndata: {json.dumps(event.data)}\n\n"


async def _send(send: ASGISendCallable, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _until_gone(receive: ASGIReceiveCallable, scope: trio.CancelScope) -> None:
    while (await receive())["type"] == "http.request":
        pass
    scope.cancel()


async def _until_stopping(request: HTTPScope, scope: trio.CancelScope) -> None:
    stopping = request.get("state", {}).get("stopping")
    if isinstance(stopping, trio.Event):
        await stopping.wait()
        scope.cancel()
