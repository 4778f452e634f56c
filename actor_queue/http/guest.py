"""A connection in the lane: what it is at, and what its peer may take."""

from __future__ import annotations

import select
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator
from math import inf
from typing import Final, NamedTuple

from actor_queue.http.pace import Pace
from actor_queue.http.plain import Answer, Route
from actor_queue.http.room import Room

SEND_PIECE_BYTES: Final = 65_536
LINGER_READS_MAX: Final = 256
"""Of what comes behind a last answer. A busy machine hands over large bodies in small pieces, and
who is cut off in the middle of one never reads why it was refused."""


class Patience(NamedTuple):
    """Seconds; see `connection.Limits`."""

    idle_s: float
    head_s: float
    body_idle_s: float
    pace_bytes_per_s: float
    send_idle_s: float
    linger_s: float


class Leaving(NamedTuple):
    """What goes with a connection that leaves the lane."""

    sock: socket.socket
    came: bytes
    """Read, and not answered."""
    arrived_ns: int
    late: bool
    """Its body came too slowly."""
    served: bool
    known: bool
    stranger: bool = False
    """Its request can bring no message, so that nobody's message waits until it was read."""


class Guest:
    """A connection in the lane. See `room.Guest`; it is its own place there."""

    __slots__ = (
        "_close",
        "_taken",
        "address",
        "arrived_ns",
        "asked",
        "came",
        "cancel_called",
        "deadline",
        "gone",
        "idle",
        "ignored",
        "in_room",
        "known",
        "last",
        "lingers",
        "number",
        "out",
        "pace",
        "reads",
        "served",
        "sock",
        "wanted",
        "working",
    )

    def __init__(
        self, close: Callable[[Guest], None], sock: socket.socket, address: str, pace: Pace
    ) -> None:
        self._close = close
        self.sock = sock
        self.number = sock.fileno()
        self.address = address
        self.pace = pace
        self.came = b""
        self.wanted = 0
        """Bytes until the request is whole; 0 while its head is not."""
        self.asked: tuple[Route, int] | None = None
        """What waits for its turn, and how many bytes it is when it is whole."""
        self.arrived_ns = 0
        self.deadline = inf
        self.idle = True
        self.served = self.known = self.cancel_called = False
        self.working = False
        """Whether it is our turn, and not the peer's: what the peer sends is not read."""
        self.ignored = False
        """Whether nobody asks the system about it."""
        self.in_room = False
        self.gone = False
        """Whether it is not the lane's any more."""
        self.out: list[memoryview] = []
        """Of its answer, what the peer has yet to take."""
        self._taken = 0
        self.last = self.lingers = False
        """Whether its answer is the last one, and whether its peer is still sending then."""
        self.reads = 0
        """How many times it is read from while it lingers."""

    def cancel(self) -> None:
        """Make room."""
        self.cancel_called = True
        self._close(self)

    def enter(self, room: Room) -> None:
        """It may be ended to make room, until `leave`."""
        if not self.in_room:
            self.in_room = True
            room.enter(self, self)

    def leave(self, room: Room) -> None:
        if self.in_room:
            self.in_room = False
            room.leave(self)

    def watch(self, poll: select.epoll, events: int) -> None:
        """Ask the system about `events` from now on."""
        if self.ignored:
            self.ignored = False
            poll.register(self.number, events)
        else:
            poll.modify(self.number, events)

    def keep(self, answer: Answer, taken: int) -> None:
        """The peer has taken so much of the answer. Nothing of the rest is copied."""
        self._taken = 0
        self.out = [memoryview(answer.head), memoryview(answer.body)]
        self._drop(taken)

    def take(self) -> int:
        """Send more of the answer; how many bytes it were. Raises OSError."""
        sent = self.sock.sendmsg(self.out)
        self._drop(sent)
        self._taken += sent
        return sent

    def has_taken_a_piece(self) -> bool:
        """Whether the peer has taken `SEND_PIECE_BYTES` since that was last the case."""
        if self._taken < SEND_PIECE_BYTES:
            return False
        self._taken = 0
        return True

    def _drop(self, size: int) -> None:
        while self.out and size >= len(self.out[0]):
            size -= len(self.out.pop(0))
        if size:
            self.out[0] = self.out[0][size:]


class Line:
    """Connections that wait for their turn, in the order in which they came."""

    def __init__(self) -> None:
        self._guests: deque[Guest] = deque()
        self._addresses: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._guests)

    def of(self, address: str) -> int:
        """How many of an address wait."""
        return self._addresses[address]

    def join(self, guest: Guest) -> None:
        self._guests.append(guest)
        self._addresses[guest.address] += 1

    def first(self, count: int) -> Iterator[Guest]:
        """At most `count`, whose turn it is; those that made room meanwhile have none."""
        while self._guests and count:
            guest = self._guests.popleft()
            self._addresses[guest.address] -= 1
            if not self._addresses[guest.address]:
                del self._addresses[guest.address]
            if not guest.gone:
                count -= 1
                yield guest
