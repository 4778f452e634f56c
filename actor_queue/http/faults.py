"""How an unforeseen error is named in the log: what and where, never what it was about.

An exception's text and a traceback's lines can quote a message, so neither is written.
"""

from __future__ import annotations

from typing import Literal

from actor_queue.runtime.lines import described, tell


class FaultLog:
    """Faults of ours while serving. The log itself sees to it that they cannot fill a disk."""

    def write(
        self, event: Literal["request_failed", "connection_failed"], error: BaseException
    ) -> None:
        tell(event, error=described(error))
