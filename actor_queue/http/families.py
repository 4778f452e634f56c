"""Families of numbers, as the Prometheus client has them."""

from __future__ import annotations

from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from actor_queue.runtime.counters import Histogram

PREFIX: Final = "actor_queue"


def counter(name: str, text: str, value: float) -> Metric:
    """One number that only grows."""
    return CounterMetricFamily(f"{PREFIX}_{name}", text, value=value)


def gauge(name: str, text: str, value: float) -> Metric:
    """One number."""
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)


def histogram(name: str, text: str, counted: Histogram) -> Metric:
    """One distribution."""
    return HistogramMetricFamily(
        f"{PREFIX}_{name}", text, buckets=buckets_of(counted), sum_value=counted.total
    )


def buckets_of(counted: Histogram) -> list[tuple[str, int]]:
    """Each bound with how many were at most that."""
    bounds = [*(str(bound) for bound in counted.bounds), "+Inf"]
    return list(zip(bounds, accumulate(counted.counts), strict=True))
