"""How far a peer is behind the pace that is asked of it.

Time that we take ourselves is never a peer's: between two waits a `Pace` stands still.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from math import inf
from typing import Final, cast

BYTES_PER_S: Final = 1_000
"""What a peer has to send at least, once it is `Limits.body_idle_s` behind. A telephone with the
worst reception sends ten times as much."""


class Pace:
    """Of one peer, which sends one thing. Times are those of the event loop that runs."""

    __slots__ = ("_bytes_per_s", "_heard", "_now", "since")

    def __init__(self, bytes_per_s: float = BYTES_PER_S) -> None:
        self._bytes_per_s = bytes_per_s
        self._now = loop_clock()
        self.since = self._heard = self._now()
        """When it began, later by the time that its bytes were worth; never in the future. The
        time since then is what it is behind."""

    def begin(self) -> None:
        """It begins something new, with nothing behind it."""
        self.since = self._heard = self._now()

    def wait(self) -> None:
        """From now on its bytes are waited for."""
        self.since += self._now() - self._heard

    def heard(self, size: int) -> None:
        """The wait has ended with `size` bytes."""
        self._heard = self._now()
        if size:
            worth_s = size / self._bytes_per_s if self._bytes_per_s else inf
            self.since = min(self._heard, self.since + worth_s)

    def behind_s(self) -> float:
        """How far the peer is behind at this moment, while its bytes are waited for."""
        return self._now() - self.since


def loop_clock() -> Callable[[], float]:
    """The clock of the event loop that runs, in seconds.

    A connection looks at the clock several times for each message. `anyio.current_time` asks each
    time anew which loop runs, and that costs more than the look. Trio is not imported here, because
    a program that runs on asyncio need not have it.
    """
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return cast("Callable[[], float]", trio.current_time)
    return asyncio.get_running_loop().time
