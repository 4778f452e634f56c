"""What a store remembers of browsers' sessions: those that were ended before their time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

SIGNED_OUT_KEPT_MAX: Final = 1_000
"""Sessions that are remembered. Only whoever has a key can sign in, and so sign out."""


class SignOutStore(Protocol):
    """All may raise `StoreUnavailable`, and may be repeated."""

    async def sign_out(self, nonce: str, ends_at_s: int) -> None:
        """Remember that this session was ended, until it would have ended by itself."""
        ...

    async def signed_out(self) -> Mapping[str, int]:
        """All that is remembered, with the Unix second at which each would end."""
        ...
