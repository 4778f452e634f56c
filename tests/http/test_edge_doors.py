"""A platform's webhook is answered at an edge on asyncio as at the service: the same tests."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from actor_queue.core.settings import parse
from tests.doors.fixtures import NOW_S
from tests.http import test_doors
from tests.http.hosts import Hosted, edge_on
from tests.http.test_doors import SETTINGS, closed_doors, open_doors

__all__ = ["closed_doors", "open_doors"]

for _name, _test in vars(test_doors).items():
    # The others start a server of their own.
    if _name.startswith("test_") and "with served(" not in inspect.getsource(_test):
        globals()[_name] = _test


@pytest.fixture(scope="module")
def open_one() -> Iterator[Hosted]:
    with edge_on("uvicorn") as edge:
        edge.application.doors.clock = lambda: NOW_S
        yield edge


@pytest.fixture(scope="module")
def closed_one() -> Iterator[Hosted]:
    with edge_on("uvicorn", parse(SETTINGS)) as edge:
        edge.application.doors.clock = lambda: NOW_S
        yield edge
