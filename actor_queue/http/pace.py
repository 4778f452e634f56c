"""How far a peer is behind the pace that is asked of it.

Time that we take ourselves is never a peer's: between two waits a `Pace` stands still.
"""

from __future__ import annotations

from math import inf
from typing import Final

import trio

BYTES_PER_S: Final = 1_000
"""What a peer has to send at least, once it is `Limits.body_idle_s` behind. A telephone with the
worst reception sends ten times as much."""


class Pace:
    """Of one peer, which sends one thing. Times are those of the Trio clock."""

    __slots__ = ("_bytes_per_s", "_heard", "since")

    def __init__(self, bytes_per_s: float = BYTES_PER_S) -> None:
        self._bytes_per_s = bytes_per_s
        self.since = self._heard = trio.current_time()
        """When it began, later by the time that its bytes were worth; never in the future. The
        time since then is what it is behind."""

    def begin(self) -> None:
        """It begins something new, with nothing behind it."""
        self.since = self._heard = trio.current_time()

    def wait(self) -> None:
        """From now on its bytes are waited for."""
        self.since += trio.current_time() - self._heard

    def heard(self, size: int) -> None:
        """The wait has ended with `size` bytes."""
        self._heard = trio.current_time()
        if size:
            worth_s = size / self._bytes_per_s if self._bytes_per_s else inf
            self.since = min(self._heard, self.since + worth_s)
