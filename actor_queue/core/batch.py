"""A batch: what one quiet period collected, closed, and on its way to the receiver."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

Reason = Literal["quiet", "max_wait", "max_messages", "max_bytes", "flush"]
"""Why a batch was closed."""

PayloadMode = Literal["classic", "detailed"]


@dataclass(frozen=True, slots=True)
class Batch:
    """A closed batch. Everything here is stored when it is closed and never changes after.

    Times are milliseconds of the Redis clock since the Unix epoch.
    """

    id: str
    """The `webhook-id`: the same on every attempt and replay. No dots."""
    user: str
    seq: int
    """Counts the user's batches."""
    reason: Reason
    mode: PayloadMode
    first_at_ms: int
    last_at_ms: int
    due_at_ms: int
    closed_at_ms: int
    items: tuple[bytes, ...]
    """One JSON array per message, as stored: `[seq, received_at_ms, message_id, {original}]`."""

    @property
    def messages(self) -> list[str]:
        """The texts, in order."""
        return [json.loads(item)[3]["message"] for item in self.items]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a batch, granted by the store to one replica."""

    batch: Batch
    number: int
    """1 for the first attempt."""
    limit_in_ms: int
    """From the claim until anybody else may start the next attempt; this one ends before."""


def batch_id(shard: int, entropy: str) -> str:
    """A batch's id names its shard, so that a dead letter is found without a search.

    `entropy` is at least 20 random hexadecimal digits.
    """
    return f"b{shard:04x}{entropy}"


def shard_of_batch(name: str) -> int | None:
    """The shard that `name` names, None if it is no id of ours."""
    if len(name) < 25 or name[0] != "b" or not name.isascii() or not name.isalnum():
        return None
    try:
        return int(name[1:5], 16)
    except ValueError:
        return None
