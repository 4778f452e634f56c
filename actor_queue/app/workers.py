"""`AQ_WORKERS`: several processes on one socket, each a replica, and the parent that keeps them.

The parent opens the listening sockets once and hands them down, so a connection that nobody has
accepted yet is taken by any worker: one that dies or drains costs none. (With `SO_REUSEPORT`
the kernel would deal connections out, and those of a dead worker would be lost.)

    parent ──pipe──▶ worker 1 … n

Each worker's standard input is a pipe from the parent, its *lifeline*. First it brings the orders:
settings, and the numbers of the inherited sockets, so that no secret shows in a command line or
an environment. Then it says nothing more, and its end means: finish and go. It ends when the
parent stops, and the kernel ends it when the parent dies, kill -9 included. A signal would not do:
systemd and terminals send theirs to the workers too, and a worker takes a second one as "at once".

Workers are started by exec, never by fork: a forked child would hold the embedded server's guard
pipe, and its siblings' lifelines. They have sessions of their own, so that Ctrl-C reaches the
parent alone. Must not: know what a worker does.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, replace

import trio
from hypercorn.utils import repr_socket_addr

from actor_queue.app import logs
from actor_queue.app.again import Use, read_on_signal
from actor_queue.app.census import Counting
from actor_queue.app.config import ReadSetup, Setup, read_written, tell_setup, tuples, written
from actor_queue.app.embedded import EmbeddedServer, EmbeddedServerError, embedded_server
from actor_queue.app.environment import log_injected
from actor_queue.app.listening import CannotListen, Sockets, doubts_here, link, listen
from actor_queue.app.terminal import show_address
from actor_queue.core.api_keys import ApiKey
from actor_queue.core.config_file import NOTHING, Config
from actor_queue.core.settings import Settings
from actor_queue.runtime.lines import tell

EARLY_S = 10.0
"""A worker that ends so soon after its start has probably not ended by chance."""
EARLY_ENDS_MAX = 5
"""As often in a row, and it is a crash loop."""
PAUSE_FIRST_S = 0.2
"""Before the start after one early end; doubled after each further one."""
DRAIN_MARGIN_S = 12.0
"""Beyond the time limit of an attempt. Requests under way have ten seconds of their own."""
ORDERS_BYTES_MAX = 16_777_216
"""Those of a thousand routes have some megabytes."""

LAST_NUMBERS_S = 1.0
"""For reading what a worker that has ended counted last."""
LAST_WORDS_S = 0.2
"""For the log, when the process ends at once."""

REFUSED = 2
"""A worker's exit status when it cannot serve as it is configured; it has said why."""
CLEAN_ENDS = frozenset({0, -signal.SIGTERM, -signal.SIGINT})
"""Of a worker that was told to go: by a signal where it was too young to understand it."""

WORKER = (sys.executable, "-P", "-m", "actor_queue.app.workers")
"""`-P`: a `redis.py` in the working directory must not be taken for the library."""
LIFELINE = 0
"""The worker's standard input."""


def run_workers(
    settings: Settings,
    config: Config = NOTHING,
    *,
    dev: bool,
    command: Sequence[str] = WORKER,
    read_again: ReadSetup | None = None,
) -> int:
    """Keep `settings.workers` processes running `command` until SIGTERM or SIGINT.

    A worker that ends is started again. Returns 0 when all have finished in time after the
    first signal, 1 when one could not, or when one ended again and again, and 2 when the service
    cannot run with these settings. A second signal ends everything at once. At SIGHUP `read_again`
    has the keys for all of them.
    """
    logs.set_up(settings.log, settings.log_level)
    log_injected(os.environ)
    gc.enable()
    try:
        status = trio.run(_main, settings, config, dev, command, read_again)
    except (EmbeddedServerError, CannotListen) as error:
        _complain(str(error))
    else:
        tell("stopped", status=status)
        return status
    return REFUSED


async def _main(
    settings: Settings,
    config: Config,
    dev: bool,
    command: Sequence[str],
    read_again: ReadSetup | None,
) -> int:
    async with AsyncExitStack() as stack:
        server = None
        if dev and settings.redis_url is None:
            server = await stack.enter_async_context(embedded_server(settings.data_dir))
            settings = replace(settings, redis_url=server.url)
        tell_setup(settings, config)
        sockets = listen(settings)
        for sock in (*sockets.door, *sockets.probes):
            stack.callback(sock.close)
        crew = _Crew(settings, config, sockets, dev=dev, command=command)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crew.obey_signals)
            nursery.start_soon(
                read_on_signal,
                read_again,
                Setup(settings, config),
                Use(crew.use_keys, crew.use_config),
                crew.terminal_gone,
            )
            if server is not None:
                nursery.start_soon(crew.depend_on, server)
            _announce(settings, sockets, dev=dev)
            status = await crew.work()
            nursery.cancel_scope.cancel()
        return status


class _Crew:
    """The workers, from the first start to the last end."""

    def __init__(
        self,
        settings: Settings,
        config: Config,
        sockets: Sockets,
        *,
        dev: bool,
        command: Sequence[str],
    ) -> None:
        self._size = settings.workers
        self._timeout_max_ms = 0
        self._command = command
        self._sockets = [*sockets.door, *sockets.probes]
        self._descriptors = [sock.fileno() for sock in self._sockets]
        self._probes = len(sockets.probes)
        self._settings, self._dev = settings, dev
        self._configure(config)
        self._counting = Counting()
        self._processes: set[trio.Process] = set()
        self._starting = trio.Lock()
        self._stopping = trio.Event()
        self._status = 0

    async def work(self) -> int:
        """Keep all of them until `stop`, and wait until they have gone. Returns the status."""
        async with trio.open_nursery() as counting:
            counting.start_soon(self._counting.run)
            status = await self._work()
            counting.cancel_scope.cancel()
        return status

    async def _work(self) -> int:
        async with trio.open_nursery() as nursery:
            for number in range(1, self._size + 1):
                nursery.start_soon(self._keep, number)
            await self._stopping.wait()
            await self._stop_listening()
        return self._status

    @property
    def drain_s(self) -> float:
        """How long a worker that is told to go may take."""
        return self._timeout_max_ms / 1000 + DRAIN_MARGIN_S

    def stop(self, status: int = 0) -> None:
        if not self._stopping.is_set():
            self._status = status
            self._stopping.set()

    async def obey_signals(self) -> None:
        told = False
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                name = signal.Signals(number).name
                if told:
                    tell("stopped_at_once", signal=name)
                    for process in self._processes:
                        process.kill()
                    logs.flush(LAST_WORDS_S)
                    os._exit(128 + number)
                told = True
                tell("stopping", signal=name)
                self.stop()

    async def use_keys(self, keys: tuple[ApiKey, ...]) -> None:
        self._settings = replace(self._settings, api_keys=keys)
        await self._counting.use_keys(keys)

    async def use_config(self, config: Config) -> None:
        self._configure(config)
        await self._counting.use_config(config)

    def _configure(self, config: Config) -> None:
        self._config = config
        limits = [route.timeout_ms for route in config.all_routes(self._settings)]
        limits += [self._settings.webhook_timeout_ms, self._timeout_max_ms]
        self._timeout_max_ms = max(limits)  # attempts go on with the limit with which they began

    def terminal_gone(self) -> None:
        tell("stopping", signal="SIGHUP, and the terminal is gone")
        self.stop()

    async def depend_on(self, server: EmbeddedServer) -> None:
        """Without the store of all workers there is nothing to serve."""
        try:
            await server.watch()
        except EmbeddedServerError as error:
            _complain(str(error))
            self.stop(REFUSED)

    async def _keep(self, number: int) -> None:
        """One worker after the other in the place `number`."""
        early_ends = 0
        while True:
            started = trio.current_time()
            status = await self._live(number)
            if self._stopping.is_set():
                return
            lived_s = trio.current_time() - started
            early_ends = early_ends + 1 if lived_s < EARLY_S else 0
            tell("worker_ended", worker=number, end=_end(status), lived_s=round(lived_s, 1))
            if status == REFUSED:
                self.stop(REFUSED)
                return
            if early_ends == EARLY_ENDS_MAX:
                self._give_up(number, status)
                return
            pause_s = PAUSE_FIRST_S * 2 ** (early_ends - 1) if early_ends else 0.0
            with trio.move_on_after(pause_s):
                await self._stopping.wait()

    def _give_up(self, number: int, status: int) -> None:
        _complain(
            f"worker {number} ended {EARLY_ENDS_MAX} times in a row within {EARLY_S:g} s of its"
            f" start, the last time with {_end(status)}: look for the cause in the log above,"
            " or try AQ_WORKERS=1"
        )
        self.stop(1)

    async def _live(self, number: int) -> int:
        """One worker from its start to its end. Returns its exit status as `subprocess` does."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                orders = _orders(
                    self._settings,
                    self._config,
                    dev=self._dev,
                    descriptors=self._descriptors,
                    probes=self._probes,
                    report_to=theirs.fileno(),
                )
                process = await self._start(theirs.fileno())
        except OSError as error:
            ours.close()
            tell("worker_start_failed", worker=number, reason=error.strerror)
            return 1
        if process is None:
            ours.close()
            return 0
        assert process.stdin is not None
        tell("worker_started", worker=number, pid=process.pid)
        self._processes.add(process)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._see_off, number, process, process.stdin)
                counted = trio.Event()
                nursery.start_soon(self._count, number, ours, counted)
                # One that is gone already leaves its status; one that is told to go, its orders.
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await process.stdin.send_all(orders)
                status = await process.wait()
                with trio.move_on_after(LAST_NUMBERS_S):
                    await counted.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._processes.discard(process)
            await trio.aclose_forcefully(process.stdin)
        if self._stopping.is_set() and status not in CLEAN_ENDS:
            tell("worker_unfinished", worker=number, end=_end(status))
            self._status = self._status or 1
        elif self._stopping.is_set():
            tell("worker_stopped", worker=number, end=_end(status))
        return status

    async def _count(self, number: int, ours: socket.socket, counted: trio.Event) -> None:
        await self._counting.attend(number, ours)
        counted.set()

    async def _start(self, report_to: int) -> trio.Process | None:
        """A new process; None when there is to be no more."""
        async with self._starting:
            if self._stopping.is_set():
                return None
            return await trio.lowlevel.open_process(
                list(self._command),
                stdin=subprocess.PIPE,
                pass_fds=[*self._descriptors, report_to],
                start_new_session=True,
            )

    async def _see_off(
        self, number: int, process: trio.Process, lifeline: trio.abc.SendStream
    ) -> None:
        """When it is time, let the worker finish; after that, end it."""
        await self._stopping.wait()
        await lifeline.aclose()
        drain_s = self.drain_s
        await trio.sleep(drain_s)
        tell("worker_killed", worker=number, waited_s=drain_s)
        process.kill()

    async def _stop_listening(self) -> None:
        """The workers close theirs; while ours is open, connections would wait for nobody."""
        async with self._starting:  # whose process inherits them by number
            for sock in self._sockets:
                sock.close()


def _announce(settings: Settings, sockets: Sockets, *, dev: bool) -> None:
    """What `dev` and `serve` say of themselves, once for all workers."""
    assert settings.redis_url is not None
    addresses = [repr_socket_addr(sock.family, sock.getsockname()) for sock in sockets.door]
    for address in addresses:
        tell(
            "listening",
            url=f"http://{address}{settings.root_path}/",
            redis=logs.redact_url(settings.redis_url),
            workers=settings.workers,
            **sockets.log_fields(),
        )
    for doubt in doubts_here(settings):
        tell("settings_doubtful", reason=doubt)
    if dev:
        show_address(link(addresses[0], settings.root_path))


def _end(status: int) -> str:
    if status < 0:
        return f"signal {-status}"
    return f"exit status {status}"


def _complain(sentence: str) -> None:
    logs.complain(sentence)


# The worker's side


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is to do, and with which sockets: open, bound and listening."""

    settings: Settings
    config: Config
    dev: bool
    sockets: Sockets
    report_to: socket.socket | None = None
    """One end of a pair, over which parent and worker tell each other numbers."""


def main() -> int:
    """A worker, as `WORKER` starts it. Returns its exit status."""
    gc.disable()  # until the service is up: importing makes no garbage
    orders = read_orders(LIFELINE)
    if orders is None:
        return 0
    from actor_queue.app.service import run_service

    serve: Callable[..., int] = run_service
    return serve(
        orders.settings,
        orders.config,
        dev=orders.dev,
        inherited=orders.sockets,
        stop_when_closed=LIFELINE,
        report_to=orders.report_to,
    )


def read_orders(lifeline: int) -> Orders | None:
    """The orders from the pipe `lifeline`, which stays open; None if it ends before them."""
    text = b""
    while not text.endswith(b"\n"):
        piece = os.read(lifeline, 65_536)
        if not piece or len(text) > ORDERS_BYTES_MAX:
            return None
        text += piece
    said = json.loads(text)
    fields = {name: tuples(value) for name, value in said["settings"].items()}
    config = read_written(said["config"])
    sockets = [socket.socket(fileno=number) for number in said["sockets"]]
    for sock in sockets:
        sock.set_inheritable(False)
    report_to = said.get("report_to")
    line = None if report_to is None else socket.socket(fileno=report_to)
    if line is not None:
        line.set_inheritable(False)
    first = len(sockets) - said["probes"]
    where = Sockets(sockets[:first], sockets[first:])
    return Orders(Settings(**fields), config, said["dev"], where, line)


def _orders(
    settings: Settings,
    config: Config,
    *,
    dev: bool,
    descriptors: Sequence[int],
    probes: int = 0,
    report_to: int | None = None,
) -> bytes:
    """One line of JSON. Of the sockets, the last `probes` are those of AQ_PROBE_BIND."""
    said = {
        "settings": asdict(settings),
        "config": written(config),
        "dev": dev,
        "sockets": list(descriptors),
        "probes": probes,
        "report_to": report_to,
    }
    return json.dumps(said).encode() + b"\n"


if __name__ == "__main__":
    sys.exit(main())
