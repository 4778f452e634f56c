"""What a namespace's data must be for a replica to start on it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import redis
import trio

from actor_queue import ActorQueue
from actor_queue.core.batch import Batch
from actor_queue.core.settings import Settings
from actor_queue.store.api import StoreMisconfigured
from actor_queue.store.keys import Keys
from actor_queue.store.needs import needs_of
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.transport.server import connected
from tests.servers import Server, running, valkey_binary


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"shards": 8, "format": FORMAT}, "AQ_SHARDS=8"),
        ({"shards": 4, "format": FORMAT + 1}, f"has data of format {FORMAT + 1}"),
        ({"shards": 4, "format": FORMAT - 1}, f"has data of format {FORMAT - 1}"),
    ],
)
def test_data_of_another_shape_is_refused_and_stays_as_it_is(
    server: Server, eye: redis.Redis, namespace: str, facts: dict[str, int], words: str
) -> None:
    settings = Settings(redis_url=server.url, namespace=namespace, shards=4)
    meta = Keys(namespace, 4).meta
    eye.hset(meta, mapping=facts)  # type: ignore[arg-type]

    async def main() -> str:
        async with connected(server.url, needs_of(meta, 4, FORMAT)) as runner:
            await runner.prepare()
            with pytest.raises(StoreMisconfigured) as caught:
                await RedisStore(runner, settings).check(allow_eviction=False)
            return str(caught.value)

    sentence = trio.run(main)
    assert words in sentence
    assert "\n" not in sentence
    assert eye.hgetall(meta) == {k.encode(): str(v).encode() for k, v in facts.items()}


@pytest.mark.parametrize("missing", ["EVALSHA", "SCRIPT"])
def test_a_redis_without_scripting_is_refused_in_one_sentence(missing: str) -> None:
    with (
        # Short, because the path of a unix socket may have no more than 107 bytes.
        tempfile.TemporaryDirectory(prefix="aq-") as directory,
        running(
            valkey_binary(), "valkey", Path(directory), "--rename-command", missing, ""
        ) as server,
    ):

        async def main() -> None:
            with trio.fail_after(10):
                async with ActorQueue(Settings(redis_url=server.url), deliver=_nothing):
                    pass

        with pytest.raises(StoreMisconfigured) as caught:
            trio.run(main)
    sentence = str(caught.value)
    assert f"does not know the command {missing}" in sentence
    assert "\n" not in sentence
    assert len(sentence) < 160


async def _nothing(batch: Batch) -> None:
    raise AssertionError(batch)
