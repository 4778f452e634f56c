"""`/healthz` and `/readyz`: raw handlers, because probes come often and must not need more."""

from __future__ import annotations

from typing import Final

import msgspec
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from actor_queue.http import models
from actor_queue.http.backend import Acceptor
from actor_queue.http.problem import (
    JSON_TYPE,
    Problem,
    method_not_allowed,
    send_body,
    send_problem,
    unavailable,
)

OK: Final = msgspec.json.encode(models.Health(status="ok"))


class Health:
    """Whether the process lives: it does, if this is reached. Asks nothing of the store."""

    def refusal(self) -> Problem | None:
        return None

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        refusal = self.refusal()
        if scope["method"] not in {"GET", "HEAD"}:
            refusal = method_not_allowed("GET, HEAD")
        if refusal is not None:
            await send_problem(send, refusal)
        else:
            await send_body(send, 200, JSON_TYPE, OK)


class Readiness(Health):
    """Whether a message would be accepted now; if not, 503 with the reason."""

    def __init__(self, backend: Acceptor) -> None:
        self._backend = backend

    def refusal(self) -> Problem | None:
        reason = self._backend.unready()
        return None if reason is None else unavailable(reason)
