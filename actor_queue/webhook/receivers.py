"""The receivers of all routes: one client each, made when the first batch is for it.

A client belongs to what its route was when it was made. When the routes are read again, one whose
route is another now, or is gone, makes no more attempts, and its connections are closed as soon as
nothing is under way on them.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from actor_queue.core.batch import Batch
from actor_queue.core.outcome import Failed, Outcome
from actor_queue.core.routes import Route, RouteTable
from actor_queue.webhook.client import WebhookClient, shared_context

NOT_CONFIGURED = "the route is not configured"


class Receivers:
    """Open with `async with`. As many attempts at once as the caller allows itself.

    `besides` is called at each attempt for headers that are only its own; `tls` replaces the
    trusted certificates.
    """

    def __init__(
        self,
        routes: RouteTable,
        *,
        besides: Callable[[], Sequence[tuple[bytes, bytes]]] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._routes = routes
        self._besides = besides
        self._tls = tls
        self._seen = routes.version
        self._clients: dict[str, tuple[Route, WebhookClient]] = {}

    async def deliver(self, batch: Batch, deadline_s: float) -> Outcome:
        """See `WebhookClient.deliver`; with the client of the batch's route."""
        client = self._client(batch.route)
        if client is None:
            return Failed(NOT_CONFIGURED)
        return await client.deliver(batch, deadline_s)

    def _client(self, name: str) -> WebhookClient | None:
        """None for a route that has left the configuration since the batch was claimed."""
        if self._seen != self._routes.version:
            self._seen = self._routes.version
            self._retire()
        known = self._clients.get(name)
        if known is not None:
            return known[1]
        route = self._routes.get(name)
        if route is None or route.url is None:
            return None
        client = WebhookClient.for_route(route, tls=self._tls)
        client.besides = self._besides
        self._clients[name] = route, client
        return client

    def _retire(self) -> None:
        for name, (route, client) in list(self._clients.items()):
            if self._routes.get(name) != route:
                del self._clients[name]
                client.retire()

    async def __aenter__(self) -> Self:
        urls = [route.url or "" for route in self._routes]
        if self._tls is None and any(url.startswith("https") for url in urls):
            shared_context()  # no attempt has to wait for it
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for _, client in self._clients.values():
            client.retire()
        self._clients.clear()
