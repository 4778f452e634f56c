"""What a REDIS_URL says, and the connection objects that follow from it.

One server: `redis://`, `rediss://`, `unix://`, as coredis reads them. Many:

    redis+cluster://[user:password@]host:port,host:port…[/0][?options]
    redis+sentinel://[user:password@]host:port,host:port…/name[/db][?options]

with the options `tls=true`, `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs=none`,
`ssl_check_hostname=false`, and for sentinels that want a password of their own
`sentinel_username` and `sentinel_password`. TLS is spoken with all of them or with none.

Must not: connect. A connection object does nothing before it is run.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qsl, unquote

from coredis.connection import TCPLocation, UnixDomainSocketLocation
from coredis.pool import ConnectionPool

from actor_queue.core.url import Host, Unusable, split
from actor_queue.transport.bounded import (
    BoundedConnection,
    BoundedTCPConnection,
    BoundedUnixConnection,
)
from actor_queue.transport.errors import StoreMisconfigured
from actor_queue.transport.pipe import Connect

CONNECT_TIMEOUT_S = 1.5

CLUSTER = "redis+cluster"
SENTINEL = "redis+sentinel"
_PORTS = {CLUSTER: 6379, SENTINEL: 26379}

_TLS_OPTIONS = (
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_cert_reqs",
    "ssl_check_hostname",
)
_OPTIONS = ("tls", *_TLS_OPTIONS, "sentinel_username", "sentinel_password")


class Place(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Nodes:
    """Several servers that are one store. `name` is what sentinels call the primary."""

    seeds: tuple[Place, ...]
    name: str
    _options: Mapping[str, Any] = field(repr=False)
    _sentinel_options: Mapping[str, Any] = field(repr=False)

    def server(self, place: Place) -> BoundedConnection:
        return BoundedTCPConnection(TCPLocation(*place), **self._options)

    def sentinel(self, place: Place) -> BoundedConnection:
        return BoundedTCPConnection(TCPLocation(*place), **self._sentinel_options)


def scheme_of(url: str) -> str:
    return url.partition("://")[0].lower()


def connector(url: str) -> Connect:
    """To one server. Raises `StoreMisconfigured`."""
    try:
        pool = ConnectionPool.from_url(url, decode_components=True)
        if scheme_of(url) == "rediss":
            query = dict(parse_qsl(split(url).query))
            pool.connection_kwargs["ssl_context"] = _tls_context(query)
    except (ValueError, TypeError) as error:
        raise StoreMisconfigured("REDIS_URL cannot be understood") from error
    except OSError as error:
        raise _unreadable_file(error) from error
    location = pool.location
    if location is None:
        raise StoreMisconfigured("REDIS_URL names no host")
    options: dict[str, Any] = {**pool.connection_kwargs, "connect_timeout": CONNECT_TIMEOUT_S}
    options.pop("processing_budget", None)

    async def connect() -> BoundedConnection:
        if isinstance(location, UnixDomainSocketLocation):
            return BoundedUnixConnection(location, **options)
        return BoundedTCPConnection(cast(TCPLocation, location), **options)

    return connect


def nodes(url: str) -> Nodes:
    """Of a cluster or behind sentinels. Raises `StoreMisconfigured`."""
    scheme = scheme_of(url)
    try:
        parts = split(url)
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        seeds = tuple(_place(host, _PORTS[scheme]) for host in parts.hosts())
        name, _, db = parts.path.strip("/").partition("/")
        if scheme == CLUSTER:
            name, db = "", name
        options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S, "db": int(db or 0)}
    except Unusable as error:
        raise StoreMisconfigured(f"REDIS_URL cannot be understood: {error}") from error
    except ValueError as error:
        raise StoreMisconfigured("REDIS_URL cannot be understood") from error
    _check(query, scheme, name, options["db"])
    if query.get("tls") == "true":
        try:
            options["ssl_context"] = _tls_context(query)
        except OSError as error:
            raise _unreadable_file(error) from error
    own = {
        "db": 0,
        "username": query.get("sentinel_username"),
        "password": query.get("sentinel_password"),
    }
    server_options = {**options, "username": parts.user or None, "password": parts.password or None}
    return Nodes(seeds, unquote(name), server_options, {**options, **own})


def _check(query: Mapping[str, str], scheme: str, name: str, db: int) -> None:
    if unknown := query.keys() - set(_OPTIONS):
        raise StoreMisconfigured(
            f"REDIS_URL has {len(unknown)} option(s) after ? that {scheme}:// does not know:"
            f" allowed are {', '.join(_OPTIONS)}"
        )
    if query.get("tls", "false") not in ("true", "false"):
        raise StoreMisconfigured("the option tls in REDIS_URL must be true or false")
    if query.get("tls") != "true" and not query.keys().isdisjoint(_TLS_OPTIONS):
        raise StoreMisconfigured("REDIS_URL has options for TLS: add tls=true, or remove them")
    if scheme == SENTINEL and not name:
        raise StoreMisconfigured(
            "REDIS_URL names sentinels and no primary: write redis+sentinel://host:port,…/name"
        )
    if scheme == CLUSTER and db:
        raise StoreMisconfigured("a Redis Cluster has only database 0: write /0 or nothing")


def _place(host: Host, port: int) -> Place:
    return Place(host.name, host.port or port)


def _tls_context(options: Mapping[str, str]) -> ssl.SSLContext:
    """coredis would neither insist on a certificate nor look at the name in it."""
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    if options.get("ssl_check_hostname", "").lower() in ("false", "no", "0"):
        context.check_hostname = False
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _unreadable_file(error: OSError) -> StoreMisconfigured:
    reason = error.strerror or "not a PEM file"
    return StoreMisconfigured(f"a file that REDIS_URL names for TLS cannot be used: {reason}")
