"""`GET /api/doctor`: what `actor-queue doctor` finds, looked at by the service, with its settings.

The doctor is synchronous and may wait for servers that are away, so it works in a thread of its
own: one at a time, for a bounded time, and what it found is kept for a few seconds, so that many
who ask cost no more than one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import trio

from actor_queue.app.finding import Finding
from actor_queue.core.routes import Route
from actor_queue.core.settings import Settings
from actor_queue.http import models

PATIENCE_S: Final = 20.0
KEPT_S: Final = 5.0
USERS_MAX: Final = 1_000
"""Users looked at; reading ten thousand would take time from the messages."""


class Checkup:
    """`settings` and `routes` are asked for at each look, because they may change; `unready` says
    why no message would be accepted now."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        unready: Callable[[], str | None],
        routes: Callable[[], Sequence[Route] | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._routes = routes
        self._unready = unready
        self._one = trio.Lock()
        self._threads = trio.CapacityLimiter(1)
        """A look that nobody waits for any more goes on until its servers answer, and keeps its
        place until then."""
        self._kept: models.Checkup | None = None
        self._until = 0.0

    async def __call__(self) -> models.Checkup:
        """The findings, at most `KEPT_S` old. Answers within `PATIENCE_S`, with what was found."""
        async with self._one:
            if self._kept is None or trio.current_time() >= self._until:
                self._kept = await self._look()
                self._until = trio.current_time() + KEPT_S
            return self._kept

    async def _look(self) -> models.Checkup:
        reason = self._unready()
        found = [
            Finding("ok", "ready", "messages are accepted")
            if reason is None
            else Finding("fail", "ready", f"messages are refused: {reason}")
        ]
        with trio.move_on_after(PATIENCE_S) as patience:
            await trio.to_thread.run_sync(
                _examine,
                self._settings(),
                self._routes(),
                found,
                abandon_on_cancel=True,
                limiter=self._threads,
            )
        found = list(found)  # an abandoned thread goes on adding to its own
        if patience.cancelled_caught:
            text = f"not all could be looked at within {PATIENCE_S:g} s: a server answers slowly"
            found.append(Finding("warn", "doctor", text))
        return models.Checkup(
            healthy=all(finding.level != "fail" for finding in found),
            at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            findings=[models.Finding(each.level, each.check, each.text) for each in found],
        )


def _examine(settings: Settings, routes: Sequence[Route] | None, found: list[Finding]) -> None:
    """What a receiver answered is left out: it may repeat what a person wrote."""
    # Loads redis-py, which a service that nobody asks this does without.
    from actor_queue.app.doctor import findings

    found.extend(findings(settings, routes, quote=False, users_max=USERS_MAX))
