"""The endpoints that take messages, as an ASGI application under any server on any event loop.

Requests are read by somebody else's server here. So what our own server sees to before the
application is asked (`http/protocol.py`, `http/connection.py`) is seen to here as far as ASGI shows
it: what a head may be, and how long a body may stand still.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final, cast

import anyio
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
)

from actor_queue.http.auth import Keys
from actor_queue.http.backend import Acceptor, DoorBackend
from actor_queue.http.bulk import Bulk
from actor_queue.http.doors import DOOR_IN_SCOPE, Doors
from actor_queue.http.doors import PREFIX as DOORS
from actor_queue.http.faults import FaultLog
from actor_queue.http.front import inner_path, let_in, without_slash
from actor_queue.http.health import Health, Readiness
from actor_queue.http.ingest import Ingest, PlainIngest
from actor_queue.http.metrics import CONTENT_TYPE, edge_families, render
from actor_queue.http.origins import Origins
from actor_queue.http.plain import Request, Written
from actor_queue.http.problem import (
    INTERNAL,
    Problem,
    method_not_allowed,
    not_found,
    send_body,
    send_problem,
)
from actor_queue.http.protocol import REFUSALS, head_refusal
from actor_queue.http.query import query_refusal
from actor_queue.http.request import Head
from actor_queue.http.targets import is_as_written, origin_form
from actor_queue.http.traffic import Traffic

BODY_IDLE_S: Final = 30.0
"""How long a request's next part may take to come, as at our own server."""
ADDRESSES_REMEMBERED: Final = 64
NOT_HERE: Final = (
    "an edge takes messages: POST /api/message, POST /api/messages, POST /in/…; ask a replica"
)
TOO_SLOW: Final = Problem(408, REFUSALS[408])
EXPOSED: Final = Problem(
    403,
    "without AQ_API_KEYS an edge takes messages on a loopback address only: set AQ_API_KEYS, or"
    " AQ_ALLOW_ANONYMOUS=true",
)

METRICS: Final = b"/metrics"
PROBES: Final = frozenset({b"/healthz", b"/readyz"})

Handler = Callable[[HTTPScope, ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]


class EdgeApplication:
    """Call it with HTTP scopes. `acceptor` keeps the messages."""

    def __init__(self, acceptor: DoorBackend, traffic: Traffic | None = None) -> None:
        settings = acceptor.settings
        self.traffic = traffic if traffic is not None else Traffic()
        self._origins = Origins(settings)
        self.keys = Keys(settings.api_keys, self._origins.pages)
        self._prefix = settings.root_path.rstrip("/").encode()
        self._anonymous = settings.allow_anonymous
        self._faults = FaultLog()
        self._handlers: dict[bytes, Handler] = {
            b"/api/message": Ingest(acceptor, self.keys, self.traffic),
            b"/api/messages": Bulk(acceptor, self.keys, self.traffic),
            b"/healthz": Health(),
            b"/readyz": Readiness(acceptor),
            METRICS: Metrics(acceptor, self.keys, self.traffic),
        }
        self.doors = Doors(acceptor, self.keys, self.traffic)
        self.plain = PlainIngest(acceptor, self.keys, self._origins, self.traffic)
        """For a server that knows plain requests. It asks `is_exposed` first."""

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        answer = _Answer(send)
        try:
            await self._dispatch(scope, _patient(receive), answer)
        except* _TooSlow:
            self.traffic.peers_too_slow["body"] += 1
            await answer.instead(TOO_SLOW)
        except* Exception as group:  # noqa: BLE001  # the log says what, the client that
            self.traffic.requests_failed += 1
            self._faults.write("request_failed", group)
            await answer.instead(INTERNAL)

    async def answer_plain(self, requests: list[Request]) -> list[bytes]:
        """The whole answers to what `plain` has a route for."""
        try:
            return await self.plain.answer(requests)
        except Exception as error:  # noqa: BLE001  # as above
            self.traffic.requests_failed += len(requests)
            self._faults.write("request_failed", error)
            return [Written().problem(INTERNAL)] * len(requests)

    async def _dispatch(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        refusal = _head_refusal(scope)
        if refusal is not None:
            self.traffic.requests_refused += 1
            await send_problem(send, refusal)
            return
        path = inner_path(scope, self._prefix)
        answer = await let_in(self._origins, self.traffic, path, scope, send)
        if answer is None:
            return
        handler = self._handler(path)
        if handler is None:
            self.traffic.answers["other", 404] += 1
            await send_problem(answer, not_found(NOT_HERE))
        elif self.is_exposed(scope.get("server")) and path not in PROBES:
            self.traffic.requests_refused += 1
            await send_problem(answer, EXPOSED)
        else:
            if handler is self.doors:
                changes: dict[str, Any] = {DOOR_IN_SCOPE: (path or b"")[len(DOORS) :].rstrip(b"/")}
                scope = cast(HTTPScope, {**scope, **changes})
            await handler(scope, receive, answer)

    def _handler(self, path: bytes | None) -> Handler | None:
        if path is None:
            return None
        found = self._handlers.get(path)
        if found is not None or not is_as_written(path):
            return found
        return self.doors if path.startswith(DOORS) else self._handlers.get(without_slash(path))

    def is_exposed(self, server: tuple[str, int | None] | None) -> bool:
        """Whether anybody could have sent what came to this address. `AQ_BIND` does not say where
        another server listens, so this is asked of each request."""
        return (
            not self._anonymous
            and not self.keys
            and server is not None
            and server[1] is not None
            and not _is_loopback(server[0])
        )


class Metrics:
    """`/metrics` of this process."""

    def __init__(self, acceptor: Acceptor, keys: Keys, traffic: Traffic) -> None:
        self._acceptor = acceptor
        self._keys = keys
        self._traffic = traffic
        self._guarded = acceptor.settings.key_for_metrics

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        refusal = self._refusal(scope)
        self._traffic.answers[METRICS.decode(), 200 if refusal is None else refusal.status] += 1
        if refusal is not None:
            await send_problem(send, refusal)
            return
        text = render(edge_families(self._acceptor, self._traffic))
        await send_body(send, 200, CONTENT_TYPE.encode(), text)

    def _refusal(self, scope: HTTPScope) -> Problem | None:
        if scope["method"] not in {"GET", "HEAD"}:
            return method_not_allowed("GET, HEAD")
        if self._guarded:
            shown = Head.of(scope["headers"]).authorization
            refusal = self._keys.refusal(shown, "read", scope)
            if refusal is not None:
                return refusal
        return query_refusal(scope["query_string"])


class _TooSlow(Exception):
    """The next part of a request did not come in time."""


class _Answer:
    """The server's `send`, which knows whether an answer has begun."""

    def __init__(self, send: ASGISendCallable) -> None:
        self._send = send
        self._begun = False
        self._gone = False

    async def __call__(self, event: ASGISendEvent) -> None:
        self._begun = True
        if self._gone:
            return
        try:
            await self._send(event)
        except OSError:
            self._gone = True  # so a server says that the client has gone (ASGI 2.4)

    async def instead(self, problem: Problem) -> None:
        """What is answered where the handler failed. An answer that had begun is cut off by the
        server, because it has no end."""
        if not self._begun:
            await send_problem(self, problem)


def _patient(receive: ASGIReceiveCallable) -> ASGIReceiveCallable:
    """`receive`, which raises `_TooSlow` for a client that sends nothing for too long."""

    async def receive_in_time() -> ASGIReceiveEvent:
        with anyio.move_on_after(BODY_IDLE_S):
            return await receive()
        raise _TooSlow

    return receive_in_time


def _head_refusal(scope: HTTPScope) -> Problem | None:
    """What our own server would refuse for its head alone, and another server may let through."""
    target = scope.get("raw_path") or b"/"
    headers = scope["headers"] = list(scope["headers"])
    query = scope["query_string"]
    refusal = head_refusal(target + b"?" + query if query else target, headers)
    if refusal is not None:
        status, detail = refusal
        return Problem(status, detail or REFUSALS[status])
    path, host = origin_form(target)
    if host is not None:
        scope["raw_path"] = path
        scope["headers"] = [each for each in headers if each[0] != b"host"] + [(b"host", host)]
    return None


@lru_cache(ADDRESSES_REMEMBERED)
def _is_loopback(host: str) -> bool:
    """A name is what a test's client calls itself; a server has an address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return True
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback if mapped is None else bool(mapped.is_loopback)
