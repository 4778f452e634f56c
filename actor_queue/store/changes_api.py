"""What a store does to a message that waits: it puts another text in its place, or takes it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

WhyUnchanged = Literal["claimed", "revoked", "unknown", "body", "batch", "pending"]
"""Why a message stays as it is.

It does not wait any more: it was `claimed` for a batch (or dropped), `revoked` before, or nobody
knows its id. Or the new text makes too much of it: more than `max_body_bytes` of a message, than
`max_batch_bytes` of its batch, than `max_pending_bytes` of what waits for the user.
"""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing was changed."""

    why: WhyUnchanged


@dataclass(frozen=True, slots=True)
class Changed:
    """It was done."""

    user: str
    message_id: str
    pending: int
    """Messages of this user that wait now."""
    due_in_ms: int | None
    """Until the user's next step; None when nothing waits."""


class ChangeStore(Protocol):
    """Both may raise `StoreUnavailable`, and may be repeated then."""

    async def edit(self, user: str, message_id: str, text: str) -> Changed | Unchanged:
        """Give a message that waits this text. It keeps its place, its id and its other fields; the
        open window waits as after a typing signal."""
        ...

    async def revoke(self, user: str, message_id: str) -> Changed | Unchanged:
        """Take a message out of what waits. No timer moves, and its id stays remembered."""
        ...
