"""A restart with everybody overdue: how soon it is ready, and how fast it catches up."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.figures import Result, Target, arrivals
from benchmarks.processes import Listening

USERS = 100_000
USERS_QUICK = 10_000
TTL_S = 60.0
TTL_QUICK_S = 15.0
LEASE_S = 5.0
MESSAGES_A_REQUEST = 5_000
PROBE_EVERY_MS = 5
POLL_S = 0.25
STUCK_S = 15.0
BUCKET_S = 0.5
CPU = Target("at most", 200)

METHOD = f"""\
{{users:,}} users with one message each are posted, the service is killed with -9 before the first
is due, and started again when all are overdue and the old leases have run out. Times are from the
start of the process (before Python itself). The receiver answers 200 at once. The probe GETs
`/healthz` on one kept connection every {PROBE_EVERY_MS} ms from the first moment the port answers
until the last webhook; its longest answer bounds the longest stall of the loop. It runs before
everything else on the receiver's core where the system allows that, so that it does not measure
its own waiting. All defaults: 100 attempts at once."""


@dataclass(frozen=True, slots=True)
class Run:
    ready_s: float
    ready_cpu_s: float
    first_s: float
    last_s: float
    delivered: int
    doubled: int
    stall_ms: float
    stall_p99_ms: float
    cpu_us: float
    per_bucket: list[int]


def run(quick: bool) -> Result:
    """Ready and first within 1 s, last within 20 s, no stall over 50 ms."""
    users, ttl_s = (USERS_QUICK, TTL_QUICK_S) if quick else (USERS, TTL_S)
    runs = [_measure(users, ttl_s) for _ in range(1 if quick else 2)]
    result = Result("Restart with everybody overdue", METHOD.format(users=users))
    result.add("ready", "s", [run.ready_s for run in runs], Target("under", 1))
    result.add("ready, CPU until then", "s", [run.ready_cpu_s for run in runs])
    result.add("first webhook", "s", [run.first_s for run in runs], Target("under", 1))
    target = Target("under", 20 * users / USERS)
    result.add("last webhook", "s", [run.last_s for run in runs], target)
    missing = [float(users - run.delivered) for run in runs]
    result.add("users without a webhook", "users", missing, Target("at most", 0))
    result.add("webhooks sent twice", "webhooks", [float(run.doubled) for run in runs])
    stalls = [run.stall_ms for run in runs]
    result.add("longest /healthz meanwhile", "ms", stalls, Target("at most", 50))
    result.add("/healthz p99 meanwhile", "ms", [run.stall_p99_ms for run in runs])
    result.add("CPU of the service", "µs/webhook", [run.cpu_us for run in runs], CPU)
    result.series["per second"] = {
        "bucket_s": BUCKET_S,
        "rounds": [[count / BUCKET_S for count in run.per_bucket] for run in runs],
    }
    return result


def _measure(users: int, ttl_s: float) -> Run:
    with tempfile.TemporaryDirectory(prefix="aqb-") as name:
        dump, over = Path(name) / "arrivals", Path(name) / "over"
        with processes.receiver(dump) as receiver, processes.valkey() as valkey:
            with processes.service(valkey.url, receiver.port) as service:
                _fill(service, users, ttl_s)
                service.kill()
            if int(processes.ask(receiver.port, "/count")):
                raise RuntimeError("posting took longer than the ttl: the machine is too busy")
            time.sleep(max(ttl_s, LEASE_S) + 0.5)
            service = processes.start_service(valkey.url, receiver.port, port=service.port)
            try:
                return _catch_up(service, receiver, users, dump, over)
            finally:
                service.stop()


def _fill(service: Listening, users: int, ttl_s: float) -> None:
    posted = processes.load(
        "bulk",
        port=service.port,
        connections=2,
        requests=users // MESSAGES_A_REQUEST,
        messages=MESSAGES_A_REQUEST,
        form="ndjson",
        ttl=ttl_s,
        prefix="joao",
        burst=1,
    )
    if set(posted["statuses"]) != {"200"}:
        raise RuntimeError(f"the service answered {posted['statuses']}")


def _catch_up(service: Listening, receiver: Listening, users: int, dump: Path, over: Path) -> Run:
    probe = processes.start_probe(service.port, PROBE_EVERY_MS / 1e3, over)
    ready_at = processes.wait_ready(service)
    ready_cpu_s = service.cpu_s()
    delivered = _wait_for(receiver.port, users)
    cpu_s = service.cpu_s() - ready_cpu_s
    over.touch()
    stalls: dict[str, Any] = processes.finish_load(probe)
    processes.ask(receiver.port, "/dump")
    came = arrivals(dump)
    at = [each.at - service.started_at for each in came]
    return Run(
        ready_at - service.started_at,
        ready_cpu_s,
        min(at),
        max(at),
        len({each.user for each in came}),
        len(came) - len({each.user for each in came}),
        stalls["max_ms"],
        stalls["p99_ms"],
        cpu_s / delivered * 1e6,
        _buckets(at),
    )


def _wait_for(port: int, users: int) -> int:
    """Until all have come, or none for a long time."""
    count, since = 0, time.monotonic()
    while count < users and time.monotonic() < since + STUCK_S:
        time.sleep(POLL_S)
        before, count = count, int(processes.ask(port, "/count"))
        if count != before:
            since = time.monotonic()
    return count


def _buckets(at: list[float]) -> list[int]:
    counts = [0] * (int(max(at) / BUCKET_S) + 1)
    for each in at:
        counts[int(each / BUCKET_S)] += 1
    return counts
