"""One ordered list over all shards' sorted sets, a page at a time.

The order is (score, shard, rank within the shard's equals). A cursor names the last entry
handed out; every shard can tell from it where it has to go on.

What somebody else put into a set has its place in the list, too: leaving it out here would end
the list early. Whoever reads the list passes over it.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from actor_queue.core.message import USER_BYTES_MAX
from actor_queue.store.base import READING, expect, listed, octets, text
from actor_queue.store.runner import Call, Word
from actor_queue.store.scripts import script

Direction = Literal["up", "down"]

_SCORE_MAX = 2**63


@dataclass(frozen=True, slots=True)
class Place:
    """An entry's place in the list."""

    score: int | float
    """Milliseconds; infinite where somebody wrote that."""
    shard: int
    member: bytes

    @property
    def text(self) -> str | None:
        """None for what can be neither a user nor a batch of ours."""
        if not 0 < len(self.member) <= USER_BYTES_MAX:
            return None
        try:
            return self.member.decode()
        except UnicodeDecodeError:
            return None


def encode_cursor(place: Place) -> str:
    """A cursor as the outside sees it.

    A member that is too long to be one of ours is left out: the list then goes on behind its
    equals in the shard.
    """
    member = place.member if len(place.member) <= USER_BYTES_MAX else b""
    packed = f"{place.score} {place.shard} ".encode() + member
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_cursor(cursor: str) -> Place:
    """Raises ValueError for anything that `encode_cursor` did not make."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        if packed.startswith(b"["):
            return _of_former_release(packed)
        score, shard, member = packed.split(b" ", 2)
        return _place(_score(score.decode("ascii")), int(shard.decode("ascii")), member)
    except (ValueError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise ValueError("not a cursor of this service") from error


def _of_former_release(packed: bytes) -> Place:
    """Whoever pages while replicas of two releases run may bring one."""
    score, shard, member = json.loads(packed)
    if type(score) is not int or type(shard) is not int:
        raise ValueError("not two numbers")
    return _place(score, shard, member.encode())


def _score(text: str) -> int | float:
    return float(text) if text in ("inf", "-inf") else int(text)


def _place(score: int | float, shard: int, member: bytes) -> Place:
    if not math.isinf(score) and abs(score) > _SCORE_MAX:
        raise ValueError("no time")
    if not 0 <= shard < _SCORE_MAX or len(member) > USER_BYTES_MAX:
        raise ValueError("no place")
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


def merge(replies: Sequence[object], direction: Direction, limit: int) -> list[Place]:
    """The first `limit` places of all the shards' pages; of a page that is None, none.

    Raises `Unreadable`.
    """
    sign = 1 if direction == "up" else -1
    found: list[tuple[int | float, int, int, bytes]] = []
    with READING:
        for shard, reply in enumerate(replies):
            flat = [] if reply is None else listed(reply)
            for rank, (member, score) in enumerate(zip(flat[::2], flat[1::2], strict=True)):
                found.append((sign * _whole(score), shard, rank, octets(member)))
    found.sort()
    return [Place(sign * score, shard, member) for score, shard, _, member in found[:limit]]


def _whole(score: object) -> int | float:
    value = float(score if isinstance(score, int | float) else text(score))
    expect(not math.isnan(value))
    return value if abs(value) >= _SCORE_MAX else int(value)


def _start(shard: int, after: Place | None) -> tuple[Word, ...]:
    if after is None:
        return ("", "", "")
    score = str(after.score)
    if shard == after.shard and after.member:
        return (score, "member", after.member)
    return (score, "after" if shard <= after.shard else "before", "")
