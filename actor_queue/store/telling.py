"""What replicas tell each other over publish and subscribe, sent and heard."""

from __future__ import annotations

import re
from collections.abc import Callable

from actor_queue.core.conversation import key_from_bytes
from actor_queue.store.base import StoreBase
from actor_queue.store.news import (
    DueElsewhere,
    Freed,
    Malformed,
    Missed,
    News,
    RoutesChanged,
    Wanted,
)

WANTED = b"wanted:"
"""With the replica that has listeners after it."""
NUDGE = re.compile(rb"(\d{1,9}):(\d{1,15}):(.{1,2048})", re.DOTALL)


class Telling(StoreBase):
    """Nothing of it is sure to arrive."""

    async def listen(self, hear: Callable[[News], None]) -> None:
        """See `Store.listen`."""
        channels = (self._keys.channel + self.replica.encode(), self._keys.everyone)
        await self._runner.listen(channels, lambda message: hear(news_of(message)))

    async def want_events(self) -> None:
        """See `Store.want_events`."""
        await self._publish(self._keys.everyone, WANTED + self.replica.encode())

    async def publish_events(self, text: bytes) -> None:
        """See `Store.publish_events`."""
        await self._publish(self._keys.events, text)

    async def listen_to_events(self, hear: Callable[[bytes | None], None]) -> None:
        """See `Store.listen_to_events`."""
        await self._runner.listen((self._keys.events,), hear)

    async def _publish(self, channel: bytes, text: bytes) -> None:
        await self._call("publish_v1", (self._keys.members,), channel, text)


def news_of(message: bytes | None) -> News:
    """`shard:ms:user`, `free` or `routes`, as the scripts publish them; None: something was missed.

    Raises nothing: whoever may write to Redis may publish anything.
    """
    if message is None:
        return Missed()
    if message == b"free":
        return Freed()
    if message == b"routes":
        return RoutesChanged()
    if message.startswith(WANTED):
        return Wanted()
    found = NUDGE.fullmatch(message)
    if found is None:
        return Malformed()
    try:
        return DueElsewhere(int(found[1]), key_from_bytes(found[3]), int(found[2]))
    except ValueError:
        return Malformed()
