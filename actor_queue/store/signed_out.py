"""Sessions that were ended before their time: one small sorted set for all replicas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from actor_queue.core.sessions import NONCE_HEX_DIGITS, SESSION_S
from actor_queue.store.base import StoreBase
from actor_queue.store.signed_out_api import SIGNED_OUT_KEPT_MAX
from actor_queue.transport.reading import READING, Unreadable, expect, listed, number, text

CLOCKS_DIFFER_S: Final = 3_600
"""How far a replica's clock, by which a session ends, may be behind the server's, by which it is
forgotten here."""
KEPT_MS: Final = (SESSION_S + CLOCKS_DIFFER_S) * 1_000


class SignOuts(StoreBase):
    """The verbs of `SignOutStore`."""

    async def sign_out(self, nonce: str, ends_at_s: int) -> None:
        """See `SignOutStore.sign_out`."""
        kept = (SIGNED_OUT_KEPT_MAX, CLOCKS_DIFFER_S, KEPT_MS)
        await self._call(
            "sign_out_v1", (self._keys.signed_out,), self._now, nonce, ends_at_s, *kept
        )

    async def signed_out(self) -> Mapping[str, int]:
        """See `SignOutStore.signed_out`."""
        said = listed(await self._call("signed_out_v1", (self._keys.signed_out,)))
        found: dict[str, int] = {}
        for nonce, ends_at_s in zip(said[::2], said[1::2], strict=False):
            # What somebody else wrote there is no reason to believe the others' cookies.
            try:
                with READING:
                    name = text(nonce)
                    expect(len(name) == NONCE_HEX_DIGITS)
                    found[name] = number(ends_at_s)
            except Unreadable:
                continue
        return found
