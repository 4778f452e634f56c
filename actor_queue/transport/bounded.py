"""Connections that read no more than a reply of ours can be.

coredis keeps whatever a server sends until it makes a reply: a line without an end, a text of a
terabyte, a list of lists of lists, messages that nobody subscribed to. Nothing that the service
asks for has such an answer, so a connection on which one begins is cut, and whoever waits is told
as with any connection that breaks.

It is looked at what waits in coredis' parser, before each read of at most 64 KiB. That costs a
comparison or two while all is well; reading the protocol a second time here would cost each reply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio
from anyio.abc import ByteStream
from coredis.connection import BaseConnection, TCPConnection, UnixDomainSocketConnection
from coredis.exceptions import ConnectionError as RedisConnectionError
from coredis.exceptions import InvalidResponse

REPLY_BYTES_MAX = 192 * 1024 * 1024
"""A claim answers with a whole batch: at most the largest AQ_MAX_BATCH_BYTES, 64 MiB, and where one
message alone is larger, with that. What is stored stands in it once."""
REPLY_LINES_MAX = 4_000_000
"""A text of a message may have line breaks; a list of so many empty lists is none of ours."""
LINE_BYTES_MAX = 65_536
"""Of a line that is not the text of a message: a number, a length, an error."""
DEPTH_MAX = 16
"""Lists within lists. The scripts' replies have two."""
UNREAD_BYTES_MAX = 4 * 1024 * 1024
"""Of messages that nobody has taken yet …"""
UNREAD_S = 1.0
"""… and how long to wait, reading no more, until somebody does."""
POLL_S = 0.01

TOO_MUCH = "the server sends what no reply can be"


class BoundedStream(ByteStream):
    """`stream`, until `connection` has been sent too much of something. Then `receive` raises."""

    def __init__(self, stream: ByteStream, connection: BaseConnection) -> None:
        self._stream = stream
        self._connection = connection
        self._parser = connection._parser
        self._reply_bytes = self._reply_lines = self._unread_bytes = 0

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """Raises `InvalidResponse` when a limit of this module is passed."""
        parser = self._parser
        waiting = parser.bytes_written - parser.bytes_read
        if waiting or parser.nodes:
            self._look_at_reply(waiting)
        else:
            self._reply_bytes = self._reply_lines = 0
        if self._unread():
            await self._let_read()
        else:
            self._unread_bytes = 0
        data = await self._stream.receive(max_bytes)
        self._reply_bytes += len(data)
        self._unread_bytes += len(data)
        if self._reply_bytes > LINE_BYTES_MAX:
            self._reply_lines += data.count(b"\n")
        return data

    def _look_at_reply(self, waiting: int) -> None:
        """At one that has not ended yet, of which `waiting` bytes are no whole element."""
        parser = self._parser
        if (
            self._reply_bytes > REPLY_BYTES_MAX
            or self._reply_lines > REPLY_LINES_MAX
            or len(parser.nodes) > DEPTH_MAX
        ):
            raise InvalidResponse(TOO_MUCH)
        if waiting > LINE_BYTES_MAX:
            begun = parser.bytes_read
            with parser.localbuffer.getbuffer() as held:
                line = bytes(held[begun : begun + LINE_BYTES_MAX])
            if b"\r\n" not in line:
                raise InvalidResponse(TOO_MUCH)

    def _unread(self) -> int:
        pushed = self._connection._push_message_buffer_in.statistics().current_buffer_used
        stray = self._connection._streamed_message_buffer_in.statistics().current_buffer_used
        return pushed + stray

    async def _let_read(self) -> None:
        """Whoever listens may be behind; to a connection that nobody listens on nothing comes."""
        if self._unread_bytes <= UNREAD_BYTES_MAX:
            return
        with anyio.move_on_after(UNREAD_S):
            while self._unread():  # noqa: ASYNC110  # coredis gives no signal
                await anyio.sleep(POLL_S)
            self._unread_bytes = 0
            return
        raise InvalidResponse(TOO_MUCH)

    @property
    def inner(self) -> ByteStream:
        """Without the limits: for whoever takes the stream, and has limits of its own."""
        return self._stream

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._stream.extra_attributes


class BoundedConnection(BaseConnection):
    """Over whatever a subclass connects to."""

    _reading: anyio.CancelScope | None = None
    _has_left: anyio.Event | None = None

    async def taken(self) -> ByteStream:
        """The stream of a connection that has been greeted. From now on nobody reads from it here.

        It is closed when the connection ends. Raises `RedisConnectionError` if it has ended.
        """
        if self._reading is not None and self._has_left is not None:
            self._reading.cancel()
            await self._has_left.wait()
        if not isinstance(self.stream, BoundedStream) or not self.usable:
            raise RedisConnectionError("the connection has just ended")
        return self.stream.inner

    async def _reader_task(self) -> None:
        self._has_left = anyio.Event()
        try:
            with anyio.CancelScope() as self._reading:
                await super()._reader_task()
        finally:
            self._has_left.set()


class BoundedTCPConnection(BoundedConnection, TCPConnection):
    """Over TCP or TLS."""

    async def _connect(self) -> ByteStream:
        return BoundedStream(await super()._connect(), self)


class BoundedUnixConnection(BoundedConnection, UnixDomainSocketConnection):
    """Over a unix socket."""

    async def _connect(self) -> ByteStream:
        return BoundedStream(await super()._connect(), self)
