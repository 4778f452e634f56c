"""The lane: connections between requests, and plain requests, without a task for each.

A connection whose peer is silent costs a small object and its bytes. One task waits for all of
them at once, reads whatever has come, and hands what is plain (`plain.py`) to its handler, all
that came together as one group. Everything else leaves the lane with all its bytes, becomes a
`Connection` with a task of its own, and comes back when it waits for its next request.

What reached the machine first is handed on first: each request carries the kernel's time of its
last byte, and `read_all` reads everything that is readable now, so that nothing older is missing
when a group is taken (`arrivals.py`).
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from math import inf
from random import uniform
from time import time_ns
from typing import Final

import trio

from actor_queue.http.arrivals import NOTE_SPACE, READ_BYTES_MAX, Arrivals, arrival_in
from actor_queue.http.faults import FaultLog
from actor_queue.http.guest import LINGER_READS_MAX, Guest, Leaving, Line, Patience
from actor_queue.http.pace import Pace
from actor_queue.http.plain import (
    BODY_BYTES_MAX,
    HEAD_END,
    Answer,
    Handler,
    Request,
    Written,
    closing,
)
from actor_queue.http.problem import INTERNAL, Problem
from actor_queue.http.protocol import LINE_BREAKS
from actor_queue.http.room import Room
from actor_queue.http.traffic import Traffic
from actor_queue.http.turns import BUSY, WAITING_MAX, WAITING_OF_ADDRESS_MAX

EVENTS_MAX: Final = 512
"""Connections that are read before other tasks run."""
ANSWERS_AT_ONCE: Final = 4
"""Answers for a head alone that are given before other tasks run, as far as they are not large."""
SEND_AT_ONCE_BYTES: Final = 16_384
LEAVE_AT_ONCE: Final = 1
"""Strangers that leave the lane before other tasks run. One takes about a millisecond."""
PATIENCE_ENDS_AT_ONCE: Final = 32
HEAD_WAITS_MAX: Final = 16 * 1024
"""Bytes of a head that may be here before its end. h11 says what is wrong with more."""
TICKS: Final = 8
"""How often patience is looked at while it lasts."""
TICK_S_MAX: Final = 1.0
TICK_S_MIN: Final = 0.02

Asked = list[tuple[Guest, Request]]
"""Plain requests that are whole, for the handler."""

_TOO_SLOW: Final = Problem(408, "the request came too slowly")
_CLOSE: Final = (b"connection", b"close")
_LETTERS: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Lane:
    """`run` must be running before the first connection is taken in."""

    def __init__(
        self,
        handler: Handler,
        arrivals: Arrivals,
        room: Room,
        patience: Patience,
        traffic: Traffic,
        *,
        leave: Callable[[Leaving], None],
        closed: Callable[[], None],
        stopping: trio.Event,
    ) -> None:
        """`leave` is given each connection that is no longer the lane's, and `closed` is called for
        each that ended here. After `stopping` every answer is its connection's last."""
        self._handler = handler
        self._arrivals = arrivals
        self._room = room
        self._patience = patience
        self._traffic = traffic
        self._leave = leave
        self._closed = closed
        self._stopping = stopping
        self._poll = select.epoll()
        self._guests: dict[int, Guest] = {}
        self._answer_soon = Line()
        self._leave_soon = Line()
        self._somebody_waits = trio.Event()
        self._bytes_sent = 0
        self._written = Written()
        self._faults = FaultLog()
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope()
        self._ended = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until it has ended, or is cancelled, which closes all connections that are still here."""
        self._arrivals.lane = self
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self._look_at_deadlines)
                    self._nursery.start_soon(self._take_turns)
                    task_status.started()
                    while True:
                        await trio.lowlevel.wait_readable(self._poll.fileno())
                        self.read_all(EVENTS_MAX)
        finally:
            self._arrivals.lane = None
            for guest in list(self._guests.values()):
                self.close(guest)
            self._poll.close()

    def take_in(self, sock: socket.socket, address: str) -> None:
        """A new connection, whose peer is about to send a request."""
        guest = self._enter(sock, address)
        asked: Asked = []
        self._attend(guest, asked, self._read)
        self._begin(asked)

    def take_back(
        self, sock: socket.socket, address: str, *, known: bool, came: bytes, arrived_ns: int
    ) -> None:
        """A connection that had left, and what is here of its next request."""
        guest = self._enter(sock, address)
        guest.served, guest.known = True, known
        guest.came, guest.arrived_ns = came, arrived_ns
        asked: Asked = []
        self._attend(guest, asked, self._advance if came else self._read)
        self._begin(asked)

    def _enter(self, sock: socket.socket, address: str) -> Guest:
        guest = Guest(self.close, sock, address, Pace(self._patience.pace_bytes_per_s))
        guest.deadline = guest.pace.since + self._patience.idle_s
        self._poll.register(guest.number, select.EPOLLIN)
        self._guests[guest.number] = guest
        guest.enter(self._room)
        return guest

    def read_all(self, events_max: int | None = None) -> None:
        """Read what has come, and hand on what is whole."""
        asked: Asked = []
        enough = self._bytes_sent + SEND_AT_ONCE_BYTES
        for number, _ in self._poll.poll(0, events_max or max(1, len(self._guests))):
            guest = self._guests.get(number)
            if guest is None:
                continue  # closed by what was read before it
            if guest.out:
                if self._bytes_sent < enough:
                    self._attend(guest, asked, self._send_on)
            elif guest.reads:
                self._attend(guest, asked, self._read_off)
            elif guest.working:
                # The peer is ahead of its answer. It would be listed at each question.
                self._poll.unregister(number)
                guest.ignored = True
            else:
                self._attend(guest, asked, self._read)
        self._begin(asked)

    def end(self) -> None:
        """The service stops: who is silent is closed, who is not goes on elsewhere."""
        self._ended = True
        for guest in list(self._guests.values()):
            if guest.working or guest.reads or guest.wanted:  # a body on its way is under way
                continue
            if guest.came:
                self._attend(guest, [], lambda each, _: self._let_go(each))
            else:
                self.close(guest)
        self._end_if_empty()

    def close(self, guest: Guest) -> None:
        if not guest.gone:
            self._forget(guest)
            guest.sock.close()
            self._closed()
            self._end_if_empty()

    def _end_if_empty(self) -> None:
        if self._ended and not self._guests:
            self._scope.cancel()

    def _failed(self, guest: Guest, error: Exception) -> None:
        """One connection ends by an error of ours; whatever goes wrong in it stays in it."""
        self._traffic.connections_failed += 1
        self._faults.write("connection_failed", error)
        self.close(guest)

    # Bytes in

    def _attend(self, guest: Guest, asked: Asked, do: Callable[[Guest, Asked], None]) -> None:
        try:
            do(guest, asked)
        except Exception as error:  # noqa: BLE001  # a peer must not be able to end the process
            self._failed(guest, error)

    def _read(self, guest: Guest, asked: Asked) -> None:
        try:
            data, notes, _, _ = guest.sock.recvmsg(READ_BYTES_MAX, NOTE_SPACE)
        except BlockingIOError:
            return
        except OSError:
            self.close(guest)
            return
        if not data:
            if guest.came:
                self._part(guest)
            else:
                self.close(guest)
            return
        guest.arrived_ns = arrival_in(notes) or time_ns()
        guest.came = guest.came + data if guest.came else data
        if guest.wanted:
            guest.pace.heard(len(data))
            guest.deadline = guest.pace.since + self._patience.body_idle_s
        self._advance(guest, asked)

    def _advance(self, guest: Guest, asked: Asked) -> None:
        """Do what can be done with the bytes that are here."""
        came = guest.came
        if len(came) < guest.wanted:
            return
        if came[0] not in _LETTERS:
            came = guest.came = LINE_BREAKS.sub(b"", came, count=1)  # as in `protocol.py`
            if not came or came == b"\r":
                return
            if came[0] not in _LETTERS:
                self._part(guest)
                return
        end = came.find(HEAD_END) + len(HEAD_END)
        if end < len(HEAD_END):
            self._wait_for_head(guest)
            return
        route = self._handler.route(came[:end])
        if route is None:
            self._part(guest)
            return
        wanted = end + route.length
        if route.at_once is not None:
            guest.asked = (route, wanted)
            if route.may_bring:
                self._answer_for_head(guest, asked)
            else:
                self._wait_for_turn(guest, self._answer_soon)
            return
        if len(came) < wanted:
            if route.refusal is not None or route.length > BODY_BYTES_MAX:
                guest.known = guest.known or route.known
                self._part(guest)
            else:
                self._wait_for_body(guest, wanted, known=route.known)
            return
        guest.known = guest.known or route.known
        guest.came = came[wanted:]
        under_way = self._stopping.is_set() and guest.wanted > 0
        guest.wanted = 0
        guest.idle = False
        guest.working = True
        guest.deadline = inf
        guest.leave(self._room)
        asked.append((guest, Request(route, came[end:wanted], guest.arrived_ns, under_way)))

    def _wait_for_head(self, guest: Guest) -> None:
        if len(guest.came) > HEAD_WAITS_MAX:
            self._part(guest)
        elif guest.idle:
            guest.idle = False
            guest.pace.begin()
            # Peers that came together would else be refused together, and others wait for it.
            spread = uniform(0.75, 1.25)  # noqa: S311  # no secret
            guest.deadline = guest.pace.since + self._patience.head_s * spread

    def _wait_for_body(self, guest: Guest, wanted: int, *, known: bool) -> None:
        if not guest.wanted:
            guest.wanted = wanted
            guest.known = guest.known or known
            guest.idle = False
            guest.pace.begin()
            guest.deadline = guest.pace.since + self._patience.body_idle_s

    # Turns

    def _wait_for_turn(self, guest: Guest, line: Line) -> None:
        guest.idle = False
        guest.working = True
        guest.deadline = inf
        guest.pace.begin()
        line.join(guest)
        self._somebody_waits.set()

    async def _take_turns(self) -> None:
        while True:
            await self._somebody_waits.wait()
            self._somebody_waits = trio.Event()
            while self._answer_soon or self._leave_soon:
                asked: Asked = []
                enough = self._bytes_sent + SEND_AT_ONCE_BYTES
                for guest in self._answer_soon.first(ANSWERS_AT_ONCE):
                    self._attend(guest, asked, self._answer_for_head)
                    if self._bytes_sent >= enough:
                        break
                for guest in self._leave_soon.first(LEAVE_AT_ONCE):
                    self._attend(guest, asked, lambda each, _: self._let_go(each, stranger=True))
                self._begin(asked)
                await trio.lowlevel.checkpoint()

    def _answer_for_head(self, guest: Guest, asked: Asked) -> None:
        assert guest.asked is not None
        route, wanted = guest.asked
        assert route.at_once is not None
        guest.asked = None
        guest.known = guest.known or route.known
        answer = route.at_once()
        if answer is None:
            self._part(guest)
            return
        unfinished = len(guest.came) < wanted
        guest.came = b"" if unfinished else guest.came[wanted:]
        self._give(guest, answer, asked, unfinished=unfinished)

    def _part(self, guest: Guest) -> None:
        """Let a connection go whose request is not for the lane: a stranger's in its turn."""
        if guest.known or guest.wanted or not self._handler.is_stranger(guest.came):
            self._let_go(guest)
            return
        of_address = self._leave_soon.of(guest.address) if guest.address else 0
        if of_address >= WAITING_OF_ADDRESS_MAX or len(self._leave_soon) >= WAITING_MAX:
            self._traffic.requests_put_off += 1
            guest.came = b""
            self._give(guest, Answer(self._written.problem(BUSY)), [], unfinished=True)
            return
        self._wait_for_turn(guest, self._leave_soon)

    # Answers out

    def _begin(self, asked: Asked) -> None:
        if asked:
            assert self._nursery is not None
            self._arrivals.take_in_hand(asked[0][0])
            self._nursery.start_soon(self._answer_all, asked)

    async def _answer_all(self, asked: Asked) -> None:
        # Nothing else runs until the handler waits, and then it has handed everything on.
        self._arrivals.hand_on(asked[0][0])
        try:
            answers = await self._handler.answer([request for _, request in asked])
        except Exception as error:  # noqa: BLE001  # the log says what, the clients that
            self._traffic.requests_failed += len(asked)
            self._faults.write("request_failed", error)
            answers = [self._written.problem(INTERNAL)] * len(asked)
        further: Asked = []
        for (guest, _), answer in zip(asked, answers, strict=True):
            try:
                self._give(guest, Answer(answer), further)
            except Exception as error:  # noqa: BLE001  # the others have answers, too
                self._failed(guest, error)
        self._begin(further)

    def _give(
        self, guest: Guest, answer: Answer, asked: Asked, *, unfinished: bool = False
    ) -> None:
        """Send an answer. `unfinished`: the rest of the request may come, and nobody wants it."""
        guest.last = guest.lingers = unfinished
        if self._stopping.is_set():
            guest.last = True
            answer = answer._replace(head=closing(answer.head))
        head, body = answer
        try:
            sent = guest.sock.sendmsg(answer) if body else guest.sock.send(head)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close(guest)
            return
        guest.served = True
        self._bytes_sent += sent
        if sent == len(head) + len(body):
            self._given(guest, asked)
            return
        guest.keep(answer, sent)
        guest.working = True
        guest.idle = False
        guest.pace.begin()
        guest.deadline = guest.pace.since + self._patience.send_idle_s
        guest.enter(self._room)
        guest.watch(self._poll, select.EPOLLOUT)

    def _send_on(self, guest: Guest, asked: Asked) -> None:
        """The peer has taken something of its answer."""
        try:
            sent = guest.take()
        except BlockingIOError:
            return
        except OSError:
            self.close(guest)
            return
        self._bytes_sent += sent
        if not guest.out:
            guest.watch(self._poll, select.EPOLLIN)
            self._given(guest, asked)
        elif guest.has_taken_a_piece():
            guest.deadline = trio.current_time() + self._patience.send_idle_s

    def _given(self, guest: Guest, asked: Asked) -> None:
        """The system has all of an answer."""
        if guest.last or (self._ended and not guest.came):
            self._say_no_more(guest)
            return
        guest.working = False
        guest.idle = True
        guest.pace.begin()
        guest.deadline = guest.pace.since + self._patience.idle_s
        guest.enter(self._room)
        if guest.came:
            self._advance(guest, asked)
        if guest.ignored and not (guest.working or guest.gone):
            guest.watch(self._poll, select.EPOLLIN)

    def _say_no_more(self, guest: Guest) -> None:
        """Close; a peer that is still sending gets time to read why (`Connection._linger`)."""
        if guest.lingers:
            with suppress(OSError):
                guest.sock.shutdown(socket.SHUT_WR)
                guest.reads = LINGER_READS_MAX
        if not guest.reads:
            self.close(guest)
            return
        guest.working = guest.idle = False
        guest.pace.begin()
        guest.deadline = guest.pace.since + self._patience.linger_s
        guest.enter(self._room)
        if guest.ignored:
            guest.watch(self._poll, select.EPOLLIN)

    def _read_off(self, guest: Guest, asked: Asked) -> None:
        """What comes behind a last answer."""
        try:
            data = guest.sock.recv(READ_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        guest.reads -= 1
        if not (data and guest.reads):
            self.close(guest)

    # Goings

    async def _look_at_deadlines(self) -> None:
        patience = self._patience
        shortest = min(patience._replace(pace_bytes_per_s=inf))
        tick_s = min(TICK_S_MAX, max(TICK_S_MIN, shortest / TICKS))
        while True:
            await trio.sleep(tick_s)
            now = trio.current_time()
            late = [each for each in self._guests.values() if each.deadline <= now]
            for count, guest in enumerate(late, 1):
                if guest.deadline <= now and not guest.gone:
                    self._attend(guest, [], self._out_of_patience)
                if count % PATIENCE_ENDS_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()

    def _out_of_patience(self, guest: Guest, _: Asked) -> None:
        if guest.out:
            self._traffic.peers_too_slow["answer"] += 1
            self.close(guest)
        elif guest.idle or guest.reads:
            self.close(guest)
        elif guest.wanted:
            self._let_go(guest, late=True)
        else:
            self._traffic.peers_too_slow["head"] += 1
            self._traffic.requests_refused += 1
            with suppress(OSError):  # it may read nothing either
                guest.sock.send(self._written.problem(_TOO_SLOW, _CLOSE))
            self.close(guest)

    def _let_go(self, guest: Guest, *, late: bool = False, stranger: bool = False) -> None:
        self._forget(guest)
        known = guest.served, guest.known
        self._leave(Leaving(guest.sock, guest.came, guest.arrived_ns, late, *known, stranger))
        self._end_if_empty()

    def _forget(self, guest: Guest) -> None:
        guest.gone = True
        del self._guests[guest.number]
        if not guest.ignored:
            self._poll.unregister(guest.number)
        guest.leave(self._room)
