"""`GET /metrics`: a replica's numbers, or all workers', as Prometheus text. No label is a user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from actor_queue.core.headroom import Memory
from actor_queue.http.backend import Backend
from actor_queue.http.numbers import Report
from actor_queue.http.traffic import PARTS, Traffic
from actor_queue.runtime.counters import Counters, Histogram

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "actor_queue"

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
    "events_malformed": "Events or nudges of other replicas that could not be read",
    "lateness_s": "From a batch's due time to the start of its first attempt",
    "attempt_s": "Duration of one attempt",
}


def render(report: Report) -> bytes:
    """The text of a report: of one process, or of several that were merged."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Reported(report))
    return generate_latest(registry)


def families(backend: Backend, traffic: Traffic) -> Report:
    """What this process counts."""
    process = ProcessCollector(registry=None)
    return [
        {
            "name": metric.name,
            "type": metric.type,
            "help": metric.documentation,
            "samples": [[each.name, each.labels, float(each.value)] for each in metric.samples],
        }
        for metric in [*_Replica(backend, traffic).collect(), *process.collect()]
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


class _Replica(Collector):
    def __init__(self, backend: Backend, traffic: Traffic) -> None:
        self._backend = backend
        self._traffic = traffic

    def collect(self) -> Iterable[Metric]:
        backend = self._backend
        yield _gauge("ready", "Whether a message would be accepted", backend.unready() is None)
        yield _gauge("actors", "Users with a timer in this replica", backend.actors)
        yield _gauge(
            "horizon_seconds",
            "Users due later than this get no timer yet; less than 120 when there are many",
            backend.horizon_s,
        )
        yield _gauge("shards_owned", "Shards whose lease this replica holds", backend.shards_owned)
        sizes = backend.sizes
        yield _gauge("dead_letters", "Dead letters in this replica's shards", sizes.dead)
        yield _gauge("users_waiting", "Users waiting in this replica's shards", sizes.waiting)
        yield _gauge(
            "entries_set_aside",
            "Entries of timer indexes that are passed over; actor-queue doctor shows them",
            backend.entries_set_aside,
        )
        if (memory := backend.redis_memory) is not None:
            yield from _of_redis(memory)
        yield from _of_engine(backend.counters)
        yield from _of_traffic(self._traffic)


def _of_engine(counters: Counters) -> Iterator[Metric]:
    """Every field, so that a number that is counted is never forgotten here."""
    for field in fields(counters):
        value = getattr(counters, field.name)
        text = _HELP.get(field.name, field.name.replace("_", " "))
        if isinstance(value, Histogram):
            yield _histogram(field.name.removesuffix("_s") + "_seconds", text, value)
        else:
            yield _counter(field.name, text, value)


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


def _of_traffic(traffic: Traffic) -> Iterator[Metric]:
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
    slow = CounterMetricFamily(
        f"{PREFIX}_http_peers_too_slow",
        "Connections ended for their pace, by what came or went too slowly",
        labels=("part",),
    )
    for part in PARTS:
        slow.add_metric((part,), traffic.peers_too_slow[part])
    yield slow
    yield _counter("http_accept_errors", "Connections not accepted", traffic.accept_errors)
    yield _counter(
        "http_requests_refused", "Requests refused before any handler", traffic.requests_refused
    )
    yield _counter("http_requests_failed", "Requests ended by a fault", traffic.requests_failed)
    yield _counter(
        "http_groups_unsettled",
        "Groups of messages stored while older ones may have been unread",
        traffic.groups_unsettled,
    )
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


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{PREFIX}_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(
        f"{PREFIX}_{name}", text, buckets=buckets, sum_value=histogram.total
    )
