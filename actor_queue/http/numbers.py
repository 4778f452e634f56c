"""The numbers of several processes as those of one, in JSON values; `metrics` makes text of them.

A *report* is what one process counts, a list of families as `metrics.families` gives them:

    {"name": "actor_queue_accepted", "type": "counter", "help": "…",
     "samples": [["actor_queue_accepted_total", {"label": "value"}, 13.0], …]}
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

Family = dict[str, Any]
Report = list[Family]

SUMMED: Final = ("counter", "histogram")
"""Types that only grow: what a process that has ended had counted goes on counting."""
PER_PROCESS: Final = "process_"
"""Numbers of a process as the system sees it: they have no sum."""
LEAST: Final = (
    "actor_queue_ready",
    "actor_queue_build_info",
    "actor_queue_shards",
    "actor_queue_horizon_seconds",
    "actor_queue_redis_memory_used_bytes",
    "actor_queue_redis_memory_left_bytes",
    "actor_queue_redis_memory_reserve_bytes",
)
"""What is not added up: a group is as ready, and looks as far ahead, as the least of its members,
and they all have the same Redis."""

MOST: Final = (
    "actor_queue_oldest_due_seconds",
    "actor_queue_route_open",
    "actor_queue_route_paused",
)
"""What is not added up either: a group is as late as the latest of its members, and a route is open
or paused for all of them, of which one hears sooner than another."""

WHOLE: Final = (
    "actor_queue_dead_letters",
    "actor_queue_users_waiting",
    "actor_queue_route_users_waiting",
)
"""What is left out while a process that owns shards does not know its part: the sum of the others
would read as if less waited."""
OWNED: Final = "actor_queue_shards_owned"


class CensusFailed(Exception):
    """The numbers of all processes cannot be had now."""


@dataclass(frozen=True, slots=True)
class Counted:
    """One worker's report, as far as it is known."""

    worker: int
    report: Report
    answered: bool
    """False: it did not answer in time, and this is what it said last."""
    age_s: float


@dataclass(frozen=True, slots=True)
class Count:
    """What all workers of one parent have counted."""

    workers: Sequence[Counted]
    ended: Report
    """Sums of the workers that have ended."""


Census = Callable[[], Awaitable[Count]]
"""Asks all processes now. Raises `CensusFailed`."""


def sums(reports: Iterable[Report]) -> Report:
    """What only grows in any of `reports`, added up."""
    together = _together(_without_process(report) for report in reports)
    return [each for each in together if each["type"] in SUMMED]


def merged(count: Count) -> Report:
    """One set: sums, and what has no sum with the label `worker`."""
    shared = [_without_process(each.report) for each in count.workers]
    unknown = {name for name in WHOLE for report in shared if _keeps_back(report, name)}
    families = [each for each in _together([count.ended, *shared]) if each["name"] not in unknown]
    labelled = [_labelled(each) for each in count.workers]
    return [*families, *_together(labelled), *_about_workers(count.workers)]


def _together(reports: Iterable[Report]) -> Report:
    found: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for report in reports:
        for family in report:
            name = family["name"]
            found.setdefault(name, family)
            into = values.setdefault(name, {})
            for sample, labels, value in family["samples"]:
                key = sample, tuple(labels.items())
                if key not in into:
                    into[key] = value
                elif name in LEAST:
                    into[key] = min(into[key], value)
                elif name in MOST:
                    into[key] = max(into[key], value)
                else:
                    into[key] += value
    return [
        family
        | {"samples": [[sample, dict(labels), v] for (sample, labels), v in values[name].items()]}
        for name, family in found.items()
    ]


def _keeps_back(report: Report, name: str) -> bool:
    """Whether a process that owns shards does not tell this number of theirs."""
    told = {family["name"]: family["samples"] for family in report}
    owns = any(value > 0 for _, _, value in told.get(OWNED, ()))
    return owns and name not in told


def _without_process(report: Report) -> Report:
    return [family for family in report if not family["name"].startswith(PER_PROCESS)]


def _labelled(counted: Counted) -> Report:
    return [
        family
        | {
            "samples": [
                [sample, {**labels, "worker": str(counted.worker)}, value]
                for sample, labels, value in family["samples"]
            ]
        }
        for family in counted.report
        if family["name"].startswith(PER_PROCESS)
    ]


def _about_workers(workers: Sequence[Counted]) -> Report:
    return [
        _gauge(
            "actor_queue_worker_answered",
            "Whether the worker told its numbers for this answer; 0: they are its last ones",
            {each.worker: float(each.answered) for each in workers},
        ),
        _gauge(
            "actor_queue_worker_report_age_seconds",
            "How old the worker's numbers are",
            {each.worker: each.age_s for each in workers},
        ),
    ]


def _gauge(name: str, text: str, values: dict[int, float]) -> Family:
    samples = [[name, {"worker": str(worker)}, value] for worker, value in values.items()]
    return {"name": name, "type": "gauge", "help": text, "samples": samples}
