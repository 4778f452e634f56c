"""The receivers of `examples/` as processes: how each is started, and how it says where."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.service import clean_environment

EXAMPLES = Path(__file__).parents[2] / "examples"
RECEIVERS = EXAMPLES / "receivers"
START_TIMEOUT_S = 60.0
NPM_TIMEOUT_S = 120.0
NPM_INSTALL = ("npm", "install", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=0")
LISTENS = re.compile(r"(?:http://127\.0\.0\.1:|listening on port )(\d+)")

Commands = Callable[[Path], list[str]]


def fastapi(directory: Path, module: str = "fastapi_receiver") -> list[str]:
    del directory
    options = ["--factory", "--no-access-log", "--port", "0"]
    return [sys.executable, "-m", "uvicorn", *options, f"{module}:create"]


def flask(directory: Path) -> list[str]:
    del directory
    pytest.importorskip("flask", reason="Flask is not installed, so its receiver was NOT tested")
    return [sys.executable, "-m", "flask", "--app", "flask_receiver:create", "run", "--port", "0"]


def express(directory: Path) -> list[str]:
    """Skips where there is no Node, or where npm reaches no registry."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node with npm on PATH, so the receiver for Express was NOT tested")
    for name in ("package.json", "receiver.js"):
        shutil.copy(RECEIVERS / "express" / name, directory)
    try:
        done = subprocess.run(
            NPM_INSTALL,
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=NPM_TIMEOUT_S,
        )
        said = done.stderr if done.returncode else ""
    except subprocess.TimeoutExpired:
        said = "npm took too long"
    if said:
        pytest.skip(f"Express cannot be installed, so its receiver was NOT tested: {said[:300]}")
    return ["node", str(directory / "receiver.js")]


COMMANDS: Mapping[str, Commands] = {"fastapi": fastapi, "flask": flask, "express": express}


@dataclass
class Program:
    """One receiver, whose directory holds what it remembers."""

    command: list[str]
    directory: Path
    variables: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> Path:
        return self.directory / "output"

    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def start(self) -> str:
        """The address that takes webhooks."""
        before = len(self.said())
        with self.output.open("ab") as file:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.directory,
                env=clean_environment(**self.variables)
                | {"PYTHONPATH": str(RECEIVERS), "PYTHONUNBUFFERED": "1"},
                stdout=file,
                stderr=file,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (found := LISTENS.search(self.said()[before:])):
            assert self.process.poll() is None, f"it did not start:\n{self.said()[-2_000:]}"
            assert time.monotonic() < deadline, f"it does not listen:\n{self.said()[-2_000:]}"
            time.sleep(0.02)
        return f"http://127.0.0.1:{found[1]}/webhook"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def program(command: list[str], directory: Path, variables: Mapping[str, str]) -> Iterator[Program]:
    """Not started yet; killed at the end."""
    receiver = Program(command, directory, variables)
    try:
        yield receiver
    finally:
        receiver.kill()
