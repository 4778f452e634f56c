"""Events between replicas: what one does, listeners at every other one hear.

    listener ─▶ replica A ── "wanted", every 2 s ──▶ all replicas
    listener ◀─ replica A ◀──── events, in parcels ── replica B

While nobody listens anywhere nothing is sent and nothing is made: a replica makes events for others
for `WANTED_S` after one of them has said that somebody listens there. Publish and subscribe loses
messages, so a replica numbers its events, and a gap in the numbers is told as `dropped`. A flood
cannot stand in front of anything: one parcel is under way at a time, none is large, and
`PAUSE_S` lies between two; a listener's replica reads no more than `READ_MAX` a second.

A parcel is a line of JSON about it, then a line for each event. What is not one is ignored and
counted. Replicas of a release before this one tell nothing and hear nothing here.
"""

from __future__ import annotations

import json
from typing import Any

import anyio

from actor_queue.runtime.counters import Counters
from actor_queue.runtime.events import DROPPED, NAMES, Event, EventBus
from actor_queue.store.api import Store, StoreUnavailable

WANT_EVERY_S = 2.0
WANTED_S = 3 * WANT_EVERY_S
"""How long a replica goes on telling after it last heard that somebody listens."""
PAUSE_S = 0.05
"""Between two parcels: what happens meanwhile travels together."""
PARCEL_EVENTS_MAX = 200
PARCEL_BYTES_MAX = 65_536
"""A parcel is closed by the event that reaches it."""
READ_MAX = 4_000
"""Events of other replicas that are read in a second; the others count as dropped."""
TEXT_BYTES_MAX = 1_048_576
REPLICAS_MAX = 1_000
"""Replicas whose numbers are remembered."""
NAME_CHARS_MAX = 100


class Relay:
    """`run` it while the replica runs."""

    def __init__(self, store: Store, bus: EventBus, counters: Counters) -> None:
        self._store = store
        self._bus = bus
        self._counters = counters
        self._next: dict[str, int] = {}
        """By replica, the number that its next event should have."""
        self._read_until = 0.0
        self._read = 0
        bus.joined = anyio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._send)
            tasks.start_soon(self._follow)

    def wanted(self) -> None:
        """Another replica has listeners."""
        self._bus.want(anyio.current_time() + WANTED_S)

    # Out

    async def _send(self) -> None:
        while True:
            await self._bus.filled.wait()
            await anyio.sleep(PAUSE_S)
            try:
                await self._store.publish_events(self._parcel())
            except StoreUnavailable:
                # The gap in the numbers will say how many were lost.
                self._counters.store_failures += 1

    def _parcel(self) -> bytes:
        outgoing = self._bus.outgoing
        first, size = outgoing[0][0], 0
        lines: list[str] = []
        while outgoing and len(lines) < PARCEL_EVENTS_MAX and size < PARCEL_BYTES_MAX:
            number, event = outgoing[0]
            if number != first + len(lines):
                break  # some were lost before this one: another parcel says so
            outgoing.popleft()
            lines.append(json.dumps([event.name, event.data]))
            size += len(lines[-1])
        if not outgoing:
            self._bus.filled = anyio.Event()
        head = {"v": 1, "replica": self._store.replica, "first": first, "count": len(lines)}
        return "\n".join([json.dumps(head), *lines]).encode()

    # In

    async def _follow(self) -> None:
        """Hear of the others as long as somebody listens here."""
        while True:
            await self._bus.changed.wait()
            self._bus.changed = anyio.Event()
            if self._bus.has_listeners():
                async with anyio.create_task_group() as tasks:
                    subscribed = anyio.Event()
                    tasks.start_soon(self._listen, subscribed)
                    tasks.start_soon(self._keep_wanting, subscribed)
                    while self._bus.has_listeners():
                        await self._bus.changed.wait()
                        self._bus.changed = anyio.Event()
                    tasks.cancel_scope.cancel()
                self._bus.joined = anyio.Event()
                self._next.clear()

    async def _listen(self, subscribed: anyio.Event) -> None:
        def hear(text: bytes | None) -> None:
            if text is None:
                subscribed.set()
            else:
                self.hear(text)

        await self._store.listen_to_events(hear)

    async def _keep_wanting(self, subscribed: anyio.Event) -> None:
        await subscribed.wait()
        while True:
            try:
                await self._store.want_events()
            except StoreUnavailable:
                self._counters.store_failures += 1
            else:
                assert self._bus.joined is not None
                self._bus.joined.set()
            await anyio.sleep(WANT_EVERY_S)

    def hear(self, text: bytes) -> None:
        """One parcel, whoever sent it and whatever it is. Raises nothing."""
        try:
            self._take(text)
        except (ValueError, RecursionError):
            self._counters.events_malformed += 1

    def _take(self, text: bytes) -> None:
        """Raises ValueError, or RecursionError, for what is no parcel."""
        if len(text) > TEXT_BYTES_MAX:
            raise ValueError("too large")
        top, *lines = text.split(b"\n")
        replica, first, count = _head(_json(top))
        if replica == self._store.replica:
            return
        if count != len(lines):
            raise ValueError("cut off")
        room = self._has_room(count)
        events = [_event(_json(line)) for line in lines] if room else []
        lost = max(0, first - self._next.get(replica, first)) + (0 if room else count)
        if replica in self._next or len(self._next) < REPLICAS_MAX:
            self._next[replica] = first + count
        if lost:
            self._bus.tell(Event(DROPPED, {"dropped": lost, "replica": replica}))
        for event in events:
            self._bus.tell(event)

    def _has_room(self, count: int) -> bool:
        now = anyio.current_time()
        if now >= self._read_until:
            self._read_until, self._read = now + 1.0, 0
        self._read += count
        return self._read <= READ_MAX


def _json(text: bytes) -> Any:
    return json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


def _head(said: object) -> tuple[str, int, int]:
    match said:
        case {"v": 1, "replica": str(replica), "first": int(first), "count": int(count)}:
            if 0 < len(replica) <= NAME_CHARS_MAX and 0 < first < 2**53 and 0 < count <= READ_MAX:
                return replica, first, count
    raise ValueError("no head of a parcel")


def _event(said: object) -> Event:
    match said:
        case [str(name), dict(data)] if name in NAMES:
            return Event(name, data)
    raise ValueError("no event")
