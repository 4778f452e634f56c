"""What the listener's defences cost a normal request: bursts with them and without, by turns."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import processes
from benchmarks.figures import Result, Target
from benchmarks.ingest import BURST, MARGIN_S, TTL_S, Run
from benchmarks.processes import Listening

CONNECTIONS = 32
WARM_UP_S = 0.3
COST_MAX = 102.0
STACKS = {"with": "with them", "without": "without"}

METHOD = f"""\
`POST /api/message` over {CONNECTIONS} kept-alive connections with one request under way on each;
ttl {TTL_S:g}, {BURST} messages in a row of each user. Two services, each with a Valkey of its own,
run all the time; one is `benchmarks.undefended`, the same service without pace, deadlines, places
that can be taken away, turns and answers for heads. A round is a burst of {{seconds:g}} s at
each, after {WARM_UP_S:g} s of warm-up, and the next one begins with the other. Both services share
core 0. The ratios are of the two bursts of a round; the processor's time is what other work on
the machine disturbs least."""


def run(quick: bool) -> Result:
    """At most 2 % of the processor time of a normal request."""
    rounds, seconds = (2, 1.0) if quick else (25, 1.0)
    runs: dict[str, list[Run]] = {stack: [] for stack in STACKS}
    with ExitStack() as open_:
        servers = _started(open_)
        for turn in range(rounds):
            for stack in sorted(STACKS, reverse=turn % 2 == 0):
                prefix = f"{stack}{turn}"
                runs[stack].append(_measure(servers[stack], seconds, prefix))
    result = Result("What the defences cost", METHOD.format(seconds=seconds))
    pairs = list(zip(runs["with"], runs["without"], strict=True))
    cost = Target("at most", COST_MAX)
    result.add("with them / without: CPU", "%", [100 * a.cpu_us / b.cpu_us for a, b in pairs], cost)
    result.add("with them / without: rate", "%", [100 * a.per_s / b.per_s for a, b in pairs])
    for stack, measured in runs.items():
        result.add(STACKS[stack], "requests/s", [each.per_s for each in measured])
        result.add(f"{STACKS[stack]}: CPU", "µs/request", [each.cpu_us for each in measured])
        result.add(f"{STACKS[stack]}: p99", "ms", [each.p99_ms for each in measured])
    return result


def _started(open_: ExitStack) -> dict[str, Listening]:
    folder = open_.enter_context(tempfile.TemporaryDirectory(prefix="aqb-"))
    receiver = open_.enter_context(processes.receiver(Path(folder) / "arrivals"))
    modules = {"with": "actor_queue", "without": "benchmarks.undefended"}
    return {
        stack: open_.enter_context(
            processes.service(
                open_.enter_context(processes.valkey()).url, receiver.port, module=module
            )
        )
        for stack, module in modules.items()
    }


def _measure(server: Listening, seconds: float, prefix: str) -> Run:
    load = processes.start_load(
        "closed",
        port=server.port,
        path="/api/message",
        connections=CONNECTIONS,
        warm_up_s=WARM_UP_S,
        seconds=seconds,
        ttl=TTL_S,
        prefix=prefix,
        burst=BURST,
    )
    processes.wait_line(load)
    cpu_s, at = server.cpu_s(), time.monotonic()
    time.sleep(seconds - MARGIN_S)
    cpu_share = (server.cpu_s() - cpu_s) / (time.monotonic() - at)
    measured = processes.finish_load(load)
    if set(measured["statuses"]) != {"202"}:
        raise RuntimeError(f"it answered {measured['statuses']}")
    per_s = measured["statuses"]["202"] / seconds
    return Run(per_s, cpu_share / per_s * 1e6, measured["p99_ms"])
