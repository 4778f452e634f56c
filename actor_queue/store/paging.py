"""One ordered list over all shards' sorted sets, a page at a time.

The order is (score, shard, rank within the shard's equals). A cursor names the last entry
handed out; every shard can tell from it where it has to go on.

What somebody else put into a set has its place in the list, too: leaving it out here would end
the list early. Whoever reads the list passes over it.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from actor_queue.core.conversation import KEY_BYTES_MAX, key_from_bytes
from actor_queue.core.message import USER_BYTES_MAX
from actor_queue.store.scripts import script
from actor_queue.transport.reading import READING, expect, listed, octets, text
from actor_queue.transport.runner import Call, Word

Direction = Literal["up", "down"]

SPARE = 8
"""Entries that each shard is asked for beyond twice its share of a page."""

_SCORE_MAX = 2**63
_DIGITS_MAX = len(str(_SCORE_MAX))
_Sortable = tuple[int | float, int, int, bytes]
"""Score, shard, rank in the reply, member."""


@dataclass(frozen=True, slots=True)
class Place:
    """An entry's place in the list."""

    score: int | float
    """Milliseconds; infinite where somebody wrote that."""
    shard: int
    member: bytes

    @property
    def user(self) -> str | None:
        """A conversation's key; None for what is none."""
        if not 0 < len(self.member) <= KEY_BYTES_MAX:
            return None
        try:
            return key_from_bytes(self.member)
        except ValueError:
            return None

    @property
    def text(self) -> str | None:
        """A batch's id; None for what can be none of ours."""
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
    member = place.member if len(place.member) <= KEY_BYTES_MAX else b""
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
    # Compared, never converted: a whole number of 400 digits is too large for a float.
    if score not in (math.inf, -math.inf) and abs(score) > _SCORE_MAX:
        raise ValueError("no time")
    if not 0 <= shard < _SCORE_MAX or len(member) > KEY_BYTES_MAX:
        raise ValueError("no place")
    return Place(score, shard, member)


class Walk:
    """One pass through the list, from `after` on: `calls` for the next entries, `take` for what
    came of them, until `ended`.

    A round asks every shard for a few entries only, a little more than its share. What lies behind
    the last entry of a shard that may have more is left for the next round, because that shard's
    next entries may come before it.
    """

    def __init__(self, zsets: Sequence[bytes], direction: Direction, after: Place | None) -> None:
        self._zsets = zsets
        self._direction: Direction = direction
        self._each = 0
        self.after = after
        self.ended = False

    def calls(self, wanted: int) -> list[Call]:
        """One call per shard."""
        self._each = min(wanted, SPARE + 2 * wanted // len(self._zsets))
        return page_calls(self._zsets, self._direction, self._each, self.after)

    def take(self, replies: Sequence[object], wanted: int) -> list[Place]:
        """The next places, at most `wanted`; none only at the end. Raises `Unreadable`."""
        pages = _pages(replies, self._direction)
        edges = [page[-1] for page in pages if len(page) >= self._each]
        found = sorted(itertools.chain.from_iterable(pages))
        if edges:
            edge = min(edges)
            found = [each for each in found if each <= edge]
        self.ended = not edges and len(found) <= wanted
        places = _places(found[:wanted], self._direction)
        if places:
            self.after = places[-1]
        return places


def start(cursor: str | None) -> Place | None:
    """Where a list with this cursor goes on. Raises ValueError."""
    return decode_cursor(cursor) if cursor else None


def rest(walk: Walk, found: Sequence[tuple[Place, object]], limit: int) -> str | None:
    """The cursor behind the first `limit` of what was `found` on the way; None at the end."""
    if len(found) > limit or (len(found) == limit and found[-1][0] != walk.after):
        return encode_cursor(found[limit - 1][0])
    if walk.ended or walk.after is None:
        return None
    return encode_cursor(walk.after)


def page_calls(
    zsets: Sequence[bytes], direction: Direction, limit: int, after: Place | None
) -> list[Call]:
    """One call per shard for up to `limit` entries after `after`."""
    page = script("page_v1")
    return [
        Call(page, (zset,), (direction, limit, *_start(shard, after)))
        for shard, zset in enumerate(zsets)
    ]


def merge(replies: Sequence[object], direction: Direction) -> list[Place]:
    """The places of all the shards' pages; of a page that is None, none. Raises `Unreadable`."""
    found = sorted(itertools.chain.from_iterable(_pages(replies, direction)))
    return _places(found, direction)


def _pages(replies: Sequence[object], direction: Direction) -> list[list[_Sortable]]:
    """Of a reply that is None, an empty one: its shard's set is of another kind."""
    sign = 1 if direction == "up" else -1
    with READING:
        flats = [[] if reply is None else listed(reply) for reply in replies]
        return [
            [
                (sign * _whole(score), shard, rank, octets(member))
                for rank, (member, score) in enumerate(zip(flat[::2], flat[1::2], strict=True))
            ]
            for shard, flat in enumerate(flats)
        ]


def _places(found: Sequence[_Sortable], direction: Direction) -> list[Place]:
    sign = 1 if direction == "up" else -1
    return [Place(sign * score, shard, member) for score, shard, _, member in found]


def _whole(score: object) -> int | float:
    if isinstance(score, bytes) and score.isdigit() and len(score) < _DIGITS_MAX:
        return int(score)  # every time is such a one, and a page has thousands
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
