"""The numbers that belong to a receiver, by the label `route`.

A route is configuration, so the label has as many values as somebody wrote tables, and one more:
the empty one, for conversations of routes that are not configured, whose names are in Redis and
could be anybody's words.

There may be a thousand routes, and the loop stands still while this is made: so it makes the report
itself, in a tenth of the time that the client's own objects would take.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from actor_queue.core.conversation import DEFAULT_ROUTE
from actor_queue.http.backend import Backend
from actor_queue.http.families import PREFIX, buckets_of
from actor_queue.http.numbers import Family
from actor_queue.runtime.counters import Histogram, RouteCounters

NOTHING: Final = RouteCounters()
"""What a route has counted that nothing was sent to. All are told from the start, because the first
failure of a series that was not there before is no increase."""

_Sample = list[object]


def of_routes(backend: Backend) -> Iterator[Family]:
    """Of the configured routes, and of those that were it when something was sent to them."""
    gates, configured = backend.gates, sorted(route.name for route in backend.routes)
    counted = backend.counters.routes
    counters = dict(sorted((dict.fromkeys(configured, NOTHING) | counted).items()))
    yield _family(
        "counter",
        "attempts",
        "Attempts by outcome; failed: tried again, dead: the batch's last, divided: in two",
        _attempts(counters),
    )
    yield _family(
        "histogram",
        "attempt_seconds",
        "Duration of one attempt",
        _durations(dict(sorted(({DEFAULT_ROUTE: NOTHING} | counted).items()))),
    )
    for name, text in (
        ("answering", "Attempts whose receiver answered 202 and says later that it is done"),
        ("taken_back", "Batches that were not to be answered, because something newer waited"),
    ):
        counts = {route: getattr(each, name) for route, each in counters.items()}
        yield _family("counter", name, text, _numbers(f"{name}_total", counts))
    for name, text, is_so in (
        ("route_open", "Whether the breaker of a route holds back its attempts", gates.is_open),
        ("route_paused", "Whether the route is paused by hand", gates.is_paused),
    ):
        flags = {route: int(is_so(route)) for route in configured}
        yield _family("gauge", name, text, _numbers(name, flags))
    if (waiting := backend.waiting_by_route) is not None:
        yield _family(
            "gauge",
            "route_users_waiting",
            "Users waiting in this replica's shards, as last counted; no route: of unknown routes",
            _numbers("route_users_waiting", waiting),
        )


def _family(kind: str, name: str, text: str, samples: Iterable[_Sample]) -> Family:
    return {"name": f"{PREFIX}_{name}", "type": kind, "help": text, "samples": list(samples)}


def _numbers(name: str, counts: Mapping[str, int]) -> Iterator[_Sample]:
    for route, count in counts.items():
        yield [f"{PREFIX}_{name}", {"route": route}, float(count)]


def _attempts(counters: Mapping[str, RouteCounters]) -> Iterator[_Sample]:
    """By what became of each. `divided` and `dead` are failures too, and counted once here."""
    for route, each in counters.items():
        outcomes = {
            "delivered": each.delivered,
            "failed": each.failed - each.dead - each.divided,
            "dead": each.dead,
            "divided": each.divided,
        }
        for outcome, count in outcomes.items():
            labels = {"route": route, "outcome": outcome}
            yield [f"{PREFIX}_attempts_total", labels, float(count)]


def _durations(counters: Mapping[str, RouteCounters]) -> Iterator[_Sample]:
    name = f"{PREFIX}_attempt_seconds"
    for route, each in counters.items():
        counted: Histogram = each.attempt_s
        buckets = buckets_of(counted)
        for bound, count in buckets:
            yield [f"{name}_bucket", {"route": route, "le": bound}, float(count)]
        yield [f"{name}_count", {"route": route}, float(buckets[-1][1])]
        yield [f"{name}_sum", {"route": route}, counted.total]
