"""Two names of one person, kept in Redis: the link lies in the slot of the alias.

An event that tells the alias alone says nothing of where the other conversation lies, so it must be
answered where the alias lies; and so do the ids that the alias remembers, which decide together
with the link, in one script, where a message goes. With the other conversation lies only a note of
its aliases, by which an erasure finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from actor_queue.core.conversation import key_to_bytes
from actor_queue.store.aliases_api import Sighting, Whereabouts
from actor_queue.store.base import StoreBase, conversation_key
from actor_queue.store.scripts import script
from actor_queue.transport.reading import READING, Unreadable, listed, number, octets
from actor_queue.transport.runner import Call

KEPT_MS: Final = 30 * 86_400_000
"""How long a link is kept after an event has told it; longer where ids are remembered longer."""
ALIASES_MAX: Final = 16
"""Of one conversation. A phone has one `@lid` at a time."""


class Aliases(StoreBase):
    """The verb behind events whose sender has two names."""

    async def whereabouts(self, sightings: Sequence[Sighting]) -> list[Whereabouts]:
        """See `AliasStore.whereabouts`."""
        replies = await self._run([self._look(each, noted=False) for each in sightings])
        found = [_read(each, reply) for each, reply in zip(sightings, replies, strict=True)]
        told = [place for place, each in enumerate(found) if each is None]
        if told:
            # A link's other end comes first, so that no link is ever kept which nothing finds.
            noted = await self._run([self._note(sightings[place]) for place in told])
            linked = [place for place, said in zip(told, noted, strict=True) if number(said)]
            calls = [self._look(sightings[place], noted=True) for place in linked]
            again = await self._run(calls) if calls else []
            for place, reply in zip(linked, again, strict=True):
                found[place] = _read(sightings[place], reply)
        return [
            each or _unlinked(sighting) for each, sighting in zip(found, sightings, strict=True)
        ]

    @property
    def _kept_ms(self) -> int:
        return max(KEPT_MS, self._settings.dedup_window_ms)

    def _look(self, sighting: Sighting, *, noted: bool) -> Call:
        shard, mine = self._user_keys(sighting.alias)
        keys = [mine.state, shard.leads_to(mine.user)]
        if sighting.message_id is not None:
            keys.append(shard.named(mine.user, sighting.message_id))
        target = b"" if sighting.target is None else key_to_bytes(sighting.target)
        flags = ("1" if sighting.appends else "", "1" if noted else "")
        args = (self._now, target, *flags, self._kept_ms, sighting.remember_ms)
        return Call(script("alias_v1"), keys, args)

    def _note(self, sighting: Sighting) -> Call:
        assert sighting.target is not None
        shard, theirs = self._user_keys(sighting.target)
        args = (self._now, key_to_bytes(sighting.alias), self._kept_ms, ALIASES_MAX)
        return Call(script("alias_of_v1"), [shard.aliases_of(theirs.user)], args)

    async def erase_aliases(self, user: str) -> None:
        """Forget every link from and to this conversation."""
        shard, mine = self._user_keys(user)
        keys = (shard.leads_to(mine.user), shard.aliases_of(mine.user))
        with READING:
            target, aliases = listed(await self._call("erase_aliases_v1", keys, ""))
            others = [octets(each) for each in (target, *listed(aliases)) if each]
        calls = []
        for other in others:
            there, theirs = self._user_keys(conversation_key(other))
            ends = (there.leads_to(theirs.user), there.aliases_of(theirs.user))
            calls.append(Call(script("alias_forget_v1"), ends, (self._now, mine.user)))
        if calls:
            await self._run(calls)
        await self._call("erase_aliases_v1", keys, "1")


def _read(sighting: Sighting, reply: object) -> Whereabouts | None:
    """None where the link has to be noted first."""
    said = listed(reply)
    if said == [b"tell"]:
        return None
    with READING:
        there, target, live, held, settled = said
        leads = conversation_key(target) if target else None
        user = leads if number(there) else sighting.alias
        if user is None:
            raise Unreadable
        flags = (bool(number(live)), number(held), bool(number(settled)))
        return Whereabouts(user, leads, *flags)
    raise Unreadable


def _unlinked(sighting: Sighting) -> Whereabouts:
    """Of a conversation that has as many aliases as it may have."""
    assert sighting.target is not None
    return Whereabouts(sighting.target, sighting.target, live=False, held_for_ms=0, settled=False)
