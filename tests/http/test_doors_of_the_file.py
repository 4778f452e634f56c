"""Doors of the file of AQ_CONFIG: each leads to its route, and is another one at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from actor_queue.core.api_keys import ApiKey
from actor_queue.core.conversation import Conversation
from actor_queue.core.doors import Door
from actor_queue.core.routes import Route
from actor_queue.core.settings import Settings, parse
from tests.doors.fixtures import NOW_S, as_sent, fixture
from tests.http.conftest import Served, served
from tests.http.memory_engine import MemoryEngine
from tests.http.test_doors import accepted, send

TEXT = as_sent(fixture("telegram/text")["body"])
USER = "loja:700001"
LOJA = Door(name="loja", kind="telegram", route="vendas")


@pytest.fixture
def server() -> Iterator[Served]:
    engine = MemoryEngine(parse({}))
    default = Route.default(Settings())
    engine.routes.replace([default, replace(default, name="vendas", default_ttl_ms=7_000)])
    with served(engine) as server:
        server.application.doors.clock = lambda: NOW_S
        server.application.doors.table.replace([LOJA])
        yield server


def test_what_comes_in_is_for_the_route_of_the_door_with_its_quiet_time(server: Served) -> None:
    assert send(server, "loja", TEXT).json["accepted"] == 1
    [message] = accepted(server)
    assert message.user == Conversation("vendas", USER).key
    assert message.ttl_ms == 7_000
    assert json.loads(message.body)["user"] == USER
    assert send(server, "telegram", TEXT).status == 404, "the table is all there is"


def test_a_door_whose_route_is_gone_asks_for_the_event_again(server: Served) -> None:
    server.application.doors.table.replace([replace(LOJA, route="gone")])
    answer = send(server, "loja", TEXT)
    assert (answer.status, accepted(server)) == (503, [])
    assert "the route gone" in answer.json["detail"]
    server.application.doors.table.replace([LOJA])
    assert send(server, "loja", TEXT).status == 200


def test_a_secret_that_is_put_in_closes_the_door_from_then_on(server: Served) -> None:
    server.application.doors.table.replace([replace(LOJA, secrets=("secret-of-loja",))])
    assert send(server, "loja", TEXT).status == 401
    shown = {"x-telegram-bot-api-secret-token": "secret-of-loja"}
    assert send(server, "loja", TEXT, shown).status == 200


def test_a_key_of_another_route_does_not_open(server: Served) -> None:
    server.application.keys.replace(
        [ApiKey("ingest", "of-vendas", "a", "vendas"), ApiKey("ingest", "of-both", "b")]
    )
    keys = ("of-vendas", "of-both")
    assert [send(server, "loja", TEXT, {"x-api-key": key}).status for key in keys] == [200, 200]
    server.application.doors.table.replace([replace(LOJA, route="default")])
    assert [send(server, "loja", TEXT, {"x-api-key": key}).status for key in keys] == [401, 200]
