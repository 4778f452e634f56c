"""Which web pages may reach the service: what `Host` and `Origin` decide, and CORS.

Pure functions of a request's method and headers; the application asks before anything else.

- Without keys and bound to loopback, everything on this machine may call. So could a page on the
  internet, from the browser of somebody who works on this machine: by a name of its own that
  resolves to 127.0.0.1 (DNS rebinding), or by a request that needs no permission from us. The
  first names its `Host`, the second its `Origin`, and both get 403, on every path: the health
  checks would tell the page what runs here. A request without `Host` (HTTP/1.0) comes from no
  browser.
- `AQ_CORS_ORIGINS` lists the pages that may use the ingest endpoints; `*` means any page, also
  where there are no keys. Nothing else of the API ever gives a page permission.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from hypercorn.typing import ASGISendCallable, ASGISendEvent

from actor_queue.core.settings import Settings
from actor_queue.http.problem import Problem

Header = tuple[bytes, bytes]

PREFLIGHT_MAX_AGE_S: Final = 600
ALLOWED_METHODS: Final = b"POST"
ALLOWED_HEADERS: Final = b"authorization, content-type, content-encoding, idempotency-key"
EXPOSED_HEADERS: Final = b"retry-after, www-authenticate, accept-encoding"
HOSTS_REMEMBERED: Final = 256

_HOST = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]+)(?::[0-9]{0,5})?")

_FOREIGN_HOST: Final = Problem(
    403,
    "without AQ_API_KEYS this service answers to localhost, to an IP address and to the host of"
    " AQ_PUBLIC_URL only; set one of the two",
    title="Foreign host",
)
_FOREIGN_ORIGIN: Final = Problem(
    403,
    "without AQ_API_KEYS a page of another site may not call this service;"
    " AQ_CORS_ORIGINS lists the pages that may send messages",
    title="Foreign origin",
)
_NOT_LISTED: Final = Problem(403, "AQ_CORS_ORIGINS does not list this page's origin")


class Verdict(NamedTuple):
    """What `Origin` and `Host` mean for one request."""

    refusal: Problem | None = None
    preflight: bool = False
    """To be answered 204 with `headers`, and by nobody else."""
    headers: tuple[Header, ...] = ()
    """For every answer to this request, also a refusal."""


_PASS: Final = Verdict()


class OwnPages:
    """Which pages are this service's own, and what a browser says of them."""

    def __init__(self, public_url: str | None) -> None:
        public = urlsplit((public_url or "").lower())
        self.public_host = public.hostname
        self._public_origin = f"{public.scheme}://{public.netloc}".encode()

    def sent(self, headers: Iterable[Header]) -> bool:
        """Whether a browser says that a page of ours sent this request.

        A page can write neither header. Browsers send `Origin` with every request that may change
        something, and `Sec-Fetch-Site` (W3C Fetch Metadata) where a connection can be trusted. The
        second still says `same-origin` where a proxy gave the request another `Host`.
        """
        fields = dict(headers)
        origin, site = fields.get(b"origin"), fields.get(b"sec-fetch-site")
        if site is not None:
            return site == b"same-origin"
        return origin is not None and self.is_own(origin, fields.get(b"host"))

    def is_own(self, origin: bytes, host: bytes | None) -> bool:
        """Whether the page is one of ours, as far as the scheme: a proxy may have ended TLS."""
        sent = origin.lower()
        if self.public_host is not None and sent == self._public_origin:
            return True
        scheme, separator, netloc = sent.partition(b"://")
        own = scheme in (b"http", b"https") and separator and host is not None
        return bool(own) and netloc == (host or b"").strip().lower()

    def by_tls(self, headers: Iterable[Header]) -> bool:
        """Whether the browser came by https, so that a cookie may be kept to it.

        Only a proxy can have ended TLS, so only headers can tell. They are believed, because a
        client that lies makes no more than its own cookie stricter.
        """
        fields = dict(headers)
        forwarded = fields.get(b"x-forwarded-proto", b"").partition(b",")[0].strip().lower()
        return forwarded == b"https" or fields.get(b"origin", b"").lower().startswith(b"https://")


class Origins:
    """The rules of one service."""

    def __init__(self, settings: Settings) -> None:
        self._guarded = settings.loopback_only and not settings.api_keys
        self.pages = OwnPages(settings.public_url)
        self._listed = frozenset(origin.encode() for origin in settings.cors_origins)
        self._any = b"*" in self._listed
        self._own_hosts: set[bytes] = set()
        """`Host` headers that were judged to be ours."""
        self._active = self._guarded or bool(self._listed)

    def concern(self, headers: Iterable[Header]) -> bool:
        """Whether there is anything to judge. Nearly never, and so this has to be quick."""
        if not self._active:
            return False
        for name, value in headers:
            if name == b"host":
                if value not in self._own_hosts:
                    return True
            elif name == b"origin":
                return True
        return bool(self._listed)

    def judge(self, method: str, headers: Iterable[Header], *, ingest: bool) -> Verdict:
        """`ingest`: whether the path is one of those that a listed page may call."""
        fields = dict(headers)
        origin = fields.get(b"origin")
        shared = ingest and bool(self._listed)
        granted = shared and origin is not None and (self._any or origin in self._listed)
        answer_headers = self._headers(origin if granted else None) if shared else ()
        if self._guarded:
            host = fields.get(b"host")
            if not self._is_own_host(host):
                return Verdict(_FOREIGN_HOST)
            if origin is not None and not granted and not self.pages.is_own(origin, host):
                return Verdict(_FOREIGN_ORIGIN, headers=answer_headers)
        if not shared:
            return _PASS
        if method == "OPTIONS" and origin is not None and _ASKED_METHOD in fields:
            if not granted:
                return Verdict(_NOT_LISTED, headers=answer_headers)
            return Verdict(None, True, (*answer_headers, *_permission(fields)))
        return Verdict(headers=answer_headers)

    def _headers(self, granted: bytes | None) -> tuple[Header, ...]:
        if self._any:
            return ((b"access-control-allow-origin", b"*"), _EXPOSED) if granted else ()
        if granted is None:
            return (_VARY,)
        return ((b"access-control-allow-origin", granted), _EXPOSED, _VARY)

    def _is_own_host(self, host: bytes | None) -> bool:
        if host is None or host in self._own_hosts:
            return True
        name = host_name(host)
        own = name is not None and (is_local_name(name) or name == self.pages.public_host)
        if own and len(self._own_hosts) < HOSTS_REMEMBERED:
            self._own_hosts.add(host)
        return own


_ASKED_METHOD: Final = b"access-control-request-method"
_ASKED_NETWORK: Final = b"access-control-request-private-network"
_EXPOSED: Final = (b"access-control-expose-headers", EXPOSED_HEADERS)
_VARY: Final = (b"vary", b"origin")


def _permission(fields: dict[bytes, bytes]) -> list[Header]:
    headers = [
        (b"access-control-allow-methods", ALLOWED_METHODS),
        (b"access-control-allow-headers", ALLOWED_HEADERS),
        (b"access-control-max-age", str(PREFLIGHT_MAX_AGE_S).encode()),
    ]
    if fields.get(_ASKED_NETWORK) == b"true":
        # A page of the internet asks whether it may reach into this network at all.
        headers.append((b"access-control-allow-private-network", b"true"))
    return headers


def host_name(host: bytes) -> str | None:
    """The name or address in a `Host` header, without port and brackets; None if it has none."""
    parts = _HOST.fullmatch(host.decode("latin-1").strip().lower())
    return None if parts is None else parts[1].removeprefix("[").removesuffix("]")


def is_local_name(name: str) -> bool:
    """localhost, a name under it (RFC 6761, section 6.3), or an IP address: none can be rebound."""
    name = name.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def with_headers(send: ASGISendCallable, headers: tuple[Header, ...]) -> ASGISendCallable:
    """`send`, with `headers` on the answer's start."""

    async def send_with(event: ASGISendEvent) -> None:
        if event["type"] == "http.response.start":
            event = {**event, "headers": [*event["headers"], *headers]}
        await send(event)

    return send_with
