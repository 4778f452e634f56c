"""Keys that somebody waits for a change of: the server tells, on a connection of its own.

Redis keeps, for a connection with `CLIENT TRACKING`, which keys were read on it, and tells once
when one of them changes, whoever changes it: a script of any release, another replica, an edge.
Writers do nothing for that, and a connection is there only while somebody waits.

What the server says is a hint. After it, and when the connection is new, the key is read again, and
then whoever waits is told to look. Where nothing can be told (a proxy that does not know the
command, a user without the right to it), `Watch.live` stays False, and whoever waits looks from
time to time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
from coredis.connection import BaseConnection
from coredis.exceptions import RedisError

from actor_queue.transport.errors import StoreUnavailable
from actor_queue.transport.listener import RECONNECT_PAUSE_S
from actor_queue.transport.pipe import (
    ENDED,
    PING,
    PING_INTERVAL_S,
    REPLY_TIMEOUT_S,
    Connect,
    request_batch,
    run_connection,
)
from actor_queue.transport.runner import Watch
from actor_queue.transport.wire import Command

LINGER_S = 30.0
"""How long a connection is kept when nobody waits any more."""
REFUSED_PAUSE_S = 10.0
"""How long a server that refuses to tell is not asked again: each time costs a line in its log."""
TRACKING = Command(b"CLIENT TRACKING", (b"ON",))
PAUSE_S = 0.01
"""Between two readings: a key that changes a thousand times a second costs a hundred of them."""


class WatchedKeys:
    """Those of one server. `serve` must run while they are used."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._watches: dict[bytes, set[Watch]] = {}
        self._untold: set[bytes] = set()
        """Keys of whose next change the server would not tell: it has not been asked."""
        self._wanted = anyio.Event()

    @contextmanager
    def watch(self, key: bytes, changed: Callable[[], None]) -> Iterator[Watch]:
        """See `Runner.watch`."""
        watch = Watch(changed)
        watches = self._watches.setdefault(key, set())
        watches.add(watch)
        self._want(key)
        try:
            yield watch
        finally:
            watches.discard(watch)
            if not watches:
                del self._watches[key]
                self._untold.discard(key)

    async def serve(self) -> None:
        """Until cancelled."""
        while True:
            await self._wanted.wait()
            told = False
            async with anyio.create_task_group() as tasks:
                try:
                    connection = await self._connect()
                    error: RedisError | None = await tasks.start(run_connection, connection)
                    if error is None and await _tells(connection):
                        told = True
                        tasks.start_soon(self._hear, connection)
                        await self._ask(connection)
                except (RedisError, OSError, StoreUnavailable, *ENDED):
                    pass
                tasks.cancel_scope.cancel()
            self._start_over()
            if self._watches:
                await anyio.sleep(RECONNECT_PAUSE_S if told else REFUSED_PAUSE_S)

    async def _ask(self, connection: BaseConnection) -> None:
        """Read what is waited for, so that the server tells of the next change; until nobody has
        waited for `LINGER_S`."""
        ends_at = anyio.current_time() + LINGER_S
        while True:
            with anyio.move_on_after(PING_INTERVAL_S):
                await self._wanted.wait()
            if self._watches:
                ends_at = anyio.current_time() + LINGER_S
            elif anyio.current_time() >= ends_at:
                return
            self._wanted = anyio.Event()
            keys, self._untold = sorted(self._untold & self._watches.keys()), set()
            commands = [*(Command(b"EXISTS", (key,)) for key in keys), PING]
            replies = await request_batch(connection, commands, REPLY_TIMEOUT_S)
            for key, reply in zip(keys, replies, strict=False):
                self._tell(key, live=not isinstance(reply, Exception))
            await anyio.sleep(PAUSE_S)

    async def _hear(self, connection: BaseConnection) -> None:
        try:
            async for message in connection.push_messages:
                match message:
                    case [b"invalidate", list(keys)]:
                        for key in keys:
                            self._want(key)
                    case [b"invalidate", None]:  # of all keys
                        self._start_over()
        except (RedisError, *ENDED):
            connection.invalidate()

    def _want(self, key: object) -> None:
        if isinstance(key, bytes) and key in self._watches:
            self._untold.add(key)
            self._wanted.set()

    def _start_over(self) -> None:
        for key in self._watches:
            self._tell(key, live=False)
            self._want(key)
        if not self._watches:
            self._untold.clear()
            self._wanted = anyio.Event()

    def _tell(self, key: bytes, *, live: bool) -> None:
        for watch in tuple(self._watches.get(key, ())):
            watch.live = live
            watch.changed()


async def _tells(connection: BaseConnection) -> bool:
    """Whether the server says that it is going to tell.

    Asked as a batch, of which coredis raises nothing: it hands over whatever its parser stumbled
    on, which need be no `RedisError`.
    """
    (answer,) = await request_batch(connection, [TRACKING], REPLY_TIMEOUT_S)
    return bool(answer == b"OK")
