"""A webhook receiver over real sockets that does to its caller exactly what a test tells it."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import trio

Behaviour = Callable[["Connection"], Awaitable[None]]


@dataclass(frozen=True)
class Received:
    """One request as it came over the wire."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Connection:
    """One accepted connection, from the receiver's side."""

    stream: trio.abc.Stream
    tcp: trio.SocketStream
    receiver: Receiver
    _buffer: bytes = b""

    async def read_request(self) -> Received | None:
        """The next request, noted in `receiver.received`; None when the client closed."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._read_more():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (one.split(": ", 1) for one in lines)}
        size = int(headers["content-length"])
        while len(self._buffer) < size:
            if not await self._read_more():
                return None
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        request = Received(line, headers, body)
        self.receiver.received.append(request)
        self.receiver.arrived.set()
        return request

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def answer(self, status: int, body: bytes = b"ok", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.send("\r\n".join([*lines, "", ""]).encode() + body)

    async def wait_until_client_closes(self) -> None:
        while await self._read_more():
            pass

    def reset(self) -> None:
        """Close so that the client gets a RST."""
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.tcp.socket.close()

    async def _read_more(self) -> bool:
        try:
            data = await self.stream.receive_some(65_536)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        self._buffer += data
        return bool(data)


@dataclass
class Receiver:
    """What a test can see of it."""

    url: str = ""
    port: int = 0
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    """Connections that neither side has closed as far as the receiver knows."""
    arrived: trio.Event = field(default_factory=trio.Event)
    """The first request has been read."""
    _closed: trio.Event = field(default_factory=trio.Event)

    async def until_open(self, count: int) -> None:
        """Wait until no more than `count` connections are open."""
        while self.open > count:
            await self._closed.wait()

    def note_closed(self) -> None:
        self.open -= 1
        self._closed.set()
        self._closed = trio.Event()


@asynccontextmanager
async def receiving(
    behaviour: Behaviour, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Receiver]:
    """A receiver on a free loopback port for as long as the block lasts."""
    receiver = Receiver()

    async def serve(tcp: trio.SocketStream) -> None:
        stream: trio.abc.Stream = tcp
        if context is not None:
            stream = trio.SSLStream(tcp, context, server_side=True, https_compatible=True)
        receiver.connections += 1
        receiver.open += 1
        try:
            await behaviour(Connection(stream, tcp, receiver))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client is free to go away at any time
        finally:
            receiver.note_closed()
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host=host))
        receiver.port = listeners[0].socket.getsockname()[1]
        scheme = "http" if context is None else "https"
        receiver.url = f"{scheme}://{host}:{receiver.port}/hook?token=hidden"
        yield receiver
        nursery.cancel_scope.cancel()


def answering(status: int, body: bytes = b"ok", **headers: str) -> Behaviour:
    """Answers every request on every connection alike, and keeps connections open."""

    async def behave(connection: Connection) -> None:
        while await connection.read_request():
            await connection.answer(status, body, **headers)

    return behave


def sending(
    *pieces: bytes, then: Callable[[Connection], Awaitable[None]] | None = None
) -> Behaviour:
    """Reads one request, sends `pieces` as they are, then closes or does what `then` says."""

    async def behave(connection: Connection) -> None:
        await connection.read_request()
        for piece in pieces:
            await connection.send(piece)
        if then is not None:
            await then(connection)

    return behave
