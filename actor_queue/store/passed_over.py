"""Users whom a sweep passes over, because a key of theirs holds what no release of ours wrote.

Such a user cannot be claimed, and stays due. If every sweep found the user again, some thousands
of them would hide everybody of the shard who is due later. So each is tried more and more rarely,
a few in a look, until the keys make sense again or the user is due no more. All of this is in
memory: whoever puts the keys right has nothing else to put right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FIRST_PAUSE_S = 1.0
MOST_PAUSE_S = 60.0
USERS_MAX = 10_000
"""Of all shards. Who comes on top is found by every sweep, as everybody else is."""
TRIED_MAX = 8
"""In one look at a shard."""


@dataclass(slots=True)
class SetAside:
    """How much of what somebody else wrote into Redis is in nobody's way."""

    now: int = 0
    """Entries of the timer indexes of our shards that sweeps pass over: what is no user of the
    shard, and users of whom a key holds another kind of value."""
    most: int = 0
    """The most of them at once, since the start."""
    leases: int = 0
    """How often what stood at a lease's key and was no lease was moved aside."""


@dataclass(slots=True)
class _Spoilt:
    pause_s: float
    again_at: float


class PassedOver:
    """By shard. Times are seconds of the caller's clock."""

    def __init__(self) -> None:
        self._shards: dict[int, dict[str, _Spoilt]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def of(self, shard: int) -> int:
        return len(self._shards.get(shard, ()))

    def note(self, shard: int, user: str, now: float) -> None:
        """The user could not be claimed at `now`."""
        known = self._shards.get(shard, {}).get(user)
        if known is not None:
            known.pause_s = min(2 * known.pause_s, MOST_PAUSE_S)
            known.again_at = now + known.pause_s
        elif self._count < USERS_MAX:
            self._shards.setdefault(shard, {})[user] = _Spoilt(FIRST_PAUSE_S, now + FIRST_PAUSE_S)
            self._count += 1

    def forget(self, shard: int, user: str) -> None:
        users = self._shards.get(shard)
        if users is not None and users.pop(user, None) is not None:
            self._count -= 1
            if not users:
                del self._shards[shard]

    def forget_shard(self, shard: int) -> None:
        self._count -= len(self._shards.pop(shard, ()))

    def hidden(self, shard: int, found: Iterable[str], now: float, *, all_found: bool) -> set[str]:
        """Who of `found` is passed over now. With `all_found`, nobody else of the shard is due, and
        who is not among them is forgotten."""
        users = self._shards.get(shard)
        if users is None:
            return set()
        there = [user for user in found if user in users]
        tried = 0
        hidden = set()
        for user in there:
            spoilt = users[user]
            if now >= spoilt.again_at and tried < TRIED_MAX:
                tried += 1
                spoilt.again_at = now + spoilt.pause_s
            else:
                hidden.add(user)
        if all_found:
            for user in users.keys() - there:
                self.forget(shard, user)
        return hidden
