"""What stands in the namespace and is not the service's: for whoever looks after Redis.

Reads only, and of each shard only the first entries.
"""

from __future__ import annotations

from dataclasses import dataclass

from actor_queue.core.shard import shard_of
from actor_queue.store.paging import merge, page_calls
from actor_queue.store.runner import Call
from actor_queue.store.scripts import script
from actor_queue.store.users import Users

LOOKED_AT_MAX = 200
"""Entries of each sorted set, those with the lowest scores."""
FOUND_MAX = 100


@dataclass(frozen=True, slots=True)
class Foreign:
    """An entry that is passed over. Without a `member`, what stands at the key as a whole."""

    key: bytes
    member: bytes | None = None


class ForeignEntries(Users):
    """The question of the doctor."""

    async def foreign(self) -> list[Foreign]:
        """At most `FOUND_MAX`. Raises `StoreUnavailable`."""
        shards = self._keys.shards
        look = script("lease_before_v1")
        # What was moved aside was no lease, so it cannot be looked at as one there either.
        keys = [key for each in shards for key in (each.lease, each.aside)] + [self._keys.replay]
        replies = await self._run_each([Call(look, (key,), (self._now,)) for key in keys])
        found = [Foreign(key) for key, reply in zip(keys, replies, strict=True) if reply is None]
        found += await self._in_sets([each.due for each in shards], of_users=True)
        found += await self._in_sets([each.dead for each in shards], of_users=False)
        return found[:FOUND_MAX]

    async def _in_sets(self, keys: list[bytes], *, of_users: bool) -> list[Foreign]:
        pages = await self._run_each(page_calls(keys, "up", LOOKED_AT_MAX, None))
        found = [Foreign(key) for key, page in zip(keys, pages, strict=True) if page is None]
        users: list[str] = []
        for place in merge(pages, "up", LOOKED_AT_MAX * len(keys)):
            user = place.text
            if user is None or (of_users and not self._is_in(user, place.shard)):
                found.append(Foreign(keys[place.shard], place.member))
            elif of_users:
                users.append(user)
        views = await self._describe(users) if users else []
        unread = [user for user, view in zip(users, views, strict=True) if view is None]
        return found + [Foreign(self._user_keys(user)[1].state) for user in unread]

    def _is_in(self, user: str, shard: int) -> bool:
        return shard_of(user, self._settings.shards) == shard
