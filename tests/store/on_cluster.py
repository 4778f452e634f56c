"""A store on a cluster, and users whose messages are on a node that the test has chosen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis
import trio

from actor_queue.core.settings import Durability, Settings
from actor_queue.core.shard import shard_of
from actor_queue.store.keys import Keys
from actor_queue.store.needs import needs_of
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.transport.cluster import ClusterRunner
from actor_queue.transport.connect import runner_for
from actor_queue.transport.needs import Needs
from tests.redis_topologies import HOST, Cluster, TcpServer


def eye_of(made: Cluster) -> Any:
    return redis.RedisCluster(HOST, made.primaries[0].port)


def needs_for(settings: Settings) -> Needs:
    return needs_of(Keys(settings.namespace, settings.shards).meta, settings.shards, FORMAT)


@asynccontextmanager
async def opened(
    settings: Settings, durability: Durability = "memory"
) -> AsyncIterator[tuple[RedisStore, ClusterRunner]]:
    assert settings.redis_url is not None
    runner = runner_for(settings.redis_url, needs_for(settings), durability)
    assert isinstance(runner, ClusterRunner)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.serve)
        await runner.prepare()
        yield RedisStore(runner, settings, replica="r-1"), runner
        nursery.cancel_scope.cancel()


def user_on(made: Cluster, server: TcpServer, settings: Settings) -> str:
    """A user whose shard is on that primary."""
    keys = Keys(settings.namespace, settings.shards)
    for number in range(10_000):
        shard = keys.shards[shard_of(f"u{number}", settings.shards)]
        if made.owner_of(shard.due) is server:
            return f"u{number}"
    raise AssertionError("no shard is there")


def users_everywhere(made: Cluster, settings: Settings) -> list[str]:
    return [user_on(made, server, settings) for server in made.primaries]


def due_key(settings: Settings, user: str) -> bytes:
    return Keys(settings.namespace, settings.shards).shards[shard_of(user, settings.shards)].due
