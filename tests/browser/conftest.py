"""A real browser and a real `actor-queue dev`, for the tests that look at the pages."""

from __future__ import annotations

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
from playwright.sync_api import Browser, Page, sync_playwright

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
START_S = 20.0
STOP_S = 20.0
WAIT_MS = 10_000


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
        command += ["--retry-schedule", "0.5,0.5,60", *self.options]
        with (self.directory / "dev.log").open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=self.directory, stdout=output, stderr=output
            )
        self._wait_until_ready()

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
def dev(tmp_path: Path) -> Iterator[Dev]:
    with running_dev(tmp_path) as service:
        yield service


@pytest.fixture(scope="module")
def shared_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """For tests that do not mind what others wrote before them."""
    with running_dev(tmp_path_factory.mktemp("dev")) as service:
        yield service


@contextmanager
def running_dev(directory: Path, *options: str) -> Iterator[Dev]:
    service = Dev(_free_port(), directory, options)
    service.start()
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser on PATH ({', '.join(BROWSERS)}): the pages were not looked at")
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
