"""Sessions that were signed out here are told to all replicas, and those of others are heard.

A cookie is signed and kept nowhere, so each process would believe a copy of it until its end,
unless it knows that the session was ended. What was ended stands in the store, and every process
reads that when it starts and every two seconds: a sign-out is good for all replicas within that
time, and outlives a restart.
"""

from __future__ import annotations

from typing import Final

import trio

from actor_queue.http.auth import Keys
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.signed_out_api import SIGNED_OUT_KEPT_MAX, SignOutStore

EVERY_S: Final = 2.0


class SharedSignOuts:
    """`run()` is the timing, `run_once()` the work."""

    def __init__(self, store: SignOutStore, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self._untold: dict[str, int] = {}
        """Ended here while the store was away."""

    async def run(self) -> None:
        """Until cancelled."""
        self._keys.keep = self.tell
        while True:
            # Without keys there are no sessions. Keys may come when they are read again.
            if self._keys:
                await self.run_once()
            await trio.sleep(EVERY_S)

    async def run_once(self) -> None:
        """Tell what is untold, and hear what others have told."""
        for nonce, ends_at_s in list(self._untold.items()):
            await self.tell(nonce, ends_at_s)
        try:
            ended = await self._store.signed_out()
        except StoreUnavailable:
            return
        for nonce, ends_at_s in ended.items():
            if nonce not in self._keys.signed_out:
                self._keys.hear_signed_out(nonce, ends_at_s)

    async def tell(self, nonce: str, ends_at_s: int) -> None:
        """Returns when the store has it, or when it is known to be away: then it is told later."""
        self._untold[nonce] = ends_at_s
        if len(self._untold) > SIGNED_OUT_KEPT_MAX:
            del self._untold[next(iter(self._untold))]
        try:
            await self._store.sign_out(nonce, ends_at_s)
        except StoreUnavailable:
            return
        self._untold.pop(nonce, None)
