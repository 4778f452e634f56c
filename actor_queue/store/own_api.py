"""What is known of the messages that the account itself sends to a user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class OwnMessageStore(Protocol):
    """Both may raise `StoreUnavailable`, and may be repeated."""

    async def own_message(self, user: str, message_id: str, for_ms: int) -> bool:
        """Whether a human may have sent this message, which is about to hold for so long."""
        ...

    async def sent_messages(self, user: str, message_ids: Sequence[str]) -> bool:
        """Remember that the receiver sent these. Whether the hold is to end, which only they
        began."""
        ...
