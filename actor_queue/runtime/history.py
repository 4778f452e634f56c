"""Tells the store of the attempts that were made here, a moment later and many at once.

No attempt waits for this. What a crash takes along is the last moment's; what Redis does not take
in time is left out and counted. Nothing else depends on the history.
"""

from __future__ import annotations

from collections import deque

import trio

from actor_queue.core.history import PastAttempt
from actor_queue.runtime.counters import Counters
from actor_queue.store.api import Store, StoreUnavailable

GATHER_S = 0.25
"""From the first attempt until it is told of, with all that ended meanwhile."""
PARCEL = 100
"""Attempts in one call: about 20 KB, in front of which no claim waits for long."""
PAUSE_S = 1.0
"""After a call that failed."""
WAITING_MAX = 5_000
"""Attempts that wait to be told, about 400 bytes of memory each."""
WAITS_S = 600.0
"""What has waited for longer is left out. See `ERASED_MS` in `store/erase.py`."""
LAST_S = 1.0
"""What the end of a replica waits for the last ones."""


class History:
    """`run()` is the timing, `run_once()` the work. With `kept` 0 nothing is remembered."""

    def __init__(self, store: Store, kept: int, counters: Counters) -> None:
        self._store = store
        self._kept = kept
        self._counters = counters
        self._waiting: deque[tuple[float, PastAttempt]] = deque()
        self._wake = trio.Event()

    @property
    def wanted(self) -> bool:
        """Whether anything is remembered at all."""
        return self._kept > 0

    def note(self, attempt: PastAttempt) -> None:
        """Remember it soon. Returns at once."""
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.popleft()
            self._counters.history_dropped += 1
        self._waiting.append((trio.current_time(), attempt))
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            await trio.sleep(GATHER_S)
            self._wake = trio.Event()
            if not await self.run_once():
                await trio.sleep(PAUSE_S)
                self._wake.set()

    async def run_once(self) -> bool:
        """Tell of all that waits; False if the store failed and some may wait on."""
        while self._waiting:
            parcel = [self._waiting.popleft() for _ in range(min(PARCEL, len(self._waiting)))]
            now = trio.current_time()
            fresh = [(ended, attempt) for ended, attempt in parcel if now - ended <= WAITS_S]
            self._counters.history_dropped += len(parcel) - len(fresh)
            if not fresh:
                continue
            try:
                await self._store.attempts_add(
                    [(round((now - ended) * 1000), attempt) for ended, attempt in fresh]
                )
            except StoreUnavailable as error:
                if error.executed is False:
                    self._waiting.extendleft(reversed(fresh))
                else:
                    # Saying it again could put them there twice: one who looks why a receiver was
                    # called twice must not find an attempt that nobody made.
                    self._counters.history_dropped += len(fresh)
                return False
        return True

    async def finish(self) -> None:
        """The last ones, before the replica ends."""
        if self._waiting:
            with trio.move_on_after(LAST_S):
                await self.run_once()
