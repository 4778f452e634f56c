"""What happens, told to whoever listens. Never a message's text, never waited for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import trio

EventName = Literal["accepted", "fired", "delivered", "failed", "divided", "dead", "moved"]

QUEUE_MAX = 1_000
LISTENERS_MAX = 100


@dataclass(frozen=True, slots=True)
class Event:
    """`data` is JSON-able: user, ids, counts, times in seconds."""

    name: EventName
    data: dict[str, object] = field(default_factory=dict)


class EventBus:
    """Fan-out to bounded queues: a slow listener loses events, nobody waits for it."""

    def __init__(self) -> None:
        self._listeners: set[trio.MemorySendChannel[Event]] = set()

    @property
    def listened(self) -> bool:
        """Whether building an event is worth the work."""
        return bool(self._listeners)

    def publish(self, name: EventName, **data: object) -> None:
        if not self._listeners:
            return
        event = Event(name, data)
        for listener in self._listeners:
            try:
                listener.send_nowait(event)
            except (trio.WouldBlock, trio.BrokenResourceError):
                continue

    @contextmanager
    def listen(self) -> Iterator[trio.MemoryReceiveChannel[Event]]:
        """Raises OverflowError when too many listen already."""
        if len(self._listeners) >= LISTENERS_MAX:
            raise OverflowError(f"{LISTENERS_MAX} listeners are connected already")
        send, receive = trio.open_memory_channel[Event](QUEUE_MAX)
        self._listeners.add(send)
        try:
            with receive:
                yield receive
        finally:
            self._listeners.discard(send)
            send.close()
