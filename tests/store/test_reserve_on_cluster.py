"""`AQ_REDIS_RESERVE` on a Redis Cluster: each primary has its own memory, and its own reserve."""

from __future__ import annotations

import pytest
import trio

from actor_queue.core.batch import Attempt, batch_id
from actor_queue.core.message import Accepted, Message
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.store.api import Lease, StoreUnavailable
from actor_queue.store.redis import RedisStore
from actor_queue.transport.cluster import PATIENCE_S, ClusterRunner
from actor_queue.transport.connect import runner_for
from tests.redis_topologies import TcpServer, cluster
from tests.store.on_cluster import needs_for, users_everywhere

MIB = 2**20
RESERVE = 8 * MIB
NOTICED_S = 5.0


def message(user: str, name: str) -> Message:
    return Message(user, b'{"message": "oi"}', 0, name, remembered=True)


def limit(server: TcpServer, left_bytes: int) -> None:
    with server.client() as client:
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory", used + left_bytes if left_bytes else 0)


def test_a_primary_without_room_refuses_its_users_at_once_and_the_others_go_on() -> None:
    with cluster(primaries=3, replicas=0) as made:
        settings = Settings(redis_url=made.url, shards=12)

        async def main() -> None:
            needs = needs_for(settings)
            runner = runner_for(made.url, needs, reserve_bytes=RESERVE)
            assert isinstance(runner, ClusterRunner)
            async with trio.open_nursery() as nursery:
                await nursery.start(runner.serve)
                await runner.prepare()
                await play(runner)
                nursery.cancel_scope.cancel()

        async def play(runner: ClusterRunner) -> None:
            store = RedisStore(runner, settings, replica="r-1")
            full, *others = users_everywhere(made, settings)
            server = made.primaries[0]
            shard = shard_of(full, settings.shards)
            (lease,) = await store.acquire([shard], "r-1", "nonce", 60_000)
            assert isinstance(lease, Lease)
            await store.append([message(user, "a") for user in (full, *others)])
            assert runner.trouble() is None

            limit(server, RESERVE // 2)
            with trio.fail_after(NOTICED_S):
                while runner.trouble() is None:
                    await trio.sleep(0.01)
            assert "AQ_REDIS_RESERVE" in str(runner.trouble())
            least = runner.memory()
            assert least is not None
            assert (least.reserve, least.left < RESERVE) == (RESERVE, True)
            asked = trio.current_time()
            with pytest.raises(StoreUnavailable, match="AQ_REDIS_RESERVE") as caught:
                await store.append([message(full, "b")])
            assert caught.value.executed is False
            assert trio.current_time() - asked < PATIENCE_S / 2, "it was tried again and again"
            for user in others:
                (answer,) = await store.append([message(user, "b")])
                assert isinstance(answer, Accepted)
            attempt = await store.claim(lease, full, "token", batch_id(shard, "0" * 20))
            assert isinstance(attempt, Attempt)
            await store.ack(attempt, 200)

            limit(server, 0)
            with trio.fail_after(NOTICED_S):
                while runner.trouble() is not None:
                    await trio.sleep(0.01)
            await store.append([message(full, "b")])

        trio.run(main)
