"""One ordered list over all shards' sorted sets, a page at a time.

The order is (score, shard, rank within the shard's equals). A cursor names the last entry
handed out; every shard can tell from it where it has to go on.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from actor_queue.store.runner import Call, Word
from actor_queue.store.scripts import script

Direction = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Place:
    """An entry's place in the list."""

    score: int
    shard: int
    member: str


def encode_cursor(place: Place) -> str:
    """A cursor as the outside sees it."""
    packed = json.dumps([place.score, place.shard, place.member]).encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_cursor(cursor: str) -> Place:
    """Raises ValueError for anything that `encode_cursor` did not make."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        score, shard, member = json.loads(packed)
        member.encode()
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a cursor of this service") from error
    if type(score) is not int or type(shard) is not int or type(member) is not str:
        raise ValueError("not a cursor of this service")
    return Place(score, shard, member)


def page_calls(
    zsets: Sequence[bytes], direction: Direction, limit: int, after: Place | None
) -> list[Call]:
    """One call per shard for up to `limit` entries after `after`."""
    page = script("page_v1")
    return [
        Call(page, (zset,), (direction, limit, *_start(shard, after)))
        for shard, zset in enumerate(zsets)
    ]


def merge(
    replies: Sequence[list[object]],
    direction: Direction,
    limit: int,
    to_text: Callable[[object], str],
) -> list[Place]:
    """The first `limit` places of all the shards' pages."""
    sign = 1 if direction == "up" else -1
    found: list[tuple[int, int, int, str]] = []
    for shard, flat in enumerate(replies):
        for rank, (member, score) in enumerate(zip(flat[::2], flat[1::2], strict=True)):
            found.append((sign * int(float(to_text(score))), shard, rank, to_text(member)))
    found.sort()
    return [Place(sign * score, shard, member) for score, shard, _, member in found[:limit]]


def _start(shard: int, after: Place | None) -> tuple[Word, ...]:
    if after is None:
        return ("", "", "")
    if shard == after.shard:
        return (after.score, "member", after.member)
    return (after.score, "after" if shard < after.shard else "before", "")
