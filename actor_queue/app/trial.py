"""`POST /api/routes/{route}/test`: a test batch to one receiver, as `actor-queue doctor` sends it.

It goes past the route's state on purpose: whoever has paused a route, or waits for a receiver that
failed, wants to know whether it is right now. It is stored nowhere and changes no state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from actor_queue.app.finding import Finding
from actor_queue.core.routes import Route, RouteTable
from actor_queue.core.settings import Settings
from actor_queue.http import models

PATIENCE_S: Final = 30.0
"""The longest wait for an answer, however long the route's own time limit is: somebody waits."""


class Trial:
    """One test at a time in a replica, so that nobody floods a receiver with them."""

    def __init__(self, settings: Callable[[], Settings], routes: RouteTable) -> None:
        self._settings = settings
        self._routes = routes
        self._one = trio.Lock()

    async def __call__(self, name: str) -> models.Trial | None:
        """What the receiver of the route `name` made of a test; None where there is no such
        receiver."""
        try_route = await trio.to_thread.run_sync(_loaded)
        async with self._one:
            route = self._routes.get(name)
            if route is None or route.url is None:
                return None
            found = await try_route(route, self._settings(), PATIENCE_S)
        return models.Trial(route=name, level=found.level, text=found.text)


def _loaded() -> Callable[[Route, Settings, float], Awaitable[Finding]]:
    # Loads redis-py, which a service that nobody asks this does without.
    from actor_queue.app.doctor.send_test import try_route

    return try_route
