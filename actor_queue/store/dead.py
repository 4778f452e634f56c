"""Dead letters: batches that no more attempts are made for, until somebody says so."""

from __future__ import annotations

import json
from collections.abc import Sequence

from actor_queue.core.batch import shard_of_batch
from actor_queue.store.api import DeadLetter, DeadPage
from actor_queue.store.base import StoreBase, listed, number, text
from actor_queue.store.keys import ShardKeys
from actor_queue.store.ownership import batch_of
from actor_queue.store.paging import decode_cursor, encode_cursor, merge, page_calls
from actor_queue.store.runner import Call
from actor_queue.store.scripts import script


class DeadLetters(StoreBase):
    """The verbs behind `/api/dead`."""

    async def dead(self, limit: int, cursor: str | None) -> DeadPage:
        """See `Store.dead`."""
        after = decode_cursor(cursor) if cursor else None
        calls = page_calls([keys.dead for keys in self._keys.shards], "down", limit, after)
        replies = [listed(reply) for reply in await self._run(calls)]
        places = merge(replies, "down", limit, text)
        letters = await self._letters([place.member for place in places], items=False)
        more = encode_cursor(places[-1]) if len(places) == limit else None
        return DeadPage(tuple(letters), more)

    async def dead_letter(self, batch_id: str) -> DeadLetter | None:
        """See `Store.dead_letter`."""
        if self._shard_of(batch_id) is None:
            return None
        letters = await self._letters([batch_id], items=True)
        return letters[0] if letters else None

    async def dead_drop(self, batch_id: str) -> bool:
        """See `Store.dead_drop`."""
        shard = self._shard_of(batch_id)
        letters = await self._letters([batch_id], items=False)
        if shard is None or not letters:
            return False
        mine = shard.of(letters[0].user)
        keys = (shard.due, mine.state, mine.line, shard.dead, *shard.letter(batch_id))
        return await self._call("dead_drop_v1", keys, self._now, mine.user, batch_id) == 1

    async def dead_replay(self, batch_id: str) -> DeadLetter | None:
        """See `Store.dead_replay`."""
        shard = self._shard_of(batch_id)
        letter = await self.dead_letter(batch_id)
        if shard is None or letter is None:
            return None
        mine = shard.of(letter.user)
        said = await self._call(
            "dead_replay_v1",
            (shard.lease, shard.due, mine.state, mine.line, shard.letter(batch_id)[0]),
            self._now,
            mine.user,
            *self._caller(shard),
            batch_id,
        )
        return await self.dead_letter(batch_id) or letter if said == 1 else None

    def _shard_of(self, batch_id: str) -> ShardKeys | None:
        shard = shard_of_batch(batch_id)
        if shard is None or shard >= self._settings.shards:
            return None
        return self._keys.shards[shard]

    async def _letters(self, ids: Sequence[str], *, items: bool) -> list[DeadLetter]:
        """Those of `ids` that exist, in order."""
        read, queued = script("dead_letter_v2"), script("dead_queued_v1")
        places = [(name, shard) for name in ids if (shard := self._shard_of(name))]
        replies = await self._run(
            [Call(read, shard.letter(name), (int(items),)) for name, shard in places]
        )
        found = [
            (name, shard, said)
            for (name, shard), reply in zip(places, replies, strict=True)
            if (said := listed(reply))
        ]
        flags = await self._run(
            [Call(queued, (shard.of(text(said[0])).line,), (name,)) for name, shard, said in found]
        )
        return [
            _letter(name, said, queued=flag == 1, items=items)
            for (name, _, said), flag in zip(found, flags, strict=True)
        ]


def _letter(name: str, said: list[object], *, queued: bool, items: bool) -> DeadLetter:
    user, died_at, attempts, why, messages, *facts, more, stored = said
    told = json.loads(text(more)) if more else {}
    batch = batch_of(name, text(user), facts, stored) if items else None
    return DeadLetter(
        name,
        text(user),
        number(died_at),
        number(attempts),
        text(why),
        number(messages),
        queued,
        told.get("status"),
        told.get("answer"),
        told.get("by"),
        told.get("ms"),
        batch,
    )
