"""`actor-queue edge` beside `actor-queue serve` and beside an application that does nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import processes
from benchmarks.figures import Result
from benchmarks.ingest import BURST, MARGIN_S, TTL_S, WARM_UP_S, Run
from benchmarks.processes import Listening

CONNECTIONS = 32
STACKS = {
    "edge": "actor-queue edge",
    "serve": "actor-queue serve",
    "bare": "bare app, uvicorn with h11",
}

METHOD = f"""\
`POST /api/message` over {CONNECTIONS} kept-alive connections with one request under way on each,
for {{seconds:g}} s after {WARM_UP_S:g} s of warm-up; ttl {TTL_S:g}, {BURST} messages in a row of
each user. The stack under test has core 0 to itself. Beside the edge a replica runs on the other
core, which owns the users and hears of each message. The bare application reads the body and
answers 202 with as many bytes, under uvicorn as the edge has it (uvloop, h11). Each round starts
every stack afresh, and the ratios are of neighbours in a round."""


def run(quick: bool) -> Result:
    rounds, seconds = (1, 2.0) if quick else (5, 3.0)
    runs: dict[str, list[Run]] = {stack: [] for stack in STACKS}
    with (
        tempfile.TemporaryDirectory(prefix="aqb-") as name,
        processes.receiver(Path(name) / "arrivals") as receiver,
    ):
        for _ in range(rounds):
            for stack, measured in runs.items():
                measured.append(_measure(stack, seconds, receiver.port))
    result = Result("The edge", METHOD.format(seconds=seconds))
    for stack in ("serve", "bare"):
        pairs = list(zip(runs["edge"], runs[stack], strict=True))
        name = f"{STACKS['edge']} / {STACKS[stack]}"
        result.add(f"{name}: rate", "%", [100 * a.per_s / b.per_s for a, b in pairs])
        result.add(f"{name}: per CPU second", "%", [100 * b.cpu_us / a.cpu_us for a, b in pairs])
    for stack, measured in runs.items():
        result.add(STACKS[stack], "requests/s", [each.per_s for each in measured])
        result.add(f"{STACKS[stack]}: CPU", "µs/request", [each.cpu_us for each in measured])
        result.add(f"{STACKS[stack]}: p99", "ms", [each.p99_ms for each in measured])
    return result


def _measure(stack: str, seconds: float, receiver: int) -> Run:
    with _started(stack, receiver) as server:
        load = processes.start_load(
            "closed",
            port=server.port,
            path="/api/message",
            connections=CONNECTIONS,
            warm_up_s=WARM_UP_S,
            seconds=seconds,
            ttl=TTL_S,
            prefix="joao",
            burst=BURST,
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
        if stack == "bare":
            command = processes.python("stacks", "bare-uvicorn")
            yield open_.enter_context(processes.listening(command, processes.SERVICE_CORE))
            return
        valkey = open_.enter_context(processes.valkey())
        core = processes.SERVICE_CORE if stack == "serve" else processes.OTHERS_CORE
        replica = open_.enter_context(processes.service(valkey.url, receiver, core=core))
        if stack == "serve":
            yield replica
            return
        yield open_.enter_context(processes.edge(valkey.url))
