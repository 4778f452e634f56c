"""Requests per second of `POST /api/message`, against a bare application on the same Hypercorn."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.figures import Result, Target
from benchmarks.processes import Listening

CONNECTIONS = (32, 64)
BURST = 3
TTL_S = 60.0
WARM_UP_S = 1.0
MARGIN_S = 0.1

STACKS = {
    "ours": "actor-queue",
    "bare": "bare app, stock Hypercorn",
    "bare-ours": "bare app, our listener",
    "quart": "Quart-Trio, a coredis call per message",
}

METHOD = f"""\
Keep-alive connections with one request under way on each, for {{seconds:g}} s after {WARM_UP_S:g}
s of warm-up. Body: the first receivers' 18 fields, ttl {TTL_S:g}; a user sends {BURST} messages
in a row, then the next user does, so that every {BURST}rd request starts a timer (one row: every
request does). The bare application reads the body and answers 202 with as many bytes as ours;
stock Hypercorn is `hypercorn.trio.serve` of the same version. Each round starts every stack
afresh, one after the other; the ratios are of neighbours in a round. The stack under test has
core 0 to itself. CPU is that of its process; the quantity that other work on the machine disturbs
least."""


@dataclass(frozen=True, slots=True)
class Run:
    per_s: float
    cpu_us: float
    p99_ms: float


def run(quick: bool) -> Result:
    """At least 70 % of the bare application's requests per second."""
    rounds, seconds = (1, 2.0) if quick else (5, 3.0)
    plans = [(stack, connections, BURST) for connections in CONNECTIONS for stack in STACKS]
    plans.append(("ours", CONNECTIONS[0], 1))
    runs: dict[tuple[str, int, int], list[Run]] = {plan: [] for plan in plans}
    with _receiver() as receiver:
        for _ in range(rounds):
            for plan in plans:
                runs[plan].append(_measure(*plan, seconds=seconds, receiver=receiver))
    result = Result("POST /api/message", METHOD.format(seconds=seconds))
    _ratios(result, runs)
    _figures(result, runs)
    return result


def _ratios(result: Result, runs: dict[tuple[str, int, int], list[Run]]) -> None:
    for connections in CONNECTIONS:
        ours = runs["ours", connections, BURST]
        for stack in ("bare", "bare-ours", "quart"):
            theirs = runs[stack, connections, BURST]
            target = Target("at least", 70) if stack == "bare" else None
            pairs = list(zip(ours, theirs, strict=True))
            name = f"actor-queue / {STACKS[stack]}, {connections} connections"
            result.add(f"{name}: rate", "%", [100 * a.per_s / b.per_s for a, b in pairs], target)
            result.add(
                f"{name}: per CPU second",
                "%",
                [100 * b.cpu_us / a.cpu_us for a, b in pairs],
                target,
            )


def _figures(result: Result, runs: dict[tuple[str, int, int], list[Run]]) -> None:
    bars: dict[str, Any] = {}
    for (stack, connections, burst), measured in runs.items():
        name = f"{STACKS[stack]}, {connections} connections"
        if burst == 1:
            name += ", every message a new user"
        result.add(name, "requests/s", [each.per_s for each in measured])
        result.add(f"{name}: CPU", "µs/request", [each.cpu_us for each in measured])
        result.add(f"{name}: p99", "ms", [each.p99_ms for each in measured])
        if burst == BURST:
            per_s = [each.per_s for each in measured]
            bars.setdefault(STACKS[stack], {})[str(connections)] = [
                statistics.median(per_s),
                min(per_s),
                max(per_s),
                statistics.median(each.cpu_us for each in measured),
            ]
    result.series["bars"] = bars


def _measure(stack: str, connections: int, burst: int, *, seconds: float, receiver: int) -> Run:
    with _started(stack, receiver) as server:
        load = processes.start_load(
            "closed",
            port=server.port,
            path="/api/message",
            connections=connections,
            warm_up_s=WARM_UP_S,
            seconds=seconds,
            ttl=TTL_S,
            prefix="joao",
            burst=burst,
        )
        processes.wait_line(load)
        cpu_s, at = server.cpu_s(), time.monotonic()
        time.sleep(seconds - MARGIN_S)
        cpu_share = (server.cpu_s() - cpu_s) / (time.monotonic() - at)
        measured = processes.finish_load(load)
    if set(measured["statuses"]) != {"202"}:
        raise RuntimeError(f"{stack} answered {measured['statuses']}")
    per_s = measured["statuses"]["202"] / seconds
    return Run(per_s, cpu_share / per_s * 1e6, measured["p99_ms"])


@contextmanager
def _started(stack: str, receiver: int) -> Iterator[Listening]:
    with ExitStack() as open_:
        if stack == "ours":
            valkey = open_.enter_context(processes.valkey())
            yield open_.enter_context(processes.service(valkey.url, receiver))
            return
        environ = {}
        if stack == "quart":
            environ["REDIS_URL"] = open_.enter_context(processes.valkey()).url
        command = processes.python("stacks", stack)
        yield open_.enter_context(processes.listening(command, processes.SERVICE_CORE, **environ))


@contextmanager
def _receiver() -> Iterator[int]:
    with (
        tempfile.TemporaryDirectory(prefix="aqb-") as name,
        processes.receiver(Path(name) / "arrivals") as receiver,
    ):
        yield receiver.port
