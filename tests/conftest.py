"""What every test folder shares: real servers, and how hard Hypothesis tries."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import NO_PROMTOOL
from tests.browser import NO_BROWSER
from tests.servers import eye, namespace, redis_server, server, valkey_server

__all__ = ["eye", "namespace", "redis_server", "server", "valkey_server"]

LONGEST_FIRST = (
    "chaos/test_storm.py",
    "simulation/test_simulation.py",
    "acceptance/test_incidents.py",
    "chaos/test_chaos.py",
    "simulation/test_mutants.py",
    "store/test_sentinel.py",
    "chaos/test_controls.py",
    "core/test_actor_machine.py",
    "acceptance/test_redis_trouble.py",
    "chaos/test_routes_storm.py",
    "model/test_faults_are_caught.py",
    "store/test_differential.py",
    "core/test_actor_faults.py",
    "store/test_many.py",
    "store/test_hostile_server.py",
    "browser/test_states.py",
    "acceptance/test_description.py",
    "test_workers.py",
    "acceptance/test_crash.py",
    "browser/test_playground.py",
    "browser/test_accessible.py",
    "store/test_cluster.py",
    "acceptance/test_shutdown.py",
    "acceptance/test_webhook_trouble.py",
)
"""Files of `tests` that take long though some have few tests. Begun last, one of them would keep
one worker busy while the others have nothing left to do. Three are begun at a time: a fleet of
processes, what one processor does, and what waits most of its time, so that the fleet, which is
judged by when it does things, has a processor for itself."""

_SLOW_STORES = [HealthCheck.too_slow, HealthCheck.data_too_large]

# The suite asks the same questions every time, so that what turns red is what was changed. New
# questions are asked by the long form, whose finds are kept as examples.
settings.register_profile(
    "quick", deadline=None, suppress_health_check=_SLOW_STORES, derandomize=True
)
settings.register_profile(
    "long",
    deadline=None,
    suppress_health_check=_SLOW_STORES,
    max_examples=5_000,
    stateful_step_count=100,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where there is no browser, say so last and loudly: a skip among thousands is not read."""
    skipped = terminalreporter.stats.get("skipped", [])
    unseen = sum(NO_BROWSER in str(report.longrepr) for report in skipped)
    if unseen:
        terminalreporter.section("THE PAGES WERE NOT LOOKED AT", sep="!", red=True, bold=True)
        terminalreporter.write_line(
            f"{unseen} tests of the pages were left out: there is {NO_BROWSER}."
            " Debian's package chromium is one."
        )
    untried = sum(NO_PROMTOOL in str(report.longrepr) for report in skipped)
    if untried:
        terminalreporter.section("THE ALERTS WERE NOT TRIED", sep="!", red=True, bold=True)
        terminalreporter.write_line(f"{untried} tests were left out: {NO_PROMTOOL}.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    _refuse_changing_ids(items)
    _longest_first(items)


def _refuse_changing_ids(items: Sequence[pytest.Item]) -> None:
    """Refuse an id with a gzip stream's head: the stream holds the second it was made in.

    Two workers that collected in different seconds would disagree about which tests there are.
    """
    changing = [item.nodeid for item in items if r"\x1f\x8b" in item.nodeid]
    if changing:
        raise pytest.UsageError(f"name these examples, their bytes change: {changing[0]}")


def _longest_first(items: list[pytest.Item]) -> None:
    """Files in `LONGEST_FIRST`, then those with many tests, so that both workers end together.

    Counts with xdist's `--no-loadscope-reorder`; else xdist has an order of its own.
    """
    here = Path(__file__).parent
    rank = {here / name: place for place, name in enumerate(LONGEST_FIRST)}
    missing = [str(path) for path in rank if not path.exists()]
    if missing:
        raise pytest.UsageError(f"LONGEST_FIRST names files that are gone: {missing}")
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (rank.get(item.path, len(rank)), -tests[item.path]))
