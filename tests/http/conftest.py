"""The real server with the real application on a real socket, in a Trio thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from actor_queue.core.settings import Settings
from actor_queue.http.asgi import Application
from actor_queue.http.server import Limits, serve
from tests.http.client import Address
from tests.http.memory_engine import MemoryEngine

START_TIMEOUT_S = 60.0
GRACE_S = 5.0


@dataclass
class Served:
    """A server that runs. `engine` may be changed by the test at any time."""

    engine: MemoryEngine
    application: Application
    address: Address
    _token: trio.lowlevel.TrioToken
    _shutdown: trio.Event
    _thread: threading.Thread
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self, function: Callable[[], Any]) -> Any:
        """Run a function in the server's own loop."""
        return trio.from_thread.run_sync(function, trio_token=self._token)

    def prepare(self) -> None:
        """What the first request for a page would wait for."""
        trio.from_thread.run(self.application.prepare, trio_token=self._token)

    def stop(self) -> None:
        """Ask for the shutdown; does not wait for it."""
        try:
            self._token.run_sync_soon(self._shutdown.set)
        except trio.RunFinishedError:
            return

    def join(self, timeout_s: float = START_TIMEOUT_S) -> None:
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the server did not stop"


@contextmanager
def served(
    engine: MemoryEngine | None = None,
    *,
    limits: Limits | None = None,
    grace_s: float = GRACE_S,
    wrap: Callable[[Any], Any] = lambda app: app,
    lane: bool = True,
    **settings: Any,
) -> Iterator[Served]:
    engine = engine or MemoryEngine(Settings(**settings))
    started: queue.Queue[Any] = queue.Queue()

    async def main() -> None:
        shutdown = trio.Event()
        application = Application(engine)
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
                await serve(
                    wrap(application),
                    bind="127.0.0.1:0",
                    shutdown=shutdown,
                    grace_s=grace_s,
                    limits=limits or Limits(),
                    traffic=application.traffic,
                    plain=application.plain if lane else None,
                    task_status=task_status,
                )

            [bound] = await nursery.start(run)
            host, _, port = bound.rpartition(":")
            token = trio.lowlevel.current_trio_token()
            started.put((application, (host, int(port)), token, shutdown))

    def thread() -> None:
        try:
            trio.run(main)
        except BaseException as error:  # noqa: BLE001  # shown to the test, whatever it is
            started.put(error)
            failures.append(error)

    failures: list[BaseException] = []
    runner = threading.Thread(target=thread, daemon=True)
    runner.start()
    outcome = started.get(timeout=START_TIMEOUT_S)
    if isinstance(outcome, BaseException):
        raise outcome
    server = Served(engine, *outcome, runner)
    try:
        yield server
    finally:
        server.stop()
        server.join()
        assert not failures, f"the server died: {failures}"


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    """One server for the tests of a module that only look at answers."""
    with served() as server:
        yield server


@pytest.fixture
def server(shared: Served) -> Served:
    """The module's server with nothing in it."""
    shared.engine.__post_init__()
    return shared


@pytest.fixture
def start() -> Iterator[Callable[..., Served]]:
    """A server of the test's own, with its own limits and settings."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(served(*args, **options))
