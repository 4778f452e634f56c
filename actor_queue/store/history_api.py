"""The history of all attempts, and what a store does with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from actor_queue.core.history import AttemptFilter, PastAttempt

LOOKED_AT_MAX = 2_000
"""Attempts that one request looks through, whatever it asks for."""


@dataclass(frozen=True, slots=True)
class AttemptPage:
    """Newest first. `cursor` continues the list, also behind a page that is empty because nothing
    among the attempts that were looked through fits; None at the list's end."""

    attempts: tuple[PastAttempt, ...]
    cursor: str | None


class HistoryStore(Protocol):
    """All may raise `StoreUnavailable`."""

    async def attempts_add(self, attempts: Sequence[tuple[int, PastAttempt]]) -> None:
        """Remember attempts, oldest first, each with the milliseconds since it ended.

        Not to be repeated where it may have been carried out: they would be there twice.
        """
        ...

    async def remembers(self, user: str, message_id: str) -> bool:
        """Whether a message that its sender called so was accepted within AQ_DEDUP_WINDOW."""
        ...

    async def attempts(self, wanted: AttemptFilter, limit: int, cursor: str | None) -> AttemptPage:
        """Looks through at most `LOOKED_AT_MAX`. Raises ValueError for a cursor that is not
        ours."""
        ...
