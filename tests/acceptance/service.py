"""The service as a process: started with a clean environment, watched, signalled, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.acceptance.checker import Expected, verify
from tests.acceptance.client import MARK, Client
from tests.acceptance.receiver import Receiver, receiving
from tests.acceptance.redis_process import RedisProcess, redis_process
from tests.acceptance.waiting import wait_for_delivery, wait_until

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 15.0

QUICK = {
    "AQ_LEASE_TTL": "1",
    "AQ_WEBHOOK_TIMEOUT": "1",
    "AQ_RETRY_SCHEDULE": "0.2,0.4,0.6",
    "AQ_SHARDS": "8",
}
"""Short times, so that recovery is seen within seconds."""
RECOVERY_S = 2.0
"""With `QUICK`: after a death, the lease and 1 s; the time limit of an attempt is as long."""


def clean_environment(**variables: str) -> dict[str, str]:
    """Nothing of the tests' own environment but what a process needs to run at all.

    The code that runs is that of this checkout, whatever is installed.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), **variables}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "actor_queue", *arguments]


@dataclass
class Service:
    """`actor-queue serve`, or another command that serves. Its port stays over restarts."""

    directory: Path
    variables: Mapping[str, str]
    role: str = "serve"
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    client: Client = field(default_factory=lambda: Client(0))
    _said_before: int = 0
    """How much of the log is of lives before this one."""

    @property
    def log_path(self) -> Path:
        return self.directory / "stderr.log"

    def log(self) -> str:
        """All that it has ever said, over all its lives."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "it is not running"
        return self.process

    def start(self, *, ready: bool = True, **changes: str) -> Service:
        """Start it, with `changes` to its variables from now on; wait until it is ready."""
        self.launch(**changes)
        return self.arrive(ready=ready)

    def launch(self, **changes: str) -> None:
        """The first half of `start`, which waits for nothing: several can begin at once."""
        self.variables = {**self.variables, **changes}
        bound = {"AQ_BIND": f"127.0.0.1:{self.port}", "AQ_LOG": "json", **self.variables}
        self._said_before = len(self.log())
        with self.log_path.open("ab") as output:
            self.process = subprocess.Popen(
                command(self.role),
                cwd=self.directory,
                env=clean_environment(**bound),
                stdout=output,
                stderr=output,
            )

    def arrive(self, *, ready: bool = True) -> Service:
        """The second half: wait until it listens, and is ready."""
        self.port = self.client.port = self._address(self._said_before)
        if ready:
            wait_until(lambda: self.ready, "ready", START_TIMEOUT_S)
        return self

    @property
    def ready(self) -> bool:
        return self.client.get("/readyz").status == 200

    def kill(self) -> None:
        """SIGKILL, also while it is frozen."""
        self.running.kill()
        self.running.wait(EXIT_TIMEOUT_S)
        self.process = None

    def freeze(self) -> None:
        os.kill(self.running.pid, signal.SIGSTOP)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.running.send_signal(number)

    def wait(self) -> int:
        """Its exit status."""
        status = self.running.wait(EXIT_TIMEOUT_S)
        self.process = None
        return status

    def stop(self) -> int:
        """A graceful stop. Returns the exit status."""
        self.signal()
        return self.wait()

    def closing(self, kind: type[BaseException] | None, *_: object) -> None:
        """`close`, or only an end where a test has failed already."""
        if kind is None:
            self.close()
        elif self.process is not None:
            self.kill()

    def close(self) -> None:
        """Stop it if it runs, and look whether its log kept what people wrote to itself."""
        status = self.stop() if self.process is not None and self.process.poll() is None else 0
        if self.process is not None:
            self.kill()
        assert status == 0, f"the service ended with {status}:\n{self.log()[-2_000:]}"
        assert MARK not in self.log(), "the log has a message's text or a secret"
        faults = [line for line in self.log().splitlines() if _is_fault(line)]
        assert not faults, "the service stumbled over itself:\n" + "\n".join(faults[:5])

    def _address(self, said_before: int) -> int:
        """The port that it says it listens on."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            for line in self.log()[said_before:].splitlines():
                if '"listening"' in line and line.endswith("}"):
                    port = urlsplit(json.loads(line)["url"]).port
                    assert port is not None
                    return port
            assert self.running.poll() is None, f"it did not start:\n{self.log()[-2_000:]}"
            time.sleep(0.01)
        raise AssertionError(f"it does not listen:\n{self.log()[-2_000:]}")


def _is_fault(line: str) -> bool:
    """Whether a line tells of a bug: an error, a traceback, or what is no log line at all."""
    try:
        record = json.loads(line)
    except ValueError:
        return True
    return record["level"] in ("error", "critical") or "Traceback" in line


@dataclass
class World:
    """A service between a Valkey and a receiver of its own, and a client that keeps a journal."""

    service: Service
    redis: RedisProcess
    receiver: Receiver
    closed_early: set[str] = field(default_factory=set)
    """Users whose batches a test flushed, or filled."""
    gone: set[str] = field(default_factory=set)
    """Texts that a test dropped, or let die."""
    dead: set[str] = field(default_factory=set)
    """Batches whose attempts ran out."""

    @property
    def client(self) -> Client:
        return self.service.client

    def settle(self, within_s: float = 15.0) -> None:
        """Until everything that was accepted is delivered, but for what is `gone`."""
        wait_for_delivery(self.client.journal, self.receiver, within_s, self.gone)

    def texts_received(self) -> set[str]:
        """Every text that was in any attempt."""
        return {text for attempt in list(self.receiver.attempts) for text in attempt.texts}

    def verify(self, **expected: Any) -> None:
        """Everything so far against the contract; `expected` as in `checker.Expected`."""
        about = Expected(closed_early=self.closed_early, gone=self.gone, dead=self.dead, **expected)
        verify(list(self.client.journal.posts), list(self.receiver.attempts), about)


@contextmanager
def world(*, start: bool = True, **variables: str) -> Iterator[World]:
    """All three, running; `variables` over `QUICK`. At the end the log is looked through."""
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving())
        store = stack.enter_context(redis_process())
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="aq-"))
        addresses = {"REDIS_URL": store.url, "WEBHOOK_URL": receiver.url}
        service = Service(Path(name), {**QUICK, **addresses, **variables})
        stack.push(service.closing)
        if start:
            service.start()
        yield World(service, store, receiver)
