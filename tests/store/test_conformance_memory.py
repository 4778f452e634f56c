"""The conformance suite on the in-process store that the simulations use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from actor_queue.core.settings import Settings
from actor_queue.testing.memory import memory_store
from tests.store.conformance import AppendConformance, ClaimConformance
from tests.store.conformance_division import DivisionConformance
from tests.store.conformance_orders import LeaseConformance, OrderConformance
from tests.store.conformance_upkeep import UpkeepConformance
from tests.store.driver import MemorySubject, Now
from tests.store.stage import Open, Stage


@asynccontextmanager
async def in_process(settings: Settings, now: Now) -> AsyncIterator[Stage]:
    subject = MemorySubject(settings, now)
    store = memory_store(settings, now, server=subject.server)
    with subject.client:
        yield Stage(store, settings, now, subject.dump)


class TestMemory(
    AppendConformance,
    ClaimConformance,
    DivisionConformance,
    OrderConformance,
    LeaseConformance,
    UpkeepConformance,
):
    @pytest.fixture
    def opens(self) -> Open:
        return in_process
