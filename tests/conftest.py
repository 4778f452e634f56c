"""What every test folder shares: real servers, and how hard Hypothesis tries."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, settings

from tests import NO_PROMTOOL
from tests.browser import NO_BROWSER
from tests.servers import eye, namespace, redis_server, server, valkey_server

__all__ = ["eye", "namespace", "redis_server", "server", "valkey_server"]

_SLOW_STORES = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile("quick", deadline=None, suppress_health_check=_SLOW_STORES)
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


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Refuse an id with a gzip stream's head: the stream holds the second it was made in.

    Two workers that collected in different seconds would disagree about which tests there are.
    """
    changing = [item.nodeid for item in items if r"\x1f\x8b" in item.nodeid]
    if changing:
        raise pytest.UsageError(f"name these examples, their bytes change: {changing[0]}")
