"""What anybody may ask or order per user."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, get_args

from actor_queue.core.batch import Reason, readable
from actor_queue.store.api import (
    AttemptOutcome,
    AttemptRecord,
    BatchSummary,
    Dropped,
    UserPage,
    UserState,
    UserView,
)
from actor_queue.store.base import (
    READING,
    StoreBase,
    Unreadable,
    expect,
    listed,
    number,
    octets,
    text,
)
from actor_queue.store.paging import Place, decode_cursor, encode_cursor, merge, page_calls
from actor_queue.store.runner import Call
from actor_queue.store.scripts import script

DROPPED_BYTES_MAX = 1_048_576
SCAN_PAGES_MAX = 10
"""How many pages one request looks through for users in the state it asks for."""


class Users(StoreBase):
    """The verbs behind `/api/users`."""

    async def describe(self, user: str) -> UserView:
        """See `Store.describe`."""
        (view,) = await self._describe([user])
        if view is None:
            raise Unreadable
        return view

    async def _describe(self, users: Sequence[str]) -> list[UserView | None]:
        """None for a user of whom something cannot be read."""
        look = script("describe_v1")
        calls = []
        for user in users:
            _, mine = self._user_keys(user)
            calls.append(Call(look, (mine.state, mine.pending, mine.history), (self._now,)))
        replies = await self._run_each(calls)
        return [_readable_view(user, reply) for user, reply in zip(users, replies, strict=True)]

    async def users(self, state: UserState | None, limit: int, cursor: str | None) -> UserPage:
        """See `Store.users`."""
        after = decode_cursor(cursor) if cursor else None
        zsets = [keys.due for keys in self._keys.shards]
        found: list[UserView] = []
        for _ in range(SCAN_PAGES_MAX):
            wanted = limit - len(found)
            replies = await self._run_each(page_calls(zsets, "up", wanted, after))
            places = merge(replies, "up", wanted)
            users = [user for place in places if (user := place.text) is not None]
            views = await self._describe(users) if users else []
            found += [
                view
                for view in views
                if view is not None and (state is None or view.state == state)
            ]
            if len(places) < wanted:
                return UserPage(tuple(found), None)
            after = places[-1]
            if len(found) >= limit:
                break
        return UserPage(tuple(found), encode_cursor(after) if isinstance(after, Place) else None)

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

    async def drop(self, user: str) -> Dropped:
        """See `Store.drop`."""
        shard, mine = self._user_keys(user)
        reply = await self._call(
            "drop_v1",
            (shard.due, mine.state, mine.pending, mine.line, mine.flight),
            self._now,
            mine.user,
            DROPPED_BYTES_MAX,
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
            None if flight == b"a" else number(flight_in),
        )
    return UserView(
        user,
        state,
        number(pending),
        None if number(next_in) < 0 else number(next_in),
        number(held) or None,
        batch,
        tuple(record for line in listed(history) if (record := _record(line)) is not None),
    )


def _state(pending: int, held: int, flight: str, replays: int) -> UserState:
    if flight == "a":
        return "delivering"
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
