"""`AQ_WORKERS`: what two processes carry, against one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

from benchmarks import processes
from benchmarks.figures import Result, Target

CONNECTIONS = 16
MESSAGES = 501
BURST = 3
TTLS_S = {"a timer for each user": 90, "no timers": 300}
"""Within the horizon, and beyond it."""
REQUESTS = 256
ROUNDS = 5
TARGET = Target("at least", 1.7)

METHOD = f"""\
`POST /api/messages` as NDJSON over {CONNECTIONS} connections, {MESSAGES} messages a request,
{BURST} in a row of each user. On this machine of two cores the load generator and Valkey need
one, so two workers cannot have two; what is measured is the CPU that all workers together spend
on a message, nudges between them, leases and the sharing of the socket included. Workers that
have a core each carry twice the inverse of it, as long as Valkey keeps up, and the ratio is that
against one worker's."""


def run(quick: bool) -> Result:
    """Two workers at least 1.7 times one, whether messages start timers or not."""
    result = Result("Workers", METHOD)
    with (
        tempfile.TemporaryDirectory(prefix="aqb-") as name,
        processes.receiver(Path(name) / "arrivals") as receiver,
    ):
        for what, ttl_s in TTLS_S.items():
            _compare(result, what, ttl_s, receiver.port, 1 if quick else ROUNDS)
    return result


def _compare(result: Result, what: str, ttl_s: int, receiver_port: int, rounds: int) -> None:
    per_core: dict[int, list[float]] = {1: [], 2: []}
    ratios, busiest = [], []
    for _ in range(rounds):
        for workers in per_core:
            each_s, messages = _measure(receiver_port, workers, ttl_s)
            per_core[workers].append(messages / sum(each_s))
            if workers == 2:
                busiest.append(max(each_s) / sum(each_s) * 100)
        ratios.append(2 * per_core[2][-1] / per_core[1][-1])
    result.add(f"two workers / one worker, a core for each, {what}", "times", ratios, TARGET)
    for workers, rates in per_core.items():
        result.add(f"{workers} worker(s): per core, {what}", "messages/s", rates)
    result.add(f"share of the busier of two, {what}", "%", busiest)
    result.series[what] = {str(n): median(rates) for n, rates in per_core.items()}


def _measure(receiver_port: int, workers: int, ttl_s: int) -> tuple[list[float], int]:
    """CPU seconds of each worker, and how many messages were kept for them."""
    with (
        processes.valkey() as valkey,
        processes.service(valkey.url, receiver_port, AQ_WORKERS=str(workers)) as service,
    ):
        options = {
            "port": service.port,
            "connections": CONNECTIONS,
            "messages": MESSAGES,
            "form": "ndjson",
            "ttl": ttl_s,
            "burst": BURST,
        }
        processes.load("bulk", prefix="warm", requests=CONNECTIONS, **options)
        pids = service.children() if workers > 1 else [service.pid]
        if len(pids) != workers:
            raise RuntimeError(f"{len(pids)} processes instead of {workers}")
        before = [processes.cpu_s(pid) for pid in pids]
        measured = processes.load("bulk", prefix="joao", requests=REQUESTS, **options)
        if measured["statuses"] != {"200": REQUESTS}:
            raise RuntimeError(f"the service answered {measured['statuses']}")
        after = [processes.cpu_s(pid) for pid in pids]
        return [b - a for a, b in zip(before, after, strict=True)], measured["messages"]
