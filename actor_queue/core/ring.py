"""Which live member should own which shard: rendezvous hashing with a bounded load.

Every member scores every shard, and a shard's *favourite* is whoever scores it highest (Thaler
and Ravishankar, "Using name-based mappings to increase hit rates", 1998). A join then takes
shards only for the newcomer, a leave moves only the leaver's. Alone that spreads badly: with
64 shards and 5 members the fullest has 35 % too many on average. So no member keeps more than its
capacity (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016): it
sheds the shards that it scores lowest, and each of those goes to the best scorer with room. No
shard is displaced that need not be: a member never gives up a favourite for a displaced one.

Rejected, each measured over 60 joins: the paper's own walk along a ring with 100 points per
member (up to 7 % more shards move, and the fullest is no emptier); a stable matching of shards and
members, where a displaced shard may displace another (as good, but dearer, and what the bound
makes move cannot be counted beforehand).

It is a preference only. A lease decides who *does* own a shard, so members that see different
memberships for a while disagree without harm. Must not: use `hash`, which differs by process.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Sequence
from hashlib import blake2b
from itertools import chain, islice

SLACK_PART = 8
"""A member may own this part of its fair share more: an eighth, where a quarter is promised.

Measured with 64 shards: when a fifth member joins 14.9 move (13.8 with a quarter; 12.8 is its fair
share), and the fullest of four has 12 % too many (21 %). With no slack at all a fiftieth member
would move 421 of 16,384 shards instead of 325."""

MOVES_PART = 8
"""At most this part of all shards is given up by one member in one round."""

DIGEST_BYTES = 64
SCORES = b"actor-queue ring"
TIES = b"actor-queue ties"


def assign(members: Collection[str], shards: int) -> tuple[str, ...]:
    """The member that should own each shard, indexed by shard.

    The same in every process, release and Python, whatever the order of `members`. Nobody gets
    more than `capacity`. A shard moves on a join only to the newcomer, and on a leave only
    from the leaver, unless the bound displaces it before or after; and as few are displaced
    as the bound allows: what the favourites together have above their capacity.

    16,384 shards and 50 members take about 50 ms, 256 and 5 about 0.3: cache it.
    """
    ring = _Ring(members, shards)
    return tuple(ring.names[member] for member in ring.bounded())


def favourites(members: Collection[str], shards: int) -> tuple[str, ...]:
    """As `assign`, if there were no bound."""
    ring = _Ring(members, shards)
    return tuple(ring.names[member] for member in ring.favourites())


def capacity(members: int, shards: int) -> int:
    """How many shards one member may own: its share, rounded up, and an eighth or one more."""
    share = -(-shards // members)
    return share + max(1, share // SLACK_PART)


def to_acquire(member: str, assigned: Sequence[str], held: Container[int]) -> list[int]:
    """What `member` should own and does not hold, of an assignment to everybody who lives.

    Another may still hold some of it, dead or alive: then the store refuses until that lease is
    over. What is asked for is not limited, because what nobody holds waits.
    """
    return [shard for shard, owner in enumerate(assigned) if owner == member and shard not in held]


def to_give_up(
    member: str, assigned: Sequence[str], held: Collection[int], moves_max: int
) -> list[int]:
    """At most `moves_max` of what `member` holds and another should own, lowest first."""
    theirs = (shard for shard in sorted(held) if assigned[shard] != member)
    return list(islice(theirs, moves_max))


def moves_max(shards: int) -> int:
    """How many shards one member may give up in a round, so that a join does not stop everybody."""
    return max(1, shards // MOVES_PART)


class _Ring:
    """The scores of all members for all shards. Members are numbers here, in order of name."""

    def __init__(self, members: Collection[str], shards: int) -> None:
        assert members, "somebody must own the shards"
        assert shards > 0, "there must be something to own"
        self.names = sorted(set(members))
        self._encoded = [name.encode() for name in self.names]
        # One byte decides nearly always, and a byte is a number that Python need not make
        # first: with longer scores the same takes three times as long.
        self._scores = [_score_bytes(name, shards) for name in self._encoded]
        self._rows = list(zip(*self._scores, strict=True))

    def favourites(self) -> list[int]:
        return [self._highest(shard, row) for shard, row in enumerate(self._rows)]

    def bounded(self) -> list[int]:
        owners = self.favourites()
        held: list[list[int]] = [[] for _ in self.names]
        for shard, owner in enumerate(owners):
            held[owner].append(shard)
        most = capacity(len(self.names), len(owners))
        room = [most - len(each) for each in held]
        for shard in sorted(chain.from_iterable(self._shed(held, most))):
            row = self._rows[shard]
            # -1 is below every score: the full ones, and the favourite is full.
            owner = self._highest(
                shard, [score if free > 0 else -1 for score, free in zip(row, room, strict=True)]
            )
            owners[shard] = owner
            room[owner] -= 1
        return owners

    def _shed(self, held: Sequence[list[int]], most: int) -> Iterator[list[int]]:
        """From every member that holds more than `most`, the shards that it scores lowest."""
        for member, shards in enumerate(held):
            if len(shards) > most:
                yield self._ranked(member, shards)[: len(shards) - most]

    def _ranked(self, member: int, shards: Sequence[int]) -> list[int]:
        scores = self._scores[member]
        return sorted(shards, key=lambda shard: (scores[shard], self._tie(member, shard)))

    def _highest(self, shard: int, row: Sequence[int]) -> int:
        """Who scores `shard` highest, when `row` has the scores."""
        best = max(row)
        if row.count(best) == 1:
            return row.index(best)
        tied = [member for member, score in enumerate(row) if score == best]
        return max(tied, key=lambda member: self._tie(member, shard))

    def _tie(self, member: int, shard: int) -> bytes:
        return _digest(self._encoded[member], shard, TIES)


def _score_bytes(name: bytes, shards: int) -> bytes:
    """A byte for each shard, drawn from the member's name. More shards only add bytes."""
    blocks = -(-shards // DIGEST_BYTES)
    return b"".join([_digest(name, block, SCORES) for block in range(blocks)])[:shards]


def _digest(name: bytes, number: int, purpose: bytes) -> bytes:
    return blake2b(name, salt=number.to_bytes(16, "little"), person=purpose).digest()
