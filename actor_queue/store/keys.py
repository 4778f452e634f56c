"""The only module that knows how a key is spelled.

Every key of a shard begins with the same hash tag, `{namespace:shard}`. Redis takes the tag
from the first braces of a key, so nothing that follows, whatever a user's name holds, can
move a key to another slot. Where two free texts follow each other, the first one's length
stands before them, so that no two pairs spell the same key.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple


class UserKeys(NamedTuple):
    """The keys of one user. `user` is the text as UTF-8, as it stands in the sorted sets."""

    shard: int
    user: bytes
    state: bytes
    pending: bytes
    line: bytes
    flight: bytes
    history: bytes


@dataclass(frozen=True, slots=True)
class ShardKeys:
    """The keys of one shard."""

    shard: int
    tag: bytes
    lease: bytes
    due: bytes
    dead: bytes
    aside: bytes
    """Where what stood at the lease's key and was no lease is kept for whoever looks."""

    def of(self, user: str) -> UserKeys:
        name, tag = user.encode(), self.tag
        return UserKeys(
            self.shard,
            name,
            tag + b":u:" + name,
            tag + b":p:" + name,
            tag + b":s:" + name,
            tag + b":f:" + name,
            tag + b":h:" + name,
        )

    def named(self, user: bytes, message_id: str) -> bytes:
        """Remembers that this user sent this message id."""
        return b"%b:id:%d:%b:%b" % (self.tag, len(user), user, message_id.encode())

    def letter(self, batch_id: str) -> tuple[bytes, bytes]:
        """A dead letter's facts and its messages."""
        name = batch_id.encode()
        return self.tag + b":d:" + name, self.tag + b":di:" + name


class Keys:
    """All keys of one namespace."""

    def __init__(self, namespace: str, shards: int) -> None:
        self.namespace = namespace
        self.members = f"{namespace}:members".encode()
        self.meta = f"{namespace}:meta".encode()
        self.replay = f"{namespace}:replay".encode()
        self.channel = f"{namespace}:nudge:".encode()
        """With a replica's id after it: where that replica listens."""
        self.everyone = self.channel + b"*"
        """Where every replica listens besides. No replica is called so."""
        self.events = self.channel + b"*events"
        self.shards = tuple(_shard_keys(namespace, shard) for shard in range(shards))


@lru_cache(maxsize=65_536)
def _shard_keys(namespace: str, shard: int) -> ShardKeys:
    tag = f"{{{namespace}:{shard}}}".encode()
    return ShardKeys(shard, tag, tag + b":lease", tag + b":due", tag + b":dead", tag + b":aside")
