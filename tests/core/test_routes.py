"""The table of routes."""

from __future__ import annotations

from dataclasses import replace

from actor_queue.core.routes import Route, RouteTable
from actor_queue.core.settings import Settings

SETTINGS = Settings(webhook_url="http://bot.example/x?token=hidden", webhook_secrets=())


def test_without_a_file_there_is_the_route_that_the_environment_describes() -> None:
    table = RouteTable.of(Settings(webhook_url="http://a.example/", webhook_timeout_ms=4_000))
    (route,) = table
    assert (route.name, route.url, route.timeout_ms) == ("default", "http://a.example/", 4_000)
    assert table.get("default") is route
    assert "default" in table
    assert "vendas" not in table
    assert table.get("vendas") is None


def test_a_table_is_replaced_whole() -> None:
    table = RouteTable.of(SETTINGS)
    before = iter(table)
    vendas = replace(Route.default(SETTINGS), name="vendas")
    table.replace([vendas])
    assert [route.name for route in before] == ["default"]
    assert [route.name for route in table] == ["vendas"]
    assert len(table) == 1


def test_a_route_shows_no_secret() -> None:
    route = replace(
        Route.default(SETTINGS),
        secrets=("whsec_hidden",),
        headers=(("authorization", "Bearer hidden"),),
    )
    assert "hidden" not in repr(route)
