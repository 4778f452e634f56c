"""The routes in Redis: one hash for all of them, and a short report of each replica."""

from __future__ import annotations

from collections.abc import Sequence

from actor_queue.core.breaker import FIRST_PROBE_MS, LAST_PROBE_MS
from actor_queue.core.conversation import is_route_name
from actor_queue.core.delivery import printable
from actor_queue.store.due import DueUsers
from actor_queue.store.routes_api import (
    WHY_CHARACTERS_MAX,
    DueBeside,
    NoProbe,
    Opened,
    Paused,
    Probe,
    RouteState,
    RouteStates,
)
from actor_queue.store.scripts import script
from actor_queue.transport.reading import READING, Unreadable, listed, number, text
from actor_queue.transport.runner import Call

LOOKS_MAX = 2_000
"""Entries of one shard's timer index that one question looks at: a millisecond of the server."""


class RouteVerbs(DueUsers):
    """The verbs of `RouteStore`."""

    async def routes(self) -> RouteStates:
        """See `RouteStore.routes`."""
        reply = listed(await self._call("routes_v1", (self._keys.routes,), self._now) or [0])
        now_ms = number(reply[0])
        found: dict[str, RouteState] = {}
        for entry in reply[1:]:
            # One entry that nobody of ours has written is no reason to know nothing of the others.
            try:
                with READING:
                    route, opened, closed, paused = map(text, listed(entry))
                    if is_route_name(route):
                        found[route] = _state(opened, closed, paused, now_ms)
            except Unreadable:
                continue
        return RouteStates(now_ms, found)

    async def route_open(self, route: str, why: str, retry_after_ms: int) -> tuple[int, bool]:
        """See `RouteStore.route_open`."""
        reply = await self._tell_open(route, 0, 0, retry_after_ms, why)
        with READING:
            since_ms, _, opened = map(number, reply)
            return since_ms, opened == 1
        raise Unreadable

    async def route_probe(self, route: str, takes_ms: int) -> Probe | NoProbe:
        """See `RouteStore.route_probe`."""
        reply = await self._call(
            "route_probe_v1", (self._keys.routes,), self._now, route, takes_ms, LAST_PROBE_MS
        )
        with READING:
            match listed(reply):
                case [b"probe", probe, since_ms]:
                    return Probe(number(probe), number(since_ms))
                case [b"closed"]:
                    return "closed"
                case [b"paused"]:
                    return "paused"
                case [b"wait", _]:
                    return "wait"
        raise Unreadable

    async def route_probe_failed(
        self, route: str, probe: Probe, why: str, retry_after_ms: int
    ) -> None:
        """See `RouteStore.route_probe_failed`."""
        await self._tell_open(route, probe.number, probe.since_ms, retry_after_ms, why)

    async def _tell_open(
        self, route: str, probe: int, since_ms: int, retry_after_ms: int, why: str
    ) -> list[object]:
        return listed(
            await self._call(
                "route_open_v1",
                (self._keys.routes,),
                self._now,
                route,
                probe,
                since_ms,
                retry_after_ms,
                FIRST_PROBE_MS,
                printable(why, WHY_CHARACTERS_MAX),
                self._keys.everyone,
            )
        )

    async def route_close(self, route: str, probe: Probe) -> int | None:
        """See `RouteStore.route_close`."""
        reply = await self._call(
            "route_close_v1",
            (self._keys.routes,),
            self._now,
            route,
            probe.since_ms,
            self._keys.everyone,
        )
        match listed(reply):
            case [1, at_ms]:
                return number(at_ms)
        return None

    async def route_pause(self, route: str, by: str | None, why: str | None) -> bool:
        """See `RouteStore.route_pause`."""
        said = printable(why or "", WHY_CHARACTERS_MAX)
        named = printable(by or "", WHY_CHARACTERS_MAX)
        reply = await self._call(
            "route_pause_v1",
            (self._keys.routes,),
            self._now,
            route,
            named,
            said,
            self._keys.everyone,
        )
        return listed(reply) == [1]

    async def route_resume(self, route: str) -> tuple[bool, bool]:
        """See `RouteStore.route_resume`."""
        reply = await self._call(
            "route_resume_v1", (self._keys.routes,), self._now, route, self._keys.everyone
        )
        with READING:
            paused, opened = map(number, listed(reply))
            return paused == 1, opened == 1
        raise Unreadable

    async def due_beside(
        self,
        shards: Sequence[int],
        within_ms: int,
        limit: int,
        routes: Sequence[str],
        after: Sequence[str],
        *,
        only: bool = False,
    ) -> list[DueBeside]:
        """See `RouteStore.due_beside`."""
        found = script("due_beside_v1")
        which = "only" if only else "without"
        most = [limit + self._aside_in(shard) for shard in shards]
        calls = [
            Call(
                found,
                (self._keys.shards[shard].due,),
                (self._now, within_ms, asked, LOOKS_MAX, begin, which, *routes),
            )
            for shard, asked, begin in zip(shards, most, after, strict=True)
        ]
        parts = []
        for shard, asked, begin, reply in zip(
            shards, most, after, await self._run_each(calls), strict=True
        ):
            last, *users = listed(reply or [b""])
            goes_on = text(last)
            # Where that many stand at one moment, those who are left of them have the next turn.
            goes_on = f"({goes_on}" if goes_on and goes_on == begin else goes_on
            parts.append(DueBeside(self._ours(shard, users, asked, partly=True)[:limit], goes_on))
        return parts


def _state(opened: str, closed: str, paused: str, now_ms: int) -> RouteState:
    """What the three fields of a route say."""
    is_open = is_paused = None
    if opened:
        since, probe_at, probes, _, why = opened.split("\n")
        is_open = Opened(int(since), max(0, int(probe_at) - now_ms), int(probes), why)
    if paused:
        since, by, said = paused.split("\n")
        is_paused = Paused(int(since), by or None, said or None)
    return RouteState(is_open, is_paused, int(closed or 0))
