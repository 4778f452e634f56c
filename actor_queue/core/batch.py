"""A batch: what one quiet period collected, closed, and on its way to the receiver."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from actor_queue.core.conversation import DEFAULT_ROUTE, Conversation
from actor_queue.core.sent_at import as_sent

Reason = Literal["quiet", "max_wait", "max_messages", "max_bytes", "flush"]
"""Why a batch was closed."""

PayloadMode = Literal["classic", "detailed"]
"""What AQ_PAYLOAD may be."""

Order = Literal["arrival", "sent"]
"""What AQ_ORDER may be: a batch's messages as they were appended, or as their senders say that they
were sent."""

StoredMode = Literal["classic", "detailed", "detailed_v2", "classic+sent", "detailed_v2+sent"]
"""What is kept with a batch, so that each of its attempts has the same bytes, whichever release
makes it: a body that changes is a new mode, and a new mode is written only while every replica that
lives says that it knows it. `detailed_v2` is what `detailed` is since bodies name the route.
`+sent` is what AQ_ORDER `sent` adds."""

BY_SENT_AT: Final = "+sent"

OF_ONE_MESSAGE = ("user", "message", "ttl", "message_id")
"""The names in a sender's object that mean something here; all others pass through."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Item:
    """One message of a batch, as it was kept."""

    seq: int
    """Counts the user's messages, in the order in which they were accepted."""
    message_id: str
    """The sender's, or one that was made for it."""
    received_at_ms: int
    """When it was accepted: milliseconds of the Redis clock since the Unix epoch."""
    original: dict[str, Any]
    """The whole object that its sender gave."""

    @property
    def message(self) -> str:
        """The text."""
        text: str = self.original["message"]
        return text

    @property
    def received_at(self) -> datetime:
        """When it was accepted, in UTC."""
        return _EPOCH + timedelta(milliseconds=self.received_at_ms)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that pass through: the original object without user, message, ttl and
        message_id."""
        return {name: value for name, value in self.original.items() if name not in OF_ONE_MESSAGE}


def items_of(stored: Sequence[bytes]) -> tuple[Item, ...]:
    """The messages in JSON arrays `[seq, received_at_ms, message_id, {original}]`."""
    decoded = map(json.loads, stored)
    return tuple(
        Item(seq, message_id, received_at_ms, original)
        for seq, received_at_ms, message_id, original in decoded
    )


def readable(stored: bytes) -> bool:
    """Whether this is a message as it is kept, and not what somebody else wrote in its place."""
    try:
        seq, received_at_ms, message_id, original = json.loads(stored)
    except (ValueError, TypeError, RecursionError):
        return False
    return (
        type(seq) is int
        and type(received_at_ms) is int
        and isinstance(message_id, str)
        and isinstance(original, dict)
        and isinstance(original.get("message"), str)
    )


@dataclass(frozen=True, slots=True)
class AnswerOffer:
    """What a receiver is told that may answer 202 and say later that it is done."""

    url: str = field(repr=False)
    """Where it says so. Whoever knows it may: it stands in no log."""
    within_s: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A closed batch. All but `offer` is stored when it is closed and never changes after.

    Times are milliseconds of the Redis clock since the Unix epoch.
    """

    id: str
    """The `webhook-id`: the same on every attempt and replay. No dots."""
    user: str
    seq: int
    """Counts the user's batches."""
    reason: Reason
    mode: StoredMode
    first_at_ms: int
    last_at_ms: int
    due_at_ms: int
    closed_at_ms: int
    stored: tuple[bytes, ...]
    """One JSON array per message, as it is kept; `items` are the same as objects."""
    route: str = DEFAULT_ROUTE
    """Whose receiver it is for. `user` is the person's name on every route."""
    offer: AnswerOffer | None = field(default=None, compare=False)
    """Of this attempt alone, where its receiver may answer later; it is not kept."""

    @property
    def key(self) -> str:
        """The conversation's, see `core/conversation.py`."""
        return Conversation(self.route, self.user).key

    @property
    def items(self) -> tuple[Item, ...]:
        """The messages, in the order in which they are delivered. Decoded at each call."""
        items = items_of(self.stored)
        if self.mode.endswith(BY_SENT_AT):
            return tuple(as_sent(items, lambda item: item.original.get("sent_at")))
        return items

    @property
    def messages(self) -> list[str]:
        """The texts, in order."""
        return [item.message for item in self.items]

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that pass through, of all messages; of one that several have, the last."""
        return {name: value for item in self.items for name, value in item.fields.items()}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a batch, granted by the store to one replica."""

    batch: Batch
    number: int
    """1 for the first attempt."""
    limit_in_ms: int
    """From the claim until anybody else may start the next attempt; this one ends before."""
    token: str = ""
    """Of the claim that it was granted to. The store tells attempts apart by it: a replay of a dead
    letter counts from 1 again, so a number alone could mean two attempts."""
    claimed_at_ms: int = field(default=0, compare=False)
    """By the store's clock."""
    unanswered: bool = False
    """It was made, and was its batch's last: the receiver has answered 202 and has not said within
    its time that it is done. Nothing is left to do but to say so."""


def batch_id(shard: int, entropy: str) -> str:
    """A batch's id names its shard, so that a dead letter is found without a search.

    `entropy` is at least 20 random hexadecimal digits.
    """
    return f"b{shard:04x}{entropy}"


def claim_token(replica: str, entropy: str) -> str:
    """What tells one claim, and the attempt that it starts, from all others.

    It names who claimed: all that is known of an attempt whose replica never said what came of it.
    """
    return f"{replica}/{entropy}"


_HALF = re.compile(r"(.+)[xy][0-9a-f]+")


def divided_from(name: str) -> str | None:
    """The id of the batch that the batch `name` is a half of; None if it is no half.

    `divide_v1` adds `x` or `y`, for the first half and the second, and the half's number to the id
    of the whole. So nothing else has to be stored of it, wherever the half goes.
    """
    half = _HALF.fullmatch(name)
    return half[1] if half else None


_SUPERSEDING = re.compile(r"(.+)z[0-9a-f]+(?:t[0-9]+)?")


def supersedes(name: str) -> str | None:
    """The id of the batch that was taken back and whose messages come again in the batch `name`,
    in front of newer ones; None if there is none.

    `claim_v4` adds `z`, the new batch's number, `t` and the time to the id of the former one;
    `claim_v3` gave no time.
    """
    found = _SUPERSEDING.fullmatch(name)
    return found[1] if found else None


def shard_of_batch(name: str) -> int | None:
    """The shard that `name` names, None if it is no id of ours."""
    if len(name) < 25 or name[0] != "b" or not name.isascii() or not name.isalnum():
        return None
    try:
        return int(name[1:5], 16)
    except ValueError:
        return None
