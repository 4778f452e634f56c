"""What stands in the namespace and is not the service's: for whoever looks after Redis.

Reads only, and of each shard only the first entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actor_queue.core.conversation import key_to_bytes
from actor_queue.core.shard import shard_of
from actor_queue.store.dead import DeadLetters
from actor_queue.store.paging import Place, merge, page_calls
from actor_queue.store.scripts import script
from actor_queue.store.users import Users
from actor_queue.transport.reading import listed, number
from actor_queue.transport.runner import Call

LOOKED_AT_MAX = 200
"""Entries of each sorted set, those with the lowest scores, unless fewer are asked for."""
FOUND_MAX = 100


@dataclass(frozen=True, slots=True)
class Foreign:
    """An entry that is passed over. Without a `member`, what stands at the key as a whole."""

    key: bytes
    member: bytes | None = None
    near: tuple[bytes, int | float] | None = None
    """Of what may hold a user's name: a sorted set and the score at which an eye finds it there.
    `key` then ends before the name, and there is no `member`."""


class ForeignEntries(Users, DeadLetters):
    """The question of the doctor."""

    async def foreign(self, looked_at: int = LOOKED_AT_MAX) -> list[Foreign]:
        """At most `FOUND_MAX`, from the first `looked_at` entries of each set. Raises
        `StoreUnavailable`."""
        shards = self._keys.shards
        look = script("lease_before_v1")
        # What was moved aside was no lease, so it cannot be looked at as one there either.
        keys = [key for each in shards for key in (each.lease, each.aside)] + [self._keys.replay]
        replies = await self._run_each([Call(look, (key,), (self._now,)) for key in keys])
        found = [Foreign(key) for key, reply in zip(keys, replies, strict=True) if reply is None]
        due, places = await self._in_sets([each.due for each in shards], looked_at)
        found += due
        found += await self._of_users(places)
        dead, places = await self._in_sets([each.dead for each in shards], looked_at)
        found += dead
        found += [_hidden(shards[each.shard].dead, each) for each in places if each.text is None]
        places = [each for each in places if each.text is not None]
        found += await self._of_letters(places)
        return found[:FOUND_MAX]

    async def _in_sets(
        self, keys: list[bytes], looked_at: int
    ) -> tuple[list[Foreign], list[Place]]:
        """What is no sorted set; and the entries of the others."""
        pages = await self._run_each(page_calls(keys, "up", looked_at, None))
        found = [Foreign(key) for key, page in zip(keys, pages, strict=True) if page is None]
        return found, merge(pages, "up")

    async def _of_users(self, places: list[Place]) -> list[Foreign]:
        """Strangers in an index, and the keys of users that hold what is not ours."""
        found, users = [], []
        for place in places:
            user = place.user
            if user is not None and self._is_in(user, place.shard):
                users.append((place, user))
            else:
                found.append(_hidden(self._keys.shards[place.shard].due, place))
        keys = []
        for _, user in users:
            mine = self._user_keys(user)[1]
            keys.append((mine.state, mine.pending, mine.line, mine.flight, mine.history))
        spoilt = await self._of_other_kinds(keys)
        views = await self._describe([user for _, user in users]) if users else []
        for (place, user), group, wrong, view in zip(users, keys, spoilt, views, strict=True):
            due, name = self._keys.shards[place.shard].due, key_to_bytes(user)
            # Of the right kind, and unreadable all the same: then what says so is the hash.
            unreadable = wrong or ([group[0]] if view is None else [])
            found += [_hidden(due, place, key.removesuffix(name)) for key in unreadable]
        return found

    async def _of_letters(self, places: list[Place]) -> list[Foreign]:
        """Entries of an index of dead letters without a letter that can be read, and its keys."""
        ids = [str(place.text) for place in places]
        known = [
            (place, name, shard)
            for place, name in zip(places, ids, strict=True)
            if (shard := self._shard_of(name)) is not None
        ]
        keys = [shard.letter(name) for _, name, shard in known]
        spoilt = await self._of_other_kinds(keys)
        letters = {each.id for each in await self._letters(ids, items=False) if each is not None}
        found = [
            # What is no id of ours may be the name of a user.
            Foreign(dead, place.member)
            if self._shard_of(name) is not None
            else _hidden(dead, place)
            for place, name in zip(places, ids, strict=True)
            if name not in letters
            for dead in [self._keys.shards[place.shard].dead]
        ]
        there = await self._run_each([Call(script("dead_letter_v2"), each, (0,)) for each in keys])
        for (_, name, _), mine, wrong, said in zip(known, keys, spoilt, there, strict=True):
            unreadable = [mine[0]] if name not in letters and said != [] else []
            found += [Foreign(key) for key in wrong or unreadable]
        return found

    async def _of_other_kinds(self, keys: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
        """Of each group, a hash and then lists, the keys that hold another kind of value."""
        look = script("spoilt_v1")
        replies = await self._run_each([Call(look, tuple(each), ()) for each in keys])
        return [
            [each[number(index) - 1] for index in listed(reply or [])]
            for each, reply in zip(keys, replies, strict=True)
        ]

    def _is_in(self, user: str, shard: int) -> bool:
        return shard_of(user, self._settings.shards) == shard


def _hidden(index: bytes, place: Place, key: bytes | None = None) -> Foreign:
    return Foreign(index if key is None else key, near=(index, place.score))
