"""Where the job that sends all dead letters again stands, and what others may have put there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import pytest
import redis
import trio

from actor_queue.core.settings import Settings
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.base import Spoilt
from actor_queue.store.keys import Keys
from actor_queue.store.needs import needs_of
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.store.replay import KEPT_MS, SILENT_MS
from actor_queue.transport.server import connected
from tests.servers import Server
from tests.store.test_what_is_kept import Filled, played


def asking(server: Server, namespace: str, story: Callable[[RedisStore], Awaitable[None]]) -> None:
    settings = Settings(redis_url=server.url, namespace=namespace, shards=4)

    async def main() -> None:
        meta = Keys(namespace, 4).meta
        async with connected(server.url, needs_of(meta, 4, FORMAT)) as runner:
            await runner.prepare()
            await story(RedisStore(runner, settings))

    trio.run(main)


def test_one_job_at_a_time_is_told_of_by_whoever_does_it_and_by_nobody_else(
    server: Server, eye: redis.Redis, namespace: str
) -> None:
    async def story(store: RedisStore) -> None:
        assert await store.replay_look() is None
        assert await store.replay_stop() is None
        job = await store.replay_begin("one")
        assert (job.id, job.state, job.total) == ("one", "running", None)
        assert await store.replay_begin("two") == job
        job = replace(job, total=9, replayed=4)
        assert await store.replay_tell(job, over=False) == job
        strangers = await store.replay_tell(replace(job, id="two", replayed=1), over=True)
        assert strangers == job
        assert await store.replay_stop("two") == job
        assert await store.replay_stop("one") == replace(job, state="stopping")
        assert await store.replay_tell(job, over=True) == replace(job, state="stopped")
        assert (await store.replay_begin("two")).state == "running"
        done = await store.replay_tell(replace(job, id="two"), over=True)
        assert done is not None
        assert done.state == "done"
        assert await store.replay_stop() == done
        assert 0 < eye.pttl(f"{namespace}:replay") <= KEPT_MS

    asking(server, namespace, story)


def test_a_job_is_taken_up_when_nobody_was_heard_of_for_long_and_once(
    server: Server, eye: redis.Redis, namespace: str
) -> None:
    key = f"{namespace}:replay"

    def silent_for(ms: int) -> None:
        eye.hset(key, "at", int(eye.hget(key, "at") or 0) - ms)

    async def story(store: RedisStore) -> None:
        assert await store.replay_take("two") is None
        job = replace(await store.replay_begin("one"), total=9, replayed=4)
        assert await store.replay_tell(job, over=False) == job
        assert await store.replay_take("two") == job
        silent_for(SILENT_MS)
        assert await store.replay_look() == replace(job, state="abandoned")
        assert await store.replay_take("two") == replace(job, id="two")
        assert await store.replay_take("three") == replace(job, id="two")
        assert await store.replay_tell(job, over=False) == replace(job, id="two")
        await store.replay_stop()
        silent_for(SILENT_MS)
        assert await store.replay_take("three") == replace(job, id="two", state="stopped")
        await store.replay_tell(await store.replay_begin("four"), over=True)
        silent_for(SILENT_MS)
        assert (await store.replay_take("five")).id == "four"  # type: ignore[union-attr]

    asking(server, namespace, story)


def test_looking_at_a_job_keeps_it_no_longer(
    server: Server, eye: redis.Redis, namespace: str
) -> None:
    async def story(store: RedisStore) -> None:
        await store.replay_tell(await store.replay_begin("one"), over=True)
        eye.pexpire(f"{namespace}:replay", 60_000)
        await store.replay_look()
        await store.replay_take("two")
        assert eye.pttl(f"{namespace}:replay") <= 60_000

    asking(server, namespace, story)


@pytest.mark.parametrize(
    "written",
    [
        {"id": "x"},
        {"id": "x", "at": "soon"},
        {"told": "?"},
        {"id": "x", "at": "nan", "told": "[]"},
        {"id": "x", "at": "9999999999999", "told": "[5, 1, 0]", "over": ""},
    ],
)
def test_what_is_no_job_is_replaced_by_the_next_one(
    server: Server, eye: redis.Redis, namespace: str, written: dict[str, str]
) -> None:
    eye.hset(f"{namespace}:replay", mapping=written)  # type: ignore[arg-type]

    async def story(store: RedisStore) -> None:
        with suppress(StoreUnavailable):
            await store.replay_look()
        assert (await store.replay_begin("two")).id == "two"

    asking(server, namespace, story)


def test_a_key_of_another_kind_is_said_and_left_alone(
    server: Server, eye: redis.Redis, namespace: str
) -> None:
    eye.set(f"{namespace}:replay", "mine")

    async def story(store: RedisStore) -> None:
        with pytest.raises(StoreUnavailable):
            await store.replay_begin("two")

    asking(server, namespace, story)
    assert eye.get(f"{namespace}:replay") == b"mine"


def test_a_letter_whose_messages_are_gone_or_replaced_is_not_queued(
    server: Server, eye: redis.Redis, namespace: str
) -> None:
    async def story(f: Filled) -> None:
        messages = f.store._keys.shards[f.lease.shard].letter(await f.bury("ana", "oi"))[1]
        (letter,) = (await f.store.dead(10, None)).letters
        eye.delete(messages)
        assert not await f.store.dead_queue(letter)
        eye.set(messages, "mine")
        with pytest.raises(Spoilt):
            await f.store.dead_queue(letter)
        (letter,) = (await f.store.dead(10, None)).letters
        assert not letter.queued

    played(server, namespace, story)


def test_a_key_of_another_kind_is_named_to_the_doctor(
    server: Server, eye: redis.Redis, namespace: str
) -> None:
    eye.set(f"{namespace}:replay", "mine")

    async def story(store: RedisStore) -> None:
        assert [each.key for each in await store.foreign()] == [f"{namespace}:replay".encode()]

    asking(server, namespace, story)
