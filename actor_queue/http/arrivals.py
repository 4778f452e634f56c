"""What reached the machine first is appended first, over any number of connections.

Requests come over many connections and are worked on in tasks, and the scheduler promises no order
among tasks that can run at the same moment: Trio even tosses a coin for each batch of them. So the
order of the tasks decides nothing here. Two facts that the kernel knows decide instead:

- **When** the last byte of a request arrived. The kernel notes the time of each segment as it
  receives it (SO_TIMESTAMPNS), and a read says the note of the last byte that it took.
- **Whether** anything that arrived earlier has not been read yet. The lane (`lane.py`) reads all
  that is readable when it is asked to. All other sockets are registered with one epoll instance
  that nobody ever waits on. Asking it costs about a microsecond and lists the sockets with unread
  bytes, also connections that nobody has accepted yet. The note of an unread byte tells whether it
  came before the question: what comes later delays nobody.

Whoever is about to take a group of requests awaits `settle`. Usually nothing is unread, and the
group is taken at once. Otherwise `settle` lets the scheduler go round until the tasks of those
sockets have read, and says up to which time of arrival the order is complete.

The limits of the promise: a Unix socket has no times of arrival, so the time of the read counts
there. A request that a client has pipelined behind another one, and the rest of a long stream of
messages, arrive when their turn comes. Two replicas do not know of each other's sockets.
"""

from __future__ import annotations

import select
import socket
import struct
from contextlib import suppress
from time import time_ns
from typing import Final, Protocol

import trio

from actor_queue.http.traffic import Traffic

FOREVER: Final = 2**63
READ_BYTES_MAX: Final = 65_536
PASSES_MAX: Final = 192
"""How many times the scheduler may go round before a group is taken all the same. A new connection
is accepted and read in four passes, 4 at a time; a large body takes one for each `READ_BYTES_MAX`.
"""

PASSES_USUAL: Final = 2
"""After so many, those who are read at all have been: it is worth while to look at the others."""
QUESTIONS_MAX: Final = 64
"""Of which a listener remembers how many connections they wait for."""

_TIMESTAMP: Final = getattr(socket, "SO_TIMESTAMPNS", 35)
_NOTE: Final = struct.Struct("@qq")
_FACTS: Final = struct.Struct("@24xI")
"""`tcpi_unacked` of `tcp_info`: of a listener, how many connections wait to be accepted."""
NOTE_SPACE: Final = socket.CMSG_SPACE(_NOTE.size)
_SECOND_NS: Final = 1_000_000_000


class Lane(Protocol):
    """See `lane.Lane`."""

    def read_all(self) -> None:
        """Read everything that is readable now. What is whole is in hand, or handed on."""
        ...


class Arrivals:
    """All sockets of one server, and what has arrived on them without having been read."""

    def __init__(self, traffic: Traffic | None = None) -> None:
        self._traffic = traffic or Traffic()
        self._poll = select.epoll() if hasattr(select, "epoll") else None
        self._sources: dict[int, Source] = {}
        self._in_hand: set[object] = set()
        self.lane: Lane | None = None
        """Whoever reads other sockets than ours, and can do so at any time."""

    async def settle(self) -> int:
        """Wait until all requests that had arrived have been read and handed on.

        Returns a time of arrival in nanoseconds: of the requests up to it none is missing.
        `FOREVER` when nothing is unread.
        """
        if self._poll is None:
            # Without epoll: whoever was readable has been woken and has run after two passes.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            return FOREVER
        now_ns = time_ns()
        if self.lane is not None:
            self.lane.read_all()
        if not self.unread(now_ns, closely=False):
            return FOREVER
        for passes in range(PASSES_MAX):
            await trio.lowlevel.checkpoint()
            if not self.unread(now_ns, closely=passes >= PASSES_USUAL):
                return now_ns
        self._traffic.groups_unsettled += 1
        return now_ns

    def watch(self, source: Source) -> None:
        """Look at `source` from now on, until `forget`."""
        if self._poll is not None:
            self._sources[source.number] = source
            self._poll.register(source.number, select.EPOLLIN)

    def forget(self, source: Source) -> None:
        """Call it before the socket is closed. Does nothing the second time."""
        self._in_hand.discard(source)
        if self._poll is not None and self._sources.get(source.number) is source:
            del self._sources[source.number]
            if not source.ignored:
                self._poll.unregister(source.number)

    def take_in_hand(self, whose: object) -> None:
        """What was read is not handed on before other tasks run: `settle` waits for it."""
        self._in_hand.add(whose)

    def hand_on(self, whose: object) -> None:
        self._in_hand.discard(whose)

    def close(self) -> None:
        if self._poll is not None:
            self._poll.close()

    def unread(self, since_ns: int, *, closely: bool = True) -> bool:
        """Whether something that arrived before `since_ns` may still be on its way."""
        assert self._poll is not None
        unread = bool(self._in_hand)
        for number, _ in self._poll.poll(0):
            source = self._sources[number]
            if source.wanted:
                unread = unread or (
                    source.awaited
                    and source.drained_ns < since_ns
                    and source.holds(since_ns, closely=closely)
                )
            else:
                # Its owner is busy with what it has. It would be listed at each question.
                self._poll.unregister(number)
                source.ignored = True
        return unread

    def look_again(self, source: Source) -> None:
        """The owner of a source that was ignored wants to read again."""
        if self._poll is not None and source.ignored:
            source.ignored = False
            self._poll.register(source.number, select.EPOLLIN)


class Arrival(Protocol):
    """What a handler knows and says of the request that it works on."""

    arrived_ns: int
    """When the last byte that was read reached this machine, on the system's clock; 0: unknown."""
    awaited: bool
    """Whether others' requests wait until the rest was read. Not for what comes without an end."""

    def take_in_hand(self) -> None:
        """Call it where other tasks run between a read and the handing on. See `hand_on`."""
        ...

    def hand_on(self) -> None:
        """Call it in the moment in which the messages are handed on, or when there are none."""
        ...


class Source:
    """A socket as `Arrivals` sees it: a listener, or the base of a connection's reader."""

    __slots__ = ("arrivals", "awaited", "drained_ns", "ignored", "number", "wanted")

    def __init__(self, number: int, arrivals: Arrivals) -> None:
        self.number = number
        self.arrivals = arrivals
        self.wanted = True
        """Whether its owner will read what comes as soon as it runs."""
        self.awaited = True
        """See `Arrival`."""
        self.drained_ns = 0
        """When it was last known to have nothing more to read."""
        self.ignored = False
        arrivals.watch(self)

    def holds(self, since_ns: int, *, closely: bool) -> bool:
        """Whether what is unread may have arrived before `since_ns`. `closely`: it may cost."""
        return True

    def want(self) -> None:
        self.wanted = True
        if self.ignored:
            self.arrivals.look_again(self)


class Listener(Source):
    """A listening socket."""

    __slots__ = ("_awaited", "_sock", "accepted")

    def __init__(self, sock: socket.socket, arrivals: Arrivals) -> None:
        super().__init__(sock.fileno(), arrivals)
        self._sock = sock
        self._awaited: dict[int, int] = {}
        """By the time of a question, how many must have been accepted for it."""
        self.accepted = 0
        """Connections whose readers are there."""

    def holds(self, since_ns: int, *, closely: bool) -> bool:
        """The system gives connections out in the order in which they came, so it is enough that
        as many have been accepted as were in its queue. Whoever opens connections without end
        would otherwise have everybody's messages wait."""
        last = self._awaited.get(since_ns)
        if last is None:
            try:
                facts = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _FACTS.size)
                (queued,) = _FACTS.unpack(facts)
            except (OSError, struct.error, AttributeError):
                return True  # not TCP, or not Linux
            if not queued:
                return True  # there is one, so this system does not say how many
            if len(self._awaited) >= QUESTIONS_MAX:
                self._awaited.clear()
            last = self._awaited[since_ns] = self.accepted + queued
        if self.accepted < last:
            return True
        del self._awaited[since_ns]
        return False


class Reader(Source):
    """The receiving half of a connection."""

    __slots__ = ("_eager", "_sock", "arrived_ns")

    def __init__(self, sock: socket.socket, arrivals: Arrivals) -> None:
        super().__init__(sock.fileno(), arrivals)
        self._sock = sock
        self._eager = False
        self.arrived_ns = 0

    async def receive_some(self) -> bytes:
        """What the peer has sent, at most `READ_BYTES_MAX`; b"" at its end, also when it broke.

        Nothing else runs between the read and the return, so a request that is complete can be
        handed on before anybody asks whether it was read.
        """
        self.want()
        try:
            if self._eager:
                await trio.lowlevel.checkpoint()  # the last read did not wait: others run first
            self._eager = True
            while True:
                try:
                    data, notes, _, _ = self._sock.recvmsg(READ_BYTES_MAX, NOTE_SPACE)
                except BlockingIOError:
                    self.drained_ns = time_ns()
                else:
                    break
                await trio.lowlevel.wait_readable(self.number)
                self._eager = False
        except OSError:
            return b""
        finally:
            self.wanted = False
        now_ns = time_ns()
        if len(data) < READ_BYTES_MAX:
            self.drained_ns = now_ns
        self.arrived_ns = arrival_in(notes) or now_ns
        return data

    def holds(self, since_ns: int, *, closely: bool) -> bool:
        """The kernel's note of the first unread byte tells; asking for it of each connection at
        each question made a message a fifth dearer. Peers that send a byte now and then
        would otherwise have everybody's messages wait for them, again and again."""
        if not closely:
            return True
        try:
            data, notes, _, _ = self._sock.recvmsg(1, NOTE_SPACE, socket.MSG_PEEK)
        except OSError:
            return False  # it broke, and nothing comes of it any more
        return data != b"" and arrival_in(notes) < since_ns

    def take_in_hand(self) -> None:
        """See `Arrival`."""
        self.arrivals.take_in_hand(self)

    def hand_on(self) -> None:
        """See `Arrival`."""
        self.arrivals.hand_on(self)

    def close(self) -> None:
        """Stop looking at the socket; whoever owns it closes it."""
        self.arrivals.forget(self)


def note_arrivals(listener: socket.socket) -> None:
    """Have the kernel note when bytes arrive on the connections that `listener` will accept."""
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)


def arrival_in(notes: list[tuple[int, int, bytes]]) -> int:
    """The time in the kernel's note, in nanoseconds; 0 without one."""
    for level, kind, data in notes:
        if level == socket.SOL_SOCKET and kind == _TIMESTAMP and len(data) == _NOTE.size:
            seconds, nanoseconds = _NOTE.unpack(data)
            return int(seconds * _SECOND_NS + nanoseconds)
    return 0
