"""How a bare clone becomes a service: the lock files, and what the installation says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)(?: ; (.*))?$", re.MULTILINE)
NAME = re.compile(r"^[A-Za-z0-9._-]+")


def pins(lock: str) -> set[tuple[str, str, str]]:
    """(name, version, marker) of each line."""
    return set(PIN.findall((ROOT / lock).read_text()))


def names(requirements: list[str]) -> set[str]:
    return {match[0] for text in requirements if (match := NAME.match(text))}


def test_what_runs_is_developed_with_the_same_versions() -> None:
    """Markers may differ where the tools need a package on more systems than the service does."""
    run, develop = pins("requirements.lock"), pins("requirements-dev.lock")
    assert run
    assert {pin[:2] for pin in run} <= {pin[:2] for pin in develop}


def test_make_run_installs_what_running_needs_and_no_tool_of_development() -> None:
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = names(described["project"]["dependencies"])
    embedded = names(described["project"]["optional-dependencies"]["embedded"])
    tools = names(described["dependency-groups"]["dev"])
    locked = {name for name, _, _ in pins("requirements.lock")}
    assert needed | embedded <= locked
    assert not tools & locked
    assert needed | embedded | tools <= {name for name, _, _ in pins("requirements-dev.lock")}


def test_the_image_has_every_dependency_of_the_service() -> None:
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = re.search(r"^    (anyio .*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert listed is not None
    assert set(listed[1].split()) == names(described["project"]["dependencies"])


def test_the_packages_of_every_extra_are_pinned() -> None:
    """The image constrains them by the second lock."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = [names(each) for each in described["project"]["optional-dependencies"].values()]
    assert set().union(*extras) <= {name for name, _, _ in pins("requirements-dev.lock")}


# What `tools/install.py` says


def install(venv: Path, lock: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "tools/install.py", str(venv), str(lock)],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_python_that_makes_no_environments_is_named_with_the_package_to_install(
    tmp_path: Path,
) -> None:
    """As Debian's, whose `ensurepip` is in a package of its own."""
    (tmp_path / "ensurepip.py").write_text("raise ImportError('not here')\n")
    said = install(tmp_path / "venv", ROOT / "requirements.lock", PYTHONPATH=str(tmp_path))
    assert said.returncode == 1
    (line,) = said.stderr.splitlines()
    assert f"sudo apt install python3.{sys.version_info[1]}-venv" in line
    assert not (tmp_path / "venv").exists()


@pytest.mark.process
def test_an_index_that_cannot_be_reached_is_said_with_the_last_lines_of_pip(
    tmp_path: Path,
) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text("trio==0.0.1\n")
    venv = tmp_path / "with a space"
    said = install(venv, lock, PIP_NO_INDEX="1", PIP_INDEX_URL="", PIP_FIND_LINKS="")
    assert said.returncode == 1
    assert said.stderr.startswith("actor-queue: pip failed")
    assert "trio==0.0.1" in said.stderr
    assert "Traceback" not in said.stderr
    assert said.stdout.count("\n") == 2, said.stdout
