"""What the HTTP layer counts about itself. Plain numbers; `metrics` turns them into text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

PARTS: Final = ("head", "body", "answer", "stream")
"""What a peer may be too slow with. A stream is a long request with many messages, whose place
others wait for."""


@dataclass(slots=True)
class Traffic:
    """Counted since the process started, `connections_open` excepted."""

    connections_open: int = 0
    connections_total: int = 0
    connections_failed: int = 0
    """Ended by an error of ours, isolated from the others."""
    connections_evicted: int = 0
    """Slow or idle ones closed to make room at the limit."""
    connections_waited: int = 0
    """Ones that found the limit reached when they came."""
    peers_too_slow: Counter[str] = field(default_factory=Counter)
    """Connections ended because of their pace, by what was slow: head, body, answer, stream."""
    accept_errors: int = 0
    accept_error: str = ""
    """The name of the last one."""
    requests_refused: int = 0
    """Ended before any handler saw them: broken framing, too large, too slow, a foreign page."""
    groups_unsettled: int = 0
    """Groups of messages stored while older ones were still unread after many passes."""
    streams_put_out: int = 0
    """Streams of events that ended because too many listened."""
    requests_put_off: int = 0
    """Of callers that nobody knows, refused because too many of these were waiting."""
    sign_ins_refused: int = 0
    """With a wrong key, or because there were too many of those."""
    requests_failed: int = 0
    """A handler raised what it should not."""
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By route and status; the route is a pattern, never a user."""
    bulk_messages: Counter[int] = field(default_factory=Counter)
    """Results of `POST /api/messages`, by status."""
