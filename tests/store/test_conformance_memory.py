"""The conformance suite on the in-process store that the simulations use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from actor_queue.core.settings import Settings
from actor_queue.testing.memory import memory_store
from tests.store.conformance import AppendConformance, ClaimConformance
from tests.store.conformance_aliases import AliasConformance
from tests.store.conformance_answers import AnswerConformance
from tests.store.conformance_changes import EditConformance, RevokeConformance
from tests.store.conformance_division import DivisionConformance
from tests.store.conformance_each import EachConformance
from tests.store.conformance_erase import EraseConformance
from tests.store.conformance_history import HistoryConformance
from tests.store.conformance_lists import ListConformance
from tests.store.conformance_orders import LeaseConformance, OrderConformance
from tests.store.conformance_upkeep import UpkeepConformance
from tests.store.conformance_waiting import WaitingConformance
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
    AliasConformance,
    AnswerConformance,
    DivisionConformance,
    EditConformance,
    RevokeConformance,
    EachConformance,
    OrderConformance,
    LeaseConformance,
    ListConformance,
    UpkeepConformance,
    WaitingConformance,
    HistoryConformance,
    EraseConformance,
):
    @pytest.fixture
    def opens(self) -> Open:
        return in_process
