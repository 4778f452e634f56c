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

from actor_queue.core.conversation import key_to_bytes


class UserKeys(NamedTuple):
    """The keys of one user, which is to say of one conversation. `user` is its key as it stands in
    the sorted sets."""

    shard: int
    user: bytes
    state: bytes
    pending: bytes
    line: bytes
    flight: bytes
    history: bytes
    deeds: bytes
    """What was done to the user by hand, and by whom."""


@dataclass(frozen=True, slots=True)
class ShardKeys:
    """The keys of one shard."""

    shard: int
    tag: bytes
    lease: bytes
    due: bytes
    dead: bytes
    erasing: bytes
    """Users who are erased as soon as an attempt has ended."""
    aside: bytes
    """Where what stood at the lease's key and was no lease is kept for whoever looks."""

    def of(self, user: str) -> UserKeys:
        name, tag = key_to_bytes(user), self.tag
        return UserKeys(
            self.shard,
            name,
            tag + b":u:" + name,
            tag + b":p:" + name,
            tag + b":s:" + name,
            tag + b":f:" + name,
            tag + b":h:" + name,
            tag + b":by:" + name,
        )

    def state_of(self, user: str) -> bytes:
        """`of(user).state` alone, where many are looked at."""
        return self.tag + b":u:" + key_to_bytes(user)

    def named(self, user: bytes, message_id: str) -> bytes:
        """Remembers that this user sent this message id."""
        return b"%b:id:%d:%b:%b" % (self.tag, len(user), user, message_id.encode())

    def leads_to(self, user: bytes) -> bytes:
        """Where this conversation's messages go if it is only another name of another one."""
        return self.tag + b":to:" + user

    def aliases_of(self, user: bytes) -> bytes:
        """The conversations that are other names of this one."""
        return self.tag + b":of:" + user

    def own(self, user: bytes) -> bytes:
        """Which messages the account sent to this user."""
        return self.tag + b":own:" + user

    def letter(self, batch_id: str) -> tuple[bytes, bytes]:
        """A dead letter's facts and its messages."""
        name = batch_id.encode()
        return self.tag + b":d:" + name, self.tag + b":di:" + name


class Keys:
    """All keys of one namespace."""

    def __init__(self, namespace: str, shards: int) -> None:
        self.namespace = namespace
        self.members = f"{namespace}:members".encode()
        self.modes = f"{{{namespace}:members}}:modes".encode()
        """In the slot of `members`, whose whole name is what is hashed."""
        self.meta = f"{namespace}:meta".encode()
        self.replay = f"{namespace}:replay".encode()
        self.attempts = f"{namespace}:attempts".encode()
        self.erased = f"{{{namespace}:attempts}}:erased".encode()
        """Hashes of users, and batches, of which nothing may be remembered any more. It lies in the
        slot of `attempts`, whose whole name is what is hashed."""
        self.deeds = f"{namespace}:deeds".encode()
        self.signed_out = f"{namespace}:signed_out".encode()
        self.routes = f"{namespace}:routes".encode()
        self.channel = f"{namespace}:nudge:".encode()
        """With a replica's id after it: where that replica listens."""
        self.everyone = self.channel + b"*"
        """Where every replica listens besides. No replica is called so."""
        self.events = self.channel + b"*events"
        self.shards = tuple(_shard_keys(namespace, shard) for shard in range(shards))

    def alert(self, kind: str) -> bytes:
        """Is there while operators were told of this kind of trouble lately."""
        return f"{self.namespace}:alert:{kind}".encode()


@lru_cache(maxsize=65_536)
def _shard_keys(namespace: str, shard: int) -> ShardKeys:
    tag = f"{{{namespace}:{shard}}}".encode()
    names = (b":lease", b":due", b":dead", b":erasing", b":aside")
    return ShardKeys(shard, tag, *(tag + name for name in names))
