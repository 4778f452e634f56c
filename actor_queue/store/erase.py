"""Erasing a user, step by step: first what is the user's alone, then the lists of many.

Each step can be repeated, so a call that failed half-way is simply made again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from json.encoder import encode_basestring

from actor_queue.core.conversation import DEFAULT_ROUTE, conversation_of, key_from_bytes
from actor_queue.store.aliases import Aliases
from actor_queue.store.erase_api import Erased
from actor_queue.store.history import hash_of
from actor_queue.store.keys import ShardKeys
from actor_queue.store.own import OwnMessages
from actor_queue.store.paging import Place, decode_cursor, encode_cursor, merge, page_calls
from actor_queue.store.scripts import script
from actor_queue.transport.reading import READING, expect, listed, number, octets, text
from actor_queue.transport.runner import Call, Word

ERASED_MS = 900_000
"""For so long what was erased stays out of the history. No replica tells of an attempt later than
`WAITS_S` in `runtime/history.py` after it ended; one that was under way has its limit besides."""
ERASING_MS = 86_400_000
LETTERS_PAGE = 200
LETTER_PAGES_MAX = 50
"""10,000 dead letters in one call."""
LINES_PAGE = 500
KEYS_PAGE = 1_000
KEY_PAGES_MAX = 500
"""Half a million keys in one call, about half a millisecond of Redis for each thousand."""
RESTS_MAX = 100
"""In one shard at one look."""

_GLOB = re.compile(rb"[\\*?\[\]]")
_SCAN_CURSOR = re.compile(r"[0-9]{1,20}", re.ASCII)


class Erasing(Aliases, OwnMessages):
    """The verb behind `DELETE /api/users/{user}?everything=true`."""

    async def erase(self, user: str, cursor: str | None) -> Erased:
        """See `EraseStore.erase`."""
        letters_from, ids_from = _places(cursor)
        messages, retried, under_way, attempts, dead, ids = 0, None, None, 0, 0, 0
        if cursor is None:
            # Not again by the calls that follow: what the user has written since then is new.
            messages, retried, under_way = await self._erase_own(user)
            attempts = await self._erase_attempts(user)
            await self.erase_aliases(user)
            await self.erase_own_messages(user)
        place, following = None, "0"
        if ids_from is None:
            dead, place = await self._erase_letters(user, letters_from)
        if place is None:
            ids, following = await self._erase_ids(user, ids_from or "0")
        after = None if following == "0" else f"i{following}"
        if place is not None:
            after = f"d{encode_cursor(place)}"
        return Erased(messages, retried, dead, attempts, ids, under_way, after)

    async def _erase_own(self, user: str) -> tuple[int, str | None, str | None]:
        shard, mine = self._user_keys(user)
        reply = await self._call(
            "erase_v1",
            (
                shard.due,
                mine.state,
                mine.pending,
                mine.line,
                mine.flight,
                mine.history,
                mine.deeds,
                shard.erasing,
            ),
            self._now,
            mine.user,
            ERASING_MS,
        )
        with READING:
            messages, retried, flight = listed(reply)
            batch = text(flight)
            said = (number(messages), text(retried) or None, batch or None)
        kept = ERASED_MS + self._routes.timeout_max_ms
        args = (self._now, hash_of(self.log_key, user), batch, kept)
        await self._call("erase_mark_v1", (self._keys.erased,), *args)
        return said

    async def _erase_attempts(self, user: str) -> int:
        """Of the history of all users, which is no longer than AQ_HISTORY says."""
        erased, behind = 0, ""
        conversation = conversation_of(user)
        named = encode_basestring(conversation.user).encode()
        route = "" if conversation.route == DEFAULT_ROUTE else conversation.route
        while behind != "0":
            args: tuple[Word, ...] = (named, behind, LINES_PAGE, route)
            reply = listed(await self._call("attempts_erase_v2", (self._keys.attempts,), *args))
            with READING:
                last, count = map(number, reply)
            expect(not behind or last < int(behind))
            erased += count
            behind = str(last)
        return erased

    async def _erase_letters(self, user: str, after: Place | None) -> tuple[int, Place | None]:
        """How many were dropped, and the place to go on behind."""
        shard, mine = self._user_keys(user)
        erased, read = 0, script("dead_letter_v2")
        for _ in range(LETTER_PAGES_MAX):
            # One sorted set, as the only one of a list.
            (call,) = page_calls([shard.dead], "up", LETTERS_PAGE, after)
            places = merge(await self._run_each([call]), "up")
            ids = [name for place in places if (name := place.text) is not None]
            letters = await self._run_each([Call(read, shard.letter(name), (0,)) for name in ids])
            drops = [
                self._drop_call(shard, mine.user, (mine.state, mine.line), name)
                for name, letter in zip(ids, letters, strict=True)
                if isinstance(letter, list) and letter[:1] == [mine.user]
            ]
            erased += sum(said == 1 for said in await self._run_each(drops)) if drops else 0
            if len(places) < LETTERS_PAGE:
                return erased, None
            after = places[-1]
        return erased, after

    def _drop_call(
        self, shard: ShardKeys, user: bytes, own: tuple[bytes, bytes], name: str
    ) -> Call:
        keys = (shard.due, *own, shard.dead, *shard.letter(name))
        return Call(script("dead_drop_v1"), keys, (self._now, user, name))

    async def _erase_ids(self, user: str, scan: str) -> tuple[int, str]:
        """How many were forgotten, and SCAN's next cursor, `0` at the end."""
        shard, mine = self._user_keys(user)
        pattern = _GLOB.sub(lambda found: b"\\" + found[0], shard.named(mine.user, "")) + b"*"
        erased = 0
        for _ in range(KEY_PAGES_MAX):
            reply = listed(await self._call("erase_ids_v1", (shard.due,), scan, pattern, KEYS_PAGE))
            with READING:
                scan, count = text(reply[0]), number(reply[1])
                expect(_SCAN_CURSOR.fullmatch(scan) is not None)
            erased += count
            if scan == "0":
                break
        return erased, scan

    async def erase_rest(self, shards: Sequence[int]) -> int:
        """See `EraseStore.erase_rest`."""
        keys = [self._keys.shards[shard] for shard in shards]
        page = script("page_v1")
        start: tuple[Word, ...] = ("up", RESTS_MAX, "", "", "")
        found = await self._run_each([Call(page, (each.erasing,), start) for each in keys])
        rests = [
            self._rest_call(shard, octets(member))
            for shard, reply in zip(keys, found, strict=True)
            for member in ([] if reply is None else listed(reply)[::2])
        ]
        calls = [call for call in rests if call is not None]
        return sum(said == 1 for said in await self._run_each(calls)) if calls else 0

    def _rest_call(self, shard: ShardKeys, member: bytes) -> Call | None:
        """None for what erase_v1 has not written."""
        batch, _, name = member.partition(b" ")
        try:
            mine = shard.of(key_from_bytes(name))
        except ValueError:
            return None
        keys = (shard.due, mine.state, mine.flight, mine.history, shard.erasing)
        return Call(script("erase_rest_v1"), keys, (self._now, mine.user, batch))


def _places(cursor: str | None) -> tuple[Place | None, str | None]:
    """Where to go on among the dead letters, and among the ids. Raises ValueError."""
    if cursor is None:
        return None, None
    if cursor.startswith("d"):
        return decode_cursor(cursor[1:]), None
    if cursor.startswith("i") and _SCAN_CURSOR.fullmatch(cursor[1:]):
        return None, cursor[1:]
    raise ValueError("not a cursor of this service")
