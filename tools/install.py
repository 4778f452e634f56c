"""Make a virtual environment and install a lock file and actor-queue itself into it.

    python3 tools/install.py .venv requirements.lock

Called by the Makefile with whatever `python3` the machine has, so it needs nothing but the
standard library, and its first lines run on any Python 3. Says in few lines what it does, because
the first installation takes as long as the network does. Must not: be imported by the service.
"""

import collections
import os
import re
import subprocess
import sys
import time

OLDEST, NEWEST = (3, 11), (3, 14)
PROGRESS_EVERY_S = 5.0
"""Between two lines of progress, so that a fast installation has none."""
LINES_KEPT = 25
"""Of what pip said last, shown when it fails."""

TAKEN_UP = re.compile(r"Collecting |Requirement already satisfied: ")
"""How pip's line about a package begins."""


class CannotInstall(Exception):
    """One sentence that says what to do. Lines of pip may follow."""


def main(venv: str, lock: str) -> None:
    """Raises `CannotInstall`."""
    started = time.monotonic()
    python = ensure_venv(venv)
    packages = packages_in(lock)
    say(f"installing {packages} packages of {lock} into {venv}")
    pip(python, "--requirement", lock, of=packages)
    pip(python, "--no-deps", "--editable", ".", of=0)
    say(f"installed in {time.monotonic() - started:.0f} s")


def ensure_venv(venv: str) -> str:
    """The path of the environment's Python, which has pip. Raises `CannotInstall`."""
    check_version()
    python = os.path.join(venv, "bin", "python")
    if succeeds(python, "-m", "pip", "--version"):
        return python
    if not succeeds(sys.executable, "-c", "import venv, ensurepip"):
        raise CannotInstall(
            "this Python cannot make virtual environments: install its package, on Debian and"
            " Ubuntu with `sudo apt install python{}.{}-venv`,".format(*sys.version_info[:2])
            + " or name another Python with `make PYTHON=…`"
        )
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"making {venv} with Python {version}")
    # What is there is the rest of an earlier attempt, or belongs to a Python that is gone.
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", venv],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if made.returncode != 0:
        said = made.stdout.decode(errors="replace").strip()
        raise CannotInstall(f"the virtual environment {venv} cannot be made:\n{said}")
    return python


def check_version() -> None:
    """Raises `CannotInstall`."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        raise CannotInstall(
            "actor-queue needs Python {}.{} to {}.{}, and this is {}.{}: name another one, for"
            " example with `make PYTHON=python3.12`".format(*OLDEST, *NEWEST, *sys.version_info[:2])
        )


def packages_in(lock: str) -> int:
    """How many the file names; a few of them are for other systems."""
    with open(lock, encoding="utf-8") as file:
        return len({line.partition("==")[0] for line in file if re.match(r"[A-Za-z0-9]", line)})


def pip(python: str, *what: str, of: int) -> None:
    """`pip install` of `what`, with a line of progress from time to time. Raises
    `CannotInstall`."""
    words = ["-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", *what]
    process = subprocess.Popen(
        [python, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"},
    )
    assert process.stdout is not None
    last: collections.deque[str] = collections.deque(maxlen=LINES_KEPT)
    taken_up, writing, spoke_at = 0, False, time.monotonic()
    with process.stdout as lines:
        for raw in lines:
            line = raw.decode(errors="replace").rstrip()
            last.append(line)
            taken_up += bool(TAKEN_UP.match(line))
            writing = writing or line.startswith("Installing collected packages")
            if time.monotonic() > spoke_at + PROGRESS_EVERY_S:
                spoke_at = time.monotonic()
                say(progress(min(taken_up, of), of, writing=writing))
    if process.wait() != 0:
        said = "\n".join(last)
        raise CannotInstall(
            f"pip failed; its last lines are below. A package index must be reachable:\n{said}"
        )


def progress(taken_up: int, of: int, *, writing: bool) -> str:
    """What pip is doing, in one short line."""
    if not of:
        return "  building actor-queue itself"
    return "  writing the files" if writing else f"  {taken_up} of {of}"


def succeeds(*command: str) -> bool:
    try:
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


def say(line: str) -> None:
    print(f"actor-queue: {line}", flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except CannotInstall as error:
        sys.exit(f"actor-queue: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
