"""A restart with a million users who wait, of whom a few are due soon."""

from __future__ import annotations

import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.figures import Result, Target, arrivals, quantile
from benchmarks.processes import Listening
from benchmarks.restart import LEASE_S, MESSAGES_A_REQUEST, POLL_S

WAITING = 1_000_000
WAITING_QUICK = 50_000
LATER_TTL_S = 7_200.0
SOON = 100
SOON_TTL_S = 25.0
LOOK_S = 0.02
WITHIN_S = 60.0
SWEPT_WITHIN_S = 30
ON_TIME_MS = 100

METHOD = f"""\
{{waiting:,}} users with one message each, ttl {LATER_TTL_S:g}, and then {SOON:,} with ttl
{SOON_TTL_S:g} are posted; the service is killed with -9 and started again when its leases have run
out, before the first of those is due. Swept is when the first sweep over all of its shards is done,
from the start of the process. Memory is what the process has more, when the last of those who were
due has come, than one that was started on an empty Valkey had when it was ready, for each user who
waits."""


@dataclass(frozen=True, slots=True)
class Run:
    ready_s: float
    swept_s: float
    late_ms: list[float]
    missing: int
    bytes_per_user: float


def run(quick: bool) -> Result:
    waiting = WAITING_QUICK if quick else WAITING
    runs = [_measure(waiting)]
    result = Result("A million who wait", METHOD.format(waiting=waiting))
    result.add("ready", "s", [each.ready_s for each in runs])
    result.add("swept", "s", [each.swept_s for each in runs], Target("at most", SWEPT_WITHIN_S))
    late = [sorted(each.late_ms) for each in runs]
    on_time = Target("at most", ON_TIME_MS)
    result.add("the first who was due late", "ms", [min(a.late_ms) for a in runs], on_time)
    result.add("p99 late", "ms", [quantile(each, 0.99) for each in late])
    result.add("the latest", "ms", [each[-1] for each in late])
    missing = [float(each.missing) for each in runs]
    result.add("without a webhook", "users", missing, Target("at most", 0))
    memory = [each.bytes_per_user for each in runs]
    result.add("memory for each who waits", "bytes/user", memory, Target("at most", 100))
    return result


def _measure(waiting: int) -> Run:
    with tempfile.TemporaryDirectory(prefix="aqb-") as name:
        dump = Path(name) / "arrivals"
        with processes.receiver(dump) as receiver, processes.valkey() as valkey:
            with processes.service(valkey.url, receiver.port, AQ_PAYLOAD="detailed") as service:
                empty_bytes = service.rss_bytes()
                _fill(service, waiting, LATER_TTL_S, "later")
                _fill(service, SOON, SOON_TTL_S, "soon")
                filled_at = time.monotonic()
                service.kill()
            time.sleep(LEASE_S + 0.5)
            again = processes.start_service(
                valkey.url, receiver.port, port=service.port, AQ_PAYLOAD="detailed"
            )
            try:
                ready_at, swept_at = processes.wait_ready(again), _swept(again)
                if time.monotonic() - filled_at > SOON_TTL_S:
                    raise RuntimeError("the first were due before they were looked for")
                _wait(receiver, filled_at + SOON_TTL_S + WITHIN_S)
                grown = again.rss_bytes() - empty_bytes
            finally:
                again.stop()
            processes.ask(receiver.port, "/dump")
            came = arrivals(dump)
    late_ms = [(each.at - (each.due_at or 0)) * 1e3 for each in came]
    started = again.started_at
    return Run(
        ready_at - started,
        swept_at - started,
        late_ms,
        SOON - len({each.user for each in came}),
        grown / waiting,
    )


def _fill(service: Listening, users: int, ttl_s: float, prefix: str) -> None:
    messages = min(users, MESSAGES_A_REQUEST)
    posted = processes.load(
        "bulk",
        port=service.port,
        connections=1,
        requests=users // messages,
        messages=messages,
        form="ndjson",
        ttl=ttl_s,
        prefix=prefix,
        burst=1,
    )
    if set(posted["statuses"]) != {"200"}:
        raise RuntimeError(f"the service answered {posted['statuses']}")


def _swept(service: Listening) -> float:
    """Unix seconds at which a sweep over all shards was done."""
    while True:
        text = processes.ask(service.port, "/metrics")
        if (found := re.search(rb"^actor_queue_sweeps_total(?:{.*})? (\S+)$", text, re.M)) and (
            float(found[1]) > 1
        ):
            return time.time()
        time.sleep(LOOK_S)


def _wait(receiver: Listening, until: float) -> None:
    while int(processes.ask(receiver.port, "/count")) < SOON and time.monotonic() < until:
        time.sleep(POLL_S)
