"""What remembering attempts costs: deliveries with `AQ_HISTORY` and without, by turns."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.figures import Result, Target
from benchmarks.processes import Listening, Valkey

REMEMBERED = 10_000
TTL_S = 12.0
REQUESTS = 3
MESSAGES = 1_000
DELIVERED_WITHIN_S = 120.0
SETTLE_S = 1.0
"""The history is told a quarter of a second after an attempt, and in parcels."""
HISTORY_KEY = "aq:attempts"

METHOD = f"""\
{REQUESTS * MESSAGES:,} users with one message each, all accepted before the first is due (ttl
{TTL_S:g}). Counted is the CPU from the last answer until all are delivered and {SETTLE_S:g} s are
over, of the service and of its Valkey, divided by the deliveries. Two services run beside each
other, one with AQ_HISTORY={REMEMBERED:,} and one with 0, and take turns; a share is that of
neighbours. Bytes are `MEMORY USAGE` of the list of attempts, divided by its length."""


@dataclass(frozen=True, slots=True)
class Side:
    """A service, its Valkey and what it delivers to."""

    service: Listening
    valkey: Valkey
    receiver: Listening

    def cpu_s(self) -> tuple[float, float]:
        return self.service.cpu_s(), self.valkey.process.cpu_s()

    def delivered(self) -> int:
        return int(processes.ask(self.receiver.port, "/count"))


def run(quick: bool) -> Result:
    """At most 5 % of a delivery's CPU, and 300 bytes an attempt."""
    rounds = 3 if quick else 9
    costs: dict[int, list[tuple[float, float]]] = {0: [], REMEMBERED: []}
    with ExitStack() as open_:
        sides = {kept: _side(open_, kept) for kept in costs}
        for side in sides.values():
            _deliver(side, "warm")
        for turn in range(rounds):
            # Who goes first changes, because what is first in a round may be favoured.
            for kept in sorted(costs, reverse=turn % 2 == 1):
                costs[kept].append(_deliver(sides[kept], f"t{turn}"))
        attempt_bytes = _bytes_an_attempt(sides[REMEMBERED].valkey)
    result = Result("History", METHOD)
    grown = [
        100 * (sum(with_) / sum(without) - 1)
        for with_, without in zip(costs[REMEMBERED], costs[0], strict=True)
    ]
    result.add("a delivery without: CPU of the service", "µs", [each[0] for each in costs[0]])
    result.add("a delivery without: CPU of Valkey", "µs", [each[1] for each in costs[0]])
    result.add("a delivery with: CPU of the service", "µs", [each[0] for each in costs[REMEMBERED]])
    result.add("a delivery with: CPU of Valkey", "µs", [each[1] for each in costs[REMEMBERED]])
    median = statistics.median(grown)
    result.add("a delivery's CPU grows by", "%", [median, *grown], Target("at most", 5))
    result.add("an attempt in Redis", "bytes", [attempt_bytes], Target("at most", 300))
    return result


def _side(open_: ExitStack, kept: int) -> Side:
    directory = Path(open_.enter_context(tempfile.TemporaryDirectory(prefix="aqb-")))
    receiver = open_.enter_context(processes.receiver(directory / "arrivals"))
    valkey = open_.enter_context(processes.valkey())
    service = open_.enter_context(
        processes.service(valkey.url, receiver.port, AQ_HISTORY=str(kept))
    )
    return Side(service, valkey, receiver)


def _deliver(side: Side, prefix: str) -> tuple[float, float]:
    """Microseconds of the service's and of Valkey's CPU for one delivery."""
    before = side.delivered()
    measured = processes.load(
        "bulk",
        port=side.service.port,
        connections=1,
        messages=MESSAGES,
        form="ndjson",
        ttl=TTL_S,
        burst=1,
        prefix=prefix,
        requests=REQUESTS,
    )
    if set(measured["statuses"]) != {"200"}:
        raise RuntimeError(f"the service answered {measured['statuses']}")
    service_s, valkey_s = side.cpu_s()
    early = side.delivered() - before
    if early:
        raise RuntimeError(f"{early} were delivered while others were accepted: TTL_S is too short")
    deadline = time.monotonic() + DELIVERED_WITHIN_S
    while side.delivered() - before < REQUESTS * MESSAGES:
        if time.monotonic() > deadline:
            raise RuntimeError("not everything was delivered")
        time.sleep(0.05)
    time.sleep(SETTLE_S)
    after = side.cpu_s()
    spent = (after[0] - service_s, after[1] - valkey_s)
    return spent[0] / (REQUESTS * MESSAGES) * 1e6, spent[1] / (REQUESTS * MESSAGES) * 1e6


def _bytes_an_attempt(valkey: Valkey) -> float:
    return _number(valkey, "MEMORY", "USAGE", HISTORY_KEY, "SAMPLES", "0") / _number(
        valkey, "LLEN", HISTORY_KEY
    )


def _number(valkey: Valkey, *words: str) -> int:
    said = re.fullmatch(rb":(\d+)\r\n", valkey.command(*words))
    if said is None:
        raise RuntimeError(f"{words[0]} did not answer with a number")
    return int(said[1])
