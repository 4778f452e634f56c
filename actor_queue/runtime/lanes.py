"""What the attempts of one route share, and those of no other: slots, retry schedule, time limit.

A route whose receiver answers nobody has all its slots taken, and a queue before them. Nobody of
another route stands in that queue, and nobody of another route is kept out because of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import trio

from actor_queue.core.conversation import route_of
from actor_queue.core.routes import Route, RouteTable

BACKLOG_MAX: Final = 400
"""Overdue users of a route brought in at once: enough to keep every slot busy, too few to stall the
loop."""
CLAIMS_KEPT: Final = 0.95
"""What is remembered of a slow claim after each quicker one: half of it after 14."""
QUICK_SHARE: Final = 0.05
"""Of an attempt's time, which a claim may take: nothing is asked for besides."""
SPARE_MAX_S: Final = 5.0
"""A claim that was answered has not taken longer, unless the store was away meanwhile. A dead
replica's attempt is taken over so much later at the most."""
LANES_MAX: Final = 10_000
"""Routes that are not configured have one, too, and their names come from Redis."""


def backlog_max(slots_max: int) -> int:
    """How many overdue users of a route are brought in at once."""
    return max(BACKLOG_MAX, 2 * slots_max)


class Lane:
    """One route, as its actors see it."""

    __slots__ = ("awake", "claim_s", "route", "slots")

    def __init__(self) -> None:
        self.route: Route | None = None
        """None while it is not configured: its conversations wait."""
        self.slots = trio.Semaphore(0)
        """Whoever has taken a slot gives it back to where it was taken: another limit means other
        slots, and what is under way goes on beside them."""
        self.awake = 0
        """Its actors that are past their sleep."""
        self.claim_s = 0.0
        """How much of an attempt's time has passed before its claim was answered, at the worst of
        late."""

    def claim_took(self, seconds: float) -> None:
        """An attempt's time had run for so long when its claim was answered."""
        self.claim_s = max(seconds, CLAIMS_KEPT * self.claim_s)

    @property
    def spare_ms(self) -> int:
        """What a claim asks for on top of an attempt's own time, so that its receiver has all of
        that where claims are slow: twice what they take."""
        if self.route is None or self.claim_s * 1000 <= QUICK_SHARE * self.route.timeout_ms:
            return 0
        return round(1000 * min(2 * self.claim_s, SPARE_MAX_S))

    def become(self, route: Route | None) -> None:
        """What the route is from now on."""
        slots = 0 if route is None else route.max_deliveries
        if slots != (0 if self.route is None else self.route.max_deliveries):
            self.slots = trio.Semaphore(slots)
        self.route = route

    @property
    def crowded(self) -> bool:
        """Whether nobody more who is overdue is brought in for now."""
        return self.awake >= (0 if self.route is None else backlog_max(self.route.max_deliveries))

    @property
    def roomy(self) -> bool:
        """Whether half of those who can be brought in have gone on."""
        route = self.route
        return route is not None and self.awake <= backlog_max(route.max_deliveries) // 2


class Lanes:
    """One for each route, kept for as long as the process runs, because actors count in it."""

    def __init__(self, routes: RouteTable) -> None:
        self._routes = routes
        self._seen = 0
        self._lanes: dict[str, Lane] = {}
        self._nobody = Lane()
        self.backlog_max = 0
        """The most of all routes."""
        self.besides = 0
        """Of all routes together."""

    def of(self, user: str) -> Lane:
        """That of a conversation."""
        if self._seen != self._routes.version:
            self._look()
        name = route_of(user)
        lane = self._lanes.get(name)
        if lane is not None:
            return lane
        if len(self._lanes) >= LANES_MAX:
            return self._nobody
        lane = self._lanes[name] = Lane()
        return lane

    def schedule_of(self, user: str, otherwise: Sequence[int]) -> Sequence[int]:
        """The retry schedule of a conversation's route, in milliseconds."""
        route = self.of(user).route
        return otherwise if route is None else route.retry_schedule_ms

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def crowded(self) -> list[str]:
        """The routes of which nobody more who is overdue is brought in for now."""
        return [name for name, lane in self._lanes.items() if lane.crowded and lane.route]

    def look(self) -> None:
        """Take note of other routes, if there are."""
        if self._seen != self._routes.version:
            self._look()

    def _look(self) -> None:
        self._seen = self._routes.version
        for route in self._routes:
            self._lanes.setdefault(route.name, Lane())
        for name, lane in self._lanes.items():
            lane.become(self._routes.get(name))
        limits = [backlog_max(route.max_deliveries) for route in self._routes]
        self.backlog_max, self.besides = max(limits, default=BACKLOG_MAX), sum(limits)
