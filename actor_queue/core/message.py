"""One message as it travels from admission to the store, and what the store says of it.

A message's `body` is the sender's own JSON text, kept byte for byte: numbers keep their
digits and unknown fields their shape, because nothing between the sender and the webhook
needs to understand them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

USER_BYTES_MAX = 512
MESSAGE_ID_BYTES_MAX = 512


class Message(NamedTuple):
    """An admitted message, not yet durable."""

    user: str
    """Whose it is: the key of a conversation, see `core/conversation.py`."""
    body: bytes
    """The whole original object as JSON, UTF-8."""
    ttl_ms: int
    message_id: str
    remembered: bool
    """Whether the sender named the message: only then does the store look for a repetition."""
    arrived_ns: int = 0
    """When its last byte reached this machine, on the system's clock; 0 where nobody knows."""
    remember_ms: int = 0
    """How long its id is remembered, if that is longer than AQ_DEDUP_WINDOW."""


class Accepted(NamedTuple):
    """The store has the message (or had it already)."""

    user: str
    """As in `Message`."""
    message_id: str
    pending: int
    """Messages of this user that wait for their batch to close, this one included."""
    due_in_ms: int
    """Until the batch that holds this message closes, if nothing else arrives; 0 = at once."""
    duplicate: bool
    next_in_ms: float
    """From when the answer was heard until this user's next step, which may be an earlier
    batch's retry; -1 if there is none."""


FullOf = Literal["messages", "bytes"]
"""Which limit was reached: AQ_MAX_PENDING or AQ_MAX_PENDING_BYTES."""


@dataclass(frozen=True, slots=True)
class Full:
    """The user has `pending` messages waiting, as many as the service keeps for one user, or as
    many bytes."""

    user: str
    message_id: str
    pending: int
    due_in_ms: int
    of: FullOf = "messages"


Appended = Accepted | Full
