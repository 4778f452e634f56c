"""The receiver that `actor-queue dev` brings along, so that a webhook can be seen arrive.

It keeps the last webhooks, newest first, for the playground page, and can be told to fail or to
be slow so that retries can be watched. Both survive a restart, in files (`inbox_files.py`). It is
mounted under `/dev/` in `dev` only and is no part of the service: it knows nothing of the engine
or the store.

Whoever can read it reads people's messages, so it answers on a loopback name only (a page
elsewhere cannot reach it by rebinding its own name to 127.0.0.1) and refuses what another
site's page sends (browsers name the sender in `Origin`).
"""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

import trio

from actor_queue.app.inbox_files import InboxFiles

DIRECTORY = "inbox"
"""Under AQ_DATA_DIR."""
WEBHOOKS_MAX = 200
WEBHOOK_BYTES_MAX = 8 * 1024 * 1024
TOTAL_BYTES_MAX = 32 * 1024 * 1024
MODE_BYTES_MAX = 1_024
HEADER_BYTES_MAX = 1_024
HEADERS_MAX = 64
NOT_KEPT = "(sent, its value is not kept)"
"""Of a header that WEBHOOK_HEADERS may have added: such a one can hold a secret."""
OWN_HEADERS = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host"}
    | {"idempotency-key", "user-agent"}
)
OWN_PREFIXES = ("webhook-", "aq-")
BODY_TIMEOUT_S = 30.0
SLOW_S = 2.0

Mode = Literal["ok", "fail", "slow"]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Refusal(Exception):
    """Turned into a problem answer by `Inbox.__call__`."""

    def __init__(self, status: int, title: str, detail: str, allow: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.allow = allow


class Disconnected(Exception):
    """The client left in the middle of its body; nobody waits for an answer."""


class Inbox:
    """An ASGI application for `/dev/inbox`, which keeps its files in a directory of `data_dir`."""

    def __init__(self, data_dir: str | Path) -> None:
        self._files = InboxFiles(Path(data_dir) / DIRECTORY, WEBHOOKS_MAX, TOTAL_BYTES_MAX)

    @property
    def mode(self) -> Mode:
        """As it was set last, perhaps before a restart, or by another worker."""
        kept = self._files.mode
        return cast("Mode", kept) if kept in get_args(Mode) else "ok"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, body = await self._answer(scope, receive)
        except Refusal as refusal:
            await _send_problem(send, refusal)
        except Disconnected:
            return
        else:
            await _send(send, status, b"application/json", body)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        headers = _headers(scope)
        _require_own_page(headers)
        method = scope["method"]
        match method, _path(scope):
            case "POST", "/dev/inbox":
                return await self._receive_webhook(headers, receive)
            case "GET", "/dev/inbox":
                return 200, self._listing()
            case "DELETE", "/dev/inbox":
                return 200, self._empty()
            case "POST", "/dev/inbox/mode":
                return 200, self._set_mode(headers, await _read(receive, MODE_BYTES_MAX))
            case _, "/dev/inbox":
                raise _not_allowed(method, "GET, POST, DELETE")
            case _, "/dev/inbox/mode":
                raise _not_allowed(method, "POST")
            case _:
                raise Refusal(404, "Not found", "there is /dev/inbox and /dev/inbox/mode here")

    async def _receive_webhook(
        self, headers: Mapping[str, str], receive: Receive
    ) -> tuple[int, bytes]:
        body = await _read(receive, WEBHOOK_BYTES_MAX)
        if self.mode == "slow":
            await trio.sleep(SLOW_S)
        if self.mode == "fail":
            raise Refusal(500, "Told to fail", "the inbox was set to fail on the playground page")
        self._keep(headers, body)
        return 200, b'{"received":true}'

    def _keep(self, headers: Mapping[str, str], body: bytes) -> None:
        kept = {
            name: value[:HEADER_BYTES_MAX] if _is_ours(name) else NOT_KEPT
            for name, value in list(headers.items())[:HEADERS_MAX]
        }
        about = {
            "id": kept.get("webhook-id", f"unnamed-{secrets.token_hex(4)}"),
            "received_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "headers": kept,
        }
        text = json.dumps(about).encode()[:-1] + b',"body":' + _as_json(body) + b"}"
        with _writing():
            self._files.add(text)

    def _listing(self) -> bytes:
        webhooks = b",".join(self._files.newest_first())
        return b'{"mode":"%s","webhooks":[%s]}' % (self.mode.encode(), webhooks)

    def _empty(self) -> bytes:
        with _writing():
            return json.dumps({"removed": self._files.clear()}).encode()

    def _set_mode(self, headers: Mapping[str, str], body: bytes) -> bytes:
        # A form on another site can post text/plain without asking first, but not this type.
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "Unsupported media type", "send the mode as application/json")
        mode = _mode_from(body)
        with _writing():
            self._files.set_mode(mode)
        return json.dumps({"mode": mode}).encode()


@contextmanager
def _writing() -> Iterator[None]:
    """What cannot be kept is refused, so that the webhook is sent again."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Refusal(
            507, "Not kept", f"the inbox cannot write into AQ_DATA_DIR: {reason}"
        ) from error


# Who may ask


def _require_own_page(headers: Mapping[str, str]) -> None:
    host = headers.get("host", "")
    if not _is_loopback(host):
        raise Refusal(403, "Forbidden", "the inbox answers on localhost only")
    origin = headers.get("origin")
    if origin is not None and _netloc(origin) != host.lower():
        raise Refusal(403, "Forbidden", "the inbox answers its own page only")


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


# In


def _headers(scope: Scope) -> dict[str, str]:
    return {
        bytes(name).decode("latin-1").lower(): bytes(value).decode("latin-1")
        for name, value in scope["headers"]
    }


def _is_ours(name: str) -> bool:
    """Whether the service itself sends this header with each webhook."""
    return name in OWN_HEADERS or name.startswith(OWN_PREFIXES)


def _path(scope: Scope) -> str:
    path = cast("str", scope["path"]).removeprefix(scope.get("root_path") or "")
    return path.rstrip("/")


async def _read(receive: Receive, bytes_max: int) -> bytes:
    body = bytearray()
    with trio.move_on_after(BODY_TIMEOUT_S):
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise Disconnected
            body += event.get("body", b"")
            if len(body) > bytes_max:
                raise Refusal(413, "Too large", f"the inbox takes at most {bytes_max} bytes here")
            if not event.get("more_body", False):
                return bytes(body)
    raise Refusal(408, "Too slow", f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s")


def _as_json(body: bytes) -> bytes:
    """`body` itself if it is JSON, digit for digit; else its text as a JSON string."""
    text = body.decode("utf-8", "replace")
    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return json.dumps(text).encode()
    return text.encode()


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _mode_from(body: bytes) -> Mode:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    mode = value.get("mode") if isinstance(value, dict) else None
    if mode not in get_args(Mode):
        raise Refusal(422, "Unknown mode", "mode is one of ok, fail, slow")
    return cast("Mode", mode)


# Out


def _not_allowed(method: str, allow: str) -> Refusal:
    return Refusal(405, "Method not allowed", f"{method} is not for this path", allow)


async def _send_problem(send: Send, refusal: Refusal) -> None:
    problem = {"title": refusal.title, "status": refusal.status, "detail": refusal.detail}
    headers = [] if refusal.allow is None else [(b"allow", refusal.allow.encode())]
    body = json.dumps(problem).encode()
    await _send(send, refusal.status, b"application/problem+json", body, headers)


async def _send(
    send: Send,
    status: int,
    content_type: bytes,
    body: bytes,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> None:
    start_headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *(headers or []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": start_headers})
    await send({"type": "http.response.body", "body": body})
