"""Answers that a plain head alone decides: pages, readiness, and refusals.

They need no body and no store, so the lane gives them without a task, and also while the body is
still to come. A page, or a refusal by the general lane, takes a millisecond of the processor, and a
stranger can ask for a thousand of them a second; here it is a twentieth. Each answer is byte for
byte what the general lane says. Whatever is not exactly like this (a query, a cookie, a condition,
a page of another site) is left to that one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from actor_queue.core.doors import DoorTable
from actor_queue.http.answers import PREFIX
from actor_queue.http.auth import Caller, Keys, Scope, few
from actor_queue.http.backend import Acceptor
from actor_queue.http.bulk import ROUTE as MANY
from actor_queue.http.bulk import SHORT_BYTES_MAX, Bulk
from actor_queue.http.health import OK
from actor_queue.http.ingest import ROUTE as ONE
from actor_queue.http.ingest import PlainIngest, Shown
from actor_queue.http.origins import Origins, Verdict
from actor_queue.http.page_files import named_pages, page_files
from actor_queue.http.plain import (
    HEAD_BYTES_REMEMBERED,
    HEAD_END,
    HEADS_REMEMBERED,
    Answer,
    PlainHead,
    Route,
    Written,
    lines_of,
    read_head,
)
from actor_queue.http.problem import JSON_TYPE, Problem, unavailable
from actor_queue.http.request import Head
from actor_queue.http.traffic import Traffic

CONDITION: Final = b"if-none-match"
_CREDENTIALS = re.compile(rb"(?im)^(authorization|cookie|x-api-key):[ \t]*([^\r\n]*)")
_ANSWER = re.compile(rb"[A-Z]+ [^ \r\n?]*" + re.escape(PREFIX) + rb"([A-Za-z0-9_-]+)[/? ]")
_DOOR = re.compile(rb"POST [^ \r\n?]*/in/[^ \r\n?]*(?:\?(?:[^ \r\n]*&)?key=([^ &\r\n]*))?")


class Page(NamedTuple):
    """What a path without a body of its own answers everybody."""

    route: str
    """As it is counted."""
    lines: bytes
    """The headers, but the date."""
    body: bytes


class HeadAnswers:
    """See `plain.Handler`. Messages, and whether the process lives, are asked of `messages`."""

    def __init__(
        self,
        messages: PlainIngest,
        bulk: Bulk,
        backend: Acceptor,
        keys: Keys,
        origins: Origins,
        traffic: Traffic,
        *,
        doors: DoorTable | None = None,
        has_ticket: Callable[[str], bool] = lambda text: False,
        playground: bool = False,
    ) -> None:
        """`has_ticket`: whether this text is one that a receiver was given to say how it goes on.
        `playground`: whether `/` is the page that writes messages."""
        self.messages = messages
        self.answer = messages.answer
        self._bulk = bulk
        self._backend = backend
        self._keys = keys
        self._origins = origins
        self._traffic = traffic
        self._written = Written()
        self._prefix = backend.settings.root_path.rstrip("/").encode()
        self._doors = DoorTable.of(backend.settings) if doors is None else doors
        self._has_ticket = has_ticket
        self._playground = playground
        self._pages: Mapping[bytes, Page] | None = None
        """Once somebody has asked for one."""
        self._guarded: Mapping[tuple[str, bytes], Scope] = {}
        self._description: Page | None = None
        self._routes: dict[bytes, Route] = {}
        self._keys_changed = keys.changed

    def guard(self, guarded: Mapping[tuple[str, bytes], Scope]) -> None:
        """Refuse who lacks the scope of one of these methods and paths from now on."""
        self._guarded = guarded

    def describe(self, description: bytes) -> None:
        """Answer `/openapi.json` with this from now on."""
        self._description = Page(
            "/openapi.json",
            lines_of(
                (
                    (b"cache-control", b"no-store"),
                    (b"content-type", JSON_TYPE),
                    (b"content-length", str(len(description)).encode()),
                )
            ),
            description,
        )

    def route(self, head: bytes) -> Route | None:
        """See `plain.Handler`."""
        if self._keys.changed is not self._keys_changed:
            self._keys_changed = self._keys.changed
            self._routes = {}
        route = self._routes.get(head)
        if route is not None:
            return route
        route = self.messages.route(head)
        if route is None:
            route = self._read(head)
        elif route.refusal is not None:
            route = route._replace(at_once=self._refusing(ONE, route.refusal))
        else:
            return route
        if route is not None and len(head) <= HEAD_BYTES_REMEMBERED:
            if len(self._routes) >= HEADS_REMEMBERED:
                self._routes.clear()
            self._routes[head] = route
        return route

    def is_stranger(self, came: bytes) -> bool:
        """See `plain.Handler`. Without keys nobody is one. A door that takes signatures knows whom
        it has before it only when it has read the body. A receiver has no key and shows its ticket:
        a `done` that gets lost in a crowd would be a batch that is delivered twice.

        This is asked for every stranger, before its turn, so it costs little whatever came.
        """
        if not self._keys:
            return False
        came = came.partition(HEAD_END)[0]
        answer = _ANSWER.match(came)
        if answer is not None and self._has_ticket(answer[1].decode()):
            return False
        shown = [(name.lower(), value.strip()) for name, value in _CREDENTIALS.findall(came)]
        keys = [b"Bearer " + value for name, value in shown if name == b"x-api-key"]
        door = _DOOR.match(came)
        if door is not None:
            if any(door.secrets for door in self._doors):
                return False
            keys.append(b"Bearer " + (door[1] or b""))
        keys += [value for name, value in shown if name == b"authorization"]
        asked = {"headers": shown, "state": {}}
        judged = (self._keys.caller(key, asked) for key in (*few(keys), None))
        return not any(isinstance(caller, Caller) for caller in judged)

    def _read(self, head: bytes) -> Route | None:
        parts = read_head(head)
        if parts is None:
            return None
        path = parts.path
        if self._prefix and path.startswith(self._prefix + b"/"):
            path = path[len(self._prefix) :]
        if parts.method == "POST" and path == MANY.encode():
            return self._many(parts) if self._is_nobodys_concern(parts, ingest=True) else None
        asked = path.partition(b"?")[0]
        scope = self._guarded.get((parts.method, asked))
        if scope is not None:
            return self._unless_let_in(parts, asked, scope)
        if parts.method == "POST":
            return None
        at_once = self._standing(path, parts)
        if at_once is None or not self._is_nobodys_concern(parts, ingest=False):
            return None
        return Route(0, None, self._is_known(parts), at_once=at_once)

    def _unless_let_in(self, parts: PlainHead, path: bytes, scope: Scope) -> Route | None:
        """A request that is answered elsewhere, if it may be made at all."""
        shown = Shown()
        asked = {"method": parts.method, "headers": parts.fields, "state": {"guest": shown}}
        refusal = self._keys.refusal(Head.of(parts.fields).authorization, scope, asked)
        if refusal is None or not self._is_nobodys_concern(parts, ingest=False):
            return None
        refuse = self._refusing(path.decode(), refusal, by_quart=True)
        return Route(parts.length, None, shown.known, at_once=refuse)

    def _standing(self, path: bytes, parts: PlainHead) -> Callable[[], Answer | None] | None:
        if path == b"/readyz":
            return self._readiness
        page = self._page(path)
        if page is None or any(name == CONDITION for name, _ in parts.fields):
            return None

        def answer() -> Answer:
            self._traffic.answers[page.route, 200] += 1
            return self._written.kept(page.lines, page.body)

        return answer

    def _page(self, path: bytes) -> Page | None:
        if path == b"/openapi.json":
            return self._description
        if self._pages is None:
            self._pages = pages_of(playground=self._playground)
        return self._pages.get(path)

    def _readiness(self) -> Answer:
        reason = self._backend.unready()
        if reason is not None:
            return Answer(self._written.problem(unavailable(reason)))
        return Answer(self._written.ok(200, OK))

    def _many(self, parts: PlainHead) -> Route | None:
        """A request with many messages: what is wrong with it, and a place if it is long."""
        shown = Shown()
        asked = {
            "method": parts.method,
            "headers": parts.fields,
            "query_string": b"",
            "state": {"guest": shown},
        }
        refusal = self._bulk.bound_for_head(asked, Head.of(parts.fields))
        if isinstance(refusal, Problem):
            return Route(parts.length, None, shown.known, at_once=self._refusing(MANY, refusal))
        if parts.length <= SHORT_BYTES_MAX:
            return None
        return Route(parts.length, None, shown.known, at_once=self._unless_taken, may_bring=True)

    def _unless_taken(self) -> Answer | None:
        refusal = self._bulk.refusal_of_long()
        return None if refusal is None else self._refuse(MANY, refusal)

    def _refusing(
        self, route: str, refusal: Problem, *, by_quart: bool = False
    ) -> Callable[[], Answer]:
        return lambda: self._refuse(route, refusal, by_quart=by_quart)

    def _refuse(self, route: str, refusal: Problem, *, by_quart: bool = False) -> Answer:
        self._traffic.answers[route, refusal.status] += 1
        return Answer(self._written.problem(refusal, by_quart=by_quart))

    def _is_known(self, parts: PlainHead) -> bool:
        shown = Head.of(parts.fields).authorization
        asked = {"headers": parts.fields, "state": {}}
        return isinstance(self._keys.caller(shown, asked), Caller)

    def _is_nobodys_concern(self, parts: PlainHead, *, ingest: bool) -> bool:
        """Whether `Host` and `Origin` neither forbid the request nor change its answer."""
        if not self._origins.concern(parts.fields):
            return True
        return self._origins.judge(parts.method, parts.fields, ingest=ingest) == Verdict()


def pages_of(*, playground: bool) -> Mapping[bytes, Page]:
    """The files of the pages by path. Reads them, which takes 10 ms."""
    known = page_files(playground=playground)
    named = {path: (path, name) for path, name in named_pages(playground=playground).items()}
    static = {f"/static/{name}": ("/static/<path:name>", name) for name in known}
    return {
        path.encode(): Page(route, lines_of(known[name].headers), known[name].content)
        for path, (route, name) in (named | static).items()
    }
