"""The service as one ASGI application: who answers which path.

The hot paths go to handlers that know nothing but ASGI; everything else goes to Quart-Trio,
which is imported and built when it is first needed, so that a process that only takes
messages neither waits nor pays for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast
from urllib.parse import quote, unquote

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from hypercorn.utils import UnexpectedMessageError

from actor_queue.core.admission import Refused, user_from_path
from actor_queue.http.auth import Keys
from actor_queue.http.backend import Backend
from actor_queue.http.bulk import Bulk
from actor_queue.http.events import Events
from actor_queue.http.faults import FaultLog
from actor_queue.http.health import Health, Readiness
from actor_queue.http.ingest import Ingest
from actor_queue.http.numbers import Census
from actor_queue.http.origins import Origins, with_headers
from actor_queue.http.problem import (
    INTERNAL,
    Problem,
    not_found,
    problem_of,
    send_nothing,
    send_problem,
)
from actor_queue.http.request import USER_IN_SCOPE
from actor_queue.http.targets import USERS, is_as_written
from actor_queue.http.traffic import Traffic

USER_VERBS: Final = frozenset({b"flush", b"typing", b"hold", b"release"})
NO_PAGES: Final = frozenset({b"/healthz", b"/readyz", b"/metrics", b"/openapi.json"})
INGEST: Final = frozenset({b"/api/message", b"/api/messages"})

OTHER_METHOD: Final = Problem(501, "methods are written in capital letters, as GET and POST")
"""A method's letters count (RFC 9110, section 9.1), and Quart would read `Get` as `GET`."""

Handler = Callable[[HTTPScope, ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]
"""What ASGI calls an application, less the scopes that are not HTTP."""


class Application:
    """Use with `server.serve`, or under any ASGI server that runs on Trio.

    `census` asks all workers for their numbers; None: this process is alone.
    `mounts` are further ASGI applications by path prefix (`/dev/`), for `actor-queue dev`.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        traffic: Traffic | None = None,
        mounts: Mapping[str, Handler] | None = None,
        census: Census | None = None,
    ) -> None:
        self.census = census
        self.traffic = traffic if traffic is not None else Traffic()
        self._backend = backend
        self._keys = Keys(backend.settings.api_keys)
        self._origins = Origins(backend.settings)
        self._prefix = backend.settings.root_path.rstrip("/").encode()
        self._mounts = {path.encode(): app for path, app in (mounts or {}).items()}
        self._raw: dict[bytes, Handler] = {
            b"/api/message": Ingest(backend, self._keys, self.traffic),
            b"/api/messages": Bulk(backend, self._keys, self.traffic),
            b"/api/events": Events(backend, self._keys, self.traffic),
            b"/healthz": Health(),
            b"/readyz": Readiness(backend),
        }
        self._quart: Handler | None = None
        self._building = trio.Lock()
        self._faults = FaultLog()

    async def prepare(self) -> None:
        """Build now what the first request for the API or a page would otherwise wait for."""
        await self._api()

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        assert scope["type"] == "http", "the server offers nothing else"
        path = self._inner_path(scope)
        if self._origins.concern(scope["headers"]):
            verdict = self._origins.judge(
                scope["method"], scope["headers"], ingest=path is not None and _is_ingest(path)
            )
            if verdict.headers:
                send = with_headers(send, verdict.headers)
            if verdict.refusal is not None:
                self.traffic.requests_refused += 1
                await send_problem(send, verdict.refusal)
                return
            if verdict.preflight:
                await send_nothing(send)
                return
        try:
            await self._dispatch(path, scope, receive, send)
        except Exception as error:  # noqa: BLE001  # the log says what, the client that
            self.traffic.requests_failed += 1
            self._faults.write("request_failed", error)
            try:
                await send_problem(send, INTERNAL)
            except UnexpectedMessageError:
                return  # its answer had begun; the server cuts it off

    async def _dispatch(
        self,
        path: bytes | None,
        scope: HTTPScope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> None:
        if scope["method"] != scope["method"].upper():
            await send_problem(send, OTHER_METHOD)
            return
        if path is None:
            await _redirect(send, self._prefix + b"/")
            return
        handler = self._raw.get(path)
        if handler is None and not is_as_written(path):
            await send_problem(send, not_found())
            return
        if handler is None and path.endswith(b"/"):
            path = _without_slash(path)
            handler = self._raw.get(path)
        if handler is None:
            try:
                handler, changes = await self._slow_route(path)
            except Refused as refused:
                await send_problem(send, problem_of(refused))
                return
            scope = cast(HTTPScope, {**scope, **changes})
        await handler(scope, receive, send)

    def _inner_path(self, scope: HTTPScope) -> bytes | None:
        """The path as it was sent, without our prefix; None for the prefix alone."""
        path = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
        if self._prefix and path.startswith(self._prefix):
            rest = path[len(self._prefix) :]
            if not rest:
                return None
            if rest.startswith(b"/"):
                return rest
        return path

    async def _slow_route(self, path: bytes) -> tuple[Handler, dict[str, Any]]:
        """Who answers, and what its scope says. Raises `Refused` for a user nobody can be."""
        for prefix, app in self._mounts.items():
            if path.startswith(prefix):
                return app, _path_in_scope(path)
        changes = _user_in_scope(path) if path.startswith(USERS) else _path_in_scope(path)
        return await self._api(), changes

    async def _api(self) -> Handler:
        if self._quart is None:
            async with self._building:
                if self._quart is None:
                    self._quart = await trio.to_thread.run_sync(self._build)
        return self._quart

    def _build(self) -> Handler:
        from actor_queue.http.api import build

        return cast(
            Handler, build(self._backend, self._keys, self.traffic, self._faults, self.census)
        )


def _is_ingest(path: bytes) -> bool:
    """Whether a key with the scope `ingest` is all that the path needs."""
    path = path.removesuffix(b"/")
    if path.startswith(USERS):
        return path[len(USERS) :].partition(b"/")[2] == b"typing"
    return path in INGEST


def _without_slash(path: bytes) -> bytes:
    """Many clients end a path with a slash. One of them means nothing, except behind a page, whose
    links it would change; a user whose name ends with one has it percent-encoded."""
    return path[:-1] if path.startswith(b"/api/") or path[:-1] in NO_PAGES else path


def _user_in_scope(path: bytes) -> dict[str, Any]:
    """Take the user out of the path, as sent: decoded, `a/b` or `..` would be other paths."""
    segment, slash, verb = path[len(USERS) :].partition(b"/")
    if slash and verb not in USER_VERBS:
        raise Refused(404, "Not Found", not_found().detail)
    fixed = USERS + b"-" + slash + verb
    return {**_path_in_scope(fixed), USER_IN_SCOPE: user_from_path(segment)}


def _path_in_scope(path: bytes) -> dict[str, Any]:
    return {"path": unquote(path.decode("ascii")), "raw_path": path, "root_path": ""}


async def _redirect(send: ASGISendCallable, location: bytes) -> None:
    problem = Problem(308, "the page is one slash further", headers=((b"location", location),))
    await send_problem(send, problem)


async def _lifespan(receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Nothing starts or ends here: the engine belongs to whoever built this application."""
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
