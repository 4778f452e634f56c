"""One verb for many: a bounded piece of the users, or of the dead letters, that a filter names.

One call acts on a thousand at most, a hundred at a time with a pause between, or counts ten
thousand at most, and says with a cursor where the next call goes on. Nothing is kept between two
calls: whoever calls may stop, or begin anew, and what was done stays done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeVar

import anyio

from actor_queue.store.api import DeadLetter, Dropped, Store, StoreUnavailable, UserView
from actor_queue.store.base import Spoilt
from actor_queue.store.lists_api import DeadFilter, UserFilter
from actor_queue.transport.reading import Unreadable

ROUNDS_MAX: Final = 10
"""Pages of a list that one call reads. Each looks at 1,000 entries at most."""
COUNTED: Final = 1_000
"""Entries of one page where they are only counted."""
TOGETHER: Final = 100
"""Entries of one page where something is done with them, all of them at once."""
ACTED_ON_MAX: Final = ROUNDS_MAX * TOGETHER
PAUSE_S: Final = 0.1
"""Between two pages with which something was done, so that others' calls are not behind them."""

T = TypeVar("T", UserView, DeadLetter)
Turn = Callable[[int, str | None], Awaitable[tuple[Sequence[T], str | None]]]
"""A page of a list, and where the next one begins."""
ManyVerb = Literal["flush", "hold", "release", "drop"]


class UserVerbs(Protocol):
    """What is done with one user: the verbs of `runtime.engine.Engine`."""

    async def flush(self, user: str) -> UserView | Literal["held"]: ...

    async def hold(self, user: str, for_ms: int) -> UserView: ...

    async def unhold(self, user: str) -> UserView: ...

    async def drop(self, user: str, bytes_max: int = ...) -> Dropped: ...


@dataclass(frozen=True, slots=True)
class Many:
    """What one call did, or would do."""

    matched: int
    """Users, or dead letters, with which something was done, or would be."""
    messages: int
    """Their messages."""
    passed_over: int
    """Who fits the filter, but for whom there is nothing to do: nothing waits, there is a hold that
    forbids it or none to end, a replay is queued already, or it is gone meanwhile."""
    cursor: str | None
    """Where the next call goes on; None at the end."""
    users: tuple[str, ...] = ()
    """With whom it was done."""


@dataclass(frozen=True, slots=True)
class Piece:
    """How much of it one call does."""

    dry_run: bool
    limit: int = ACTED_ON_MAX
    cursor: str | None = None


class _Counts:
    def __init__(self) -> None:
        self.matched = self.messages = self.passed_over = 0
        self.users: list[str] = []

    def add(self, user: str, messages: int | None) -> None:
        """None for one that is passed over."""
        if messages is None:
            self.passed_over += 1
        else:
            self.matched += 1
            self.messages += messages
            self.users.append(user)


async def many_users(
    verbs: UserVerbs,
    store: Store,
    verb: ManyVerb,
    wanted: UserFilter,
    piece: Piece,
    for_ms: int = 0,
) -> Many:
    """Raises `StoreUnavailable`, and ValueError for a cursor that is not ours.

    A hold moves its users back in the list, everything else moves them forward or out of it; so
    holds go through the list from its end, and nobody is met twice.
    """

    async def act(view: UserView) -> int | None:
        waiting = affected(verb, view)
        if piece.dry_run or waiting is None:
            return waiting
        match verb:
            case "flush":
                return None if await verbs.flush(view.user) == "held" else waiting
            case "hold":
                await verbs.hold(view.user, for_ms)
            case "release":
                await verbs.unhold(view.user)
            case "drop":
                dropped = await verbs.drop(view.user, 0)
                return dropped.messages or (0 if dropped.batch_id else None)
        return waiting

    async def turn(size: int, cursor: str | None) -> tuple[Sequence[UserView], str | None]:
        page = await store.users(wanted, size, cursor, latest_first=verb == "hold", history=0)
        return page.users, page.cursor

    return await _piece(turn, act, piece)


def affected(verb: ManyVerb, view: UserView) -> int | None:
    """How many messages the verb would be about; None if it would do nothing."""
    in_retry = view.batch.messages if view.batch and view.batch.retry_in_ms is not None else 0
    waiting = view.pending + in_retry
    match verb:
        case "flush":
            does = view.held_for_ms is None and (waiting > 0 or view.state == "collecting")
        case "hold":
            does = True
        case "release":
            does = view.held_for_ms is not None
        case "drop":
            does = waiting > 0
    return waiting if does else None


async def many_dead(store: Store, wanted: DeadFilter, piece: Piece) -> Many:
    """Drop dead letters. Raises as `many_users`."""

    async def drop(letter: DeadLetter) -> int | None:
        gone = piece.dry_run or await store.dead_drop(letter.id)
        return letter.messages if gone else None

    return await _piece(_letters(store, wanted), drop, piece)


async def count_replays(store: Store, wanted: DeadFilter, cursor: str | None) -> Many:
    """How many a replay would be about. Raises as `many_users`."""

    async def count(letter: DeadLetter) -> int | None:
        return None if letter.queued else letter.messages

    return await _piece(_letters(store, wanted), count, Piece(dry_run=True, cursor=cursor))


def _letters(store: Store, wanted: DeadFilter) -> Turn[DeadLetter]:
    async def turn(size: int, cursor: str | None) -> tuple[Sequence[DeadLetter], str | None]:
        page = await store.dead(size, cursor, wanted)
        return page.letters, page.cursor

    return turn


async def _piece(turn: Turn[T], act: Callable[[T], Awaitable[int | None]], piece: Piece) -> Many:
    """Pages of a list, and what is done with each entry, until the piece is full."""
    counts, cursor = _Counts(), piece.cursor
    for _ in range(ROUNDS_MAX):
        size = COUNTED if piece.dry_run else min(TOGETHER, piece.limit - counts.matched)
        found, cursor = await turn(size, cursor)
        await _each(found, act, counts)
        if cursor is None or (not piece.dry_run and counts.matched >= piece.limit):
            break
        await anyio.sleep(0 if piece.dry_run or not found else PAUSE_S)
    users = () if piece.dry_run else tuple(counts.users)
    return Many(counts.matched, counts.messages, counts.passed_over, cursor, users)


async def _each(
    found: Sequence[T], act: Callable[[T], Awaitable[int | None]], counts: _Counts
) -> None:
    """All at once: their calls to the store share a round trip. Raises `StoreUnavailable` when all
    have ended, one way or the other."""
    failed: list[StoreUnavailable] = []

    async def one(each: T) -> None:
        try:
            counts.add(each.user, await act(each))
        except (Spoilt, Unreadable):
            counts.add(each.user, None)  # what somebody else wrote there stops nobody else's
        except StoreUnavailable as error:
            failed.append(error)

    async with anyio.create_task_group() as tasks:
        for each in found:
            tasks.start_soon(one, each)
    if failed:
        raise failed[0]
