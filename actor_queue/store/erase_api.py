"""Erasing a user: everything that a person may demand to be forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Erased:
    """What one call has erased. The numbers are of this call alone."""

    messages: int
    """That waited: in the window, in closed batches, in a batch that waited for its retry."""
    batch_id: str | None
    """The batch that waited for its retry."""
    dead: int
    attempts: int
    """Lines in the history of all users."""
    ids: int
    """Message ids that were remembered, so that a repeated message is new again."""
    under_way: str | None
    """The batch whose attempt is under way. It goes, with its messages, when the attempt ends."""
    cursor: str | None
    """Where the next call goes on; None where nothing is left to look through."""


class EraseStore(Protocol):
    """All may raise `StoreUnavailable`, and can be repeated."""

    async def erase(self, user: str, cursor: str | None) -> Erased:
        """Forget the user. Raises ValueError for a cursor that is not ours.

        Costs a look at every dead letter of the user's shard, at every attempt of the history, and
        at every key of the user's Redis server. One call looks at a bounded number of them.
        Messages that come meanwhile are kept; their ids may be forgotten.
        """
        ...

    async def erase_rest(self, shards: Sequence[int]) -> int:
        """What had to wait for an attempt to end; returns how many users are done with."""
        ...
