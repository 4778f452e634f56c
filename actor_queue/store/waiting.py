"""The messages of one user, with their texts: nobody reads them here but who asks to see them."""

from __future__ import annotations

from typing import Final

from actor_queue.core.batch import Batch, readable
from actor_queue.store.base import StoreBase
from actor_queue.store.batches import batch_of
from actor_queue.store.waiting_api import Waiting
from actor_queue.transport.reading import READING, listed, number, octets, text

WAITING_BYTES_MAX: Final = 1_048_576


class WaitingMessages(StoreBase):
    """The verb behind `GET /api/users/{user}?texts=true`."""

    async def waiting(self, user: str) -> Waiting:
        """See `WaitingStore.waiting`."""
        _, mine = self._user_keys(user)
        keys = (mine.pending, mine.flight, mine.state)
        reply = await self._call("waiting_v2", keys, self._now, WAITING_BYTES_MAX)
        with READING:
            under_way, waiting, items, facts = listed(reply)
            stored = list(map(octets, listed(items)))
            batch = _batch(user, listed(facts), stored[: number(under_way)], number(under_way))
            texts = tuple(filter(readable, stored))
            return Waiting(number(under_way), number(waiting), texts, batch)


def _batch(user: str, facts: list[object], stored: list[bytes], messages: int) -> Batch | None:
    """The batch under way; None where there is none, or not all of it was read."""
    if not facts or len(stored) < messages or not all(map(readable, stored)):
        return None
    return batch_of(text(facts[0]), user, facts[1:], stored)
