"""What all replicas know of the routes: which are open or paused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from actor_queue.store.api import DueUser

WHY_CHARACTERS_MAX = 300
"""Of a reason that is kept: why a route was opened, or paused."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The breaker of a route is open. `since_ms` tells this opening from the others."""

    since_ms: int
    probe_in_ms: int
    """Until the next probe may go; 0 when its time has come."""
    probes: int
    why: str


@dataclass(frozen=True, slots=True)
class Paused:
    """Somebody paused a route."""

    since_ms: int
    by: str | None
    """The name of the key; None where no key is asked for."""
    why: str | None


@dataclass(frozen=True, slots=True)
class RouteState:
    """One route. All is well with one of which nothing is kept."""

    opened: Opened | None = None
    paused: Paused | None = None
    closed_at_ms: int = 0
    """When it was last closed or resumed; 0 where that is not known."""


ALL_WELL = RouteState()


@dataclass(frozen=True, slots=True)
class RouteStates:
    """Of every route of which something is kept. `now_ms` is the store's clock."""

    now_ms: int
    routes: Mapping[str, RouteState] = field(default_factory=dict)

    def of(self, route: str) -> RouteState:
        return self.routes.get(route, ALL_WELL)


@dataclass(frozen=True, slots=True)
class Probe:
    """This replica may send probe `number` of the opening that began at `since_ms`."""

    number: int
    since_ms: int


NoProbe = Literal["wait", "closed", "paused"]


class DueBeside(NamedTuple):
    """Part of a shard's timer index: users with ms until due, and where to go on ('': the end)."""

    users: Sequence[DueUser]
    after: str


class RouteStore(Protocol):
    """All may raise `StoreUnavailable`, and may be repeated."""

    async def routes(self) -> RouteStates: ...

    async def route_open(self, route: str, why: str, retry_after_ms: int) -> tuple[int, bool]:
        """Open a route for all replicas. Since when it is open, and whether this call did it."""
        ...

    async def route_probe(self, route: str, takes_ms: int) -> Probe | NoProbe:
        """Ask for the probe; one replica gets it when its time has come."""
        ...

    async def route_probe_failed(
        self, route: str, probe: Probe, why: str, retry_after_ms: int
    ) -> None:
        """The route stays open."""
        ...

    async def route_close(self, route: str, probe: Probe) -> int | None:
        """The probe was answered. When the route was closed by that; None: another one is open."""
        ...

    async def route_pause(self, route: str, by: str | None, why: str | None) -> bool:
        """Attempt nothing until somebody resumes. False: it was paused before."""
        ...

    async def route_resume(self, route: str) -> tuple[bool, bool]:
        """End a pause; the next probe of an open route goes at once. Whether it was paused, and
        whether it is open."""
        ...

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
        """As `Store.due`, without the conversations of `routes`, or (`only`) of them alone.

        `after` says for each shard where to begin, see `due_beside_v1`.
        """
        ...
