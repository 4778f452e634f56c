"""API keys as AQ_API_KEYS has them: `scope[@route]:key[:name]`, with commas between.

A name says in a record who did something, without telling the key. It stands behind the last colon,
because `scope:key` came first and a key may contain colons: where one does, a name must follow.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from actor_queue.core.conversation import is_route_name
from actor_queue.core.url import Unusable

API_KEYS_MAX: Final = 1_000
KEY_CHARS_MIN: Final = 2
"""A single character is no key: 94 requests have tried them all."""
KEY_CHARS_MAX: Final = 256
NAME_CHARS_MAX: Final = 40
SCOPES: Final = ("ingest", "read", "admin")
NAME_DIGITS: Final = 6
"""Hexadecimal digits of the hash that stands in a missing name's place. 24 bits tell a handful of
keys apart, and are too few to prove a guess at a key right."""

# What can stand in `Authorization: Bearer …` unquoted; the comma is taken by the list.
_KEY = re.compile(rf"[!-+\--~]{{{KEY_CHARS_MIN},{KEY_CHARS_MAX}}}", re.ASCII)
_NAME = re.compile(rf"[A-Za-z0-9_.-]{{1,{NAME_CHARS_MAX}}}", re.ASCII)

ALLOWED: Final = (
    "scope is ingest, read or admin, @route binds the key to one route, key is"
    f" {KEY_CHARS_MIN} to {KEY_CHARS_MAX} visible ASCII characters without comma, and name is 1 to"
    f" {NAME_CHARS_MAX} letters, digits, dots, dashes or underscores"
)


class ApiKey(NamedTuple):
    """One key, and what it may do. The `repr` does not show the key."""

    scope: str
    key: str
    name: str = ""
    """As it was given, else `key-` and a short hash of the key; several keys may share one. In
    `Settings` it is never empty."""
    route: str | None = None
    """The route whose conversations it may reach; None = all."""

    def reaches(self, route: str | None) -> bool:
        """Whether it may reach the conversations of this route; None = of all routes together."""
        return self.route is None or self.route == route

    def __repr__(self) -> str:
        return f"ApiKey(scope={self.scope!r}, name={self.name!r}, route={self.route!r})"


def read(text: str) -> tuple[ApiKey, ...]:
    """Each key once. Raises `ValueError`, whose text never quotes a key. A key that has one scope
    on two routes, or on one and on all, is refused: only one of the two would count."""
    found = [_read_one(item.strip()) for item in text.split(",")]
    if len(found) > API_KEYS_MAX:
        raise ValueError("too many keys")
    route_of: dict[tuple[str, str], str | None] = {}
    for each in found:
        if route_of.setdefault((each.scope, each.key), each.route) != each.route:
            raise Unusable(
                f"one key has the scope {each.scope} twice, with different routes: give each route"
                " a key of its own, or leave out @ for all routes"
            )
    return tuple(dict.fromkeys(found))


def _read_one(item: str) -> ApiKey:
    head, _, rest = item.partition(":")
    scope, at, route = head.partition("@")
    if scope not in SCOPES:
        raise ValueError("not a scope")
    if at and not is_route_name(route):
        raise Unusable("after the @ stands no name of a route: letters, digits, _, . and -")
    key, colon, name = rest.rpartition(":") if ":" in rest else (rest, "", "")
    if _KEY.fullmatch(key) is None:
        raise ValueError("not a key")
    if colon and _NAME.fullmatch(name) is None:
        raise ValueError("not a name")
    return ApiKey(scope, key, name or default_name(key), route if at else None)


def write(value: object) -> str:
    """The text of a key in Python: an `ApiKey`, or a tuple of its first two, three or four values.

    The name is always written, so that a key with colons stays what it is. Raises `TypeError`.
    """
    if not isinstance(value, tuple | list) or not 2 <= len(value) <= 4:
        raise TypeError("not a key with its scope")
    entry = ApiKey(*value)
    if any(type(each) is not str for each in (*entry[:3], entry.route or "")):
        raise TypeError("not a text")
    at = "" if entry.route is None else f"@{entry.route}"
    return f"{entry.scope}{at}:{entry.key}:{entry.name or default_name(entry.key)}"


def default_name(key: str) -> str:
    digest = hashlib.sha256(
        b"actor-queue, the name of a key\0" + key.encode("utf-8", "surrogatepass")
    )
    return f"key-{digest.hexdigest()[:NAME_DIGITS]}"
