"""Routes: the receivers of one installation, each with limits of its own.

A route is configuration, never data from a message: how many there are is bounded by whoever wrote
the file. Reading the file is `core/config_file.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from actor_queue.core.batch import Order, PayloadMode
from actor_queue.core.conversation import DEFAULT_ROUTE
from actor_queue.core.settings import Answering, Networks, Settings

ROUTES_MAX: Final = 1_000
"""More receivers than this belong into several installations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One receiver. What a field means stands at the setting of that name."""

    name: str
    url: str | None = field(repr=False)
    """None: batches go to a program's own `deliver`."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    default_ttl_ms: int
    max_wait_ms: int
    max_messages: int
    max_batch_bytes: int
    payload: PayloadMode
    timeout_ms: int
    retry_schedule_ms: tuple[int, ...]
    max_deliveries: int
    """Of this route at once, in each replica."""
    order: Order = "arrival"
    answer: Answering = "now"
    answer_within_ms: int = 120_000
    """How long a receiver that answered 202 has to say that it is done; only with `later`."""

    networks: Networks = "any"
    """Where its receiver may be; the same for all routes."""

    @classmethod
    def default(cls, settings: Settings) -> Route:
        """The one that the environment describes."""
        return cls(
            name=DEFAULT_ROUTE,
            url=settings.webhook_url,
            secrets=settings.webhook_secrets,
            headers=settings.webhook_headers,
            default_ttl_ms=settings.default_ttl_ms,
            max_wait_ms=settings.max_wait_ms,
            max_messages=settings.max_messages,
            max_batch_bytes=settings.max_batch_bytes,
            payload=settings.payload,
            order=settings.order,
            timeout_ms=settings.webhook_timeout_ms,
            retry_schedule_ms=settings.retry_schedule_ms,
            max_deliveries=settings.max_deliveries,
            answer=settings.answer,
            answer_within_ms=settings.answer_within_ms,
            networks=settings.webhook_networks,
        )


class RouteTable:
    """The routes as they are now. Whoever needs one looks here each time, so that what is read
    again while the service runs counts from the next use on."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: Mapping[str, Route] = MappingProxyType({})
        self.version = 0
        """Another one whenever the routes are replaced."""
        self.timeout_max_ms = 0
        """The longest limit that an attempt had on any route, now or before: attempts go on with
        the limit with which they began."""
        self.replace(routes)

    @classmethod
    def of(cls, settings: Settings) -> RouteTable:
        """With the default route alone."""
        return cls([Route.default(settings)])

    def replace(self, routes: Iterable[Route]) -> None:
        """All at once: nobody sees half of the old and half of the new."""
        self._routes = MappingProxyType({route.name: route for route in routes})
        self.version += 1
        limits = (route.timeout_ms for route in self)
        self.timeout_max_ms = max(self.timeout_max_ms, *limits, 0)

    def get(self, name: str) -> Route | None:
        """None for a route that is not (or no longer) configured."""
        return self._routes.get(name)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def __len__(self) -> int:
        return len(self._routes)

    def __contains__(self, name: object) -> bool:
        return name in self._routes
