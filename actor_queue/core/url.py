"""Addresses of Redis and of receivers, read the same way on every Python.

`urllib.parse.urlsplit` knows one host. Its later releases check what stands in brackets, so
`redis+cluster://a:1,[::1]:2` raises a bare `ValueError` on one Python 3.11 and none on another.
What is read here may have several hosts with commas between, and is refused in words that quote
nothing of it, because any part may be a password.

    scheme://[user:password@]host[:port][,host[:port]…][/path][?query][#fragment]
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import unquote

MANY_NODE_SCHEMES = ("redis+cluster", "redis+sentinel")

WEBHOOK_URL_CHARS_MAX = 8_192

HOST_PATTERN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]+\])"
"""A name, an IPv4 address, or an IPv6 address in brackets."""

_ENCODE = "with %23 for #, %2F for /, %3F for ? and %40 for @"


class Unusable(ValueError):
    """Why a text cannot be used, in words that quote nothing of it."""


class Host(NamedTuple):
    """One of the hosts of an address. `name` has no brackets; `port` is None if none is given."""

    name: str
    port: int | None


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of an address, as they are written but for the scheme, which is in lower case."""

    scheme: str
    userinfo: str
    """What stands before the @; empty if nothing does."""
    netloc: str
    """What stands after it: the hosts."""
    path: str
    query: str
    fragment: str

    @property
    def user(self) -> str:
        """Decoded; empty if none is given."""
        return unquote(self.userinfo.partition(":")[0])

    @property
    def password(self) -> str:
        """Decoded; empty if none is given."""
        return unquote(self.userinfo.partition(":")[2])

    def hosts(self) -> tuple[Host, ...]:
        """One or more. Raises `Unusable`."""
        return tuple(_host(each) for each in self.netloc.split(","))

    def host(self) -> Host:
        """The only one. Raises `Unusable`."""
        if "," in self.netloc:
            raise Unusable("it names several hosts, and its scheme can have only one")
        return _host(self.netloc)


def split(text: str) -> Url:
    """The parts of `text`. Raises `Unusable`."""
    if not text.isascii():
        raise Unusable(
            "it has a character that is not ASCII, which may be invisible: in a password or a path"
            " write it percent-encoded, a host name in its xn-- form"
        )
    if re.search(r"[^!-~]", text):
        raise Unusable("it has a space, a line break or a control character in it")
    scheme, given, rest = text.partition("://")
    if not given:
        raise Unusable("it has no scheme")
    rest, _, fragment = rest.partition("#")
    rest, _, query = rest.partition("?")
    netloc, slash, path = rest.partition("/")
    userinfo, _, hosts = netloc.rpartition("@")
    return Url(scheme.lower(), userinfo, hosts, slash + path, query, fragment)


def _host(text: str) -> Host:
    if not text:
        raise Unusable("it names no host, or an empty one among several")
    if "[" not in text and text.count(":") > 1:
        raise Unusable("an IPv6 address needs brackets around it, as in [::1]:6379")
    match = re.fullmatch(rf"({HOST_PATTERN})(?::(\d{{1,5}}))?", text, re.ASCII)
    if match is None:
        raise Unusable(
            "what stands where the host belongs is no host name or address, or its port is no"
            f" number; in a password write special characters percent-encoded, {_ENCODE}"
        )
    name, port = match[1].strip("[]"), match[2]
    if match[1] != name:
        try:
            ipaddress.IPv6Address(name)
        except ValueError:
            raise Unusable("what stands in brackets is no IPv6 address") from None
    if port is not None and not 1 <= int(port) <= 65_535:
        raise Unusable("a port must be from 1 to 65535")
    return Host(name, None if port is None else int(port))


# What REDIS_URL and WEBHOOK_URL may be


def read_redis_url(text: str) -> str:
    """`text` with its scheme in lower case. Raises `Unusable`."""
    parts = _split(text, "redis://")
    read = _REDIS_SCHEMES.get(parts.scheme)
    if read is None:
        raise Unusable(_WRONG_SCHEMES.get(parts.scheme, "its scheme is none of those"))
    if parts.fragment or text.endswith("#"):
        raise Unusable(f"it has a # in it: in a password write it percent-encoded, {_ENCODE}")
    if "@" in parts.path and parts.scheme != "unix":
        raise Unusable(f"its password has a / in it: write it percent-encoded, {_ENCODE}")
    if not {"[", "]"}.isdisjoint(parts.userinfo):
        # Not every reader of addresses takes it.
        raise Unusable("its password has a bracket in it: write %5B for [ and %5D for ]")
    read(parts)
    return _in_lower_case(text, parts)


def shown_receiver(url: str) -> str:
    """`https://n8n.example/#5e884898`: where it is, and a hash of the path and the query.

    A path is often a secret: who knows it can post. The hash only tells two of them apart.
    """
    try:
        parts = split(url)
        parts.hosts()
    except ValueError:
        return "(unreadable address)"
    rest = f"{parts.path}?{parts.query}" if parts.query else parts.path
    if rest in ("", "/"):
        return f"{parts.scheme}://{parts.netloc}/"
    digest = blake2b(rest.encode(), digest_size=4).hexdigest()
    return f"{parts.scheme}://{parts.netloc}/#{digest}"


def read_webhook_url(text: str) -> str:
    """`text` with its scheme in lower case. Raises `Unusable`."""
    parts = _split(text, "https://")
    if parts.scheme not in ("http", "https"):
        raise Unusable("its scheme is neither http nor https")
    name = parts.host().name
    if re.fullmatch(r"\d+(?:\.\d+){3}", name, re.ASCII) and not _is_ipv4(name):
        raise Unusable("its host is four numbers, and no IPv4 address")
    if len(text) > WEBHOOK_URL_CHARS_MAX:
        raise Unusable(f"it has more than {WEBHOOK_URL_CHARS_MAX} letters")
    return _in_lower_case(text, parts)


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _in_lower_case(text: str, parts: Url) -> str:
    return parts.scheme + text[len(parts.scheme) :]


def _split(text: str, scheme: str) -> Url:
    try:
        return split(text)
    except Unusable as error:
        if "://" in text:
            raise
        raise Unusable(f"{error}: write {scheme} in front of it") from None


def _one_server(parts: Url) -> None:
    parts.host()
    if not re.fullmatch(r"/?|/\d{1,5}", parts.path):
        raise Unusable("what follows the host must be / and the number of a database, or nothing")


def _unix(parts: Url) -> None:
    if parts.netloc or not re.fullmatch(r"/.*[^/]", parts.path):
        raise Unusable(
            "it needs the path of a socket with three slashes, as unix:///run/redis.sock"
        )


def _cluster(parts: Url) -> None:
    parts.hosts()
    if parts.path not in ("", "/", "/0"):
        raise Unusable("a Redis Cluster has only database 0: write /0 or nothing after the hosts")


def _sentinel(parts: Url) -> None:
    parts.hosts()
    if not re.fullmatch(r"/[^/]+(?:/\d{1,5})?", parts.path):
        raise Unusable(
            "after the hosts it needs / and what the sentinels call the primary, and may have / and"
            " the number of a database"
        )


_REDIS_SCHEMES: dict[str, Callable[[Url], None]] = {
    "redis": _one_server,
    "rediss": _one_server,
    "unix": _unix,
    "redis+cluster": _cluster,
    "redis+sentinel": _sentinel,
}
_WRONG_SCHEMES = {
    "http": "http:// is not how Redis is spoken to: write redis://",
    "https": "https:// is not how Redis is spoken to: write rediss://, which is Redis with TLS",
    "tcp": "write redis:// instead of tcp://",
    "valkey": "write redis:// instead of valkey://",
    "valkeys": "write rediss:// instead of valkeys://",
    "redis+tls": "write rediss:// instead of redis+tls://",
    "rediss+cluster": "write redis+cluster://…?tls=true instead of rediss+cluster://",
    "rediss+sentinel": "write redis+sentinel://…?tls=true instead of rediss+sentinel://",
    "redis+unix": "write unix:// instead of redis+unix://",
    "redis+socket": "write unix:// instead of redis+socket://",
}
