"""Messages in: many appends, one call a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from json.encoder import encode_basestring

import anyio

from actor_queue.core.clock import StoreClock
from actor_queue.core.conversation import route_of
from actor_queue.core.message import Accepted, Appended, Full, FullOf, Message
from actor_queue.core.payload import counted_bytes
from actor_queue.core.routes import Route
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.base import StoreBase, taken
from actor_queue.store.keys import ShardKeys
from actor_queue.store.scripts import script
from actor_queue.transport.reading import READING, expect, listed, number
from actor_queue.transport.runner import Call, Word

CALL_MESSAGES_MAX = 500
CALL_BYTES_MAX = 1_048_576
"""One call's share of the server's time: about a millisecond, and never a stall."""

AHEAD_MS = 0.5
"""A timer aims this much before its time: it wakes up to a millisecond late, and its claim is
on the way for a while. The claim script knows what is early; then it costs one more question."""

LIMITS_KNOWN_MAX = 1_000
"""Of how many routes the limits are kept as the scripts take them."""

TIME_MS_MAX = 2**53
"""No server's clock says more, and no time of a user's is later."""

_Indexed = list[tuple[int, Message]]


class Intake(StoreBase):
    """The append verb."""

    _store_clock: StoreClock | None = None

    @cached_property
    def _known_limits(self) -> dict[str, tuple[Route, tuple[int, ...]]]:
        """By the name of a route: what it is, and its limits, as long as it is that."""
        return {}

    async def append(self, messages: Sequence[Message]) -> list[Appended]:
        """See `Store.append`."""
        places: list[list[int]] = []
        calls: list[Call] = []
        for shard, route, by_user in _by_shard(messages, self._shard_keys):
            for part in _parts(by_user):
                inside = [indexed for group in part.values() for indexed in group]
                if len(inside) == 1:
                    calls.append(self._call_of_one(shard, inside[0][1]))
                else:
                    calls.append(self._append_call(shard, route, part))
                places.append([place for place, _ in inside])
        results: list[Appended | None] = [None] * len(messages)
        asked = self._local_time()
        replies = await self._run(calls)
        heard = self._local_time()
        known_ms, since_ms = -1, 0.0
        for reply, mine in zip(replies, places, strict=True):
            with READING:
                now_ms, *said = map(number, listed(reply))
                expect(len(said) == 4 * len(mine), 0 < now_ms <= TIME_MS_MAX)
                if now_ms != known_ms:
                    known_ms, since_ms = now_ms, self._elapsed_ms(now_ms, asked, heard)
                for i, place in enumerate(mine):
                    results[place] = _result(messages[place], said[4 * i : 4 * i + 4], since_ms)
        return [result for result in results if result is not None]

    async def append_each(self, messages: Sequence[Message]) -> list[Appended | StoreUnavailable]:
        """See `Store.append_each`."""
        calls = [self._call_of_one(self._shard_keys(each.user), each) for each in messages]
        asked = self._local_time()
        replies = await self._runner.run_each(calls)
        return self._read_each(messages, replies, asked, self._local_time())

    def _read_each(
        self, messages: Sequence[Message], replies: Sequence[object], asked: float, heard: float
    ) -> list[Appended | StoreUnavailable]:
        results: list[Appended | StoreUnavailable] = []
        # The answers of one group tell the same millisecond, or one of a few.
        known_ms, since_ms = -1, 0.0
        for message, reply in zip(messages, replies, strict=True):
            if isinstance(reply, StoreUnavailable):
                results.append(reply)
                continue
            try:
                with READING:
                    now_ms, *said = map(number, listed(taken(reply)))
                    expect(len(said) == 4, 0 < now_ms <= TIME_MS_MAX)
                    if now_ms != known_ms:
                        known_ms, since_ms = now_ms, self._elapsed_ms(now_ms, asked, heard)
                    results.append(_result(message, said, since_ms))
            except StoreUnavailable as error:
                results.append(error)
        return results

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

    def _call_of_one(self, shard: ShardKeys, message: Message) -> Call:
        """As `_append_call`, by the script that takes one message in half of the server's time."""
        s, mine = self._settings, shard.of(message.user)
        keys = [shard.lease, shard.due, mine.state, mine.pending, mine.line]
        if message.remembered:
            keys.append(shard.named(mine.user, message.message_id))
        args: list[Word] = [
            self._now,
            *self._caller(shard),
            s.max_pending,
            max(s.dedup_window_ms, message.remember_ms),
            *self._limits(route_of(message.user)),
            s.max_pending_bytes,
            mine.user,
            message.ttl_ms,
            _payload(message),
        ]
        return Call(script("append_one_v1"), keys, args, message.arrived_ns)

    def _limits(self, name: str) -> tuple[int, ...]:
        """Those of a route that decide when a window closes, as the scripts take them."""
        route = self._route(name)
        known = self._known_limits.get(name)
        if known is None or known[0] is not route:
            known = route, _limits_of(route)
            if len(self._known_limits) >= LIMITS_KNOWN_MAX:
                self._known_limits.clear()
            self._known_limits[name] = known
        return known[1]

    def _append_call(self, shard: ShardKeys, route: str, part: dict[str, _Indexed]) -> Call:
        """A call has one set of limits, so all of `part` are conversations of one route."""
        s = self._settings
        keys = [shard.lease, shard.due]
        args: list[Word] = [
            self._now,
            *self._caller(shard),
            s.max_pending,
        ]
        # A call has one time for all its messages: the longest that one of them asks for.
        remember_at, remember_ms = len(args), s.dedup_window_ms
        args += (
            remember_ms,
            *self._limits(route),
            s.max_pending_bytes,
            len(part),
        )
        for user, indexed in part.items():
            mine = shard.of(user)
            keys += (mine.state, mine.pending, mine.line)
            args += (mine.user, len(indexed))
            for _, message in indexed:
                if message.remember_ms > remember_ms:
                    args[remember_at] = remember_ms = message.remember_ms
                if message.remembered:
                    keys.append(shard.named(mine.user, message.message_id))
                args += (message.ttl_ms, int(message.remembered), _payload(message))
        arrived_ns = max(message.arrived_ns for part in part.values() for _, message in part)
        return Call(script("append_v2"), keys, args, arrived_ns)


def _limits_of(route: Route) -> tuple[int, ...]:
    return (
        route.max_messages,
        route.max_batch_bytes,
        *counted_bytes(route.payload),
        route.max_wait_ms,
    )


def _payload(message: Message) -> bytes:
    """The end of a stored message, from its id on; the script puts its number and time before."""
    return encode_basestring(message.message_id).encode() + b"," + message.body


def _by_shard(
    messages: Sequence[Message], shard_keys: object
) -> Iterator[tuple[ShardKeys, str, dict[str, _Indexed]]]:
    """Group by shard and route, then by user, each in order of first appearance."""
    assert callable(shard_keys)
    groups: dict[str, _Indexed] = {}
    for indexed in enumerate(messages):
        groups.setdefault(indexed[1].user, []).append(indexed)
    found: dict[tuple[int, str], tuple[ShardKeys, str, dict[str, _Indexed]]] = {}
    for user, group in groups.items():
        keys, route = shard_keys(user), route_of(user)
        found.setdefault((keys.shard, route), (keys, route, {}))[2][user] = group
    return iter(found.values())


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
