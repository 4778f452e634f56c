"""What the tests of the command line share: an empty environment, services to ask, terminals.

`scripted` answers what a test tells it to, also what no real service would; `engine` is a real
HTTP server of ours over an engine in memory.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from actor_queue.app import cli
from tests.http.conftest import Served, served

ROOT = Path(__file__).parent.parent.parent
COMMAND = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from actor_queue.app.cli import main; main()",
]
"""A shell that runs the tests in the background has its children ignore Ctrl-C."""
WAIT_S = 30.0
_IN_CONTROL = [
    sys.executable,
    "-c",
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])",
]
"""Makes the terminal the one whose Ctrl-C reaches the command."""
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def _empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env`, none of our variables, no data of a running service."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("AQ_", "REDIS_", "WEBHOOK_")) or name == "PORT":
            monkeypatch.delenv(name)


class Request(NamedTuple):
    method: str
    path: str
    key: str | None
    body: Any
    headers: dict[str, str]
    content: bytes


class Scripted:
    """Answers every request with `answers[path]`, by default 404, and remembers them."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.requests: list[Request] = []
        self.headers: dict[str, str] = {}
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                service.requests.append(
                    Request(
                        self.command,
                        self.path,
                        self.headers.get("authorization"),
                        json.loads(body) if body else None,
                        {name.lower(): value for name, value in self.headers.items()},
                        body,
                    )
                )
                status, answer = service.answers.get(
                    self.path, (404, {"title": "Not Found", "detail": "no such thing"})
                )
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                for name, value in service.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    service = Scripted()
    with service.server:
        thread = threading.Thread(target=service.server.serve_forever, args=(0.01,))
        thread.start()
        yield service
        service.server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def _shared() -> Iterator[Served]:
    with served() as server:
        yield server


class Ours(NamedTuple):
    """A real service, with an engine in memory that a test can look into."""

    engine: Any
    url: str


@pytest.fixture
def ours(_shared: Served) -> Ours:
    _shared.engine.__post_init__()
    host, port = _shared.address
    return Ours(_shared.engine, f"http://{host}:{port}")


class Said(NamedTuple):
    status: int
    out: str
    err: str


class Run(Protocol):
    def __call__(self, *arguments: str) -> Said: ...


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Carries out one command line in this process, without a terminal."""

    def run(*arguments: str) -> Said:
        status = cli.run(arguments)
        return Said(status, *capsys.readouterr())

    return run


# Processes


def environment() -> dict[str, str]:
    """As of a shell: standard output is buffered where it is no terminal."""
    surroundings = os.environ | {"PYTHONPATH": str(ROOT)}
    surroundings.pop("PYTHONUNBUFFERED", None)
    return surroundings


def actor_queue(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The command as a process of its own, without a terminal."""
    return subprocess.run(
        [*COMMAND, *arguments],
        input=given,
        env=environment(),
        capture_output=True,
        check=False,
        timeout=WAIT_S,
    )


class Terminal:
    """The command in a terminal of its own, where a person sees what it says and types."""

    def __init__(self, *arguments: str, columns: int = 80, **variables: str) -> None:
        self.seen = ""
        primary, secondary = pty.openpty()
        fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self._primary = primary
        surroundings = environment() | {"TERM": "xterm"} | variables
        surroundings.pop("COLUMNS", None)
        self.process = subprocess.Popen(
            [*_IN_CONTROL, *COMMAND, *arguments],
            stdin=secondary,
            stdout=secondary,
            stderr=secondary,
            env=surroundings,
            start_new_session=True,
        )
        os.close(secondary)

    def see(self, words: str) -> None:
        """Wait until `words` are on the screen."""
        self._read(lambda: words in self.seen)
        assert words in self.seen, f"not seen in: {self.seen!r}"

    def type(self, keys: str) -> None:
        os.write(self._primary, keys.encode())

    def end(self) -> int:
        """Read to the end; the exit status."""
        self._read(lambda: False)
        os.close(self._primary)
        return self.process.wait(WAIT_S)

    @property
    def lines(self) -> list[str]:
        """What was seen, without bold."""
        return _STYLE.sub("", self.seen).replace("\r\n", "\n").splitlines()

    def _read(self, enough: Any) -> None:
        deadline = time.monotonic() + WAIT_S
        while not enough():
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._primary], [], [], left)[0]:
                self.process.kill()
                raise AssertionError(f"nothing more came after {self.seen!r}")
            try:
                piece = os.read(self._primary, 65_536)
            except OSError:  # how a terminal says that nobody writes to it any more
                return
            if not piece:
                return
            self.seen += piece.decode()


def until_listened(ours: Ours, process: subprocess.Popen[bytes]) -> None:
    """Wait until `process` follows the events."""
    deadline = time.monotonic() + WAIT_S
    while not ours.engine.events.listened:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
