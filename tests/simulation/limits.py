"""What was refused for want of room, and how far ahead timers are set: limits that a world draws
small, so that they are reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from actor_queue.core.horizon import HORIZON_S, UNSHARED
from actor_queue.store.keys import UserKeys
from actor_queue.store.scripts import script
from actor_queue.transport.runner import Call
from tests.simulation.excuses import Excuses
from tests.simulation.history import Executed, NoRoom, Room
from tests.simulation.plan import ROOM_BYTES
from tests.simulation.redis_server import Server
from tests.simulation.story import Story

NOTICED_S = 2.2
"""A replica knows after this what room the server has: it asks once a second, and the answer is
due soon after."""
HEADER = 14
"""Arguments of an append before the first user's."""
KEYS_OF_ONE = 5
"""Of an append of one message that has no name."""

ONE_AT = 13
"""Arguments of an append of one message before its user."""

Waiting = dict[str, tuple[int, list[bytes]]]
"""By user: the number of its last message, and what waits as it is stored."""


def as_many(call: Call) -> Call:
    """An append of one message as the append of several would have been called, and answered: what
    is read of appends is read of both."""
    if call.script.verb != "append_one":
        return call
    user, ttl_ms, payload = call.args[ONE_AT:]
    named = int(len(call.keys) > KEYS_OF_ONE)
    args = (*call.args[:ONE_AT], 1, user, 1, ttl_ms, named, payload)
    return Call(script("append_v2"), call.keys, args, call.arrived_ns)


def waiting(server: Server, call: Call, keys_of: dict[str, UserKeys]) -> Waiting:
    """Of the users in an append."""
    found = {}
    for user in {user for user, *_ in _messages(call.args)}:
        keys = keys_of[user]
        number = int(server.hash(keys.state).get(b"seq", 0))
        found[user] = number, list(server.items(keys.pending))
    return found


def misjudged(call: Call, reply: object, before: Waiting, most: int) -> Iterator[str]:
    """Messages that were taken or refused against AQ_MAX_PENDING_BYTES, by adding up what waits."""
    if not isinstance(reply, list):
        return
    state = {
        user: [number, len(kept), sum(map(len, kept))] for user, (number, kept) in before.items()
    }
    now = reply[0]
    for (user, _, _, payload), what in zip(_messages(call.args), reply[1::4], strict=True):
        number, count, waits = state[user]
        size = len(f"[{number + 1},{now},") + len(payload) + 1
        fits = count == 0 or waits + size <= most
        if (what == 0 and not fits) or (what == 3 and fits):
            said = "taken" if what == 0 else "refused"
            yield f"{size} bytes of {user}, who has {waits} of {most} waiting, were {said}"
        if what == 0:
            state[user] = [number + 1, count + 1, waits + size]


def _messages(args: Sequence[bytes | str | int]) -> list[tuple[str, int, bool, bytes]]:
    """User, ttl, whether it is remembered, payload: of each message in an append."""
    place, found = HEADER, []
    for _ in range(int(args[HEADER - 1])):
        user, count = _text(args[place]), int(args[place + 1])
        place += 2
        for _ in range(count):
            ttl_ms, named, payload = args[place : place + 3]
            assert isinstance(payload, bytes)
            found.append((user, int(ttl_ms), named == 1, payload))
            place += 3
    return found


def _text(word: bytes | str | int) -> str:
    return word.decode("utf-8", "surrogateescape") if isinstance(word, bytes) else str(word)


# Redis' reserve


def reserve(story: Story) -> Iterator[str]:
    """While the server has less left than its reserve nothing is taken in, and while it has more
    nothing is refused; a replica may notice a moment later which of the two it is."""
    if not story.plan.maxmemory:
        return
    excuses = Excuses(story.history)
    since, room = 0.0, PLENTY
    for record in story.history.records:
        match record:
            case Room():
                before, room = room, _room(record.left)
                since = since if room == before else record.at
            case NoRoom() if room == PLENTY:
                if excuses.unexcused_s(since, record.at) > NOTICED_S:
                    yield (
                        f"{record.replica} refused messages at {record.at:.3f}, and the server has"
                        f" had room since {since:.3f}"
                    )
            case Executed(script="append") if room == NONE and record.wrote:
                if excuses.unexcused_s(since, record.at) > NOTICED_S:
                    yield (
                        f"{record.replica} took messages at {record.at:.3f}, and since {since:.3f}"
                        " only the reserve is left"
                    )


PLENTY, UNSURE, NONE = "plenty", "unsure", "none"
SURELY_BYTES = 8_192
"""What the messages of a world may take or give back since the room was last written down."""


def _room(left: int) -> str:
    if left > ROOM_BYTES // 2:
        return PLENTY
    return NONE if left < -SURELY_BYTES else UNSURE


# Timers


def horizon(story: Story) -> Iterator[str]:
    """With few timers, they are set as far ahead as ever."""
    most = story.plan.settings.max_actors
    for name, timers, horizon_s in story.history.ending.horizons:
        if timers <= UNSHARED * most and horizon_s < HORIZON_S:
            yield f"{name} looks {horizon_s:.3f} s ahead with {timers} timers of {most}"
