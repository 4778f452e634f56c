"""Tells operators by webhook what should wake them; `core/alerts.py` says what and how often.

A convenience beside the log and `/metrics`, and no part of any guarantee: an alert that nobody
takes after some tries is given up, and one that was not told when the process ends is lost.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import trio

from actor_queue.core.alerts import EVERY_S, Alert, AlertKind
from actor_queue.core.outcome import Delivered, Outcome
from actor_queue.runtime.engine import Engine
from actor_queue.runtime.lines import tell
from actor_queue.store.api import StoreUnavailable

LOOK_S: Final = 1.0
ATTEMPT_S: Final = 10.0
PAUSES_S: Final = (1.0, 5.0, 15.0)
"""Before each repetition."""

Post = Callable[[str, bytes, float], Awaitable[Outcome]]
"""Called with an id, a body and the seconds that it may take."""


class Alerting:
    """`run()` is the timing, `run_once()` the work. At most one alert of a kind is under way."""

    def __init__(self, engine: Engine, post: Post) -> None:
        self._engine = engine
        self._alerts = engine.journal.alert_operators()
        self._post = post
        self._under_way: set[AlertKind] = set()
        self._ours: set[tuple[AlertKind, str]] = set()
        """Routes that no other replica tells of before this one has."""
        self._waiting = 0
        """When that was known last."""

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as telling:
            while True:
                await trio.sleep(LOOK_S)
                await self.run_once(telling)

    async def run_once(self, telling: trio.Nursery) -> None:
        engine, now = self._engine, trio.current_time()
        if (sizes := engine.sizes) is not None:
            self._waiting = sizes.waiting
        trouble = engine.store.trouble()
        self._alerts.look(now, self._waiting, engine.oldest_due_s, trouble, engine.routes)
        for kind in self._alerts.ripe(now):
            if kind in self._under_way:
                continue
            await self._take_routes(kind)
            if kind not in self._alerts.ripe(trio.current_time()):
                continue
            ours, now = await self._is_our_turn(kind), trio.current_time()
            if kind not in self._alerts.ripe(now):
                continue  # Redis took its time, and a delivery has ended the trouble meanwhile
            if ours:
                self._under_way.add(kind)
                self._ours -= {(kind, route) for route in self._alerts.routes(kind, now)}
                telling.start_soon(self._tell, self._alerts.take(kind, now))
            else:
                self._alerts.put_off(kind, now)

    async def _take_routes(self, kind: AlertKind) -> None:
        """Of those that the next alert would name, leave out the ones that another replica has told
        of. Two replicas may see different ones fail."""
        named = self._alerts.routes(kind, trio.current_time())
        self._ours = {(k, route) for k, route in self._ours if k != kind or route in named}
        async with trio.open_nursery() as asking:
            for route in named:
                if (kind, route) not in self._ours:
                    asking.start_soon(self._take_route, kind, route)

    async def _take_route(self, kind: AlertKind, route: str) -> None:
        if await self._is_our_turn(f"{kind}:{route}"):
            self._ours.add((kind, route))
        else:
            self._alerts.told_elsewhere(kind, route, trio.current_time())

    async def _is_our_turn(self, kind: str) -> bool:
        """A Redis that is away keeps nobody from telling: better told twice than not at all."""
        try:
            with trio.move_on_after(LOOK_S):
                return await self._engine.store.alert_turn(kind, int(EVERY_S * 1_000))
        except StoreUnavailable:
            pass
        return True

    async def _tell(self, alert: Alert) -> None:
        name = f"alert-{self._engine.entropy()}"
        body = self._body(alert)
        try:
            for pause_s in (*PAUSES_S, None):
                outcome = await self._post(name, body, ATTEMPT_S)
                if isinstance(outcome, Delivered):
                    return
                if pause_s is None or outcome.final:
                    tell("alert_failed", kind=alert.kind, reason=outcome.reason)
                    return
                await trio.sleep(pause_s)
        finally:
            self._under_way.discard(alert.kind)

    def _body(self, alert: Alert) -> bytes:
        at = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        said = {
            "type": alert.kind,
            "timestamp": at.replace("+00:00", "Z"),
            "namespace": self._engine.settings.namespace,
            "replica": self._engine.replica_id,
            "data": alert.data,
        }
        return json.dumps(said, ensure_ascii=False).encode()
