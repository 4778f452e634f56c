"""One HTTP/1.1 connection to the webhook's receiver: an httpx transport of our own.

Owns the socket, TLS, and the bytes of a request. Makes no decision about outcomes, deadlines
or second tries; waits for as long as it is allowed to. `answer` reads what comes back.

Not httpx's own transport, because of what it costs: httpx hands a request to a pool, the pool
to a connection, the connection to h11, with locks, a trace event and an `await` at every step.
CPU for one exchange, 50 at once, answers of the shortest kind, medians of 15 interleaved rounds
(httpx 0.28.1, httpcore 1.0.9, h11 0.16.0, trio 0.35.0, Python 3.11):

    httpx.AsyncHTTPTransport, one for a connection     432 µs
    httpcore.AsyncHTTPConnection without its pool      302 µs
    h11 for both directions on a trio stream           120 µs
    this                                                65 µs
    a trio stream and nothing else                      29 µs

There is no pool here, so there is no slot to lose (httpcore's issues 961 and 1093).
"""

from __future__ import annotations

import select
import ssl
from typing import Final, NamedTuple, Self

import httpx
import trio

from actor_queue.core.settings import Networks
from actor_queue.webhook.answer import Answer
from actor_queue.webhook.dial import LOOKUPS_MAX, connected

RECEIVE_BYTES: Final = 16_384
"""At a time; also what a hostile answer can keep us busy with before others get their turn."""


class Origin(NamedTuple):
    """Where connections go to."""

    host: bytes
    """A name as DNS has it, or an address."""
    port: int
    tls: ssl.SSLContext | None
    networks: Networks
    lookups: trio.CapacityLimiter
    """For the threads that look its name up."""

    @classmethod
    def of(cls, url: httpx.URL, tls: ssl.SSLContext | None, networks: Networks = "any") -> Origin:
        port = url.port or (80 if tls is None else 443)
        return cls(url.raw_host, port, tls, networks, trio.CapacityLimiter(LOOKUPS_MAX))


class Connection(httpx.AsyncBaseTransport):
    """For one request at a time, to one origin; opened by the first.

    Whoever made it closes it: also when a request raised or was cancelled.
    """

    def __init__(self, origin: Origin) -> None:
        self.phase = "while connecting"
        """What it is waiting for, for people."""
        self.idle_since = float("-inf")
        """Written by its owner: trio's clock when it was put aside for reuse."""
        self._origin = origin
        self._answer = Answer()
        self._half_sent = False
        self._tcp: trio.SocketStream | None = None
        self._peek: _Peek
        self._stream: trio.abc.Stream

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Returns when the head of the final answer is complete.

        The request's body must be in memory. The response's stream can be left unread.
        Raises httpx.ConnectError, ReadError, `answer.Disconnected`, RemoteProtocolError, or
        LocalProtocolError for a header that could become two.
        """
        data = _on_the_wire(request)
        if self._tcp is None:
            await self._open()
        self._answer = answer = Answer()
        self.phase = "while sending"
        await self._send(data)
        self.phase = "waiting for the answer"
        body = b""
        while answer.status is None:
            body = await self.receive()
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(self, body))

    async def receive(self) -> bytes:
        """More of the body, perhaps nothing. Raises as `handle_async_request` does."""
        try:
            data = await self._stream.receive_some(RECEIVE_BYTES)
        except trio.BrokenResourceError as error:
            raise httpx.ReadError("connection lost") from error
        return self._answer.receive(bytes(data))

    @property
    def received_bytes(self) -> int:
        """Of this answer, off the connection."""
        return self._answer.received_bytes

    @property
    def answer_ended(self) -> bool:
        return self._answer.ended

    @property
    def reusable(self) -> bool:
        """Whether request and answer are complete, and a next request may follow."""
        return self._answer.reusable and not self._half_sent

    async def still_reusable(self) -> bool:
        """Whether an idle connection is as it was left; closes it if not.

        A receiver that closed it would cost a second try. One that said more than was asked
        for would be worse: that would be read as the answer to the next request.
        """
        quiet = False
        try:
            quiet = await self._peek.nothing_came()
        finally:
            if not quiet:
                self.close()
        return quiet

    def close(self) -> None:
        """At once: HTTP needs no goodbye, and nobody waits for TLS's."""
        if self._tcp is not None:
            self._tcp.socket.close()

    async def aclose(self) -> None:
        self.close()

    # Steps of a request

    async def _open(self) -> None:
        host, port, tls, networks, lookups = self._origin
        try:
            # As bytes: text would be held to the rules for international names, which know
            # no underscore, and names of containers have them.
            self._tcp = await connected(host, port, networks, lookups)
            self._peek = _Peek(self._tcp)
            self._stream = self._tcp
            if tls is not None:
                self.phase = "in the TLS handshake"
                self._stream = await self._peek.encrypted(tls, host.decode("ascii"))
        except (OSError, trio.BrokenResourceError) as error:
            raise httpx.ConnectError("no connection") from error

    async def _send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            # A receiver may refuse what it has not read to its end: its answer counts.
            self._half_sent = True


class _Body(httpx.AsyncByteStream):
    """The body of an answer. No generator: half-read, it would be the garbage collector's."""

    __slots__ = ("_connection", "_first")

    def __init__(self, connection: Connection, first: bytes) -> None:
        self._connection = connection
        self._first = first

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            piece, self._first = self._first, b""
            return piece
        if self._connection.answer_ended:
            raise StopAsyncIteration
        return await self._connection.receive()


class _Peek(trio.abc.Stream):
    """A TCP stream that can be asked, also through TLS, whether anything came.

    TLS may have bytes of its own in the socket (session tickets), and a peer's data may have
    left the socket already and lie in TLS's buffer. So the question is put as a read through
    TLS that ends, instead of waiting, where the socket has no more.
    """

    def __init__(self, tcp: trio.SocketStream) -> None:
        self._tcp = tcp
        self._tls: trio.SSLStream[_Peek] | None = None
        self._waits = True
        self._poll = select.poll()
        self._poll.register(tcp.socket.fileno(), select.POLLIN)

    async def encrypted(self, tls: ssl.SSLContext, name: str) -> trio.abc.Stream:
        """The stream with TLS over it, after the handshake."""
        self._tls = trio.SSLStream(self, tls, server_hostname=name, https_compatible=True)
        await self._tls.do_handshake()
        return self._tls

    async def nothing_came(self) -> bool:
        """Neither data nor the end of the connection."""
        if self._tls is None:
            return not self._poll.poll(0)
        self._waits = False
        try:
            await self._tls.receive_some(1)
        except trio.WouldBlock:
            return True
        except trio.BrokenResourceError:
            return False
        finally:
            self._waits = True
        return False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self._waits and not self._poll.poll(0):
            raise trio.WouldBlock
        return bytes(await self._tcp.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._tcp.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._tcp.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._tcp.aclose()


def _on_the_wire(request: httpx.Request) -> bytes:
    headers = request.headers.raw
    target = b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)
    head = b"\r\n".join([target, *[b"%b: %b" % header for header in headers]])
    # As many line ends as were put there, or a value has brought one along.
    if not head.count(b"\r") == head.count(b"\n") == len(headers) or b"\0" in head:
        raise httpx.LocalProtocolError("a header has a line end in it")
    return b"%b\r\n\r\n%b" % (head, request.read())
