"""Who is due: the timer indexes of shards, as the sweep reads them.

What is no user of the shard, whose keys are spoilt, or whose route is not configured, is passed
over and takes nobody's place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import anyio

from actor_queue.core.conversation import route_of
from actor_queue.core.shard import shard_of
from actor_queue.store.api import DueUser
from actor_queue.store.base import StoreBase, conversation_key
from actor_queue.store.scripts import script
from actor_queue.transport.reading import Unreadable, number, pairs
from actor_queue.transport.runner import Call

STRANGERS_MAX = 10_000
"""In one shard's timer index. Behind more than that nobody is found by a sweep."""


class DueUsers(StoreBase):
    """What a sweep asks."""

    async def due(self, shards: Sequence[int], within_ms: int, limit: int) -> list[list[DueUser]]:
        """See `Store.due`."""
        found = script("due_v1")
        # Whoever is no user of the shard takes nobody's place among those who are looked at.
        calls = [
            Call(
                found,
                (self._keys.shards[shard].due,),
                (self._now, within_ms, limit + self._aside_in(shard)),
            )
            for shard in shards
        ]
        asked = [limit + self._aside_in(shard) for shard in shards]
        replies = await self._run_each(calls)
        return [
            self._ours(shard, reply, most)[:limit]
            for shard, reply, most in zip(shards, replies, asked, strict=True)
        ]

    def _aside_in(self, shard: int) -> int:
        unrouted = self._unrouted.get(shard)
        waiting = 0 if unrouted is None else min(unrouted.total(), STRANGERS_MAX)
        return self._strangers.get(shard, 0) + self._spoilt.of(shard) + waiting

    def unrouted(self) -> Mapping[str, int]:
        """See `WaitingStore.unrouted`."""
        return sum(self._unrouted.values(), start=Counter())

    def _ours(self, shard: int, reply: object, most: int, *, partly: bool = False) -> list[DueUser]:
        """Without strangers, spoilt users and those whose route is not configured. They are
        counted, and the next look goes on behind them.

        `most` is how many entries were asked for. Of a look that left some users out, `partly`,
        it does not follow that who was passed over is not there any more.
        """
        users, strangers = due_users(reply)
        all_found = not partly and len(users) + strangers < most
        ours = [user for user in users if shard_of(user.user, self._settings.shards) == shard]
        strangers += len(users) - len(ours)
        if partly:
            strangers = max(strangers, self._strangers.get(shard, 0))
        ours = self._routed(shard, ours, partly=partly)
        if strangers or shard in self._strangers:
            self._strangers[shard] = min(strangers, STRANGERS_MAX)
            self._count_passed_over()
        if not self._spoilt.of(shard):
            return ours
        names = [each.user for each in ours]
        hidden = self._spoilt.hidden(shard, names, anyio.current_time(), all_found=all_found)
        self._count_passed_over()
        return [each for each in ours if each.user not in hidden]

    def _routed(self, shard: int, users: list[DueUser], *, partly: bool) -> list[DueUser]:
        routes = [route_of(user.user) for user in users]
        unrouted = Counter(route for route in routes if route not in self._routes)
        if not unrouted:
            if not partly:
                self._unrouted.pop(shard, None)
            return users
        self._unrouted[shard] = unrouted
        return [user for user, route in zip(users, routes, strict=True) if route not in unrouted]

    def _count_passed_over(self) -> None:
        self.set_aside.now = sum(self._strangers.values()) + len(self._spoilt)
        self.set_aside.most = max(self.set_aside.most, self.set_aside.now)

    def _forget(self, shard: int) -> None:
        """Another replica looks through the shard from now on."""
        self._strangers.pop(shard, None)
        self._unrouted.pop(shard, None)
        self._spoilt.forget_shard(shard)
        self._count_passed_over()


def due_users(reply: object) -> tuple[list[DueUser], int]:
    """Who is due, and how many entries are no user. A shard whose index is none has nobody."""
    if reply is None:
        return [], 0
    found, strangers = [], 0
    for name, ms in pairs(reply):
        try:
            found.append(DueUser(conversation_key(name), number(ms)))
        except Unreadable:
            strangers += 1
    return found, strangers
