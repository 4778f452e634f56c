"""What happens, told to whoever listens. Never a message's text, never waited for.

Listeners here hear of this replica at once; those at other replicas through `runtime/relay.py`.
While nobody listens anywhere, an event is not even made.
"""

from __future__ import annotations

import json
import math
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import anyio

from actor_queue.core.conversation import conversation_of
from actor_queue.core.message import Accepted

EventName = Literal["accepted", "fired", "delivered", "failed", "divided", "dead", "moved"]
NAMES: frozenset[str] = frozenset(get_args(EventName))
DROPPED = "dropped"
"""The event that says how many were lost, and of which replica where it is known."""

QUEUE_MAX = 1_000
LISTENERS_MAX = 100
LISTENERS_OF_ONE_MAX = 25
"""How many of them may be one party's, where it is known who listens."""
OUTGOING_MAX = 2_000
"""Events that wait to be told to other replicas; those that come then are lost."""

FLOODING: frozenset[str] = frozenset({"accepted", "fired", "delivered"})
"""What happens with every message: the others are rare, and are always told."""
FLOODING_PER_S = 200
FLOODING_BURST = 2_000
FLOODING_TOGETHER = 50
"""Once the burst is spent so many are told in a row, then so many lost: told one by one, each would
be followed by an event that says how many were lost since the one before."""
"""Of a flood so much is told, and the rest counted as lost: telling each listener of each message
would cost more than taking the message in."""


@dataclass(frozen=True)
class Event:
    """`data` is JSON-able: replica, user, ids, counts, times in seconds."""

    name: str
    data: dict[str, object] = field(default_factory=dict)

    @cached_property
    def text(self) -> bytes:
        """As server-sent events have it: made once, however many listen."""
        return f"event: {self.name}\ndata: {json.dumps(self.data)}\n\n".encode()


class Listener:
    """One listener's bounded queue. `party` is who listens, where that is known."""

    def __init__(self, party: str | None = None) -> None:
        self.party = party
        self.put_out = False
        """Whether it has to go, because another one came and there are too many."""
        self._queue: deque[Event] = deque()
        self._lost = 0
        self._news = anyio.Event()

    @property
    def behind(self) -> int:
        """How many events it has yet to take, or has lost and not heard of."""
        return len(self._queue) + self._lost

    def tell(self, event: Event) -> None:
        """Queue it, or count it as lost."""
        if len(self._queue) >= QUEUE_MAX:
            self._lost += 1
            return
        self._say_lost()
        self._queue.append(event)
        self._news.set()

    def lose(self) -> None:
        """Count an event that it is not told."""
        self._lost += 1
        if self._lost == 1:  # else it knows
            self._news.set()

    def receive_nowait(self) -> Event:
        """The next event. Raises `anyio.WouldBlock`."""
        if not self._queue:
            self._say_lost()
        if not self._queue:
            raise anyio.WouldBlock
        return self._queue.popleft()

    def leave(self) -> None:
        """Put it out."""
        self.put_out = True
        self._news.set()

    async def receive(self) -> Event:
        """Wait for the next event. Raises `anyio.EndOfStream` for one that was put out."""
        while True:
            if self.put_out:
                raise anyio.EndOfStream
            try:
                return self.receive_nowait()
            except anyio.WouldBlock:
                self._news = anyio.Event()
                await self._news.wait()

    def _say_lost(self) -> None:
        if self._lost:
            self._queue.append(Event(DROPPED, {"dropped": self._lost}))
            self._lost = 0


class EventBus:
    """Fan-out to bounded queues: a slow listener loses events, nobody waits for it."""

    def __init__(self, replica: str = "") -> None:
        self._listeners: dict[Listener, None] = {}
        """In the order in which they came."""
        self._origin: dict[str, object] = {"replica": replica} if replica else {}
        self._wanted_until = 0.0
        self._budget, self._budget_at = float(FLOODING_BURST), -math.inf
        self.listened = False
        """Whether building an event is worth the work: somebody listens, here or elsewhere."""
        self.outgoing: deque[tuple[int, Event]] = deque()
        """What other replicas want to hear, numbered; the numbers of lost ones are missing."""
        self.numbered = 0
        self.filled = anyio.Event()
        """Set when something is in `outgoing`; whoever waits for it puts a fresh one."""
        self.changed = anyio.Event()
        """Set when the first listener here came or the last one went; as `filled`."""
        self.joined: anyio.Event | None = None
        """Set while listeners here hear of other replicas too; None where nobody relays."""

    def has_listeners(self) -> bool:
        """Whether somebody listens at this replica."""
        return bool(self._listeners)

    @property
    def listeners(self) -> int:
        """How many listen at this replica."""
        return len(self._listeners)

    def publish(self, name: EventName, **data: object) -> None:
        if not self.listened:
            return
        if name in FLOODING and not self._affordable():
            for listener in self._listeners:
                listener.lose()
            self.numbered += 1  # of which the other replicas learn by the gap
            return
        event = Event(name, {**data, **self._origin})
        self.tell(event)
        if self._wanted_until and self._still_wanted():
            self.numbered += 1
            if len(self.outgoing) < OUTGOING_MAX:
                self.outgoing.append((self.numbered, event))
                self.filled.set()

    def accepted(self, message: Accepted) -> None:
        """Tell of a message that was not here already."""
        route, user = conversation_of(message.user)
        self.publish(
            "accepted",
            user=user,
            route=route,
            message_id=message.message_id,
            pending=message.pending,
            fires_in=message.due_in_ms / 1000,
        )

    def _affordable(self) -> bool:
        now = anyio.current_time()
        budget = self._budget + (now - self._budget_at) * FLOODING_PER_S
        if self._budget < 1 and budget < FLOODING_TOGETHER:
            return False
        self._budget_at = now
        self._budget = min(budget, float(FLOODING_BURST)) - 1
        return True

    def tell(self, event: Event) -> None:
        """Tell the listeners here."""
        for listener in self._listeners:
            listener.tell(event)

    def want(self, until: float) -> None:
        """Another replica has listeners, who want to hear until then (the event loop's clock)."""
        self._wanted_until = until
        self.listened = True

    @contextmanager
    def listen(self, party: str | None = None) -> Iterator[Listener]:
        """Where too many listen already, one of them is put out: of the same party if that has too
        many, and else of the party that has the most. It is the one that is furthest behind, and
        the one that came first where none is."""
        if (leaving := self._too_many(party)) is not None:
            self._forget(leaving)
            leaving.leave()
        listener = Listener(party)
        self._listeners[listener] = None
        self.listened = True
        self.changed.set()
        try:
            yield listener
        finally:
            self._forget(listener)

    def _forget(self, listener: Listener) -> None:
        self._listeners.pop(listener, None)
        self.listened = bool(self._listeners) or self._still_wanted()
        self.changed.set()

    def _too_many(self, party: str | None) -> Listener | None:
        """Who makes room for one more of this party's; None where there is room."""
        own = [each for each in self._listeners if each.party == party]
        if party is not None and len(own) >= LISTENERS_OF_ONE_MAX:
            return max(own, key=lambda each: each.behind)
        if len(self._listeners) < LISTENERS_MAX:
            return None
        counts = Counter(each.party for each in self._listeners)
        most = max(counts.values())
        crowd = [each for each in self._listeners if counts[each.party] == most]
        return max(crowd, key=lambda each: each.behind)

    def _still_wanted(self) -> bool:
        if anyio.current_time() < self._wanted_until:
            return True
        self._wanted_until = 0.0
        self.listened = bool(self._listeners)
        return False
