"""Edit and revoke: what becomes of a message that waits, and whose sender thought again.

A message is found by its id, then changed where it was found if it is still there. Finding it is a
walk over what waits for its user, the newest first, in pages of about a millisecond: nothing is
kept beside each message so that the few that are changed could be found at once.
"""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import Final

from actor_queue.core.conversation import route_of
from actor_queue.core.json_text import with_string
from actor_queue.core.payload import counted_bytes
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.changes_api import Changed, Unchanged, WhyUnchanged
from actor_queue.store.users import Users
from actor_queue.transport.reading import READING, Unreadable, listed, number, octets, text

PAGE_MESSAGES: Final = 1_000
PAGE_BYTES: Final = 1_048_576
"""Of what waits, that one call looks at."""
TRIES_MAX: Final = 10
"""How often a message is looked for again because it had moved when it was to be changed."""

_Found = tuple[int, bytes]
"""Its place among what waits, and the message as it is stored."""

_WHY: Final[dict[str, WhyUnchanged]] = {
    "claimed": "claimed",
    "revoked": "revoked",
    "unknown": "unknown",
    "batch": "batch",
    "pending": "pending",
}


class Changes(Users):
    """The verbs behind `PATCH` and `DELETE` of a message."""

    async def edit(self, user: str, message_id: str, text: str) -> Changed | Unchanged:
        """See `ChangeStore.edit`."""
        for _ in range(TRIES_MAX):
            found = await self._find(user, message_id)
            if isinstance(found, Unchanged):
                return found
            place, old = found
            new, body_bytes = _with_text(old, message_id, text)
            if body_bytes > self._settings.max_body_bytes and len(new) > len(old):
                return Unchanged("body")
            said = await self._edit_at(user, place, old, new)
            if said != "moved":
                return await self._changed(user, message_id, said)
        raise _moving()

    async def revoke(self, user: str, message_id: str) -> Changed | Unchanged:
        """See `ChangeStore.revoke`."""
        for _ in range(TRIES_MAX):
            found = await self._find(user, message_id)
            if isinstance(found, Unchanged):
                return found
            said = await self._revoke_at(user, message_id, *found)
            if said != "moved":
                return await self._changed(user, message_id, said)
        raise _moving()

    async def _find(self, user: str, message_id: str) -> _Found | Unchanged:
        shard, mine = self._user_keys(user)
        keys = (mine.pending, mine.flight, shard.named(mine.user, message_id))
        place = -1
        while True:
            said, *rest = listed(
                await self._call(
                    "message_v1", keys, _named(message_id), place, PAGE_MESSAGES, PAGE_BYTES
                )
            )
            with READING:
                if said == b"more":
                    (place,) = map(number, rest)
                elif said == b"waits":
                    return number(rest[0]), octets(rest[1])
                else:
                    return Unchanged(_WHY[text(said)])

    async def _edit_at(self, user: str, place: int, old: bytes, new: bytes) -> str:
        shard, mine = self._user_keys(user)
        s, route = self._settings, self._route(route_of(user))
        said = await self._call(
            "edit_v1",
            (shard.lease, shard.due, mine.state, mine.pending, mine.line),
            self._now,
            mine.user,
            *self._caller(shard),
            place,
            old,
            new,
            route.max_batch_bytes,
            *counted_bytes(route.payload),
            s.max_pending_bytes,
            s.max_ttl_ms,
        )
        return text(said)

    async def _revoke_at(self, user: str, message_id: str, place: int, old: bytes) -> str:
        shard, mine = self._user_keys(user)
        counted = counted_bytes(self._route(route_of(user)).payload)
        named = shard.named(mine.user, message_id)
        said = await self._call(
            "revoke_v1",
            (shard.due, mine.state, mine.pending, mine.line, named),
            self._now,
            mine.user,
            place,
            old,
            counted.times,
            counted.each,
            self._settings.dedup_window_ms,
        )
        return text(said)

    async def _changed(self, user: str, message_id: str, said: str) -> Changed | Unchanged:
        if said != "ok":
            with READING:
                return Unchanged(_WHY[said])
        view = await self.describe(user)
        return Changed(user, message_id, view.pending, view.due_in_ms)


def _named(message_id: str) -> bytes:
    """How a stored message names it; see `Intake`."""
    return encode_basestring(message_id).encode() + b","


def _with_text(stored: bytes, message_id: str, text: str) -> tuple[bytes, int]:
    """A stored message with another text, and the bytes that its sender's object has then.

    Raises `Unreadable` for what is no message of ours.
    """
    with READING:
        beginning = stored.index(_named(message_id)) + len(_named(message_id))
        body = with_string(stored[beginning:-1], "message", text)
        return stored[:beginning] + body + b"]", len(body)
    raise Unreadable


def _moving() -> StoreUnavailable:
    return StoreUnavailable("this user's messages move too fast: send it again", executed=False)
