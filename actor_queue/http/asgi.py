"""The service as one ASGI application: who answers which path.

The hot paths go to handlers that know nothing but ASGI; everything else goes to Quart-Trio,
which is imported and built when it is first needed, so that a process that only takes
messages neither waits nor pays for it.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast
from urllib.parse import unquote

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from hypercorn.utils import UnexpectedMessageError

from actor_queue.core.admission import Refused, message_id_from_path, user_from_path
from actor_queue.http.answers import PREFIX as ANSWERS
from actor_queue.http.answers import TICKET_IN_SCOPE, AnswerAddresses
from actor_queue.http.auth import Caller, Keys
from actor_queue.http.backend import Backend, Examine, SendTest
from actor_queue.http.bulk import Bulk
from actor_queue.http.doors import DOOR_IN_SCOPE, Doors
from actor_queue.http.doors import PREFIX as DOORS
from actor_queue.http.events import Events
from actor_queue.http.faults import FaultLog
from actor_queue.http.front import inner_path, let_in, without_slash
from actor_queue.http.head_answers import HeadAnswers
from actor_queue.http.health import Health, Readiness
from actor_queue.http.ingest import Ingest, PlainIngest
from actor_queue.http.numbers import Census
from actor_queue.http.origins import Origins
from actor_queue.http.plain_doors import PlainDoors
from actor_queue.http.problem import (
    INTERNAL,
    Problem,
    not_found,
    problem_of,
    send_problem,
)
from actor_queue.http.request import MESSAGE_IN_SCOPE, USER_IN_SCOPE, Head
from actor_queue.http.targets import USERS, is_as_written
from actor_queue.http.traffic import Traffic
from actor_queue.http.turns import Turns

USER_VERBS: Final = frozenset({b"flush", b"typing", b"hold", b"release"})
MESSAGES: Final = b"messages/"
INBOX_MOUNT: Final = b"/dev/"
"""Where `actor-queue dev` mounts its inbox, and nobody else mounts anything."""

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
        self.examine: Examine | None = None
        self.send_test: SendTest | None = None
        """What `/api/doctor` answers; to be put here before the first request for the API."""
        self.traffic = traffic if traffic is not None else Traffic()
        self._backend = backend
        self._origins = Origins(backend.settings)
        self.keys = Keys(backend.settings.api_keys, self._origins.pages)
        self._prefix = backend.settings.root_path.rstrip("/").encode()
        self._mounts = {path.encode(): app for path, app in (mounts or {}).items()}
        bulk = Bulk(backend, self.keys, self.traffic)
        self._raw: dict[bytes, Handler] = {
            b"/api/message": Ingest(backend, self.keys, self.traffic),
            b"/api/messages": bulk,
            b"/api/events": Events(backend, self.keys, self.traffic),
            b"/healthz": Health(),
            b"/readyz": Readiness(backend),
        }
        self._answers = AnswerAddresses(backend, self.traffic)
        self.doors = Doors(backend, self.keys, self.traffic)
        common = (backend, self.keys, self._origins, self.traffic)
        self._playground = INBOX_MOUNT in self._mounts
        self.plain = HeadAnswers(
            PlainIngest(*common, PlainDoors(self.doors, self.traffic, self._prefix)),
            bulk,
            *common,
            doors=self.doors.table,
            has_ticket=self._answers.knows,
            playground=self._playground,
        )
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
        path = inner_path(scope, self._prefix)
        answer = await let_in(self._origins, self.traffic, path, scope, send)
        if answer is None:
            return
        try:
            await self._dispatch(path, scope, receive, answer)
        except Exception as error:  # noqa: BLE001  # the log says what, the client that
            self.traffic.requests_failed += 1
            self._faults.write("request_failed", error)
            try:
                await send_problem(answer, INTERNAL)
            except UnexpectedMessageError:
                return  # its answer had begun; the server cuts it off

    async def _dispatch(
        self,
        path: bytes | None,
        scope: HTTPScope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> None:
        if path is None:
            await _redirect(send, self._prefix + b"/")
            return
        handler = self._raw.get(path)
        if handler is None and not is_as_written(path):
            await send_problem(send, not_found())
            return
        if path.startswith(DOORS):
            scope = cast(HTTPScope, {**scope, DOOR_IN_SCOPE: path[len(DOORS) :].rstrip(b"/")})
            handler = self.doors
        if path.startswith(ANSWERS):
            scope = cast(HTTPScope, {**scope, TICKET_IN_SCOPE: path[len(ANSWERS) :]})
            handler = self._answers
        if handler is None and path.endswith(b"/"):
            path = without_slash(path)
            handler = self._raw.get(path)
        if handler is None:
            try:
                handler, changes = await self._slow_route(path)
            except Refused as refused:
                await send_problem(send, problem_of(refused))
                return
            scope = cast(HTTPScope, {**scope, **changes})
        await handler(scope, receive, send)

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
                    with _giving_way():
                        self._quart = await trio.to_thread.run_sync(self._build)
        return self._quart

    def _build(self) -> Handler:
        from actor_queue.http.api import build, description_of, guarded

        description = description_of(self._backend.settings)
        app = build(
            self._backend,
            self.keys,
            self.traffic,
            self._faults,
            self.census,
            examine=self.examine,
            send_test=self.send_test,
            description=description,
            playground=self._playground,
        )
        self.plain.guard(guarded(app))
        if not self._backend.settings.key_for_metrics:
            self.plain.describe(description)
        return Turns(cast(Handler, app), self._waits_for_nobody, self.traffic)

    def _waits_for_nobody(self, scope: HTTPScope) -> bool:
        """Whether the caller is known. Where there are no keys, whoever asks for no page is."""
        if not self.keys:
            return scope["path"].startswith("/api/")
        authorization = Head.of(scope["headers"]).authorization
        return isinstance(self.keys.caller(authorization, scope), Caller)


@contextmanager
def _giving_way() -> Iterator[None]:
    """A thread that imports for half a second gives way to the others ten times sooner than
    usual. A message passes through several system calls, and after each of them it would wait."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(usual_s / 10)
    try:
        yield
    finally:
        sys.setswitchinterval(usual_s)


def _user_in_scope(path: bytes) -> dict[str, Any]:
    """Take the user, and a message's id, out of the path, as sent: decoded, `a/b` or `..` would be
    other paths."""
    segment, slash, verb = path[len(USERS) :].partition(b"/")
    message = verb.removeprefix(MESSAGES)
    if message != verb and b"/" not in message:
        fixed = USERS + b"-/" + MESSAGES + b"-"
        named = {MESSAGE_IN_SCOPE: message_id_from_path(message)}
        return {**_path_in_scope(fixed), USER_IN_SCOPE: user_from_path(segment), **named}
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
