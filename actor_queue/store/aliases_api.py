"""Two names of one person: to which of the two conversations an event belongs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Sighting(NamedTuple):
    """What an event says of a person whom the platform names in two ways."""

    alias: str
    """The name that hides the other one, as a conversation's key."""
    target: str | None
    """The conversation that the other name stands for; None when the event tells the alias alone.
    """
    message_id: str | None = None
    """Of the message that the event is about, if it is about one."""
    appends: bool = False
    """Whether that message is going to be appended."""
    remember_ms: int = 0
    """For how long an id is remembered then."""


class Whereabouts(NamedTuple):
    """Where the event belongs."""

    user: str
    """The conversation: the alias, or what it leads to."""
    target: str | None
    """To what the alias leads, as far as is known."""
    live: bool
    """Whether something waits, or is under way, under the alias."""
    held_for_ms: int
    """For how long the alias is held."""
    settled: bool
    """Whether everything under the alias belongs to `target` from now on, for ten minutes at least,
    whoever asks."""


class AliasStore(Protocol):
    """May raise `StoreUnavailable`, and may be repeated then."""

    async def whereabouts(self, sightings: Sequence[Sighting]) -> list[Whereabouts]:
        """Where each belongs. What an event tells of both names is remembered for 30 days.

        No message is moved. Whoever appends a message appends it where it belongs, and then it is
        in no other conversation of the two, however often and in whichever order it comes.
        """
        ...
