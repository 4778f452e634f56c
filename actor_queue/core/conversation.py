"""What a conversation is called: the user of a route, as one text.

Timers, scripts, leases and lists know a conversation by this text alone, so that nothing on the
message's way has to carry two. A conversation of the default route is called as its user, as every
release has called it. One of another route is called `mark route mark user`, and the mark is no
character that a user can hold: half of a surrogate pair, in Redis the byte 0xFF, which occurs in no
UTF-8. So no user spells another route's conversation, whatever is in the name, and a release that
knows no routes sets the entry aside instead of sending it to the wrong receiver.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from actor_queue.core.message import USER_BYTES_MAX

DEFAULT_ROUTE: Final = "default"
ROUTE_CHARACTERS_MAX: Final = 64
KEY_BYTES_MAX: Final = USER_BYTES_MAX + ROUTE_CHARACTERS_MAX + 2
"""Of a conversation's key in Redis."""

_MARK: Final = "\udcff"
_MARK_BYTE: Final = b"\xff"
_ROUTE = re.compile(rf"[A-Za-z0-9_.-]{{1,{ROUTE_CHARACTERS_MAX}}}", re.ASCII)


class Conversation(NamedTuple):
    """Who talks, and to which receiver."""

    route: str
    user: str

    @property
    def key(self) -> str:
        """The one text that stands for both."""
        if self.route == DEFAULT_ROUTE:
            return self.user
        return f"{_MARK}{self.route}{_MARK}{self.user}"


def conversation_of(key: str) -> Conversation:
    """What `Conversation.key` stands for."""
    if not key.startswith(_MARK):
        return Conversation(DEFAULT_ROUTE, key)
    route, _, user = key[1:].partition(_MARK)
    return Conversation(route, user)


def route_of(key: str) -> str:
    """The route of a key, without making the rest of the conversation."""
    return DEFAULT_ROUTE if not key.startswith(_MARK) else key[1:].partition(_MARK)[0]


def is_route_name(text: str) -> bool:
    """Whether a route can be called so: 1 to 64 letters, digits, `_`, `.` and `-` of ASCII."""
    return _ROUTE.fullmatch(text) is not None


def key_to_bytes(key: str) -> bytes:
    """A conversation's key as it stands in Redis."""
    return key.encode("utf-8", "surrogateescape")


def key_from_bytes(data: bytes) -> str:
    """The other way. Raises ValueError for bytes that are no conversation's key."""
    if not data.startswith(_MARK_BYTE):
        return data.decode()
    route, mark, user = data[1:].partition(_MARK_BYTE)
    named = route.decode("ascii")
    if not mark or not is_route_name(named) or named == DEFAULT_ROUTE:
        raise ValueError("no key of a conversation")
    return Conversation(named, user.decode()).key
