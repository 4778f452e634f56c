"""Messages per second and core of `POST /api/messages`."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.figures import Result, Target
from benchmarks.processes import Listening, Valkey

FORMS = ("ndjson", "array")
TTL_S = 90.0
CONNECTIONS = 2
MESSAGES = 5_001
BURST = 3
TARGET = Target("at least", 60_000)

METHOD = f"""\
{CONNECTIONS} connections, {{requests}} requests of {MESSAGES:,} messages with the first
receivers' 18 fields (about 490 bytes each), ttl {TTL_S:g}; {BURST} messages for each user, so
that every {BURST}rd message starts a timer (one row: every message does). Each round starts
service and Valkey afresh and sends one request to warm up. "Per core" is 1 / (CPU of the
service's process per message): what one core carries when nothing else runs on it. "Rate" is what
came through in this run, with the load generator and Valkey together on the other core."""


@dataclass(frozen=True, slots=True)
class Run:
    per_s: float
    cpu_us: float
    valkey_us: float


def run(quick: bool) -> Result:
    """At least 60,000 messages per second per core."""
    rounds, requests = (1, 8) if quick else (5, 16)
    plans = [("ndjson", BURST), ("array", BURST), ("ndjson", 1)]
    runs: dict[tuple[str, int], list[Run]] = {plan: [] for plan in plans}
    with (
        tempfile.TemporaryDirectory(prefix="aqb-") as name,
        processes.receiver(Path(name) / "arrivals") as receiver,
    ):
        for _ in range(rounds):
            for plan in plans:
                with (
                    processes.valkey() as valkey,
                    processes.service(valkey.url, receiver.port) as service,
                ):
                    runs[plan].append(_measure(service, valkey, *plan, requests=requests))
    result = Result("POST /api/messages", METHOD.format(requests=requests))
    bars = {}
    for (form, burst), measured in runs.items():
        name = form if burst == BURST else f"{form}, every message a new user"
        target = TARGET if burst == BURST else None
        per_core = [1e6 / each.cpu_us for each in measured]
        result.add(f"{name}: per core", "messages/s", per_core, target)
        result.add(f"{name}: CPU of the service", "µs/message", [each.cpu_us for each in measured])
        result.add(f"{name}: CPU of Valkey", "µs/message", [each.valkey_us for each in measured])
        result.add(f"{name}: rate", "messages/s", [each.per_s for each in measured])
        bars[name] = [statistics.median(per_core), min(per_core), max(per_core)]
    result.series["bars"] = bars
    return result


def _measure(service: Listening, valkey: Valkey, form: str, burst: int, *, requests: int) -> Run:
    options = {
        "port": service.port,
        "connections": CONNECTIONS,
        "messages": MESSAGES,
        "form": form,
        "ttl": TTL_S,
        "burst": burst,
    }
    processes.load("bulk", prefix="warm", requests=1, **options)
    cpu_s, valkey_s = service.cpu_s(), valkey.process.cpu_s()
    measured = processes.load("bulk", prefix="joao", requests=requests, **options)
    messages = measured["messages"]
    if measured["statuses"] != {"200": requests}:
        raise RuntimeError(f"the service answered {measured['statuses']}")
    return Run(
        messages / measured["seconds"],
        (service.cpu_s() - cpu_s) / messages * 1e6,
        (valkey.process.cpu_s() - valkey_s) / messages * 1e6,
    )
