"""A person whom a platform names in two ways, and the conversation in which its events belong.

What is known stands in Redis (`store.aliases_api`). Here is what need not be asked again: where
everything of a person belongs to one conversation for good, that is remembered for some minutes, of
a bounded number of people. So a person costs a question of its own with the first event, and with
the first one after each such time.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from actor_queue.core.doors import Door
from actor_queue.core.message import USER_BYTES_MAX
from actor_queue.http.backend import DoorBackend
from actor_queue.store.aliases_api import Sighting, Whereabouts

KNOWN_MAX: Final = 20_000
"""People of whom a process remembers where they belong, at about 500 bytes each."""
KNOWN_S: Final = 540.0
"""For how long. The store answers for ten minutes."""
ALONE_S: Final = 60.0
"""For how long the Cloud API's phones that lead nowhere are remembered. What another replica learns
of one meanwhile counts here that much later. A `@lid` is asked for each time, because the phone
behind it is often told seconds later."""


class Named(Protocol):
    """An action about somebody."""

    @property
    def user(self) -> str: ...

    @property
    def alias(self) -> str: ...


@dataclass(frozen=True, slots=True)
class _Known:
    target: str | None
    until_s: float


class Aliases:
    """Of one process. `clock` gives seconds of whatever beginning."""

    def __init__(self, backend: DoorBackend, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def of_messages(
        self, named: Sequence[tuple[Named, str]], door: Door, remember_ms: int
    ) -> list[str]:
        """The conversation of each action, whose message is going to be appended under this id.

        A person who is held under one name is held under the other one, too.
        """
        users = [door.conversation(action.user) for action, _ in named]
        asked = [
            (place, Sighting(*_names(action, door), message_id, True, remember_ms))
            for place, (action, message_id) in enumerate(named)
            if _has_alias(action)
        ]
        found = await self._look([sighting for _, sighting in asked], door) if asked else ()
        for (place, sighting), where in zip(asked, found, strict=True):
            users[place] = where.user
            if where.held_for_ms and where.user != sighting.alias:
                await self._hold_too(sighting.alias, where)
        return users

    def at_once(self, action: Named, door: Door) -> str | None:
        """The conversation of a message that need not be asked for; None where it has to be."""
        if not _has_alias(action):
            return door.conversation(action.user)
        alias, target = _names(action, door)
        known = self._known.get(alias)
        if known is None or target not in (None, known.target) or known.until_s <= self._clock():
            return None
        return known.target or alias

    async def of_change(self, action: Named, message_id: str, door: Door) -> str:
        """The conversation in which the message is, if it is anywhere."""
        if not _has_alias(action):
            return door.conversation(action.user)
        (where,) = await self._look([Sighting(*_names(action, door), message_id)], door)
        return where.user

    async def of_person(self, action: Named, door: Door) -> Sequence[str]:
        """Every conversation of the person to which something can happen now."""
        if not _has_alias(action):
            return (door.conversation(action.user),)
        sighting = Sighting(*_names(action, door))
        (where,) = await self._look([sighting], door)
        if where.target is None:
            return (sighting.alias,)
        return (sighting.alias, where.target) if where.live else (where.target,)

    async def _look(self, sightings: Sequence[Sighting], door: Door) -> list[Whereabouts]:
        now_s = self._clock()
        found = [self._remembered(sighting, now_s) for sighting in sightings]
        open_ = [place for place, each in enumerate(found) if each is None]
        if open_:
            answers = await self._backend.store.whereabouts([sightings[place] for place in open_])
            for place, where in zip(open_, answers, strict=True):
                found[place] = where
                self._remember(sightings[place], where, door, now_s)
        return [where for where in found if where is not None]

    def _remembered(self, sighting: Sighting, now_s: float) -> Whereabouts | None:
        known = self._known.get(sighting.alias)
        if known is None or known.until_s <= now_s:
            return None
        if sighting.target not in (None, known.target):
            return None
        self._known.move_to_end(sighting.alias)
        user = known.target or sighting.alias
        return Whereabouts(user, known.target, live=False, held_for_ms=0, settled=True)

    def _remember(self, sighting: Sighting, where: Whereabouts, door: Door, now_s: float) -> None:
        self._known.pop(sighting.alias, None)
        if where.settled:
            self._known[sighting.alias] = _Known(where.target, now_s + KNOWN_S)
        elif where.target is None and sighting.appends and door.kind == "cloud":
            # Only whoever was going to append has let the store know of it for so long.
            self._known[sighting.alias] = _Known(None, now_s + ALONE_S)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    async def _hold_too(self, alias: str, where: Whereabouts) -> None:
        view = await self._backend.describe(where.user)
        if (view.held_for_ms or 0) < where.held_for_ms:
            await self._backend.hold(where.user, where.held_for_ms)
        if not where.live:
            await self._backend.unhold(alias)


def _has_alias(action: Named) -> bool:
    """A name that no user can have is no alias."""
    alias = action.alias
    if not alias:
        return False
    return (len(alias) if alias.isascii() else len(alias.encode())) <= USER_BYTES_MAX


def _names(action: Named, door: Door) -> tuple[str, str | None]:
    """The alias and, where the event tells both names, the conversation that it leads to."""
    told = None if action.alias == action.user else door.conversation(action.user)
    return door.conversation(action.alias), told
