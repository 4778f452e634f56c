"""`ActorQueue`, as somebody uses it who has no HTTP and no webhook."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import redis
import trio

from actor_queue import ActorQueue, Batch, Settings
from actor_queue.store.api import StoreMisconfigured
from tests.servers import Server

PATIENCE_S = 20


@pytest.fixture
def settings(server: Server, namespace: str, eye: redis.Redis) -> Settings:
    del eye  # removes the namespace afterwards
    return Settings(redis_url=server.url, namespace=namespace, shards=4, retry_schedule_ms=(50,))


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def patiently() -> None:
        with trio.fail_after(PATIENCE_S):
            await main()

    trio.run(patiently)


async def ignore(batch: Batch) -> None:
    del batch


def test_a_burst_is_one_call_in_order_and_an_exception_is_a_retry_with_the_same_id(
    settings: Settings,
) -> None:
    seen: list[Batch] = []
    done = trio.Event()

    async def deliver(batch: Batch) -> None:
        seen.append(batch)
        if len(seen) == 1:
            raise RuntimeError("not yet")
        done.set()

    async def main() -> None:
        async with ActorQueue(settings, deliver=deliver) as queue:
            for text in "Oi", "tudo bem?", "ainda aí?":
                await queue.push("joao.silva", text, ttl=0.3, agente=1)
            await done.wait()

    run(main)
    assert [each.messages for each in seen] == [["Oi", "tudo bem?", "ainda aí?"]] * 2
    assert seen[0].id == seen[1].id


def test_what_is_left_is_delivered_by_the_next_one(settings: Settings) -> None:
    texts: list[str] = []
    done = trio.Event()

    async def deliver(batch: Batch) -> None:
        texts.extend(batch.messages)
        done.set()

    async def main() -> None:
        async with ActorQueue(settings, deliver=ignore) as queue:
            # Half of a surrogate pair, as a text cut at a fixed length ends with one.
            await queue.push("ana", "até já\ud83d", ttl=0.5)
        async with ActorQueue(settings, deliver=deliver):
            await done.wait()

    run(main)
    assert texts == ["até já\ufffd"]


def test_an_exception_in_the_block_comes_out_as_it_is(settings: Settings) -> None:
    async def main() -> None:
        async with ActorQueue(settings, deliver=ignore):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(main)


def test_a_redis_that_must_not_be_used_is_said_plainly(
    settings: Settings, eye: redis.Redis
) -> None:
    eye.hset(f"{settings.namespace}:meta", mapping={"format": "1", "shards": "8"})

    async def main() -> None:
        async with ActorQueue(settings, deliver=ignore):
            raise AssertionError("it opened")

    with pytest.raises(StoreMisconfigured, match="AQ_SHARDS"):
        run(main)


def test_cancelled_from_outside_it_is_over_soon_and_the_next_one_takes_over(
    settings: Settings,
) -> None:
    done = trio.Event()

    async def deliver(batch: Batch) -> None:
        done.set()

    async def main() -> None:
        with trio.move_on_after(0.3):
            async with ActorQueue(settings, deliver=ignore) as queue:
                await queue.push("ana", "até já", ttl=1)
                await trio.sleep_forever()
        cancelled = trio.current_time()
        async with ActorQueue(settings, deliver=deliver):
            assert trio.current_time() - cancelled < 2
            await done.wait()
            assert trio.current_time() - cancelled < settings.lease_ttl_ms / 1000 + 1

    run(main)
