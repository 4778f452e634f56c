"""Who did what by hand: a short list with each user, and one of the namespace without names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, get_args

from actor_queue.store.api import StoreUnavailable
from actor_queue.store.base import StoreBase
from actor_queue.store.deeds_api import DEEDS_MAX, USER_DEEDS_MAX, Deed, DeedName
from actor_queue.store.scripts import script
from actor_queue.transport.reading import READING, Unreadable, expect, listed, octets
from actor_queue.transport.runner import Call

USER_KEPT_MS = 30 * 86_400_000
KEPT_MS = 90 * 86_400_000
OF_A_ROUTE: Final = frozenset({"pause", "resume"})
TOGETHER = 100
"""Lines that are written together, so that nobody's claim waits behind more."""


class Deeds(StoreBase):
    """The verbs behind `?deeds=true` and `/api/deeds`."""

    async def deed_add(self, deed: Deed, user: str | None) -> None:
        """See `DeedStore.deed_add`."""
        await self.deed_add_to(deed, [] if user is None else [user])

    async def deed_add_to(self, deed: Deed, users: Sequence[str]) -> None:
        """See `DeedStore.deed_add_to`."""
        add = script("deeds_add_v1")
        with_user = (self._now, _line(replace(deed, user_hash=None)))
        of_all = (self._now, _line(replace(deed, reason=None)))
        calls = [Call(add, (self._keys.deeds,), (*of_all, DEEDS_MAX, KEPT_MS))]
        calls += [
            Call(add, (self._user_keys(user)[1].deeds,), (*with_user, USER_DEEDS_MAX, USER_KEPT_MS))
            for user in users
        ]
        failed: StoreUnavailable | None = None
        for start in range(0, len(calls), TOGETHER):
            try:
                await self._run(calls[start : start + TOGETHER])
            except StoreUnavailable as error:
                failed = failed or error  # what one user's key holds loses no other user's line
        if failed is not None:
            raise failed

    async def deed_add_with_user(self, deed: Deed, user: str) -> None:
        """See `DeedStore.deed_add_with_user`."""
        mine = self._user_keys(user)[1].deeds
        await self._call(
            "deeds_add_v1", (mine,), self._now, _line(deed), USER_DEEDS_MAX, USER_KEPT_MS
        )

    async def deeds(self, user: str | None, limit: int) -> list[Deed]:
        """See `DeedStore.deeds`."""
        key = self._keys.deeds if user is None else self._user_keys(user)[1].deeds
        lines = listed(await self._call("deeds_v1", (key,), limit))
        return [deed for line in lines if (deed := _read(line)) is not None]


def _line(deed: Deed) -> str:
    # A former release reads these values and none behind them. So a route stands where a reason
    # would, which a deed to a route has not, and that release shows it as one.
    why = deed.route if deed.name in OF_A_ROUTE else deed.reason
    told = [deed.name, deed.by, why, deed.seconds, deed.batch_id, deed.user_hash]
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))[1:]


def _read(line: object) -> Deed | None:
    """None for what no deed wrote."""
    try:
        with READING:
            at_ms, name, by, reason, seconds, batch_id, user_hash = json.loads(octets(line))
            expect(type(at_ms) is int, name in get_args(DeedName))
            expect(all(isinstance(each, str | None) for each in (by, reason, batch_id, user_hash)))
            expect(isinstance(seconds, int | float | None))
            route, why = (reason, None) if name in OF_A_ROUTE else (None, reason)
            return Deed(name, by, why, seconds, batch_id, user_hash, at_ms, route)
    except Unreadable:
        return None
