"""Membership: which replicas live, by their heartbeats."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import get_args

from actor_queue.core.batch import StoredMode
from actor_queue.store.api import Replica
from actor_queue.store.base import StoreBase
from actor_queue.transport.reading import READING, UNREADABLE, listed, number, octets, pairs, text

REPLICA_NAME = re.compile(rb"[!-~]{1,200}")
"""Whatever else stands among the members is nobody's heartbeat, and owns no shard."""

MODES: tuple[StoredMode, ...] = get_args(StoredMode)
FIRST_MODES: tuple[StoredMode, ...] = ("classic", "detailed")
"""What a replica knows that says nothing of modes: its release is older than that."""
SEALED = "sealed"
"""Said beside the modes by a replica that opens addresses for answers which nobody can read."""


class Membership(StoreBase):
    """What each replica says of itself, and is told of the others."""

    _nonsense: str | None = None
    """Why what answers is not believed to be the store, until it makes sense again."""

    async def heartbeat(self, replica: str, ttl_ms: int) -> list[Replica]:
        """See `Store.heartbeat`."""
        reply = await self._call(
            "heartbeat_v2",
            (self._keys.members, self._keys.modes),
            self._now,
            replica,
            ttl_ms,
            _modes_of(replica),
        )
        # Asked by every replica all the time, and its answer is made by nobody but the server: one
        # that cannot be read says that what answers is no Redis of ours.
        self._nonsense = UNREADABLE
        with READING:
            living, said = listed(reply)
            members = [
                Replica(text(name), number(ms))
                for name, ms in pairs(living)
                if REPLICA_NAME.fullmatch(octets(name))
            ]
            known = dict(_known(each) for each in listed(said))
        self._nonsense = None
        # What a batch is kept as, whoever has its shard next has to read.
        self._modes = tuple(
            mode
            for mode in MODES
            if all(mode in known.get(each.id, FIRST_MODES) for each in members)
        )
        self.all_open_sealed = all(SEALED in known.get(each.id, ()) for each in members)
        return members

    async def leave(self, replica: str) -> None:
        """See `Store.leave`."""
        keys = (self._keys.members, self._keys.modes)
        await self._call("leave_v2", keys, replica, _modes_of(replica))

    async def tell_free(self, replica: str) -> None:
        """See `Store.tell_free`."""
        await self._call("tell_free_v1", (self._keys.members,), replica, self._keys.channel)


def _modes_of(replica: str) -> str:
    """What this release says of itself."""
    return " ".join((replica, *MODES, SEALED))


def _known(said: object) -> tuple[str, Sequence[str]]:
    replica, *modes = octets(said).decode("utf-8", "replace").split(" ")
    return replica, modes
