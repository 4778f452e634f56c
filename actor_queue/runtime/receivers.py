"""How each route is: for whoever runs the service, from what all replicas have written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from actor_queue.core.conversation import is_route_name
from actor_queue.core.history import AttemptFilter, PastAttempt
from actor_queue.core.routes import RouteTable
from actor_queue.store.api import Store
from actor_queue.store.routes_api import RouteState

WITHIN_MS: Final = 60_000
ATTEMPTS_MAX: Final = 1_000
"""Of the last minute that are looked at. There are no more in one page of the history."""
USERS_MAX: Final = 50_000
"""Of those who wait, of all routes, that are counted: at most 25 ms of the server."""

StateOfRoute = Literal["closed", "open", "paused", "missing"]
Blocked = Literal["open", "paused", "missing"]
"""The states of a route in which what is due waits."""


@dataclass(frozen=True, slots=True)
class RouteReport:
    """One route. Times are milliseconds of the store's clock."""

    route: str
    state: StateOfRoute
    since_ms: int | None = None
    """When it was opened, or paused."""
    reason: str | None = None
    by: str | None = None
    """Whose key paused it."""
    probe_in_ms: int | None = None
    """Until the next attempt of an open route."""
    attempts: int = 0
    """That ended within the last minute, in all replicas, as far as the history has them."""
    failed: int = 0
    took_ms: tuple[int, ...] = ()
    """Of those attempts, in order."""
    waiting: int = 0
    """Users, of the `USERS_MAX` who were looked at."""


@dataclass(frozen=True, slots=True)
class Receivers:
    """All routes, in the order of their names. `complete`: everybody who waits was counted."""

    reports: tuple[RouteReport, ...]
    complete: bool


async def look_at_routes(store: Store, table: RouteTable, only: str | None) -> Receivers:
    """Of the route `only`, or of all. Raises `StoreUnavailable`.

    It costs one page of the history and one look at who waits, however many routes there are.
    """
    states = await store.routes()
    since_ms = states.now_ms - WITHIN_MS
    asked = AttemptFilter(since_ms=since_ms, route=only)
    lately = (await store.attempts(asked, ATTEMPTS_MAX, None)).attempts
    found, complete = await store.all_waiting_by_route(USERS_MAX)
    waiting = {name: many for name, many in found.items() if is_route_name(name)}
    by_route: dict[str, list[PastAttempt]] = {}
    for attempt in lately:
        by_route.setdefault(attempt.route, []).append(attempt)
    names = {*(route.name for route in table), *states.routes, *waiting}
    names = {only} & names if only is not None else names
    reports = [
        _report(name, states.of(name), by_route.get(name, ()), waiting, configured=name in table)
        for name in sorted(names)
    ]
    return Receivers(tuple(each for each in reports if each is not None), complete)


def _report(
    name: str,
    kept: RouteState,
    attempts: Sequence[PastAttempt],
    waiting: Mapping[str, int],
    *,
    configured: bool,
) -> RouteReport | None:
    """None for a route that is gone, with nothing left of it but that it was closed once."""
    state: StateOfRoute = "closed"
    since_ms = reason = by = probe_in_ms = None
    if kept.paused is not None:
        state, since_ms = "paused", kept.paused.since_ms
        by, reason = kept.paused.by, kept.paused.why
    elif kept.opened is not None:
        state, since_ms, reason = "open", kept.opened.since_ms, kept.opened.why
        probe_in_ms = kept.opened.probe_in_ms
    if not configured:
        if state == "closed" and not waiting.get(name):
            return None
        state = "missing"
    return RouteReport(
        name,
        state,
        since_ms,
        reason,
        by,
        probe_in_ms,
        len(attempts),
        sum(each.outcome != "delivered" for each in attempts),
        tuple(sorted(each.took_ms for each in attempts if each.took_ms is not None)),
        waiting.get(name, 0),
    )
