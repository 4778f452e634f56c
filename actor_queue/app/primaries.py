"""Clients of redis-py for the servers that a REDIS_URL leads to: one, or a cluster's primaries,
or the one that sentinels call primary.

Owns: asking a seed. Must not: be used for messages, which have a road of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from actor_queue.core.url import split
from actor_queue.transport.address import SENTINEL, Place, nodes, scheme_of

TIMEOUT_S = 5.0


def primaries(url: str) -> list[Place]:
    """Of a `redis+cluster://` or `redis+sentinel://` URL; the first seed that answers is believed.

    Empty when no sentinel knows the name. Raises `StoreMisconfigured`, `redis.RedisError`.
    """
    where = nodes(url)
    trouble: Exception = redis.ConnectionError("no seed was given")
    for seed in where.seeds:
        try:
            if scheme_of(url) != SENTINEL:
                return _of_cluster(url, seed)
            if (place := _of_sentinel(url, seed, where.name)) is not None:
                return [place]
        except (redis.RedisError, OSError) as error:
            trouble = error
        else:
            trouble = LookupError(where.name)
    if isinstance(trouble, LookupError):
        return []
    raise trouble


@contextmanager
def one_server(url: str) -> Iterator[redis.Redis]:
    """Of a URL that names a single server."""
    client: redis.Redis = redis.Redis.from_url(url, **_manners())
    with client:
        yield client


@contextmanager
def server_at(url: str, place: Place, *, sentinel: bool = False) -> Iterator[redis.Redis]:
    """With the user, the password and the TLS options of a URL that names several."""
    parts = split(url)
    query = dict(parse_qsl(parts.query))
    options: dict[str, Any] = {"username": parts.user, "password": parts.password}
    if sentinel:
        options = {part: query.get(f"sentinel_{part}") for part in ("username", "password")}
    if query.get("tls") == "true":
        options |= {name: value for name, value in query.items() if name.startswith("ssl_")}
        options["ssl"] = True
        options["ssl_check_hostname"] = query.get("ssl_check_hostname", "true") == "true"
    options = {name: value for name, value in options.items() if value not in ("", None)}
    client = redis.Redis(host=place.host, port=place.port, **options, **_manners())
    with client:
        yield client


def _of_cluster(url: str, seed: Place) -> list[Place]:
    with server_at(url, seed) as client:
        ranges: Any = _raw(client, "CLUSTER", "SLOTS")
    # Each: first slot, last slot, the primary, its replicas.
    found = {(primary[0], primary[1]) for _, _, primary, *_ in ranges}
    return sorted(Place(host or seed.host, int(port)) for host, port in found)


def _of_sentinel(url: str, seed: Place, name: str) -> Place | None:
    with server_at(url, seed, sentinel=True) as client:
        answer: Any = _raw(client, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
    return None if answer is None else Place(answer[0], int(answer[1]))


def _raw(client: redis.Redis, *words: str) -> Any:
    """In words of their own, for which redis-py of any version has no callback."""
    return client.execute_command(*words)  # type: ignore[no-untyped-call]


def _manners() -> dict[str, Any]:
    return {
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": True,
    }
