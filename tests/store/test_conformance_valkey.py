"""The conformance suite on real servers, over the production connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from actor_queue.core.settings import Settings
from actor_queue.store.needs import needs_of
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.transport.server import connected
from tests.servers import Server
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
from tests.store.driver import Now, server_subject
from tests.store.stage import Open, Stage


class TestServer(
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
    def opens(self, server: Server) -> Open:
        @asynccontextmanager
        async def on_server(settings: Settings, now: Now) -> AsyncIterator[Stage]:
            with server_subject(server, settings, now) as subject:
                needs = needs_of(subject.keys.meta, settings.shards, FORMAT)
                async with connected(server.url, needs) as runner:
                    store = RedisStore(runner, settings, clock=now)
                    yield Stage(store, settings, now, subject.dump)

        return on_server
