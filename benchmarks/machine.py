"""The machine, for the report: what it is, and how much of it others used meanwhile."""

from __future__ import annotations

import os
import platform
import resource
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from subprocess import run
from typing import Any

from benchmarks.processes import TICKS_PER_S, valkey_binary

PACKAGES = ("trio", "hypercorn", "h11", "quart-trio", "coredis", "httpx", "httpcore")
NOT_BUSY = (3, 4)
"""Places of idle and iowait in a line of /proc/stat."""


def description() -> dict[str, Any]:
    """Without names of hosts or people."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "kernel": ".".join(platform.release().split(".")[:2]),
        "python": platform.python_version(),
        "valkey": _valkey_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


@dataclass(frozen=True, slots=True)
class Meter:
    """Start it before a benchmark; ask it when all the benchmark's processes have ended."""

    began: float
    busy_s: float
    own_s: float

    @classmethod
    def start(cls) -> Meter:
        return cls(time.monotonic(), _busy_s(), _own_s())

    def others_cores(self) -> float:
        """How many cores, on average, were kept from us by other work and by the hypervisor."""
        others_s = (_busy_s() - self.busy_s) - (_own_s() - self.own_s)
        return max(0.0, others_s / (time.monotonic() - self.began))


def _busy_s() -> float:
    fields = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(t for place, t in enumerate(fields) if place not in NOT_BUSY) / TICKS_PER_S


def _own_s() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _valkey_version() -> str:
    said = run([valkey_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    return next((word[2:] for word in said.split() if word.startswith("v=")), "unknown")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
