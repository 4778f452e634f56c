"""Memory for each user who waits."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path

from benchmarks import processes
from benchmarks.figures import Result, Target

WITHIN_TTL_S = 100.0
BEYOND_TTL_S = 3_600.0
MESSAGES_A_REQUEST = 5_000
SETTLE_S = 1.5

METHOD = f"""\
One message each of so many new users through `POST /api/messages`; growth of the process's
resident memory from when it was ready until {SETTLE_S:g} s after the last answer, divided by the
users. Within the horizon of 120 s (ttl {WITHIN_TTL_S:g}) each has a timer task; beyond it (ttl
{BEYOND_TTL_S:g}) there is nothing in the process, and what is left is what 490 bytes a message
leave in its buffers. Each row is a fresh process."""


def run(quick: bool) -> Result:
    """At most 3 KB within the horizon, nothing beyond it."""
    result = Result("Memory per waiting user", METHOD)
    rounds = 1 if quick else 2
    bars = {}
    for users in (10_000,) if quick else (10_000, 100_000):
        for where, ttl_s, target in (
            ("within", WITHIN_TTL_S, Target("at most", 3_000)),
            ("beyond", BEYOND_TTL_S, Target("at most", 200)),
        ):
            runs = [_measure(users, ttl_s) for _ in range(rounds)]
            name = f"{users:,} users {where} the horizon"
            result.add(name, "bytes/user", [each[0] for each in runs], target)
            result.add(f"{name}, in Valkey", "bytes/user", [each[1] for each in runs])
            bars[name] = [each[0] for each in runs]
    result.series["bars"] = bars
    result.add("the process when it is ready", "MB", [_base_mb() for _ in range(rounds)])
    return result


def _measure(users: int, ttl_s: float) -> tuple[float, float]:
    """Bytes of a user in the service, and in Valkey."""
    with (
        tempfile.TemporaryDirectory(prefix="aqb-") as name,
        processes.receiver(Path(name) / "arrivals") as receiver,
        processes.valkey() as valkey,
        processes.service(valkey.url, receiver.port, AQ_MAX_ACTORS="1000000") as service,
    ):
        before, before_valkey = service.rss_bytes(), used_bytes(valkey)
        processes.load(
            "bulk",
            port=service.port,
            connections=1,
            requests=users // MESSAGES_A_REQUEST,
            messages=MESSAGES_A_REQUEST,
            form="ndjson",
            ttl=ttl_s,
            prefix="joao",
            burst=1,
        )
        time.sleep(SETTLE_S)
        return (
            (service.rss_bytes() - before) / users,
            (used_bytes(valkey) - before_valkey) / users,
        )


def _base_mb() -> float:
    with (
        processes.valkey() as valkey,
        processes.service(valkey.url, processes.free_port()) as service,
    ):
        return service.rss_bytes() / 1e6


def used_bytes(valkey: processes.Valkey) -> int:
    found = re.search(rb"used_memory:(\d+)", valkey.command("INFO", "memory"))
    assert found is not None
    return int(found[1])
