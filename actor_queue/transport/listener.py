"""A subscription on a connection of its own.

A message is a hint (the server keeps none for who is away), so nothing here tries to be
reliable: whoever listens is told when something may have been missed. Not coredis' own
publish/subscribe, which takes a slot of its pool for good each time it reconnects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
from coredis.connection import BaseConnection
from coredis.exceptions import RedisError

from actor_queue.transport.errors import StoreUnavailable
from actor_queue.transport.pipe import (
    ENDED,
    PING_INTERVAL_S,
    REPLY_TIMEOUT_S,
    Connect,
    run_connection,
)

RECONNECT_PAUSE_S = 0.25


async def listen(
    connect: Connect, channels: Sequence[bytes], hear: Callable[[bytes | None], None]
) -> None:
    """See `Runner.listen`."""
    while True:
        async with anyio.create_task_group() as tasks:
            try:
                connection = await connect()
                error: RedisError | None = await tasks.start(run_connection, connection)
                if error is None:
                    tasks.start_soon(_keep_alive, connection)
                    await _hear(connection, channels, hear)
            except (RedisError, OSError, StoreUnavailable, *ENDED):
                pass
            tasks.cancel_scope.cancel()
        await anyio.sleep(RECONNECT_PAUSE_S)


async def _hear(
    connection: BaseConnection, channels: Sequence[bytes], hear: Callable[[bytes | None], None]
) -> None:
    connection.send_command(b"SUBSCRIBE", *channels)
    async for message in connection.push_messages:
        match message:
            case [b"subscribe", _, count]:
                if count == len(channels):
                    hear(None)
            case [b"message", _, bytes(text)]:
                hear(text)


async def _keep_alive(connection: BaseConnection) -> None:
    """A half-open connection says nothing, as an idle one does; only a question tells."""
    while connection.usable:
        try:
            await connection.create_request(b"PING", timeout=REPLY_TIMEOUT_S)
        except Exception:  # noqa: BLE001  # coredis hands over whatever its parser stumbled on
            connection.invalidate()
            return
        await anyio.sleep(PING_INTERVAL_S)
