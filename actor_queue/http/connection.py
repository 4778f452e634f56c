"""One connection, from its first byte to its last: reading, sending, patience.

Narrows Hypercorn's `TCPServer`. Where that one keeps a task that reads, a task for each
request, a queue between them and a task that counts idle seconds (16 % of a small request),
one task here does all of it in turn, and bytes are read when somebody wants them: the next
request when there is none, the rest of a body or the peer's going when the application asks.
An application that never asks is never disturbed by a peer that went.

Every wait on the peer has an end, and none is shielded: cancelling the connection's task
always ends it. Hypercorn shields its sends, so that one peer who reads nothing holds up the
shutdown for ever (hypercorn 0.18, `trio/tcp_server.py:protocol_send`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_network
from math import inf
from random import uniform
from typing import Final

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveEvent,
    ASGISendEvent,
    ConnectionState,
    Scope,
)
from hypercorn.utils import parse_socket_addr

from actor_queue.core.settings import Settings
from actor_queue.http.arrivals import Reader
from actor_queue.http.faults import FaultLog
from actor_queue.http.guest import LINGER_READS_MAX, SEND_PIECE_BYTES, Leaving
from actor_queue.http.pace import BYTES_PER_S, Pace
from actor_queue.http.protocol import Http1
from actor_queue.http.room import Room
from actor_queue.http.traffic import Traffic

LARGE_BYTES: Final = 8_192
PIPELINED_BYTES_MAX: Final = 65_536
"""Of further requests, taken in while one is under way."""

Send = Callable[[ASGISendEvent | None], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may take. Seconds, unless a name says otherwise."""

    connections_max: int = 8_000
    """One that waits costs about 20 KB. Many fit, so that slow ones need not make room often."""
    share_max: int = 0
    """Of one address, before its slow ones make room first; 0: an eighth of them all. Not less,
    because all that come through one proxy have one address."""
    idle_s: float = 75.0
    """Between requests, and before the first."""
    head_s: float = 10.0
    """From the first byte of a head to its last, a quarter more or less."""
    body_idle_s: float = 30.0
    """That a body may be behind the pace, while the application waits for it."""
    pace_bytes_per_s: float = BYTES_PER_S
    """The pace of a body, as it comes over the network; 0: any byte is enough."""
    send_idle_s: float = 30.0
    """For the peer to take the next 64 KiB of an answer."""
    linger_s: float = 2.0
    """For a peer that is still sending to read why it was refused."""

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(
            connections_max=settings.max_connections,
            share_max=settings.max_per_address,
            pace_bytes_per_s=settings.min_pace,
        )


class Inbox:
    """One request's body, as far as it has come; the application's `receive`."""

    __slots__ = ("_parts", "_pump", "_told", "complete", "gone")

    def __init__(self, pump: Callable[[Inbox], Awaitable[None]]) -> None:
        self._pump = pump
        self._parts: list[bytes] = []
        self._told = False
        self.complete = False
        self.gone = False

    async def put(self, event: ASGIReceiveEvent) -> None:
        """Called by Hypercorn's stream with what it has parsed."""
        if event["type"] != "http.request":
            self.gone = True
            return
        if event["body"]:
            self._parts.append(event["body"])
        if not event["more_body"]:
            self.complete = True

    async def receive(self) -> ASGIReceiveEvent:
        """All that has come since the last call, waiting for something if nothing has."""
        while not (self.gone or self._parts or (self.complete and not self._told)):
            await self._pump(self)
        if self.gone:
            return {"type": "http.disconnect"}
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._told = self.complete
        return {"type": "http.request", "body": body, "more_body": not self.complete}


class Connection(TCPServer):
    """Runs until the peer, a limit or the shutdown ends it. Raises nothing a peer can cause."""

    protocol: Http1  # type: ignore[assignment]  # one protocol, so no wrapper that switches

    def __init__(
        self,
        app: ASGIFramework,
        config: Config,
        context: WorkerContext,
        state: ConnectionState,
        stream: trio.SocketStream,
        reader: Reader,
        *,
        limits: Limits,
        room: Room,
        traffic: Traffic,
        faults: FaultLog,
        leaving: Leaving | None = None,
    ) -> None:
        """`leaving` is what it brings along from the lane."""
        super().__init__(app, config, context, state, stream)  # type: ignore[arg-type]
        self._reader = reader
        self._limits = limits
        self._room = room
        self._traffic = traffic
        self._faults = faults
        self._asked: tuple[Scope, Send, Inbox] | None = None
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._sending = False
        self._over = False
        self._broken = False
        self._leaving = leaving
        self.idle = False
        self.served = leaving is not None and leaving.served
        self.known = leaving is not None and leaving.known
        self.address = ""
        self.pace = Pace(limits.pace_bytes_per_s)

    async def run(self) -> bool:  # type: ignore[override]  # Hypercorn's returns nothing
        """Whether it goes back to the lane, where its next request is waited for."""
        goes_back = False
        try:
            self.protocol = self._speak()
            if self._leaving is not None:
                await self._go_on(self._leaving)
            while not goes_back and await self._next_request():
                await self._answer()
                goes_back = self._leaving is not None and self._may_go_back()
            if not goes_back:
                await self._linger()
        except OSError:
            return False  # the peer vanished between two calls
        finally:
            self._reader.close()
            if not goes_back:
                await self.stream.aclose()
        return goes_back

    async def _go_on(self, leaving: Leaving) -> None:
        """With what the lane has begun."""
        self._reader.arrived_ns = leaving.arrived_ns
        if leaving.came:
            await self._digest(leaving.came, "head")
        if leaving.late:
            await self._digest(None, "body")

    def _may_go_back(self) -> bool:
        """Whether nothing of this connection is anywhere but in the socket. A stranger's further
        requests go back with it, because each of them has to wait for its turn (`lane.py`)."""
        return (
            not (self._over or self._broken or self.context.terminated.is_set())
            and self._asked is None
            and self.protocol.at_rest
            and not (self.known and self.protocol.rest)
        )

    @property
    def arrived_ns(self) -> int:
        """See `arrivals.Arrival`."""
        return self._reader.arrived_ns

    @property
    def rest(self) -> bytes:
        """What it takes back to the lane."""
        return self.protocol.rest

    def _speak(self) -> Http1:
        sock = self.stream.socket
        client = parse_socket_addr(sock.family, sock.getpeername())
        self.address = share_of(client)
        protocol = Http1(
            self.app,
            self.config,
            self.context,
            self,  # type: ignore[arg-type]  # `spawn_app` is all of a task group it uses
            ConnectionState({**self.state, "reader": self._reader, "guest": self}),
            False,
            client,
            parse_socket_addr(sock.family, sock.getsockname()),
            self.protocol_send,
        )
        protocol.flush = self._flush
        protocol.traffic = self._traffic
        return protocol

    # Requests

    async def _next_request(self) -> bool:
        """Wait for the head of the next request; False when there will be none."""
        if not self._over:
            await self.protocol.advance()
        self.idle = True
        self.pace.begin()
        idle_deadline = self.pace.since + self._limits.idle_s
        head_deadline = inf
        while self._asked is None and not self._over:
            if head_deadline == inf and self.protocol.waiting_bytes:
                self.idle = False
                # Peers that came together would else be refused together, and others wait for it.
                spread = uniform(0.75, 1.25)  # noqa: S311  # no secret
                head_deadline = trio.current_time() + self._limits.head_s * spread
            if head_deadline == inf:
                data = await self._read_idle(idle_deadline)
                if not data:
                    self._over = True
                    break
                self.pace.begin()
            else:
                data = await self._read(head_deadline)
            await self._digest(data, "head")
        self.idle = False
        return self._asked is not None

    async def spawn_app(
        self, app: object, config: Config, scope: Scope, send: Send
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Called by Hypercorn's stream when a head is complete: remember it, run it later."""
        inbox = Inbox(self._pump)
        self._asked = (scope, send, inbox)
        return inbox.put

    async def _answer(self) -> None:
        assert self._asked is not None
        scope, send, inbox = self._asked
        self._asked = None
        try:
            await self.app(scope, inbox.receive, send)  # type: ignore[call-arg]
        except Exception as error:  # noqa: BLE001  # whatever it is, it ends one request only
            self._traffic.requests_failed += 1
            self._faults.write("request_failed", error)
        await send(None)
        await self._flush()
        self.served = True

    async def _pump(self, inbox: Inbox) -> None:
        """Bring the application more of its request, or the news that the peer has gone."""
        if self._over:
            inbox.gone = True
            return
        if inbox.complete:
            if self.protocol.waiting_bytes > PIPELINED_BYTES_MAX:
                # The rest stays where it is until its turn, and the peer's going unseen.
                await trio.sleep_forever()
            await self._digest(await self._reader.receive_some(), "body")
        else:
            await self.protocol.go_ahead()
            self.pace.wait()
            data = await self._read(self.pace.since + self._limits.body_idle_s)
            self.pace.heard(len(data or b""))
            await self._digest(data, "body")

    async def _digest(self, data: bytes | None, part: str) -> None:
        """Of the request's head or body, what came; None: not in time."""
        if data is None:
            self._traffic.peers_too_slow[part] += 1
            await self.protocol.refuse(408)
        else:
            await self.protocol.handle(RawData(data))
            if not data:
                await self.protocol_send(Closed())

    # The socket

    async def _read_idle(self, deadline: float) -> bytes | None:
        """As `_read`, where the server may cancel the wait to make room or to stop."""
        if self.context.terminated.is_set():
            return None
        data, _ = await self._receive(deadline)
        return data

    async def _read(self, deadline: float) -> bytes | None:
        """What the peer sends next; b"" at its end, None when the deadline came first."""
        data, in_time = await self._receive(deadline)
        if data is None and in_time:
            self._broken = True  # it makes room, so nothing is said to it either
            return b""
        return data

    async def _receive(self, deadline: float) -> tuple[bytes | None, bool]:
        """The bytes, and whether the deadline is still to come; None if the wait was ended."""
        with trio.CancelScope(deadline=deadline) as scope:
            self._room.enter(scope, self)
            try:
                return await self._reader.receive_some(), True
            finally:
                self._room.leave(scope)
        return None, trio.current_time() < deadline

    async def protocol_send(self, event: Event) -> None:
        """What Hypercorn's protocol wants done: bytes are gathered, an end sends them."""
        if isinstance(event, RawData):
            self._out.append(event.data)
            self._out_bytes += len(event.data)
            if self._out_bytes >= SEND_PIECE_BYTES:
                await self._flush()
            return
        await self._flush()
        if isinstance(event, Closed):
            self._over = True
            await self.protocol.handle(event)

    async def _flush(self) -> None:
        """Send what was gathered. Does nothing while another task is at it: that one goes on."""
        if self._sending:
            return
        self._sending = True
        try:
            while self._out and not self._broken:
                parts, self._out, self._out_bytes = self._out, [], 0
                for part in _gathered(parts):
                    await self._send_part(part)
        finally:
            self._sending = False
        if self._broken:
            self._out.clear()
            self._out_bytes = 0

    async def _send_part(self, part: bytes) -> None:
        view = memoryview(part)
        for start in range(0, len(part), SEND_PIECE_BYTES):
            if self._broken:
                return
            deadline = trio.current_time() + self._limits.send_idle_s
            try:
                with trio.CancelScope(deadline=deadline) as scope:
                    self._room.enter(scope, self)
                    try:
                        await self.stream.send_all(view[start : start + SEND_PIECE_BYTES])
                    finally:
                        self._room.leave(scope)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._broken = True
            if scope.cancelled_caught and trio.current_time() >= deadline:
                self._traffic.peers_too_slow["answer"] += 1
            if self._broken or scope.cancelled_caught:
                self._broken = self._over = True
                await self.protocol.handle(Closed())
                return

    async def _linger(self) -> None:
        """Let a peer that is still sending read its answer before the connection goes.

        Closing at once would answer its next bytes with a reset, which destroys what it has
        not read yet (RFC 9112, section 9.6).
        """
        if self._broken or not self.protocol.unread:
            return
        deadline = trio.current_time() + self._limits.linger_s
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.stream.send_eof()
            for _ in range(LINGER_READS_MAX):
                data, _ = await self._receive(deadline)
                if not data:
                    return


def _gathered(parts: list[bytes]) -> Iterator[bytes]:
    """Small parts as one. A large one stays what it is: many may be sent the same one, and a copy
    for each would be the most that a slow reader costs."""
    small: list[bytes] = []
    for part in parts:
        if len(part) < LARGE_BYTES:
            small.append(part)
            continue
        yield b"".join(small)
        small.clear()
        yield part
    yield b"".join(small)


def share_of(address: object) -> str:
    """Whose connections count together, of a peer's address: an IPv4 address, or the half of an
    IPv6 address that one customer is given; "" for who comes from this machine by a file."""
    if not isinstance(address, tuple):
        return ""
    host = str(address[0])
    if ":" not in host:
        return host
    return str(ip_network((host.partition("%")[0], 64), strict=False).network_address)
