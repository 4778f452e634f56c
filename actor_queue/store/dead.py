"""Dead letters: batches that no more attempts are made for, until somebody says so."""

from __future__ import annotations

import json
from collections.abc import Sequence

from actor_queue.core.batch import readable, shard_of_batch
from actor_queue.store.api import DeadLetter, DeadPage
from actor_queue.store.base import StoreBase, conversation_key
from actor_queue.store.batches import batch_of
from actor_queue.store.keys import ShardKeys
from actor_queue.store.lists_api import EVERY_LETTER, LOOKED_AT_MAX, PAGE, DeadFilter
from actor_queue.store.paging import Place, Walk, rest, start
from actor_queue.store.scripts import script
from actor_queue.transport.reading import READING, Unreadable, expect, listed, number, text
from actor_queue.transport.runner import Call


class DeadLetters(StoreBase):
    """The verbs behind `/api/dead`."""

    async def dead(
        self, limit: int, cursor: str | None, wanted: DeadFilter | None = None
    ) -> DeadPage:
        """See `Store.dead`."""
        wanted = wanted or EVERY_LETTER
        walk = Walk([keys.dead for keys in self._keys.shards], "down", start(cursor))
        found: list[tuple[Place, DeadLetter]] = []
        looked_at = unreadable = 0
        while not walk.ended and len(found) < limit and looked_at < LOOKED_AT_MAX:
            size = PAGE if wanted.narrow else limit - len(found)
            places = walk.take(await self._run_each(walk.calls(size)), size)
            looked_at += len(places)
            if wanted.since_ms is not None and places and places[-1].score < wanted.since_ms:
                walk.ended = True  # newest first: what follows is older
            named = {name: place for place in places if (name := place.text) is not None}
            letters = [each for each in await self._letters(list(named), items=False) if each]
            unreadable += len(named) - len(letters)
            found += [(named[each.id], each) for each in letters if wanted.fits(each)]
        letters = [letter for _, letter in found[:limit]]
        return DeadPage(tuple(letters), rest(walk, found, limit), unreadable)

    async def dead_letter(self, batch_id: str) -> DeadLetter | None:
        """See `Store.dead_letter`."""
        if self._shard_of(batch_id) is None:
            return None
        letters = await self._letters([batch_id], items=True)
        if letters and letters[0] is None:
            raise Unreadable
        return letters[0] if letters else None

    async def dead_drop(self, batch_id: str) -> bool:
        """See `Store.dead_drop`."""
        shard = self._shard_of(batch_id)
        if shard is None:
            return False
        # Only the user: a letter that cannot be read can still be dropped.
        said = await self._call("dead_letter_v2", shard.letter(batch_id), 0)
        user = _user_of(said)
        if user is None:
            return False
        mine = shard.of(user)
        keys = (shard.due, mine.state, mine.line, shard.dead, *shard.letter(batch_id))
        return await self._call("dead_drop_v1", keys, self._now, mine.user, batch_id) == 1

    async def dead_replay(self, batch_id: str) -> DeadLetter | None:
        """See `Store.dead_replay`."""
        letter = await self.dead_letter(batch_id)
        if letter is None or not await self.dead_queue(letter):
            return None
        return await self.dead_letter(batch_id) or letter

    async def dead_queue(self, letter: DeadLetter) -> bool:
        """See `Store.dead_queue`."""
        shard = self._shard_of(letter.id)
        if shard is None:
            return False
        mine = shard.of(letter.user)
        said = await self._call(
            "dead_replay_v2",
            (shard.lease, shard.due, mine.state, mine.line, *shard.letter(letter.id)),
            self._now,
            mine.user,
            *self._caller(shard),
            letter.id,
        )
        return said == 1

    def _shard_of(self, batch_id: str) -> ShardKeys | None:
        shard = shard_of_batch(batch_id)
        if shard is None or shard >= self._settings.shards:
            return None
        return self._keys.shards[shard]

    async def _letters(self, ids: Sequence[str], *, items: bool) -> list[DeadLetter | None]:
        """Those of `ids` that exist, in order; None for one that cannot be read."""
        read, queued = script("dead_letter_v2"), script("dead_queued_v1")
        places = [(name, shard) for name in ids if (shard := self._shard_of(name))]
        replies = await self._run_each(
            [Call(read, shard.letter(name), (int(items),)) for name, shard in places]
        )
        found = [
            (name, shard, _user_of(reply), reply)
            for (name, shard), reply in zip(places, replies, strict=True)
            if reply != []
        ]
        lines = [shard.of(user or "").line for _, shard, user, _ in found]
        flags = await self._run_each(
            [Call(queued, (line,), (name,)) for (name, *_), line in zip(found, lines, strict=True)]
        )
        return [
            _readable_letter(name, said, queued=flag == 1, items=items)
            for (name, _, _, said), flag in zip(found, flags, strict=True)
        ]


def _user_of(reply: object) -> str | None:
    """Whose letter it is; None where nothing says so."""
    try:
        return conversation_key(listed(reply)[0]) if reply else None
    except Unreadable:
        return None


def _readable_letter(name: str, reply: object, *, queued: bool, items: bool) -> DeadLetter | None:
    if reply is None:
        return None
    said = listed(reply)
    try:
        with READING:
            return _letter(name, said, queued=queued, items=items)
    except Unreadable:
        return None


def _letter(name: str, said: list[object], *, queued: bool, items: bool) -> DeadLetter:
    user, died_at, attempts, why, messages, *facts, more, stored = said
    told = json.loads(text(more)) if more else {}
    status, answer, by, ms = map(told.get, ("status", "answer", "by", "ms"))
    expect(isinstance(status, int | None), isinstance(ms, int | None))
    expect(isinstance(answer, str | None), isinstance(by, str | None))
    whose = conversation_key(user)
    batch = batch_of(name, whose, facts, stored) if items else None
    expect(batch is None or all(map(readable, batch.stored)))
    return DeadLetter(
        name,
        whose,
        number(died_at),
        number(attempts),
        text(why),
        number(messages),
        queued,
        status,
        answer,
        by,
        ms,
        batch,
    )
