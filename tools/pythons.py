"""Run the tests on the oldest and the newest Python of this machine, and on the system's own.

    python3 tools/pythons.py [pytest arguments…]

Each has a virtual environment of its own under `.venvs`, which stays for the next time. What a
Linux distribution calls 3.11 is not what python.org calls 3.11: it has the security fixes of later
releases, and behaves like them. Exits 1 if any of them fails, after all have run.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys

from install import NEWEST, OLDEST, say

VENVS = ".venvs"
LOCK = "requirements-dev.lock"
SYSTEM = "/usr/bin/python3"
SUITE = ("--numprocesses=3", "--dist=loadfile", "--no-loadscope-reorder")

Version = tuple[int, ...]


def main(arguments: list[str]) -> int:
    """Exit status."""
    found = pythons()
    if not found:
        say(f"there is no Python {'.'.join(map(str, OLDEST))} or newer on this machine")
        return 2
    chosen = choose(found, version_of(SYSTEM))
    say("the tests run on " + ", ".join(f"{text(v)} ({found[v]})" for v in chosen))
    failed = [version for version in chosen if not passes(found[version], version, arguments)]
    for version in chosen:
        say(f"Python {text(version)}: {'failed' if version in failed else 'passed'}")
    return 1 if failed else 0


def pythons() -> dict[Version, str]:
    """A path for each supported version that is installed."""
    names = [f"python{OLDEST[0]}.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    candidates = [
        *filter(None, map(shutil.which, [*names, "python3"])),
        *sorted(glob.glob(os.path.join(pyenv, "versions", "*", "bin", "python"))),
        SYSTEM,
    ]
    found: dict[Version, str] = {}
    for path in candidates:
        version = version_of(path)
        if version is not None and OLDEST <= version[:2] <= NEWEST:
            found[version] = path
    return found


def version_of(path: str) -> Version | None:
    """None for what is no Python that starts; a shim of pyenv may stand for none."""
    code = "import sys; print(*sys.version_info[:3])"
    try:
        said = subprocess.run([path, "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(int(word) for word in said.stdout.split())


def choose(found: dict[Version, str], system: Version | None) -> list[Version]:
    """The oldest and the newest minor version, of each its oldest release, and the system's."""
    oldest = min(found)
    newest = min(version for version in found if version[:2] == max(found)[:2])
    return sorted({oldest, newest} | ({system} if system in found else set()))


def passes(path: str, version: Version, arguments: list[str]) -> bool:
    venv = os.path.join(VENVS, text(version))
    say(f"--- Python {text(version)} ---")
    installed = subprocess.run([path, "tools/install.py", venv, LOCK], check=False)
    if installed.returncode != 0:
        return False
    command = [os.path.join(venv, "bin", "python"), "-m", "pytest", *(arguments or SUITE)]
    return subprocess.run(command, check=False).returncode == 0


def text(version: Version) -> str:
    return ".".join(map(str, version))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
