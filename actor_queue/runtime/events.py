"""What happens, told to whoever listens. Never a message's text, never waited for.

Listeners here hear of this replica at once; those at other replicas through `runtime/relay.py`.
While nobody listens anywhere, an event is not even made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

import trio

EventName = Literal["accepted", "fired", "delivered", "failed", "divided", "dead", "moved"]
NAMES: frozenset[str] = frozenset(get_args(EventName))
DROPPED = "dropped"
"""The event that says how many were lost, and of which replica where it is known."""

QUEUE_MAX = 1_000
LISTENERS_MAX = 100
OUTGOING_MAX = 2_000
"""Events that wait to be told to other replicas; those that come then are lost."""


@dataclass(frozen=True, slots=True)
class Event:
    """`data` is JSON-able: replica, user, ids, counts, times in seconds."""

    name: str
    data: dict[str, object] = field(default_factory=dict)


class Listener:
    """One listener's bounded queue."""

    def __init__(self) -> None:
        self._queue: deque[Event] = deque()
        self._lost = 0
        self._news = trio.Event()

    def tell(self, event: Event) -> None:
        """Queue it, or count it as lost."""
        if len(self._queue) >= QUEUE_MAX:
            self._lost += 1
            return
        self._say_lost()
        self._queue.append(event)
        self._news.set()

    def receive_nowait(self) -> Event:
        """The next event. Raises `trio.WouldBlock`."""
        if not self._queue:
            self._say_lost()
        if not self._queue:
            raise trio.WouldBlock
        return self._queue.popleft()

    async def receive(self) -> Event:
        """Wait for the next event."""
        while True:
            try:
                return self.receive_nowait()
            except trio.WouldBlock:
                self._news = trio.Event()
                await self._news.wait()

    def _say_lost(self) -> None:
        if self._lost:
            self._queue.append(Event(DROPPED, {"dropped": self._lost}))
            self._lost = 0


class EventBus:
    """Fan-out to bounded queues: a slow listener loses events, nobody waits for it."""

    def __init__(self, replica: str = "") -> None:
        self._listeners: set[Listener] = set()
        self._origin: dict[str, object] = {"replica": replica} if replica else {}
        self._wanted_until = 0.0
        self.listened = False
        """Whether building an event is worth the work: somebody listens, here or elsewhere."""
        self.outgoing: deque[tuple[int, Event]] = deque()
        """What other replicas want to hear, numbered; the numbers of lost ones are missing."""
        self.numbered = 0
        self.filled = trio.Event()
        """Set when something is in `outgoing`; whoever waits for it puts a fresh one."""
        self.changed = trio.Event()
        """Set when the first listener here came or the last one went; as `filled`."""
        self.joined: trio.Event | None = None
        """Set while listeners here hear of other replicas too; None where nobody relays."""

    def has_listeners(self) -> bool:
        """Whether somebody listens at this replica."""
        return bool(self._listeners)

    def publish(self, name: EventName, **data: object) -> None:
        if not self.listened:
            return
        event = Event(name, {**data, **self._origin})
        self.tell(event)
        if self._wanted_until and self._still_wanted():
            self.numbered += 1
            if len(self.outgoing) < OUTGOING_MAX:
                self.outgoing.append((self.numbered, event))
                self.filled.set()

    def tell(self, event: Event) -> None:
        """Tell the listeners here."""
        for listener in self._listeners:
            listener.tell(event)

    def want(self, until: float) -> None:
        """Another replica has listeners, who want to hear until then (Trio's clock)."""
        self._wanted_until = until
        self.listened = True

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        """Raises OverflowError when too many listen already."""
        if len(self._listeners) >= LISTENERS_MAX:
            raise OverflowError(f"{LISTENERS_MAX} listeners are connected already")
        listener = Listener()
        self._listeners.add(listener)
        self.listened = True
        self.changed.set()
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            self.listened = bool(self._listeners) or self._still_wanted()
            self.changed.set()

    def _still_wanted(self) -> bool:
        if trio.current_time() < self._wanted_until:
            return True
        self._wanted_until = 0.0
        self.listened = bool(self._listeners)
        return False
