"""`GET /metrics`: a replica's numbers, or all workers', as Prometheus text. No label is a user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from importlib.metadata import version
from platform import python_version
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from actor_queue.core.headroom import Memory
from actor_queue.core.upkeep import Sizes
from actor_queue.http.backend import Acceptor, Backend
from actor_queue.http.families import PREFIX
from actor_queue.http.families import counter as _counter
from actor_queue.http.families import gauge as _gauge
from actor_queue.http.families import histogram as _histogram
from actor_queue.http.numbers import Report
from actor_queue.http.route_metrics import of_routes
from actor_queue.http.traffic import PARTS, Traffic
from actor_queue.runtime.counters import Counters, Histogram

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

INTAKE: Final = ("accepted", "duplicates", "refused_full", "store_failures", "events_malformed")
"""The counters of an edge: what else a replica counts happens to batches."""

TOTALS: Final = ("delivered", "delivered_messages", "failed", "divided", "dead")
"""Of all routes together, under the names that they had when there was one."""

_HELP: Final = {
    "accepted": "Messages accepted, repetitions not counted",
    "duplicates": "Messages that were here already",
    "refused_full": "Messages refused because their user has too many, or too many bytes, waiting",
    "claims": "Attempts claimed",
    "claims_early": "Claims that came before their time, which the store put off",
    "fenced": "Claims or verdicts refused because the lease was lost",
    "delivered": "Batches acknowledged by the receiver",
    "delivered_messages": "Messages in batches acknowledged by the receiver",
    "failed": "Attempts that failed",
    "divided": "Batches divided in two because the receiver found them too large",
    "dead": "Batches that became dead letters",
    "dead_expired": "Dead letters deleted because they were older than AQ_DEAD_RETENTION",
    "store_failures": "Calls that the store did not answer",
    "sweeps": "Sweeps over a shard's due times",
    "timers_put_off": "Timers that were left to the sweep, because AQ_MAX_ACTORS was near",
    "history_dropped": "Attempts left out of the history because Redis was away or slow",
    "deeds_lost": "Things done by hand that could not be noted because Redis was away",
    "events_malformed": "Events or nudges of other replicas that could not be read",
    "lateness_s": "From a batch's due time to the start of its first attempt",
    "loop_lag_s": "How much later than its time a task ran that only slept",
    "redis_round_trip_s": "From a PING to its answer, once a second",
}


def render(report: Report) -> bytes:
    """The text of a report: of one process, or of several that were merged."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Reported(report))
    return generate_latest(registry)


def families(backend: Backend, traffic: Traffic) -> Report:
    """What this process counts."""
    return [*_report(_of_replica(backend, traffic)), *of_routes(backend)]


def edge_families(acceptor: Acceptor, traffic: Traffic) -> Report:
    """What an edge counts. Its connections are its server's to count, and it owns no timers."""
    return _report(_of_edge(acceptor, traffic))


def _report(metrics: Iterable[Metric]) -> Report:
    process = ProcessCollector(registry=None)
    return [
        {
            "name": metric.name,
            "type": metric.type,
            "help": metric.documentation,
            "samples": [[each.name, each.labels, float(each.value)] for each in metric.samples],
        }
        for metric in [*metrics, *process.collect()]
    ]


class _Reported(Collector):
    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterable[Metric]:
        for family in self._report:
            metric = Metric(family["name"], family["help"], family["type"])
            for name, labels, value in family["samples"]:
                metric.add_sample(name, labels, value)
            yield metric


def _of_replica(backend: Backend, traffic: Traffic) -> Iterator[Metric]:
    yield _ready(backend)
    yield _gauge("actors", "Users with a timer in this replica", backend.actors)
    yield _gauge(
        "horizon_seconds",
        "Users due later than this get no timer yet; less than 120 when there are many",
        backend.horizon_s,
    )
    yield _build_info()
    yield _gauge("shards_owned", "Shards whose lease this replica holds", backend.shards_owned)
    yield _gauge("shards", "Shards of the namespace", backend.settings.shards)
    yield _gauge(
        "oldest_due_seconds",
        "For how long that user has been due, and not attempted, who is due for longest",
        backend.oldest_due_s,
    )
    if (sizes := backend.sizes) is not None:
        yield from _of_shards(sizes)
    yield _gauge(
        "entries_set_aside",
        "Entries of timer indexes that are passed over; actor-queue doctor shows them",
        backend.entries_set_aside,
    )
    if (memory := backend.redis_memory) is not None:
        yield from _of_redis(memory)
    yield from _of_engine(backend.counters)
    yield from _of_service(traffic)
    yield from _of_requests(traffic)


def _of_edge(acceptor: Acceptor, traffic: Traffic) -> Iterator[Metric]:
    yield _ready(acceptor)
    yield _build_info()
    if (memory := acceptor.redis_memory) is not None:
        yield from _of_redis(memory)
    for name in INTAKE:
        yield _counter(name, _HELP[name], getattr(acceptor.counters, name))
    yield from _of_requests(traffic)


def _ready(acceptor: Acceptor) -> Metric:
    ready = acceptor.unready() is None
    return _gauge("ready", "Whether a message would be accepted", ready)


def _of_shards(sizes: Sizes) -> Iterator[Metric]:
    when = "as it was at most 5 seconds ago; not told until it is known"
    dead = f"Dead letters in this replica's shards, {when}"
    yield _gauge("dead_letters", dead, sizes.dead)
    yield _gauge("users_waiting", f"Users waiting in this replica's shards, {when}", sizes.waiting)


def _of_engine(counters: Counters) -> Iterator[Metric]:
    """Every field, so that a number that is counted is never forgotten here."""
    for field in fields(counters):
        value = getattr(counters, field.name)
        if isinstance(value, dict):
            continue  # those of the routes
        text = _HELP.get(field.name, field.name.replace("_", " "))
        if isinstance(value, Histogram):
            yield _histogram(field.name.removesuffix("_s") + "_seconds", text, value)
        else:
            yield _counter(field.name, text, value)
    for name in TOTALS:
        yield _counter(name, _HELP[name], getattr(counters, name))


def _build_info() -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}_build_info", "Which release runs, on which Python", labels=("version", "python")
    )
    family.add_metric((version("actor-queue"), python_version()), 1)
    return family


def _of_redis(memory: Memory) -> Iterator[Metric]:
    """Of several primaries, the one with the least room for new messages."""
    yield _gauge("redis_memory_used_bytes", "Memory in use in Redis", memory.used)
    if memory.most:
        yield _gauge(
            "redis_memory_left_bytes", "Memory left in Redis until its maxmemory", memory.left
        )
        yield _gauge(
            "redis_memory_reserve_bytes",
            "New messages are refused while less than this is left",
            memory.reserve,
        )


def _of_service(traffic: Traffic) -> Iterator[Metric]:
    """What only our own server counts, and what only the whole API has."""
    yield _gauge("http_connections_open", "Connections open now", traffic.connections_open)
    yield _counter("http_connections", "Connections accepted", traffic.connections_total)
    yield _counter(
        "http_connections_failed", "Connections ended by a fault", traffic.connections_failed
    )
    yield _counter(
        "http_connections_evicted",
        "Slow or idle connections closed for room",
        traffic.connections_evicted,
    )
    yield _counter(
        "http_connections_waited",
        "Connections that found the limit reached",
        traffic.connections_waited,
    )
    yield _counter("http_accept_errors", "Connections not accepted", traffic.accept_errors)
    yield _counter(
        "http_groups_unsettled",
        "Groups of messages stored while older ones may have been unread",
        traffic.groups_unsettled,
    )
    yield _counter(
        "http_streams_put_out",
        "Streams of events ended because too many listened",
        traffic.streams_put_out,
    )
    yield _counter(
        "http_requests_put_off",
        "Requests without a key refused because too many of them waited",
        traffic.requests_put_off,
    )
    yield _counter(
        "http_sign_ins_refused",
        "Sign-ins with a wrong key, or too many of them",
        traffic.sign_ins_refused,
    )


def _of_requests(traffic: Traffic) -> Iterator[Metric]:
    slow = CounterMetricFamily(
        f"{PREFIX}_http_peers_too_slow",
        "Connections ended for their pace, by what came or went too slowly",
        labels=("part",),
    )
    for part in PARTS:
        slow.add_metric((part,), traffic.peers_too_slow[part])
    yield slow
    yield _counter(
        "http_requests_refused", "Requests refused before any handler", traffic.requests_refused
    )
    yield _counter("http_requests_failed", "Requests ended by a fault", traffic.requests_failed)
    answers = CounterMetricFamily(
        f"{PREFIX}_http_answers", "Answers by route and status", labels=("route", "status")
    )
    for (route, status), count in sorted(traffic.answers.items()):
        answers.add_metric((route, str(status)), count)
    yield answers
    bulk = CounterMetricFamily(
        f"{PREFIX}_http_bulk_messages", "Results of /api/messages by status", labels=("status",)
    )
    for status, count in sorted(traffic.bulk_messages.items()):
        bulk.add_metric((str(status),), count)
    yield bulk
