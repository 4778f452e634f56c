"""The listener beside the service's own one: health, readiness and metrics, and nothing else.

Whatever takes all connections of the front door leaves these free, so an orchestrator does not
restart a healthy replica, and a monitor sees what happens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from actor_queue.http.connection import Limits
from actor_queue.http.problem import not_found, send_problem

PATHS: Final = frozenset({b"/healthz", b"/readyz", b"/metrics"})
LIMITS: Final = Limits(
    connections_max=32, idle_s=15.0, head_s=5.0, body_idle_s=5.0, send_idle_s=5.0
)
"""Probes are short; of what is reserved for files, these connections take a part."""

Handler = Callable[[Scope, ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]


class Probes:
    """Hands the three paths, as they are or behind `root_path`, to `app`; the others are 404."""

    def __init__(self, app: Handler, root_path: str = "") -> None:
        self._app = app
        prefix = root_path.rstrip("/").encode()
        self._paths = PATHS | {prefix + path for path in PATHS}

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] == "http":
            path = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
            if path not in self._paths:
                await send_problem(send, not_found("only /healthz, /readyz and /metrics are here"))
                return
        await self._app(scope, receive, send)
