"""One kind of peers against a service of its own, and what a normal client saw meanwhile."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.abuse.client import NormalClient, Tally, served
from tests.abuse.peers import CONNECTS_PER_S
from tests.acceptance.service import ROOT, world

KEY: Final = "a-key-of-the-normal-client"
SERVED_MIN: Final = 0.99
SLOWER_MAX: Final = 5.0
HEALTH_MAX_S: Final = 1.0
FLOOR_S: Final = 0.01
"""Two p99 below this are the same: what the system's scheduler does is more than that."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of it. Seconds and bytes."""

    kind: str
    many: bool
    without: dict[str, Tally]
    beside: dict[str, Tally]
    opened: int
    rss_before: int
    rss_most: int

    @property
    def served(self) -> float:
        return served(list(self.beside.values()))

    def slower(self, lane: str) -> float:
        """How many times its p99 without peers."""
        return self.beside[lane].p99_s() / max(FLOOR_S, self.without[lane].p99_s())

    @property
    def health_worst_s(self) -> float:
        lane = self.beside["health"]
        return float("inf") if lane.failed else max(lane.took_s)

    @property
    def misses(self) -> list[str]:
        """Which demands it does not meet."""
        found = []
        if self.served < SERVED_MIN:
            found.append("served")
        found += [lane for lane in ("kept", "new") if self.slower(lane) > SLOWER_MAX]
        if self.health_worst_s > HEALTH_MAX_S:
            found.append("health")
        return found


def run(kind: str, *, size: int, seconds: float, many: bool, **variables: str) -> Seen:
    """`size` peers of `kind` for `seconds`, from many addresses or from one."""
    with world(AQ_API_KEYS=f"ingest:{KEY}", **variables) as stage:
        port, pid = stage.service.port, stage.service.running.pid
        client = NormalClient(port, KEY)
        client.run(0.5)  # what is imported at the first request is imported
        without = client.run(max(1.0, seconds / 4))
        rss = Memory(pid)
        before = rss.now()
        with peers(port, kind, size, many=many) as process:
            time.sleep(min(seconds, 1 + size / CONNECTS_PER_S))  # until they are there
            with rss.watched():
                beside = client.run(seconds)
            said, _ = process.communicate("")
        return Seen(kind, many, without, beside, int(said.split()[0]), before, rss.most)


@contextmanager
def peers(port: int, kind: str, size: int, *, many: bool) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.abuse.peers", "127.0.0.1", str(port), kind]
    process = subprocess.Popen(
        [*command, str(size), KEY, "many" if many else "one"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Memory:
    """The resident memory of a process."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/status")
        self.most = 0

    def now(self) -> int:
        for line in self._path.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.5):
                self.most = max(self.most, self.now())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.most = max(self.most, self.now())
