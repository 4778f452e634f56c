"""POSTs a batch to the webhook and says what came of it.

Owns which connections are kept, headers, limits on time and size, and the words for what went
wrong; `wire` owns a single connection. Knows no Redis, makes no decision about retries, and
follows no redirect, proxy or cookie.

Each attempt has a connection to itself. Idle ones lie on a stack, so that few stay warm. Nobody
waits for a connection, and one that anything went wrong on is closed.

A receiver has answered once the head of its answer is complete: the status counts even if the
body never ends. A short body is read, so that the connection can be used again, and so is the
beginning of the body of a failure: it often says what is wrong.
"""

from __future__ import annotations

import errno
import importlib.metadata
import os
import socket
import ssl
import time
import zlib
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from types import TracebackType
from typing import Self

import httpx
import trio

from actor_queue.core.batch import AnswerOffer, Batch
from actor_queue.core.delivery import (
    ANSWER_BYTES_MAX,
    answer_text,
    outcome_of_status,
    printable,
    retry_after_seconds,
)
from actor_queue.core.outcome import Failed, Outcome, timed_out
from actor_queue.core.payload import render
from actor_queue.core.routes import Route
from actor_queue.core.settings import Networks, Settings
from actor_queue.webhook.answer import Disconnected
from actor_queue.webhook.dial import NotAllowed
from actor_queue.webhook.signing import Signer
from actor_queue.webhook.wire import Connection, Origin

KEEPALIVE_S = 15.0
"""A connection idle for longer is not used again."""
DRAIN_S = 0.25
"""How long the body of an answer may take for its connection to be worth keeping."""
DRAIN_BYTES_MAX = 65_536
KEPT_BYTES_MAX = 2_048
"""Of the body of a failure: more than its text may have, because it may be compressed."""
LOCATION_CHARS_MAX = 200
STALE_WITHIN_S = 1.0
"""A receiver that closed a kept connection shows it at once; one that worked on the request for
longer has had it."""

UNREADABLE = "a message of the batch cannot be read as it is kept"
"""Why a batch is given up of which no body can be made: no retry would change that."""
_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)

_Header = tuple[bytes, bytes]


class WebhookClient:
    """Open with `async with`. As many attempts at once as the caller allows itself."""

    def __init__(
        self,
        url: str,
        *,
        secrets: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
        max_deliveries: int = 100,
        networks: Networks = "any",
        tls: ssl.SSLContext | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Raises ValueError, without secrets, for a URL or a secret that cannot be used.

        `headers` are added to each webhook, in ASCII; a `user-agent` replaces ours. `networks` says
        which addresses may be connected to. `tls` replaces the trusted certificates (certifi's and
        the system's); `now` is Unix time, for signatures and for `Retry-After` dates.
        """
        self._url, self._fixed_headers = _target(url, dict(headers))
        self._signer = Signer(secrets)
        self._now = now
        self._origin = Origin.of(self._url, _context(self._url, tls), networks)
        self._idle: deque[Connection] = deque()
        self._idle_max = max_deliveries
        self.besides: Callable[[], Sequence[_Header]] | None = None
        """Called at each attempt for headers that are only its own."""

    @classmethod
    def of(cls, settings: Settings) -> WebhookClient:
        """Of the default route."""
        return cls.for_route(Route.default(settings))

    @classmethod
    def for_route(cls, route: Route, *, tls: ssl.SSLContext | None = None) -> WebhookClient:
        assert route.url is not None, "there is no webhook to deliver to"
        return cls(
            route.url,
            secrets=route.secrets,
            headers=route.headers,
            max_deliveries=route.max_deliveries,
            networks=route.networks,
            tls=tls,
        )

    async def deliver(self, batch: Batch, deadline_s: float) -> Outcome:
        """One attempt, over in `deadline_s` seconds from name lookup to answer.

        What the network does to it is an `Outcome`, never an exception. Cancellation passes
        through and leaves nothing open.
        """
        try:
            body = render(batch)
        except _UNREADABLE:
            # Somebody else has written into what is kept. Its error may quote that.
            return Failed(UNREADABLE, final=True)
        return await self.post(batch.id, body, deadline_s, _offered(batch.offer))

    async def post(
        self, webhook_id: str, body: bytes, deadline_s: float, besides: Sequence[_Header] = ()
    ) -> Outcome:
        """As `deliver`, for any JSON body under an id that has no dots, with headers `besides`."""
        attempt = _Attempt(self._request(webhook_id, body, besides))
        reason = None
        try:
            with trio.move_on_after(deadline_s):
                await self._post(attempt)
        except httpx.TransportError as error:
            reason = _reason(error)
        if isinstance(attempt.outcome, Failed):
            return replace(attempt.outcome, answer=attempt.answer)
        if attempt.outcome is not None:
            return attempt.outcome
        return Failed(reason or f"{timed_out(deadline_s)} {attempt.phase}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.retire()

    def retire(self) -> None:
        """Keep no connection any more: idle ones are closed now, others after their attempt."""
        self._idle_max = 0
        while self._idle:
            self._idle.pop().close()

    # One attempt

    def _request(self, webhook_id: str, body: bytes, besides: Sequence[_Header]) -> httpx.Request:
        timestamp_s = int(self._now())
        name = webhook_id.encode("ascii")
        headers = [
            *self._fixed_headers,
            (b"content-length", b"%d" % len(body)),
            (b"webhook-id", name),
            (b"webhook-timestamp", b"%d" % timestamp_s),
            (b"idempotency-key", name),
            *besides,
        ]
        if self.besides is not None:
            headers += self.besides()
        signature = self._signer.sign(webhook_id, timestamp_s, body)
        if signature is not None:
            headers.append((b"webhook-signature", signature.encode("ascii")))
        return httpx.Request("POST", self._url, headers=headers, stream=httpx.ByteStream(body))

    async def _post(self, attempt: _Attempt) -> None:
        """Once, and once more where a kept connection turned out to have been closed.

        The second time sends the same id and bytes, so a receiver that did read the first
        can tell.
        """
        started = trio.current_time()
        self._close_expired(started)
        connection = await self._kept()
        if connection is not None:
            try:
                return await self._exchange(attempt, connection)
            except (httpx.ReadError, Disconnected):
                answered = connection.received_bytes > 0
                if answered or trio.current_time() >= started + STALE_WITHIN_S:
                    raise
        await self._exchange(attempt, Connection(self._origin))

    async def _exchange(self, attempt: _Attempt, connection: Connection) -> None:
        attempt.connection = connection
        try:
            response = await connection.handle_async_request(attempt.request)
            attempt.response = response
            attempt.outcome = self._outcome(response)
            if not connection.answer_ended or isinstance(attempt.outcome, Failed):
                await _drain(connection, response, attempt.body)
        finally:
            if connection.reusable and len(self._idle) < self._idle_max:
                connection.idle_since = trio.current_time()
                self._idle.append(connection)
            else:
                connection.close()

    def _outcome(self, response: httpx.Response) -> Outcome:
        if response.is_success:
            return outcome_of_status(response.status_code, None)
        asked = response.headers.get("retry-after")
        retry_after_s = None if asked is None else retry_after_seconds(asked, self._now())
        return outcome_of_status(
            response.status_code, retry_after_s, redirected_to=self._redirected_to(response)
        )

    def _redirected_to(self, response: httpx.Response) -> str | None:
        """The address without user, password and query, which may be secret."""
        location = response.headers.get("location")
        if location is None or not response.has_redirect_location:
            return None
        try:
            target = self._url.join(location)
        except (httpx.InvalidURL, UnicodeError):
            return None
        path, has_query, _ = target.raw_path.partition(b"?")
        address = f"{target.scheme}://{target.netloc.decode()}{path.decode()}"
        return printable(address, LOCATION_CHARS_MAX) + ("?…" if has_query else "")

    # Idle connections

    async def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if await connection.still_reusable():
                return connection
        return None

    def _close_expired(self, now: float) -> None:
        """The connection that has been idle for longest is at the bottom of the stack."""
        while self._idle and self._idle[0].idle_since < now - KEEPALIVE_S:
            self._idle.popleft().close()


class _Attempt:
    """What is sent, over which connection, and what is known of the answer."""

    __slots__ = ("body", "connection", "outcome", "request", "response")

    def __init__(self, request: httpx.Request) -> None:
        self.request = request
        self.connection: Connection | None = None
        self.response: httpx.Response | None = None
        self.outcome: Outcome | None = None
        self.body = bytearray()
        """The beginning of the answer's, as it came."""

    @property
    def answer(self) -> str | None:
        """The beginning of the answer's body for people."""
        if self.response is None or not self.body:
            return None
        coding = self.response.headers.get("content-encoding", "identity").strip().lower()
        return answer_text(_decoded(bytes(self.body), coding))

    @property
    def phase(self) -> str:
        return "while connecting" if self.connection is None else self.connection.phase


async def _drain(connection: Connection, response: httpx.Response, kept: bytearray) -> None:
    """Reads a body that ends soon enough for the connection to be used again; its beginning is
    `kept`."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    with trio.move_on_after(DRAIN_S), suppress(httpx.TransportError):
        async for piece in response.stream:
            kept += piece[: KEPT_BYTES_MAX - len(kept)]
            if connection.received_bytes > DRAIN_BYTES_MAX:
                break


def _decoded(body: bytes, coding: str) -> bytes:
    """The beginning of a body that a receiver compressed although nobody asked for it."""
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        return f"(compressed: {coding})".encode()
    try:
        return zlib.decompressobj(wbits=47).decompress(body, ANSWER_BYTES_MAX + 1)
    except zlib.error:
        return f"(not readable as {coding})".encode()


def _offered(offer: AnswerOffer | None) -> Sequence[_Header]:
    """The headers for a receiver that may answer later."""
    if offer is None:
        return ()
    return (
        (b"aq-answer-url", offer.url.encode("ascii")),
        (b"aq-answer-within", b"%d" % offer.within_s),
    )


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
        case NotAllowed():
            return "address not allowed"
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return "name lookup failed"
        case socket.gaierror():
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
        case Disconnected() | ConnectionResetError() | BrokenPipeError():
            return "connection closed before an answer"
        case httpx.RemoteProtocolError():
            return "the answer is not valid HTTP"
        case httpx.LocalProtocolError():
            return "the request cannot be written as HTTP"
        case _:
            return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and what led to it."""
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


# Set-up


def _target(url: str, added: Mapping[str, str]) -> tuple[httpx.URL, tuple[_Header, ...]]:
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
    version = importlib.metadata.version("actor-queue")
    headers = {"user-agent": f"actor-queue/{version}"}
    if target.userinfo:
        credentials = b64encode(f"{target.username}:{target.password}".encode())
        headers["authorization"] = f"Basic {credentials.decode('ascii')}"
    headers |= added
    return target.copy_with(username=None, password=None), (
        (b"host", target.netloc),
        (b"content-type", b"application/json"),
        *((name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()),
    )


def trusting_context() -> ssl.SSLContext:
    """Trusts certifi's authorities, and the system's, which SSL_CERT_FILE replaces. It takes a
    tenth of a second to read them."""
    tls = httpx.create_ssl_context(trust_env=False)
    tls.load_default_certs()
    return tls


def shared_context() -> ssl.SSLContext:
    """The one of all clients that are given none, made by the first: certificates take a tenth of
    a second and 1 MiB. HTTP/1.1 is the only protocol it offers."""
    return _of_files(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=1)
def _of_files(*_: str | None) -> ssl.SSLContext:
    return _offering(trusting_context())


def _offering(tls: ssl.SSLContext) -> ssl.SSLContext:
    tls.set_alpn_protocols(["http/1.1"])
    return tls


def _context(url: httpx.URL, given: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """None for a URL without TLS."""
    if url.scheme == "http":
        return None
    return shared_context() if given is None else _offering(given)
