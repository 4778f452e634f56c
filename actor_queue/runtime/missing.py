"""Tells of conversations that wait because their route is not configured (any more)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import trio

from actor_queue.runtime.journal import Tell

LOOK_S = 1.0
REPEAT_S = 60.0
"""Each route is told of once in this time, for as long as somebody waits for it."""


class MissingRoutes:
    """`run()` is the timing, `look()` the work. `waiting` says how many wait, by route."""

    def __init__(self, waiting: Callable[[], Mapping[str, int]], tell: Tell) -> None:
        self._waiting = waiting
        self._tell = tell
        self._told: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Say what has become due to be said."""
        waiting, now = self._waiting(), trio.current_time()
        self._told = {route: at for route, at in self._told.items() if now < at + REPEAT_S}
        for route, count in waiting.items():
            if route not in self._told:
                self._told[route] = now
                self._tell("route_missing", route=route, conversations=count)
