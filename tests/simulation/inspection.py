"""Whether what the server keeps of a user contradicts itself, and how its routes are."""

from __future__ import annotations

from collections.abc import Iterator

from actor_queue.core.conversation import key_from_bytes
from actor_queue.store.keys import ShardKeys, UserKeys
from tests.simulation.history import ROUTE_OPEN, ROUTE_PAUSED
from tests.simulation.redis_server import Server

SHUT = {b"o:": ROUTE_OPEN, b"p:": ROUTE_PAUSED}
"""What a route's fields in the hash of routes begin with, while nothing is attempted on it."""


def place_of(server: Server, shard: ShardKeys, keys: UserKeys) -> int | None:
    """The user's place in the timer index; None: not in it."""
    score = server.scores(shard.due).get(keys.user)
    return None if score is None else int(score)


def contradictions(server: Server, user: str, keys: UserKeys, place: int | None) -> Iterator[str]:
    """Where the timer index and the buffers of a user disagree."""
    pending, line = server.items(keys.pending), server.items(keys.line)
    flight, facts = server.items(keys.flight), server.hash(keys.state)
    if (place is not None) != bool(pending or line or flight):
        yield f"{user} is due {place}, has {pending + line + flight}"
    soonest, latest = _due(facts)
    if place is not None and not soonest <= place <= latest:
        yield f"{user} is due {soonest}, and the index says {place}"
    if bool(flight) != (b"fs" in facts):
        yield f"{user}'s batch in flight and its messages disagree"
    closed = sum(int(each.split(b",")[0]) for each in line if each[:1] != b"R")
    if int(facts.get(b"on", 0)) + closed != len(pending):
        yield f"{user}'s windows and its messages disagree"


def _due(facts: dict[bytes, bytes]) -> tuple[int, int]:
    """When a user's next step is due by its own hash, at the soonest and at the latest."""
    number = {name: int(facts.get(name, 0)) for name in (b"fu", b"sn", b"sd", b"od", b"hu")}
    state, held = facts.get(b"fs"), number[b"hu"]
    if state == b"a":
        # A hold counts again once the attempt's limit has passed.
        return number[b"fu"], max(number[b"fu"], held)
    at = number[b"fu"] if state else number[b"sd"] if number[b"sn"] else number[b"od"]
    return max(at, held), max(at, held)


def shut_routes(kept: dict[bytes, bytes]) -> set[tuple[str, str]]:
    """Which routes are open or paused, and which of the two."""
    found = set()
    for name in kept:
        what = SHUT.get(name[:2])
        if what is not None:
            found.add((name[2:].decode(), what))
    return found


def users_in(keys: list[bytes]) -> list[str]:
    """The conversations that a call is about, as its keys name them."""
    return [key_from_bytes(key.partition(b":u:")[2]) for key in keys if b"}:u:" in key]
