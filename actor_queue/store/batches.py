"""Batches and attempts, as the scripts' headers describe what a reply says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, get_args

from actor_queue.core.batch import Attempt, Batch, Reason, StoredMode
from actor_queue.core.conversation import conversation_of
from actor_queue.transport.reading import expect, listed, number, octets, text


def attempt_of(user: str, reply: list[object], token: str) -> Attempt:
    """An attempt, from the reply that the scripts' headers describe."""
    what, count, left, name, seq, reason, mode, first, last, due, closed, items, *at = reply
    batch = batch_of(text(name), user, (seq, reason, mode, first, last, due, closed), items)
    return Attempt(
        batch,
        number(count),
        number(left),
        token,
        claimed_at_ms=number(at[0]) if at else 0,
        unanswered=what == b"unanswered",
    )


def batch_of(name: str, user: str, facts: Sequence[object], items: object) -> Batch:
    """A batch of the conversation `user`, from its stored facts in the order seq, reason, mode,
    first, last, due, closed."""
    seq, reason, mode, first, last, due, closed = facts
    why, how = text(reason), text(mode)
    expect(why in get_args(Reason), how in get_args(StoredMode))
    conversation = conversation_of(user)
    return Batch(
        name,
        conversation.user,
        number(seq),
        cast("Reason", why),
        cast("StoredMode", how),
        number(first),
        number(last),
        number(due),
        number(closed),
        tuple(map(octets, listed(items))),
        conversation.route,
    )
