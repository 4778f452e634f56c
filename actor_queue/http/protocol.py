"""HTTP/1.1 as Hypercorn speaks it, less what this service does not offer.

`Http1` and `Exchange` narrow Hypercorn's `H11Protocol` and `HTTPStream`:

- No upgrade of any kind. In Hypercorn 0.18 a websocket upgrade followed by one byte ends
  the whole process (hypercorn#225), and h2c opens a second protocol nobody needs here. The
  `Upgrade` header is ignored, as RFC 9110 section 7.8 allows; HTTP/2 gets 505.
- Both Content-Length and Transfer-Encoding is refused, as a smuggler's request (RFC 9112,
  section 6.1). The size of a head is checked also when it arrives in one piece.
- A `Host` or a target that is none, and a second `Authorization`, are refused (RFC 9112, section
  3.2): a proxy in front may have judged by the other one. A method keeps its letters.
- Line breaks that belong to no request are ignored, before a request line (RFC 9112, section
  2.2) and behind a body: some senders end a body with one that its length does not count.
- Nothing here waits for a peer: what arrived is digested, what is to be sent is handed over.
  Hypercorn waits inside `_handle_events` for room in the application's queue, and for ever
  once the application has stopped reading.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from time import time
from typing import Final, cast
from wsgiref.handlers import format_date_time

import h11
from hypercorn.config import Config
from hypercorn.events import Closed
from hypercorn.protocol.events import Body, EndBody, Event, Request, Response
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import ASGISendEvent

from actor_queue.http.problem import PROBLEM_TYPE, Problem
from actor_queue.http.targets import is_host, is_target, origin_form
from actor_queue.http.traffic import Traffic

HEAD_BYTES_MAX: Final = 16 * 1024
HEADERS_MAX: Final = 100
KEEP_ALIVE_REQUESTS_MAX: Final = 2**31
LINE_BREAKS: Final = re.compile(rb"(?:\r?\n)*")

REFUSALS: Final = {
    400: "this is not a valid HTTP/1.1 request",
    408: "the request came too slowly",
    431: f"the request's head is over {HEAD_BYTES_MAX} bytes",
    500: "the service failed to answer; its log says where",
    501: "only Transfer-Encoding: chunked is understood",
    505: "only HTTP/1.1 is spoken here",
}

NO_HOST: Final = "the Host header must name one host, as RFC 9112 section 3.2 has it"
NO_TARGET: Final = "the request's target must be a path, or a URL with a host and no user"
TWO_KEYS: Final = "send one Authorization header, not several"

Headers = list[tuple[bytes, bytes]]


class QuietConfig(Config):
    """Hypercorn's settings for this service: no logs of its own, no `Server` header."""

    accesslog = None
    errorlog = None
    include_server_header = False
    h11_max_incomplete_size = HEAD_BYTES_MAX
    keep_alive_max_requests = KEEP_ALIVE_REQUESTS_MAX

    _date: tuple[int, Headers] = (0, [])

    def response_headers(self, protocol: str) -> Headers:
        """The `Date` header, formatted once a second."""
        now = int(time())
        if self._date[0] != now:
            self._date = (now, [(b"date", format_date_time(now).encode())])
        return self._date[1]


class Http1(H11Protocol):
    """One connection's bytes to events and back. Digests one request at a time."""

    flush: Callable[[], Awaitable[None]]
    """Set by the connection: sends what was handed over so far."""
    traffic: Traffic

    @property
    def wire(self) -> h11.Connection:
        return cast(h11.Connection, self.connection)

    @property
    def waiting_bytes(self) -> int:
        """How much of further requests is here already."""
        return len(self.rest)

    @property
    def rest(self) -> bytes:
        """What is here of further requests."""
        return self.wire.trailing_data[0]

    @property
    def at_rest(self) -> bool:
        """Whether what was asked has been answered, and the next request may come, or is here."""
        return (
            self.wire.their_state is h11.IDLE
            and self.wire.our_state is h11.IDLE
            and not self.wire.trailing_data[1]
        )

    @property
    def unread(self) -> bool:
        """Whether the peer may still be sending a request."""
        return self.wire.their_state in {h11.SEND_BODY, h11.ERROR}

    async def advance(self) -> None:
        """Digest what a former request left in the buffer."""
        await self._handle_events()

    async def go_ahead(self) -> None:
        """Send `100 Continue` if the peer holds its body back until then."""
        if self.wire.they_are_waiting_for_100_continue:
            headers = self.config.response_headers("h11")
            await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=headers))
            await self.flush()

    async def refuse(self, status: int, detail: str = "") -> None:
        """Answer for the service if nothing was answered yet, and end the connection.

        `detail` says more than the status does.
        """
        self.traffic.requests_refused += 1
        if self.wire.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self._send_error_response(status if status in REFUSALS else 400, detail)
            # A handler with several tasks may have an answer of its own under way.
            await self._close_stream()
        await self.send(Closed())

    async def stream_send(self, event: Event) -> None:
        if isinstance(event, Response) and self.connection_state["stopping"].is_set():
            event.headers.append((b"connection", b"close"))
        await super().stream_send(event)

    async def _handle_events(self) -> None:
        while self._skip_line_breaks():
            try:
                event = self.wire.next_event()
            except h11.RemoteProtocolError as error:
                await self.refuse(error.error_status_hint)
                return
            if isinstance(event, h11.Data):
                await self._to_stream(Body(stream_id=STREAM_ID, data=bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                await self._to_stream(EndBody(stream_id=STREAM_ID))
            elif isinstance(event, h11.Request):
                headers = list(event.headers)
                refusal = _unacceptable(event, headers)
                if refusal is not None:
                    await self.refuse(*refusal)
                    return
                await self._open(event, headers)
            else:
                return

    def _skip_line_breaks(self) -> bool:
        """Drop line breaks between requests; False when there may be nothing else."""
        state = self.wire.their_state
        if state is h11.IDLE:
            data, ended = self.wire.trailing_data
            rest = LINE_BREAKS.sub(b"", data, count=1)
            if len(rest) < len(data):
                # A connection that has parsed nothing yet is as good as a new one.
                self.connection = h11.Connection(
                    h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX
                )
                if rest:
                    self.wire.receive_data(rest)
                if ended:
                    self.wire.receive_data(b"")
            return rest != b"\r"  # the line feed may follow
        if state is h11.MUST_CLOSE:
            data, _ = self.wire.trailing_data
            return not data or bool(data.strip(b"\r\n"))
        return True

    async def _to_stream(self, event: Event) -> None:
        if self.stream is not None:
            await self.stream.handle(event)

    async def _open(self, request: h11.Request, headers: Headers) -> None:
        self.stream = Exchange(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        self.stream.flush = self.flush
        path, host = origin_form(request.target)
        if host is not None:
            headers = [field for field in headers if field[0] != b"host"] + [(b"host", host)]
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=headers,
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii"),
                raw_path=path,
                state=self.connection_state,
            )
        )

    async def _send_error_response(self, status_code: int, detail: str = "") -> None:
        body = Problem(status_code, detail or REFUSALS[status_code]).render()
        headers = [
            (b"content-type", PROBLEM_TYPE),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


class Exchange(HTTPStream):
    """One request and its answer."""

    flush: Callable[[], Awaitable[None]]

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """The application's `send`: silent once the peer has gone.

        A whole answer leaves in one piece with its end; a part of one leaves at once.
        """
        if self.closed:
            return
        await super().app_send(message)
        if message is not None and message.get("more_body"):
            await self.flush()


def _unacceptable(request: h11.Request, headers: Headers) -> tuple[int, str] | None:
    """The status that refuses a request for its head alone, and what more is to be said."""
    if request.http_version not in {b"1.1", b"1.0"}:
        return 505, ""
    framings = 0
    for name, _ in headers:
        if name == b"content-length" or name == b"transfer-encoding":
            framings += 1 if name == b"content-length" else 2
    if framings > 2 or (framings == 2 and request.http_version == b"1.0"):
        return 400, ""
    return head_refusal(request.target, headers)


def head_refusal(target: bytes, headers: Headers) -> tuple[int, str] | None:
    """What is judged besides the version and the framing, here and at an edge.

    A head without a `Host` passes: whoever parsed it has asked for one where there has to be one.
    """
    size = len(target)
    hosts = keys = 0
    for name, value in headers:
        size += len(name) + len(value) + 4
        if name == b"host":
            hosts += 1
            if hosts > 1 or not is_host(value):
                return 400, NO_HOST
        elif name == b"authorization":
            keys += 1
    if size > HEAD_BYTES_MAX or len(headers) > HEADERS_MAX:
        return 431, ""
    if keys > 1:
        return 400, TWO_KEYS
    return None if is_target(target) else (400, NO_TARGET)
