"""What a store says of the messages that it keeps for a user, with their texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from actor_queue.core.batch import Batch
from actor_queue.store.changes_api import ChangeStore


@dataclass(frozen=True, slots=True)
class Waiting:
    """The messages of one user that are neither delivered nor dead nor dropped."""

    under_way: int
    """Of the batch that is claimed: an attempt is made, or a retry is waited for."""
    waiting: int
    """For a batch to be closed, or for their closed batch's turn."""
    stored: tuple[bytes, ...]
    """The messages as they are kept, oldest first, up to 1 MiB of them."""
    batch: Batch | None = None
    """The batch that is claimed; None where there is none, or not all of it is in `stored`."""

    @property
    def complete(self) -> bool:
        """Whether `stored` has every message."""
        return len(self.stored) == self.under_way + self.waiting


class WaitingStore(ChangeStore, Protocol):
    """All may raise `StoreUnavailable`."""

    async def alert_turn(self, kind: str, for_ms: int) -> bool:
        """Whether no replica has told operators of this kind within `for_ms`; if so, the caller
        has now."""
        ...

    def unrouted(self) -> Mapping[str, int]:
        """How many conversations the last looks through this replica's shards passed over because
        their route is not configured, by route."""
        ...

    async def waiting(self, user: str) -> Waiting:
        """What is kept of this user's messages. Changes nothing."""
        ...
