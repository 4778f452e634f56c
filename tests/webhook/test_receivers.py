"""Each route has a receiver of its own, and no other receiver sees what is for it."""

from __future__ import annotations

import ssl
from dataclasses import replace

import pytest

from actor_queue.core.batch import Batch
from actor_queue.core.outcome import Delivered, Failed
from actor_queue.core.routes import Route, RouteTable
from actor_queue.core.settings import Settings
from actor_queue.webhook import client as client_module
from actor_queue.webhook.receivers import NOT_CONFIGURED, Receivers
from tests.webhook.attempts import AMPLE_S, batch, run
from tests.webhook.receiver import answering, receiving

SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx")


def of(route: str, batch_id: str = "b1") -> Batch:
    return replace(batch(batch_id), route=route)


def route(name: str, url: str, **fields: object) -> Route:
    return replace(Route.default(Settings(webhook_url=url)), name=name, **fields)  # type: ignore[arg-type]


def test_a_batch_reaches_its_routes_receiver_alone_with_that_ones_secret_and_headers() -> None:
    async def main() -> None:
        async with receiving(answering(200)) as one, receiving(answering(200)) as other:
            routes = RouteTable(
                [
                    route("default", one.url, secrets=SECRETS[:1], headers=(("x-one", "1"),)),
                    route("vendas", other.url, secrets=SECRETS[1:], headers=(("x-two", "2"),)),
                ]
            )
            async with Receivers(routes) as receivers:
                for name in ("default", "vendas", "vendas"):
                    assert await receivers.deliver(of(name, f"b-{name}"), AMPLE_S) == Delivered(200)
            seen = [{each.headers["webhook-id"] for each in r.received} for r in (one, other)]
            assert seen == [{"b-default"}, {"b-vendas"}]
            first, second = one.received[0].headers, other.received[0].headers
            assert (first.get("x-one"), first.get("x-two")) == ("1", None)
            assert (second.get("x-one"), second.get("x-two")) == (None, "2")
            assert first["webhook-signature"] != second["webhook-signature"]

    run(main)


def test_a_route_that_changes_is_another_receiver_from_then_on_and_the_old_one_is_left() -> None:
    async def main() -> None:
        async with receiving(answering(200)) as old, receiving(answering(200)) as new:
            kept = route("default", old.url)
            routes = RouteTable([kept, route("vendas", old.url)])
            async with Receivers(routes) as receivers:
                for name in ("default", "vendas"):
                    assert await receivers.deliver(of(name), AMPLE_S) == Delivered(200)
                assert old.open == 2
                routes.replace([kept, route("vendas", new.url)])
                assert await receivers.deliver(of("vendas"), AMPLE_S) == Delivered(200)
                await old.until_open(1)
                assert await receivers.deliver(of("default"), AMPLE_S) == Delivered(200)
                assert (len(old.received), len(new.received), old.open) == (3, 1, 1)

    run(main)


def test_a_batch_whose_route_is_not_there_reaches_nobody() -> None:
    async def main() -> None:
        async with receiving(answering(200)) as receiver:
            routes = RouteTable([route("default", receiver.url)])
            async with Receivers(routes) as receivers:
                assert await receivers.deliver(of("vendas"), AMPLE_S) == Failed(NOT_CONFIGURED)
                assert receiver.received == []

    run(main)


def test_routes_with_tls_share_one_set_of_authorities_that_is_read_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[ssl.SSLContext] = []

    def making() -> ssl.SSLContext:
        made.append(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        return made[-1]

    async def main() -> None:
        names = [f"r{number}" for number in range(5)]
        async with Receivers(RouteTable(route(name, "https://a.example") for name in names)) as one:
            assert len(made) == 1
            clients = [one._client(name) for name in names]
        assert {client and client._origin.tls for client in clients} == set(made)
        assert len(made) == 1

    client_module._of_files.cache_clear()
    monkeypatch.setattr(client_module, "trusting_context", making)
    run(main)
    client_module._of_files.cache_clear()
