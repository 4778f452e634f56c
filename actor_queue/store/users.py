"""What anybody may ask or order per user."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, get_args

from actor_queue.core.batch import Reason, readable
from actor_queue.store.api import (
    DROPPED_BYTES_MAX,
    AttemptOutcome,
    AttemptRecord,
    BatchSummary,
    Dropped,
    UserPage,
    UserState,
    UserView,
)
from actor_queue.store.base import StoreBase
from actor_queue.store.lists_api import EVERYBODY, HISTORY_MAX, LOOKED_AT_MAX, PAGE, UserFilter
from actor_queue.store.paging import Direction, Place, Walk, rest, start
from actor_queue.store.scripts import script
from actor_queue.transport.reading import READING, Unreadable, expect, listed, number, octets, text
from actor_queue.transport.runner import Call

SIFTED = frozenset({"answering", "delivering", "held", "retrying"})
"""States in which few of those who wait are."""


class Users(StoreBase):
    """The verbs behind `/api/users`."""

    async def describe(self, user: str) -> UserView:
        """See `Store.describe`."""
        (view,) = await self._describe([user])
        if view is None:
            raise Unreadable
        return view

    async def _describe(
        self, users: Sequence[str], history: int = HISTORY_MAX
    ) -> list[UserView | None]:
        """None for a user of whom something cannot be read."""
        look = script("describe_v3")
        calls = []
        for user in users:
            _, mine = self._user_keys(user)
            keys = (mine.state, mine.pending, mine.history, mine.line)
            calls.append(Call(look, keys, (self._now, history)))
        replies = await self._run_each(calls)
        return [_readable_view(user, reply) for user, reply in zip(users, replies, strict=True)]

    async def users(
        self,
        wanted: UserFilter | None,
        limit: int,
        cursor: str | None,
        *,
        latest_first: bool = False,
        history: int = HISTORY_MAX,
    ) -> UserPage:
        """See `Store.users`."""
        wanted = wanted or EVERYBODY
        direction: Direction = "down" if latest_first else "up"
        walk = Walk([keys.due for keys in self._keys.shards], direction, start(cursor))
        found: list[tuple[Place, UserView]] = []
        looked_at = 0
        while not walk.ended and len(found) < limit and looked_at < LOOKED_AT_MAX:
            size = PAGE if wanted.narrow else limit - len(found)
            if wanted.state in SIFTED:
                size = LOOKED_AT_MAX - looked_at
            places = walk.take(await self._run_each(walk.calls(size)), size)
            looked_at += len(places)
            found += await self._views_of(places, wanted, history)
        return UserPage(tuple(view for _, view in found[:limit]), rest(walk, found, limit))

    async def _views_of(
        self, places: Sequence[Place], wanted: UserFilter, history: int
    ) -> list[tuple[Place, UserView]]:
        """Of those users at `places` who are wanted."""
        named = [
            (place, user)
            for place in places
            if (user := place.user) is not None and wanted.names(user)
        ]
        if wanted.state in SIFTED:
            named = await self._sifted(named, wanted.state)
        views = await self._describe([user for _, user in named], history) if named else []
        return [
            (place, view)
            for (place, _), view in zip(named, views, strict=True)
            if view is not None and wanted.fits(view)
        ]

    async def _sifted(
        self, named: Sequence[tuple[Place, str]], state: UserState
    ) -> list[tuple[Place, str]]:
        """Those who may be in `state`: most are not, and describing them is the dear part."""
        by_shard: dict[int, list[int]] = {}
        for i, (place, _) in enumerate(named):
            by_shard.setdefault(place.shard, []).append(i)
        calls = []
        for shard, mine in by_shard.items():
            keys = self._keys.shards[shard]
            states = [keys.state_of(named[i][1]) for i in mine]
            calls.append(Call(script("sift_v2"), states, (self._now, state)))
        replies = await self._run_each(calls)
        chosen: list[int] = []
        for mine, reply in zip(by_shard.values(), replies, strict=True):
            with READING:
                chosen += [mine[number(place) - 1] for place in listed(reply)]
        return [named[i] for i in sorted(chosen)]

    async def flush(self, user: str) -> UserView | Literal["held"]:
        """See `Store.flush`."""
        shard, mine = self._user_keys(user)
        said = await self._call(
            "flush_v1",
            (shard.lease, shard.due, mine.state, mine.line),
            self._now,
            mine.user,
            *self._caller(shard),
        )
        return "held" if said == b"held" else await self.describe(user)

    async def typing(self, user: str, ttl_ms: int | None) -> tuple[bool, UserView]:
        """See `Store.typing`."""
        shard, mine = self._user_keys(user)
        ttl = "" if ttl_ms is None else ttl_ms
        said = await self._call(
            "typing_v1",
            (shard.due, mine.state),
            self._now,
            mine.user,
            ttl,
            self._settings.max_ttl_ms,
        )
        return said == 1, await self.describe(user)

    async def hold(self, user: str, for_ms: int) -> UserView:
        """See `Store.hold`."""
        shard, mine = self._user_keys(user)
        keys = (shard.lease, shard.due, mine.state)
        await self._call("hold_v1", keys, self._now, mine.user, *self._caller(shard), for_ms)
        return await self.describe(user)

    async def unhold(self, user: str) -> UserView:
        """See `Store.unhold`."""
        return await self.hold(user, 0)

    async def hold_ran_out(self, user: str) -> bool:
        """See `Store.hold_ran_out`."""
        _, mine = self._user_keys(user)
        return await self._call("hold_ran_out_v1", (mine.state,), self._now) == 1

    async def drop(self, user: str, bytes_max: int = DROPPED_BYTES_MAX) -> Dropped:
        """See `Store.drop`."""
        shard, mine = self._user_keys(user)
        reply = await self._call(
            "drop_v1",
            (shard.due, mine.state, mine.pending, mine.line, mine.flight),
            self._now,
            mine.user,
            bytes_max,
        )
        with READING:
            messages, batch_id, items = listed(reply)
            texts = tuple(filter(readable, map(octets, listed(items))))
            return Dropped(number(messages), text(batch_id) or None, texts)


def _readable_view(user: str, reply: object) -> UserView | None:
    if reply is None:
        return None
    said = listed(reply)
    try:
        with READING:
            return _view(user, said)
    except Unreadable:
        return None


def _view(user: str, reply: list[object]) -> UserView:
    (
        pending,
        next_in,
        held,
        flight,
        batch_id,
        seq,
        reason,
        messages,
        attempts,
        closed_at,
        flight_in,
        replays,
        history,
        oldest,
    ) = reply
    expect(not flight or text(reason) in get_args(Reason))
    state = _state(number(pending), number(held), text(flight), number(replays))
    batch = None
    if flight:
        batch = BatchSummary(
            text(batch_id),
            number(seq),
            text(reason),  # type: ignore[arg-type]
            number(messages),
            number(attempts),
            number(closed_at),
            number(flight_in) if flight == b"r" else None,
            number(flight_in) if flight == b"w" else None,
        )
    return UserView(
        user,
        state,
        number(pending),
        None if number(next_in) < 0 else number(next_in),
        number(held) or None,
        batch,
        tuple(record for line in listed(history) if (record := _record(line)) is not None),
        number(oldest) or None,
    )


def _state(pending: int, held: int, flight: str, replays: int) -> UserState:
    if flight == "a":
        return "delivering"
    if flight == "w":
        return "answering"
    if held:
        return "held"
    if flight:
        return "retrying"
    return "collecting" if pending or replays else "idle"


def _record(line: object) -> AttemptRecord | None:
    """None for a line of history that no attempt wrote."""
    try:
        with READING:
            return _recorded(json.loads(octets(line)))
    except Unreadable:
        return None


def _recorded(entry: list[Any]) -> AttemptRecord:
    at, batch_id, count, outcome, messages, status, why = entry
    reason, _, more = (why or "").partition("\n")
    told = json.loads(more) if more else {}
    expect(
        type(at) is int,
        isinstance(batch_id, str),
        type(count) is int,
        outcome in get_args(AttemptOutcome),
        type(messages) is int,
        isinstance(status, int | None),
    )
    answer, by, ms = told.get("answer"), told.get("by"), told.get("ms")
    expect(isinstance(answer, str | None), isinstance(by, str | None), isinstance(ms, int | None))
    return AttemptRecord(
        batch_id,
        count,
        at,
        outcome,
        messages,
        status,
        reason or None,
        answer,
        by or None,
        ms,
    )
