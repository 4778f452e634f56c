"""What the settings that move latency do to it, one at a time."""

from __future__ import annotations

from benchmarks.figures import Result, quantile
from benchmarks.lateness import GAP_S, POSTS, TTL_S, measure

USERS = 2_000
WINDOW_S = 10.0
SETTINGS: dict[str, tuple[str, ...]] = {
    "AQ_SHARDS": ("16", "4096"),
    "AQ_MAX_DELIVERIES": ("4", "1000"),
    "AQ_HISTORY": ("0",),
    "AQ_DEDUP_WINDOW": ("0",),
    "AQ_REDIS_RESERVE": ("64mb",),
    "AQ_DURABILITY": ("fsync",),
}
"""Values beside the default ones."""

METHOD = f"""\
{USERS:,} users over {WINDOW_S:g} s send {POSTS} messages each, {GAP_S:g} s apart, ttl {TTL_S:g},
to a service that has one setting other than it is by default; lateness counts from `batch.due_at`,
and the core's share is that of the service while messages come in. A round has them all."""


def run(quick: bool) -> Result:
    plans = [{}, *({name: value} for name, values in SETTINGS.items() for value in values)]
    rounds = 1 if quick else 3
    runs = [[measure(USERS, WINDOW_S, **plan) for plan in plans] for _ in range(rounds)]
    result = Result("Settings", METHOD)
    for place, plan in enumerate(plans):
        name = ", ".join(f"{key}={value}" for key, value in plan.items()) or "all defaults"
        mine = [each[place] for each in runs]
        late = [quantile(sorted(each.after_due_ms), 0.99) for each in mine]
        result.add(f"{name}: p99 late", "ms", late)
        result.add(f"{name}: POST p99", "ms", [each.post_p99_ms for each in mine])
        busy = [100 * each.utilisation for each in mine]
        result.add(f"{name}: the service's core busy", "%", busy)
    return result
