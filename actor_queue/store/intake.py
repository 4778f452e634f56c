"""Messages in: many appends, one call a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring

import anyio

from actor_queue.core.clock import StoreClock
from actor_queue.core.message import Accepted, Appended, Full, FullOf, Message
from actor_queue.core.payload import counted_bytes
from actor_queue.store.base import READING, StoreBase, expect, listed, number
from actor_queue.store.keys import ShardKeys
from actor_queue.store.runner import Call, Word
from actor_queue.store.scripts import script

CALL_MESSAGES_MAX = 500
CALL_BYTES_MAX = 1_048_576
"""One call's share of the server's time: about a millisecond, and never a stall."""

AHEAD_MS = 0.5
"""A timer aims this much before its time: it wakes up to a millisecond late, and its claim is
on the way for a while. The claim script knows what is early; then it costs one more question."""

TIME_MS_MAX = 2**53
"""No server's clock says more, and no time of a user's is later."""

_Indexed = list[tuple[int, Message]]


class Intake(StoreBase):
    """The append verb."""

    _store_clock: StoreClock | None = None

    async def append(self, messages: Sequence[Message]) -> list[Appended]:
        """See `Store.append`."""
        places: list[list[int]] = []
        calls: list[Call] = []
        for shard, by_user in _by_shard(messages, self._shard_keys):
            for part in _parts(by_user):
                calls.append(self._append_call(shard, part))
                places.append([place for indexed in part.values() for place, _ in indexed])
        results: list[Appended | None] = [None] * len(messages)
        asked = self._local_time()
        replies = await self._run(calls)
        heard = self._local_time()
        for reply, taken in zip(replies, places, strict=True):
            with READING:
                now, *said = map(number, listed(reply))
                expect(len(said) == 4 * len(taken), 0 < now <= TIME_MS_MAX)
                since_ms = self._elapsed_ms(now, asked, heard)
                for i, place in enumerate(taken):
                    results[place] = _result(messages[place], said[4 * i : 4 * i + 4], since_ms)
        return [result for result in results if result is not None]

    def _local_time(self) -> float:
        return anyio.current_time() if self._clock is None else 0.0

    def _elapsed_ms(self, now_ms: int, asked: float, heard: float) -> float:
        """How long ago the script ran when its answer was heard, at least.

        An answer may have waited for its group and for our turn; a timer set without this
        would be late by all of that.
        """
        if self._clock is not None:
            return 0.0
        known = self._store_clock
        if known is None:
            known = StoreClock.first(now_ms, asked, heard)
        self._store_clock = known = known.observed(now_ms, asked, heard)
        return max(0.0, known.store_ms(heard) - now_ms) + AHEAD_MS

    def _append_call(self, shard: ShardKeys, part: dict[str, _Indexed]) -> Call:
        s = self._settings
        keys = [shard.lease, shard.due]
        args: list[Word] = [
            self._now,
            *self._caller(shard),
            s.max_pending,
            s.dedup_window_ms,
            s.max_messages,
            s.max_batch_bytes,
            *counted_bytes(s.payload),
            s.max_wait_ms,
            s.max_pending_bytes,
            len(part),
        ]
        for user, indexed in part.items():
            mine = shard.of(user)
            keys += (mine.state, mine.pending, mine.line)
            args += (mine.user, len(indexed))
            for _, message in indexed:
                if message.remembered:
                    keys.append(shard.named(mine.user, message.message_id))
                named = encode_basestring(message.message_id).encode()
                args += (message.ttl_ms, int(message.remembered), named + b"," + message.body)
        arrived_ns = max(message.arrived_ns for part in part.values() for _, message in part)
        return Call(script("append_v2"), keys, args, arrived_ns)


def _by_shard(
    messages: Sequence[Message], shard_keys: object
) -> Iterator[tuple[ShardKeys, dict[str, _Indexed]]]:
    """Group by shard, then by user, each in order of first appearance."""
    assert callable(shard_keys)
    groups: dict[str, _Indexed] = {}
    for indexed in enumerate(messages):
        groups.setdefault(indexed[1].user, []).append(indexed)
    shards: dict[int, tuple[ShardKeys, dict[str, _Indexed]]] = {}
    for user, group in groups.items():
        keys = shard_keys(user)
        shards.setdefault(keys.shard, (keys, {}))[1][user] = group
    return iter(shards.values())


def _parts(by_user: dict[str, _Indexed]) -> Iterator[dict[str, _Indexed]]:
    """Cut a shard's messages into calls of bounded size, keeping each user's order."""
    part: dict[str, _Indexed] = {}
    count = size = 0
    for user, group in by_user.items():
        for indexed in group:
            size += len(indexed[1].body)
            if count and (count >= CALL_MESSAGES_MAX or size > CALL_BYTES_MAX):
                yield part
                part, count, size = {}, 0, len(indexed[1].body)
            part.setdefault(user, []).append(indexed)
            count += 1
    if part:
        yield part


def _result(message: Message, said: list[int], since_ms: float) -> Appended:
    what, pending, due, following = said
    if what in (2, 3):
        limit: FullOf = "messages" if what == 2 else "bytes"
        return Full(message.user, message.message_id, pending, due, limit)
    next_in_ms = max(0.0, following - since_ms) if following > 0 else float(following)
    return Accepted(message.user, message.message_id, pending, due, what == 1, next_in_ms)
