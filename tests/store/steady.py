"""Messages that keep coming while the servers are in trouble, and what became of them.

Each user sends numbered messages, one after the other, and repeats a message that was not
answered with the id it had. So what is kept must be, for each user, the messages in the order of
their numbers, each once, up to the last accepted one at least.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import pairwise

import redis
import trio

from actor_queue.core.message import Accepted, Message
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.redis import RedisStore
from tests.redis_topologies import TcpServer

REPEAT_PAUSE_S = 0.02
SEND_PAUSE_S = 0.005
LONG_MS = 3_600_000


class Steady:
    """Use with `sending`."""

    def __init__(self, store: RedisStore, namespace: str, users: Iterable[str]) -> None:
        self._store = store
        self._namespace = namespace
        self.users = tuple(users)
        self.accepted_at: dict[str, list[float]] = {user: [] for user in self.users}
        self.refusals: list[StoreUnavailable] = []

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Every user sends until the block ends, and then until the last answer."""
        stopping = trio.Event()
        async with trio.open_nursery() as nursery:
            for user in self.users:
                nursery.start_soon(self._send, user, stopping)
            yield
            stopping.set()

    async def more(self, messages: int, users: Iterable[str] | None = None) -> None:
        """Until each of the users had so many more accepted."""
        wanted = {user: len(self.accepted_at[user]) + messages for user in users or self.users}
        with trio.fail_after(30):
            while any(len(self.accepted_at[user]) < count for user, count in wanted.items()):
                await trio.sleep(0.01)

    def longest_gap_s(self) -> float:
        """Between two accepted messages of one user, at most."""
        return max(b - a for times in self.accepted_at.values() for a, b in pairwise(times))

    async def _send(self, user: str, stopping: trio.Event) -> None:
        while not stopping.is_set():
            name = f"{user}-{len(self.accepted_at[user])}"
            await self._until_accepted(Message(user, b"{}", LONG_MS, name, remembered=True))
            self.accepted_at[user].append(trio.current_time())
            await trio.sleep(SEND_PAUSE_S)

    async def _until_accepted(self, message: Message) -> None:
        while True:
            try:
                (answer,) = await self._store.append([message])
            except StoreUnavailable as error:
                self.refusals.append(error)
                await trio.sleep(REPEAT_PAUSE_S)
            else:
                assert isinstance(answer, Accepted)
                return

    def assert_nothing_is_lost(self, servers: Iterable[TcpServer]) -> None:
        kept = {user: kept_ids(servers, self._namespace, user) for user in self.users}
        for user, ids in kept.items():
            sent = [f"{user}-{i}" for i in range(len(self.accepted_at[user]))]
            assert ids == sent, (user, len(ids), len(sent))


def kept_ids(servers: Iterable[TcpServer], namespace: str, user: str) -> list[str]:
    """The ids of a user's pending messages, in order, wherever they are."""
    found: list[str] = []
    for server in servers:
        if not server.running:
            continue
        with server.client() as client:
            if _role(client) != "master":
                continue
            for key in client.scan_iter(f"{{{namespace}:*:p:{user}", count=1_000):
                items = client.lrange(key, 0, -1)
                found += [json.loads(item)[2] for item in items]
    return found


def _role(client: redis.Redis) -> str:
    return str(client.info("replication")["role"])
