"""What the scripts' replies to an owner say, and what is published.

Must not: believe anything. What does not fit is `Unreadable`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast, get_args

from actor_queue.core.batch import Attempt, Batch, PayloadMode, Reason
from actor_queue.store.api import (
    Claim,
    DueElsewhere,
    DueUser,
    Fenced,
    Freed,
    Gone,
    Lease,
    LeaseHeld,
    LeaseInfo,
    Malformed,
    Missed,
    News,
    NotDue,
    Nothing,
    Settled,
    SettleResult,
    Taken,
    Wanted,
)
from actor_queue.store.base import READING, Unreadable, expect, listed, number, octets, shown, text

WANTED = b"wanted:"
"""With the replica that has listeners after it."""
NUDGE = re.compile(rb"(\d{1,9}):(\d{1,15}):(.{1,2048})", re.DOTALL)


def due_users(reply: object) -> tuple[list[DueUser], int]:
    """Who is due, and how many entries are no user. A shard whose index is none has nobody."""
    if reply is None:
        return [], 0
    found, strangers = [], 0
    for name, ms in pairs(reply):
        try:
            found.append(DueUser(text(name), number(ms)))
        except Unreadable:
            strangers += 1
    return found, strangers


def acquired(shard: int, nonce: str, was: object, reply: object, ttl_ms: int) -> Lease | LeaseHeld:
    what, *said = listed(reply)
    if what == b"ok":
        return Lease(shard, number(said[0]), nonce, _taken(was))
    expect(what == b"held")
    left = number(said[1])
    # A lease never has less than nothing left: what is written there is no time.
    return LeaseHeld(shard, shown(said[0]), left if left >= 0 else ttl_ms)


def lease_info(shard: int, reply: object) -> LeaseInfo:
    if reply is None:
        return LeaseInfo(shard, None, 0, None, 0, 0)
    owner, epoch, since, left, waiting = listed(reply)
    return LeaseInfo(
        shard,
        shown(owner) or None,
        number(epoch),
        number(since) or None,
        number(left),
        number(waiting),
    )


def _taken(was: object) -> Taken:
    owner, why = (shown(each) for each in listed(was))
    # Held until the acquire, or held by us and asked for again: it ended meanwhile, or it is ours.
    reason = "lease_ended" if why == "held" else why
    return cast("Taken", (reason, owner or None))


def claim_of(user: str, reply: list[object], token: str) -> Claim:
    match reply[0]:
        case b"attempt":
            return attempt_of(user, reply, token)
        case b"wait":
            return NotDue(number(reply[1]))
        case b"none":
            return Nothing()
    expect(reply[0] == b"fenced")
    return Fenced()


def attempt_of(user: str, reply: list[object], token: str) -> Attempt:
    """An attempt, from the reply that the scripts' headers describe."""
    _, count, left, name, seq, reason, mode, first, last, due, closed, items = reply
    batch = batch_of(text(name), user, (seq, reason, mode, first, last, due, closed), items)
    return Attempt(batch, number(count), number(left), token)


def batch_of(name: str, user: str, facts: Sequence[object], items: object) -> Batch:
    """A batch, from its stored facts in the order seq, reason, mode, first, last, due, closed."""
    seq, reason, mode, first, last, due, closed = facts
    why, how = text(reason), text(mode)
    expect(why in get_args(Reason), how in get_args(PayloadMode))
    return Batch(
        name,
        user,
        number(seq),
        cast("Reason", why),
        cast("PayloadMode", how),
        number(first),
        number(last),
        number(due),
        number(closed),
        tuple(map(octets, listed(items))),
    )


def news_of(message: bytes | None) -> News:
    """`shard:ms:user` or `free`, as the scripts publish them; None: something was missed.

    Raises nothing: whoever may write to Redis may publish anything.
    """
    if message is None:
        return Missed()
    if message == b"free":
        return Freed()
    if message.startswith(WANTED):
        return Wanted()
    found = NUDGE.fullmatch(message)
    if found is None:
        return Malformed()
    try:
        return DueElsewhere(int(found[1]), found[3].decode(), int(found[2]))
    except UnicodeDecodeError:
        return Malformed()


def settled(reply: object) -> SettleResult:
    with READING:
        match listed(reply):
            case [b"ok" | b"known" as what, left]:
                ms = number(left)
                return Settled(None if ms < 0 else ms, known=what == b"known")
            case [b"gone", *_]:
                return Gone()
            case [b"fenced", *_]:
                return Fenced()
    raise Unreadable


def pairs(reply: object) -> list[tuple[object, object]]:
    flat = listed(reply)
    with READING:
        return list(zip(flat[::2], flat[1::2], strict=True))
