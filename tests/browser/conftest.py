"""A real browser and a real `actor-queue dev`, for the tests that look at the pages."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import NO_BROWSER

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_S = 60.0
STOP_S = 60.0
ANSWER_S = 60.0
"""How long the service may take to answer a test's own request."""
ATTEMPTS_JUDGED = 10
"""The last ones of a route, by which its breaker judges it."""
RETRIES = ",".join(["0.5"] * 60)
"""A batch is tried again soon for longer than any page may take to show it."""
WAIT_MS = 30_000
"""How long a page may take to show something. Busy machines are slow; no test is about speed."""

expect.set_options(timeout=WAIT_MS)


@dataclass
class Dev:
    """`actor-queue dev` on one port and one directory, started and killed at will."""

    port: int
    directory: Path
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        command = [sys.executable, "-c", "from actor_queue.app.cli import main; main()", "dev"]
        command += ["--bind", f"127.0.0.1:{self.port}", "--data-dir", str(self.directory / "data")]
        command += ["--retry-schedule", RETRIES, *self.options]
        with (self.directory / "dev.log").open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=self.directory, stdout=output, stderr=output
            )
        self._wait_until_ready()

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        """The answer of the service itself, without a browser."""
        sent = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.url + path, sent, headers, method=method)
        with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
            answer: bytes = response.read()
            return answer

    def kill(self) -> None:
        """As `kill -9` does: no goodbye to anybody."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_S)

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def _wait_until_ready(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while self.process.poll() is None and time.monotonic() < deadline:
            if self._is_ready():
                return
            time.sleep(0.05)
        self.stop()
        said = (self.directory / "dev.log").read_text(errors="replace")
        pytest.fail(f"actor-queue dev did not get ready; it said:\n{said[-2000:]}")

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}readyz", timeout=2):
                return True
        except OSError:
            return False


@pytest.fixture
def own_dev(tmp_path: Path) -> Iterator[Dev]:
    """For a test that kills it: starting one takes as long as a whole test on one that runs."""
    with running_dev(tmp_path) as service:
        yield service


@pytest.fixture(scope="package")
def shared_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """For tests that do not mind what others wrote before them."""
    with running_dev(tmp_path_factory.mktemp("dev")) as service:
        yield service


@pytest.fixture
def dev(shared_dev: Dev) -> Dev:
    """Nobody waits, nothing is dead, the inbox is empty and takes what comes."""
    return emptied(shared_dev)


@pytest.fixture(scope="package")
def shared_hasty_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with running_dev(tmp_path_factory.mktemp("hasty"), "--retry-schedule", "0.05") as service:
        yield service


@pytest.fixture
def hasty_dev(shared_hasty_dev: Dev) -> Dev:
    """As `dev`; what fails twice is a dead letter at once. It remembers attempts of other tests.

    The last ten attempts went well, so that up to six may fail before the route opens.
    """
    service = emptied(shared_hasty_dev)
    for number in range(ATTEMPTS_JUDGED):
        service.ask("POST", "api/message", {"user": f"bem.{number}", "message": "Oi", "ttl": 0})
    deadline = time.monotonic() + ANSWER_S
    while len(json.loads(service.ask("GET", "dev/inbox"))["webhooks"]) < ATTEMPTS_JUDGED:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    service.ask("DELETE", "dev/inbox")
    return service


def emptied(service: Dev) -> Dev:
    service.ask("POST", "dev/inbox/mode", {"mode": "ok"})
    for path in ("api/users/release", "api/users/drop", "api/dead/drop"):
        cursor: dict[str, str] = {}
        while (answer := json.loads(service.ask("POST", path, cursor)))["cursor"] is not None:
            cursor = {"cursor": answer["cursor"]}
    service.ask("DELETE", "dev/inbox")
    return service


@contextmanager
def running_dev(directory: Path, *options: str) -> Iterator[Dev]:
    service = Dev(_free_port(), directory, options)
    service.start()
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"{NO_BROWSER} ({', '.join(BROWSERS)}): the pages were not looked at")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=BROWSER_ARGUMENTS)
        try:
            yield running
        finally:
            running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page that fails its test if a script on it raises or its policy is broken."""
    with fresh_page(browser) as opened:
        yield opened


@contextmanager
def fresh_page(browser: Browser, **options: object) -> Iterator[Page]:
    context = browser.new_context(**options)  # type: ignore[arg-type]
    complaints: list[str] = []
    try:
        opened = context.new_page()
        opened.set_default_timeout(WAIT_MS)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on(
            "console",
            lambda said: complaints.append(said.text) if "Security Policy" in said.text else None,
        )
        yield opened
    finally:
        context.close()
    assert complaints == []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
