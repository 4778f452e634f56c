"""What people did by hand, and what a store keeps of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

DeedName = Literal[
    "flush",
    "hold",
    "release",
    "drop",
    "erase",
    "replay",
    "drop_dead",
    "replay_all",
    "stop_replay",
    "edit",
    "revoke",
    "pause",
    "resume",
]
REASON_BYTES_MAX = 300
USER_DEEDS_MAX = 20
"""That are kept with a user, for 30 days."""
DEEDS_MAX = 1_000
"""That are kept of the whole namespace, for 90 days, with a hash in the user's place."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that somebody did through the API."""

    name: DeedName
    by: str | None
    """The name of the key; None where no key is asked for."""
    reason: str | None = None
    """As it was given. Kept with the user only, because it may name somebody."""
    seconds: float | None = None
    """Of a hold."""
    batch_id: str | None = None
    user_hash: str | None = None
    """Of the list of all. `LoggedAs` of the log, so that both can be laid side by side."""
    at_ms: int = 0
    """Set by the store."""
    route: str | None = None
    """Of a pause or a resume, of which no reason is kept here: the gate has that of a pause, until
    the route is resumed."""


class DeedStore(Protocol):
    """All may raise `StoreUnavailable`."""

    async def deed_add(self, deed: Deed, user: str | None) -> None:
        """Note a deed in the list of all, and with `user` where there is one. Not to be repeated
        where it may have been carried out."""
        ...

    async def deed_add_to(self, deed: Deed, users: Sequence[str]) -> None:
        """Note with each of `users` what was done to all of them, and once in the list of all.
        Tries all of them, also where one fails."""
        ...

    async def deed_add_with_user(self, deed: Deed, user: str) -> None:
        """Note with `user` what no person did: it is in no list of all, which it would fill."""
        ...

    async def deeds(self, user: str | None, limit: int) -> list[Deed]:
        """Of a user, or of all; newest first."""
        ...
