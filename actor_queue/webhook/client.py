"""POSTs a batch to the webhook and says what came of it. The only file that imports httpx.

Owns connections, headers, limits on time and size, and the words for what went wrong. Knows no
Redis, makes no decision about retries, and follows no redirect, proxy or cookie.

Each attempt has a *lane* to itself: an httpx transport whose pool holds one connection. Lanes
are kept in a stack, so that few connections stay warm. Two things are gained over one pool for
all, both measured (httpx 0.28.1 and httpcore 1.0.9 on trio, 100 attempts at once):

- A request costs a half to a quarter of the CPU: 0.3 ms instead of 1.4 transport against
  transport; in another, noisier run a whole `deliver` 0.5 against 1.0 for the shared transport.
  httpcore's pool looks at every connection for every other one, twice in each request;
  `AsyncClient` costs 0.15 ms and more on top of its transport.
- httpcore loses a pool's slots when requests are cancelled while they wait for one (issues 961
  and 1093). Nobody waits in a lane, and a lane that anything went wrong in is thrown away.

A receiver has answered once the head of its answer is complete: the status counts even if the
body never ends. A short body is read, so that the connection can be used again.
"""

from __future__ import annotations

import errno
import importlib.metadata
import socket
import ssl
import time
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import httpx
import trio

from actor_queue.core.batch import Batch
from actor_queue.core.delivery import outcome_of_status, retry_after_seconds
from actor_queue.core.outcome import Failed, Outcome
from actor_queue.core.payload import render
from actor_queue.core.settings import Settings
from actor_queue.webhook.signing import Signer

KEEPALIVE_S = 15.0
"""A connection idle for longer is not used again."""
DRAIN_S = 0.25
"""How long the body of an answer may take for its connection to be worth keeping."""
DRAIN_BYTES_MAX = 65_536
STALE_WITHIN_S = 1.0
"""A receiver that closed a kept connection shows it at once; one that worked on the request for
longer has had it."""

_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_S)
_DISCONNECTED = "Server disconnected without sending a response."
"""How httpcore says that the connection ended; all its other protocol errors are bad answers."""
_PHASES = {
    "connection.connect_tcp.started": "while connecting",
    "connection.start_tls.started": "in the TLS handshake",
    "http11.send_request_headers.started": "while sending",
    "http11.receive_response_headers.started": "waiting for the answer",
}
_NETWORK_ERRORS = (httpx.TransportError, OSError, UnicodeError, trio.BrokenResourceError)
"""UnicodeError: a host name that cannot be written in DNS."""


class WebhookClient:
    """Open with `async with`. As many attempts at once as the caller allows itself."""

    def __init__(
        self,
        url: str,
        *,
        secrets: Sequence[str] = (),
        max_deliveries: int = 100,
        tls: ssl.SSLContext | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Raises ValueError, without secrets, for a URL or a secret that cannot be used.

        `tls` replaces the trusted certificates (certifi's and the system's); `now` is Unix
        time, for signatures and for `Retry-After` dates.
        """
        self._url, self._fixed_headers = _target(url)
        self._signer = Signer(secrets)
        self._now = now
        self._tls = tls or _trusted(self._url)
        self._idle: deque[_Lane] = deque()
        self._idle_max = max_deliveries

    @classmethod
    def of(cls, settings: Settings) -> WebhookClient:
        assert settings.webhook_url is not None, "there is no webhook to deliver to"
        return cls(
            settings.webhook_url,
            secrets=settings.webhook_secrets,
            max_deliveries=settings.max_deliveries,
        )

    async def deliver(self, batch: Batch, deadline_s: float) -> Outcome:
        """One attempt, over in `deadline_s` seconds from name lookup to answer.

        What the network does to it is an `Outcome`, never an exception. Cancellation passes
        through and leaves nothing open.
        """
        attempt = _Attempt(self._request_parts(batch))
        try:
            with trio.move_on_after(deadline_s):
                await self._post(attempt)
        except _NETWORK_ERRORS as error:
            return attempt.outcome or Failed(_reason(error))
        return attempt.outcome or Failed(f"timed out after {deadline_s:.3g} s {attempt.phase}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._idle:
            await self._idle.pop().discard()

    # One attempt

    def _request_parts(self, batch: Batch) -> tuple[list[tuple[str, str]], bytes]:
        body = render(batch)
        timestamp_s = int(self._now())
        headers = [
            *self._fixed_headers,
            ("content-length", str(len(body))),
            ("webhook-id", batch.id),
            ("webhook-timestamp", str(timestamp_s)),
            ("idempotency-key", batch.id),
        ]
        signature = self._signer.sign(batch.id, timestamp_s, body)
        if signature is not None:
            headers.append(("webhook-signature", signature))
        return headers, body

    async def _post(self, attempt: _Attempt) -> None:
        """Once, and once more where a kept connection turned out to have been closed.

        The second time sends the same id and bytes, so a receiver that did read the first
        can tell.
        """
        await self._close_expired()
        started = trio.current_time()
        try:
            return await self._exchange(attempt, self._take())
        except (httpx.ReadError, httpx.RemoteProtocolError) as error:
            in_time = trio.current_time() < started + STALE_WITHIN_S
            if attempt.connected or not in_time or not _disconnected(error):
                raise
        await self._exchange(attempt, _Lane(self._tls))

    async def _exchange(self, attempt: _Attempt, lane: _Lane) -> None:
        headers, body = attempt.request
        reusable = False
        try:
            response = await lane.transport.handle_async_request(
                httpx.Request(
                    "POST",
                    self._url,
                    headers=headers,
                    stream=_Body(body),
                    extensions={"trace": attempt.trace},
                )
            )
            attempt.outcome = self._outcome(response)
            reusable = await _drained(response)
        finally:
            if reusable and len(self._idle) < self._idle_max:
                lane.idle_since = trio.current_time()
                self._idle.append(lane)
            else:
                await lane.discard()
                await attempt.close_stream()

    def _outcome(self, response: httpx.Response) -> Outcome:
        asked = response.headers.get("retry-after")
        retry_after_s = None if asked is None else retry_after_seconds(asked, self._now())
        return outcome_of_status(response.status_code, retry_after_s)

    # Lanes

    def _take(self) -> _Lane:
        return self._idle.pop() if self._idle else _Lane(self._tls)

    async def _close_expired(self) -> None:
        """The lane that has been idle for longest is at the bottom of the stack."""
        expired_before = trio.current_time() - KEEPALIVE_S
        while self._idle and self._idle[0].idle_since < expired_before:
            await self._idle.popleft().discard()


class _Lane:
    """A transport with one connection, for one attempt at a time."""

    __slots__ = ("idle_since", "transport")

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.transport = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=_LIMITS)
        self.idle_since = float("-inf")

    async def discard(self) -> None:
        """Never blocks for long: neither httpcore nor trio says goodbye to the peer."""
        with trio.CancelScope(shield=True):
            await self.transport.aclose()


class _Body(httpx.AsyncByteStream):
    """A request's body in one piece. No generator: httpcore would leave it half-way to the
    garbage collector when sending is cancelled, and trio would complain of that."""

    __slots__ = ("_pieces",)

    def __init__(self, body: bytes) -> None:
        self._pieces = iter((body,))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


class _Attempt:
    """What is sent, how far it came, and what is known of the answer."""

    __slots__ = ("_stream", "connected", "outcome", "phase", "request")

    def __init__(self, request: tuple[list[tuple[str, str]], bytes]) -> None:
        self.request = request
        self.outcome: Outcome | None = None
        self.phase = "while connecting"
        self.connected = False
        """Whether a connection was opened for this attempt, rather than used again."""
        self._stream: Any = None

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """httpcore's trace extension, which tells what nothing else does."""
        if event in _PHASES:
            self.phase = _PHASES[event]
        elif event == "connection.connect_tcp.complete":
            self.connected = True
            self._stream = info["return_value"]

    async def close_stream(self) -> None:
        """httpcore drops the socket, unclosed, when the TLS handshake is cancelled."""
        if self._stream is not None:
            with trio.CancelScope(shield=True):
                await self._stream.aclose()
            self._stream = None


async def _drained(response: httpx.Response) -> bool:
    """Whether the body came to its end soon enough for the connection to be used again."""
    received_bytes = 0
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    with trio.move_on_after(DRAIN_S) as moment:
        try:
            async for chunk in stream:
                received_bytes += len(chunk)
                if received_bytes > DRAIN_BYTES_MAX:
                    # Leaving the loop would leave httpcore's generators to the garbage
                    # collector; cancelled in their next read, they clean up.
                    moment.cancel()
            await stream.aclose()
        except _NETWORK_ERRORS:
            return False
    return not moment.cancelled_caught


# What to say of a failure


def _reason(error: BaseException) -> str:
    """A sentence for people, from the innermost known cause; no URL, no answer's text."""
    for cause in _causes(error):
        sentence = _sentence(cause)
        if sentence is not None:
            return sentence
    return "connection failed"


def _sentence(error: BaseException) -> str | None:
    match error:
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return "name lookup failed"
        case socket.gaierror() | UnicodeError():
            return "name not found"
        case ConnectionRefusedError():
            return "connection refused"
        case ssl.SSLCertVerificationError():
            return f"TLS certificate not trusted: {error.verify_message}"
        case ssl.SSLError():
            return "TLS failed"
        case OSError(errno=errno.ENETUNREACH | errno.EHOSTUNREACH):
            return "host unreachable"
        case OSError(errno=errno.ETIMEDOUT):
            return "connection timed out"
        case OSError(errno=errno.EMFILE | errno.ENFILE):
            return "too many open files on this side"
        case httpx.RemoteProtocolError() if not _disconnected(error):
            return "the answer is not valid HTTP"
        case httpx.RemoteProtocolError() | ConnectionResetError() | BrokenPipeError():
            return "connection closed before an answer"
        case _:
            return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and what led to it: httpcore hides the cause, but the context is still there."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        cause = waiting.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting.append(cause.__cause__ or cause.__context__)
        if isinstance(cause, BaseExceptionGroup):
            waiting.extend(cause.exceptions)


def _disconnected(error: BaseException) -> bool:
    return isinstance(error, httpx.ReadError) or str(error) == _DISCONNECTED


# Set-up


def _target(url: str) -> tuple[httpx.URL, tuple[tuple[str, str], ...]]:
    """Where to POST, and the headers that are the same for every batch."""
    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        raise ValueError("the webhook's URL is not a valid URL") from None
    if target.scheme not in ("http", "https") or not target.host:
        raise ValueError("the webhook's URL must be http:// or https:// with a host")
    if "%" in target.host and ":" not in target.host:
        # What httpx makes of a space or a bracket; no name has one.
        raise ValueError("the host of the webhook's URL is not a valid name")
    if target.port is not None and not 1 <= target.port <= 65_535:
        raise ValueError("the port of the webhook's URL must be from 1 to 65535")
    headers: tuple[tuple[str, str], ...] = (
        ("host", target.netloc.decode("ascii")),
        ("content-type", "application/json"),
        ("user-agent", f"actor-queue/{importlib.metadata.version('actor-queue')}"),
    )
    if target.userinfo:
        credentials = b64encode(f"{target.username}:{target.password}".encode()).decode()
        headers += (("authorization", f"Basic {credentials}"),)
    return target.copy_with(username=None, password=None), headers


def _trusted(url: httpx.URL) -> ssl.SSLContext:
    """certifi's authorities, and the system's, so that a company's own can be added there."""
    if url.scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls = httpx.create_ssl_context(trust_env=False)
    tls.load_default_certs()
    return tls
