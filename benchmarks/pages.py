"""What the operator's pages cost: opening one with many users waiting, and leaving some open."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import processes
from benchmarks.figures import Result, Target
from benchmarks.processes import Listening, Running
from benchmarks.viewer import PATHS

WAITING = 100_000
WAITING_QUICK = 10_000
OPENINGS = 20
PAGES = (1, 10)
TARGETS = {1: Target("at most", 3), 10: Target("at most", 10)}
CONNECTIONS = 32
TTL_S = 3_600.0
WARM_UP_S = 1.0

METHOD = f"""\
{{waiting:,}} users wait. "Opening" is what the Waiting page asks for when it opens ({len(PATHS)}
requests one after the other), the median of {OPENINGS}. Then {CONNECTIONS} connections post
messages, alternately with no page open and with some, each of which follows the stream of events
and asks for its lists again as the page does. The share is how much more of the service's CPU a
message costs beside the pages, of neighbours in a round."""


def run(quick: bool) -> Result:
    """A page opens within a second and 50 ms of CPU; one costs ingest 3 %, ten cost 10 %."""
    rounds, seconds = (1, 1.5) if quick else (7, 3.0)
    waiting = WAITING_QUICK if quick else WAITING
    result = Result("Pages", METHOD.format(waiting=waiting))
    with (
        tempfile.TemporaryDirectory(prefix="aqb-") as name,
        processes.receiver(Path(name) / "arrivals") as receiver,
        processes.valkey() as valkey,
        processes.service(valkey.url, receiver.port, AQ_MAX_PENDING="1000000") as service,
    ):
        _fill(service, waiting)
        took_s, cpu_s = _opened(service)
        result.add("opening: time", "ms", [1e3 * each for each in took_s], Target("at most", 1_000))
        result.add("opening: CPU", "ms", [1e3 * cpu_s], Target("at most", 50))
        more: dict[int, list[float]] = {pages: [] for pages in PAGES}
        alone: list[float] = []
        for _ in range(rounds):
            for pages in PAGES:
                without = _cost_us(service, seconds)
                with _open_pages(service, pages):
                    beside = _cost_us(service, seconds)
                alone.append(without)
                more[pages].append(100 * (beside / without - 1))
    result.add("a message, no page open: CPU", "µs", alone)
    for pages, values in more.items():
        name = f"{pages} open: a message's CPU grows by"
        result.add(name, "%", [statistics.median(values), *values], TARGETS[pages])
    return result


def _fill(service: Listening, waiting: int) -> None:
    measured = processes.load(
        "bulk",
        port=service.port,
        connections=2,
        messages=2_000,
        form="ndjson",
        ttl=TTL_S,
        burst=1,
        prefix="waits",
        requests=waiting // 2_000,
    )
    if set(measured["statuses"]) != {"200"}:
        raise RuntimeError(f"the service answered {measured['statuses']}")


def _opened(service: Listening) -> tuple[list[float], float]:
    """Seconds of each opening, and CPU seconds of one."""
    took: list[float] = []
    for path in PATHS:
        processes.ask(service.port, path)
    before = service.cpu_s()
    for _ in range(OPENINGS):
        since = time.monotonic()
        for path in PATHS:
            processes.ask(service.port, path)
        took.append(time.monotonic() - since)
    return took, (service.cpu_s() - before) / OPENINGS


def _cost_us(service: Listening, seconds: float) -> float:
    load = processes.start_load(
        "closed",
        port=service.port,
        path="/api/message",
        connections=CONNECTIONS,
        warm_up_s=WARM_UP_S,
        seconds=seconds,
        ttl=TTL_S,
        prefix="joao",
        burst=3,
    )
    processes.wait_line(load)
    before, since = service.cpu_s(), time.monotonic()
    time.sleep(seconds - 0.1)
    share = (service.cpu_s() - before) / (time.monotonic() - since)
    measured = processes.finish_load(load)
    return share / (measured["statuses"]["202"] / seconds) * 1e6


@contextmanager
def _open_pages(service: Listening, pages: int) -> Iterator[Running]:
    command = processes.python("viewer", str(service.port), str(pages))
    viewer = processes.start(
        command, core=processes.OTHERS_CORE, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    processes.wait_line(viewer)
    time.sleep(WARM_UP_S)
    try:
        yield viewer
    finally:
        viewer.popen.communicate(b"")
