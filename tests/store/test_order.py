"""The order of a batch is decided when it is closed, and never again."""

from __future__ import annotations

import json
from dataclasses import replace

import trio

from actor_queue.core.batch import Attempt
from actor_queue.core.message import Message
from actor_queue.core.payload import render
from actor_queue.core.settings import Settings
from actor_queue.store.api import Lease
from actor_queue.store.redis import RedisStore
from actor_queue.testing.memory import memory_store
from tests.store.driver import MemorySubject, Now


async def claimed(store: RedisStore, lease: Lease, token: str) -> Attempt:
    attempt = await store.claim(lease, "ana", token, f"b0000{token:0>20}")
    assert isinstance(attempt, Attempt), attempt
    return attempt


def test_a_retry_a_half_and_a_replay_keep_their_bytes_when_the_order_is_another_by_then() -> None:
    async def story() -> None:
        now, settings = Now(), Settings(shards=1, order="sent")
        subject = MemorySubject(settings, now)
        sent = memory_store(settings, now, server=subject.server)
        arrival = memory_store(replace(settings, order="arrival"), now, server=subject.server)
        (lease,) = await sent.acquire([0], "r", "nonce", 10**6)
        assert isinstance(lease, Lease)
        bodies = [json.dumps({"message": f"{n}", "sent_at": 9 - n}).encode() for n in range(4)]
        await sent.append([Message("ana", body, 0, body.decode(), True) for body in bodies])
        first = await claimed(sent, lease, "1")
        assert json.loads(render(first.batch))["messages"] == ["3", "2", "1", "0"]
        await sent.retry(lease, first, 0, 503, "answered 503")
        second = await claimed(arrival, lease, "2")
        assert render(second.batch) == render(first.batch)
        await arrival.divide(lease, second, 413, "answered 413")
        half = await claimed(arrival, lease, "3")
        assert json.loads(render(half.batch))["messages"] == ["1", "0"]
        await arrival.bury(lease, half, 410, "answered 410")
        await arrival.dead_replay(half.batch.id)
        assert render((await claimed(arrival, lease, "4")).batch) == render(half.batch)

    trio.run(story)
