"""What nobody asks for and somebody has to do: count what is kept, delete what was kept for long
enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from actor_queue.core.batch import shard_of_batch
from actor_queue.core.message import USER_BYTES_MAX
from actor_queue.core.upkeep import Expired, Sizes
from actor_queue.store.api import Lease
from actor_queue.store.base import StoreBase, conversation_key
from actor_queue.store.scripts import script
from actor_queue.transport.reading import READING, Unreadable, listed, number, shown, text
from actor_queue.transport.runner import Call

PLACES_MAX: Final = 1_000
"""Of one shard that a question looks at: about half a millisecond of the server."""


class Upkeep(StoreBase):
    """The verbs behind `runtime.upkeep`."""

    async def sizes(self, shards: Sequence[int], within_ms: int) -> list[Sizes]:
        """See `Store.sizes`."""
        look = script("sizes_v1")
        keys = [self._keys.shards[shard] for shard in shards]
        calls = [Call(look, (each.due, each.dead), (self._now, within_ms)) for each in keys]
        replies = await self._run_each(calls)
        with READING:
            return [
                Sizes() if reply is None else Sizes(*map(number, listed(reply)))
                for reply in replies
            ]

    async def waiting_by_route(
        self, shards: Sequence[int], begin: Sequence[int], count: int
    ) -> list[tuple[int, Mapping[str, int]]]:
        """See `Store.waiting_by_route`."""
        look = script("waiting_by_route_v1")
        calls = [
            Call(look, (self._keys.shards[shard].due,), (first, count))
            for shard, first in zip(shards, begin, strict=True)
        ]
        pages: list[tuple[int, Mapping[str, int]]] = []
        for reply in await self._run_each(calls):
            with READING:
                looked, *flat = listed(reply or [0])
                named = zip(flat[::2], map(number, flat[1::2]), strict=True)
                pages.append((number(looked), {shown(route): many for route, many in named}))
        return pages

    async def all_waiting_by_route(self, looked_at_max: int) -> tuple[Mapping[str, int], bool]:
        """See `Store.all_waiting_by_route`."""
        begin = dict.fromkeys(range(self._settings.shards), 0)
        counts: Counter[str] = Counter()
        left = looked_at_max
        while begin and (count := min(PLACES_MAX, left // len(begin))):
            shards = list(begin)
            pages = await self.waiting_by_route(shards, list(begin.values()), count)
            for shard, (looked, of_routes) in zip(shards, pages, strict=True):
                counts.update(of_routes)
                left -= looked
                begin[shard] += looked
                if looked < count:
                    del begin[shard]
        return counts, not begin

    async def dead_expire(
        self, lease: Lease, retention_ms: int, limit: int, passed: int
    ) -> Expired | None:
        """See `Store.dead_expire`."""
        shard = self._keys.shards[lease.shard]
        (found,) = await self._run_each(
            [Call(script("dead_old_v1"), (shard.dead,), (self._now, retention_ms, passed, limit))]
        )
        members = [] if found is None else listed(found)
        ids = [name for member in members if (name := _id_in(member, lease.shard)) is not None]
        read = script("dead_letter_v2")
        letters = await self._run_each([Call(read, shard.letter(name), (0,)) for name in ids])
        drop = script("dead_expire_v1")
        calls = []
        for name, letter in zip(ids, letters, strict=True):
            if (user := _user_of(letter)) is None:
                continue
            mine, fence = shard.of(user), (lease.epoch, lease.nonce)
            keys = (shard.lease, shard.dead, mine.line, *shard.letter(name))
            calls.append(Call(drop, keys, (self._now, *fence, mine.user, name, retention_ms)))
        said = [0 if reply is None else number(reply) for reply in await self._run_each(calls)]
        if -1 in said:
            return None
        dropped = said.count(1)
        return Expired(dropped, len(members) - dropped, more=len(members) == limit)


def _id_in(member: object, shard: int) -> str | None:
    """The batch that an entry of the index names; None for what somebody else wrote there."""
    try:
        name = text(member)
    except Unreadable:
        return None
    ours = len(name) <= USER_BYTES_MAX and shard_of_batch(name) == shard
    return name if ours else None


def _user_of(letter: object) -> str | None:
    """Whose it is, empty where there is no letter; None for what cannot be read."""
    if letter is None:
        return None
    try:
        return conversation_key(listed(letter)[0]) if letter else ""
    except Unreadable:
        return None
