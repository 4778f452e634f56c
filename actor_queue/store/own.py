"""An account's own messages: which of them a human sent, and which the receiver says that it did.

A platform tells of both in the same way, and often before the receiver has said anything. So a
message that may be a human's holds its conversation, and the receiver's word ends that hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from actor_queue.store.base import StoreBase
from actor_queue.transport.reading import number

KEPT_MS: Final = 86_400_000
MESSAGES_MAX: Final = 100
"""Of one conversation, that are remembered at once."""


class OwnMessages(StoreBase):
    """See `OwnMessageStore`."""

    async def own_message(self, user: str, message_id: str, for_ms: int) -> bool:
        """See `OwnMessageStore.own_message`."""
        shard, mine = self._user_keys(user)
        keys = (mine.state, shard.own(mine.user))
        args = (_short(message_id), for_ms, KEPT_MS, MESSAGES_MAX)
        return bool(number(await self._call("own_v1", keys, self._now, *args)))

    async def sent_messages(self, user: str, message_ids: Sequence[str]) -> bool:
        """See `OwnMessageStore.sent_messages`."""
        shard, mine = self._user_keys(user)
        ids = [_short(each) for each in message_ids]
        kept = (self._now, KEPT_MS, MESSAGES_MAX)
        said = await self._call("sent_v1", (shard.own(mine.user),), *kept, *ids)
        return bool(number(said))

    async def erase_own_messages(self, user: str) -> None:
        """Forget them."""
        shard, mine = self._user_keys(user)
        await self._call("erase_own_v1", (shard.own(mine.user),))


def _short(message_id: str) -> str:
    """WAHA's ids have the chat in front of what WhatsApp calls the message."""
    return message_id.rpartition("_")[2] or message_id
