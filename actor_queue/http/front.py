"""What is decided about a request before any handler sees it: its page, its method, its path.

It is the same for the service and for an edge, and knows nothing but ASGI.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from hypercorn.typing import ASGISendCallable, HTTPScope

from actor_queue.http.origins import Origins, with_headers
from actor_queue.http.problem import Problem, send_nothing, send_problem
from actor_queue.http.targets import USERS
from actor_queue.http.traffic import Traffic

NO_PAGES: Final = frozenset({b"/healthz", b"/readyz", b"/metrics", b"/openapi.json"})
INGEST: Final = frozenset({b"/api/message", b"/api/messages"})

OTHER_METHOD: Final = Problem(501, "methods are written in capital letters, as GET and POST")
"""A method's letters count (RFC 9110, section 9.1), and Quart would read `Get` as `GET`."""


def inner_path(scope: HTTPScope, prefix: bytes) -> bytes | None:
    """The path as it was sent, without our prefix; None for the prefix alone."""
    path = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
    if prefix and path.startswith(prefix):
        rest = path[len(prefix) :]
        if not rest:
            return None
        if rest.startswith(b"/"):
            return rest
    return path


def without_slash(path: bytes) -> bytes:
    """Many clients end a path with a slash. One of them means nothing, except behind a page, whose
    links it would change; a user whose name ends with one has it percent-encoded."""
    return path[:-1] if path.startswith(b"/api/") or path[:-1] in NO_PAGES else path


def is_ingest(path: bytes) -> bool:
    """Whether a key with the scope `ingest` is all that the path needs."""
    path = path.removesuffix(b"/")
    if path.startswith(USERS):
        return path[len(USERS) :].partition(b"/")[2] == b"typing"
    return path in INGEST


async def let_in(
    origins: Origins,
    traffic: Traffic,
    path: bytes | None,
    scope: HTTPScope,
    send: ASGISendCallable,
) -> ASGISendCallable | None:
    """What to send the answer with; None where the request has been answered: it comes from a page
    or names a host that may not call, it asks whether a page may, or its method is none."""
    if origins.concern(scope["headers"]):
        verdict = origins.judge(
            scope["method"], scope["headers"], ingest=path is not None and is_ingest(path)
        )
        if verdict.headers:
            send = with_headers(send, verdict.headers)
        if verdict.refusal is not None:
            traffic.requests_refused += 1
            await send_problem(send, verdict.refusal)
            return None
        if verdict.preflight:
            await send_nothing(send)
            return None
    if scope["method"] != scope["method"].upper():
        await send_problem(send, OTHER_METHOD)
        return None
    return send
