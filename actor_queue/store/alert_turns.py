"""Which replica tells operators of a trouble that all of them see."""

from __future__ import annotations

from actor_queue.store.base import StoreBase


class AlertTurns(StoreBase):
    """The verb behind `runtime.alerting`."""

    async def alert_turn(self, kind: str, for_ms: int) -> bool:
        """See `Store.alert_turn`."""
        return await self._call("alert_turn_v1", (self._keys.alert(kind),), self._now, for_ms) == 1
