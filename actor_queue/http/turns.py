"""Pages and refusals for callers whom nobody knows: a few at a time, in the order they came in.

What goes through Quart takes about a millisecond of the processor, and a stranger can ask for it
fifty times in one packet, over as many connections as there are places. Asked for all at once, all
would be worked on in turn, and whoever posts a message would wait for all of them. So only a few
are, and others wait; when many wait, and when many come from one address, one more is refused and
its connection closed, which costs a twentieth. Whoever shows a key waits for nobody here.

A turn is what is worked out, not what is sent: a peer that reads slowly holds none, and neither
does one whose body is on its way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
)

from actor_queue.http.problem import Problem, send_problem
from actor_queue.http.traffic import Traffic

Handler = Callable[[HTTPScope, ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]

AT_ONCE: Final = 4
WAITING_MAX: Final = 512
WAITING_OF_ADDRESS_MAX: Final = 192
"""A page and its files are some thirty requests, and many people may come through one proxy."""
_BODY: Final = frozenset({b"content-length", b"transfer-encoding"})
BUSY: Final = Problem(
    503,
    "too many requests without a key are waiting: try again in a moment, or send a key",
    headers=((b"retry-after", b"1"), (b"connection", b"close")),
)


class Turns:
    """An ASGI application in front of `app`. `known` says whether a request needs no turn."""

    def __init__(self, app: Handler, known: Callable[[HTTPScope], bool], traffic: Traffic) -> None:
        self._app = app
        self._known = known
        self._traffic = traffic
        self._free = trio.Semaphore(AT_ONCE)
        self._waiting: Counter[str] = Counter()
        """By address."""

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if self._known(scope):
            await self._app(scope, receive, send)
            return
        address = _address(scope)
        crowded = bool(address) and self._waiting[address] >= WAITING_OF_ADDRESS_MAX
        if crowded or self._waiting.total() >= WAITING_MAX:
            self._traffic.requests_put_off += 1
            await send_problem(send, BUSY)
            return
        turn = _Turn(self._free, receive, send, has_body=_has_body(scope))
        self._waiting[address] += 1
        try:
            await turn.take()
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
        try:
            await self._app(scope, turn.receive, turn.send)
        finally:
            turn.give_back()


class _Turn:
    """One request's, and its way in and out."""

    def __init__(
        self,
        free: trio.Semaphore,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        *,
        has_body: bool,
    ) -> None:
        self._free = free
        self._receive = receive
        self._send = send
        self._body_comes = has_body
        self._held = False

    async def take(self) -> None:
        await self._free.acquire()
        self._held = True

    def give_back(self) -> None:
        if self._held:
            self._held = False
            self._free.release()

    async def receive(self) -> ASGIReceiveEvent:
        if not self._body_comes:
            return await self._receive()
        self.give_back()
        event = await self._receive()
        self._body_comes = event["type"] == "http.request" and event["more_body"]
        await self.take()
        return event

    async def send(self, event: ASGISendEvent) -> None:
        self.give_back()
        await self._send(event)


def _has_body(scope: HTTPScope) -> bool:
    return any(name in _BODY for name, _ in scope["headers"])


def _address(scope: HTTPScope) -> str:
    """Whose requests count together; "" where that is nowhere in particular."""
    guest: Any = scope.get("state", {}).get("guest")
    return getattr(guest, "address", "")
