"""Mistakes about routes: one that hurts another, breakers, pauses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from actor_queue.core.conversation import DEFAULT_ROUTE
from actor_queue.runtime import routes as gates
from actor_queue.runtime.lanes import Lane, Lanes
from actor_queue.runtime.routes import Gates
from tests.simulation.mutant import Edit, Mutant, replaced

DEAD, PAUSED = ("routes", "dead_route"), ("pauses",)


def _everything_counts(self: Gates, user: str, outcome: Any) -> bool:
    _ATTEMPTED(self, user, outcome)
    return True


_ATTEMPTED = Gates.attempted


def _deaf_to_pauses(self: Gates, states: Any) -> None:
    """One replica does not hear of any pause."""
    if self._store.replica.endswith("1"):
        states = replace(
            states, routes={name: replace(s, paused=None) for name, s in states.routes.items()}
        )
    _APPLY(self, states)


_APPLY = Gates._apply


def _no_bars(self: Gates, user: str) -> bool:
    return False


def _any_turn(self: Gates, user: str) -> float | None:
    return 0.0


@contextmanager
def _never_shut() -> Iterator[None]:
    with (
        mock.patch.object(Gates, "turn", _any_turn),
        mock.patch.object(Gates, "bars", _no_bars),
    ):
        yield


def _one_lane(self: Lanes, user: str) -> Lane:
    """All routes share the slots of whichever was asked for first."""
    lane = _OF(self, user)
    first = next(iter(self))
    if lane.route is not None and first.route is not None:
        lane.slots = first.slots
    return lane


_OF = Lanes.of

MUTANTS_OF_ROUTES = (
    Mutant(
        "a dead route takes the slots of the others",
        (),
        replaced(Lanes, "of", _one_lane),
        ("webhook_hangs",),
        DEAD,
    ),
    Mutant(
        "one breaker for all routes",
        (),
        replaced(gates, "route_of", lambda user: DEFAULT_ROUTE),
        options=DEAD,
    ),
    Mutant(
        "a breaker that spends retries",
        (),
        replaced(Gates, "attempted", _everything_counts),
        (),
        DEAD,
    ),
    Mutant("an open route is tried all the same", (), _never_shut, (), DEAD),
    Mutant(
        "every replica probes at once",
        (Edit("route_probe", "if now < num(probe_at) then", "if false then"),),
        faults=(),
        options=DEAD,
    ),
    Mutant(
        "a probe's time is not moved when it is granted",
        (Edit("route_probe", "probe_at = now + math.max(delay, num(ARGV[3]))", "local _ = delay"),),
        faults=(),
        options=DEAD,
    ),
    Mutant(
        "an open route is never probed",
        (Edit("route_probe", "if not since then", "if since then"),),
        options=DEAD,
    ),
    Mutant(
        "a pause that one replica does not hear of",
        (),
        replaced(Gates, "_apply", _deaf_to_pauses),
        options=PAUSED,
    ),
    Mutant(
        "nobody is told of a pause",
        (Edit("route_pause", "redis.call('PUBLISH', ARGV[5], 'routes')\n", ""),),
        options=PAUSED,
    ),
    Mutant(
        "a resumed route stays paused",
        (Edit("route_resume", "redis.call('HDEL', KEYS[1], 'p:' .. ARGV[2])", "0"),),
        options=PAUSED,
    ),
)
