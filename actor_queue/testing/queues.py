"""`ActorQueue` whose Redis is in this process, under whatever clock the Trio run has."""

from __future__ import annotations

import trio

from actor_queue.app.deliver import DeliverCallback, Receiver
from actor_queue.app.queue import ActorQueue, Road
from actor_queue.core.settings import Settings
from actor_queue.store.pipe import Settle
from actor_queue.testing.clock import advance
from actor_queue.testing.memory import MemoryRunner, memory_server

START_MS = 1_700_000_000_000
"""What the store's clock shows at second 0 of the run: 2023-11-14T22:13:20Z."""

SHARDS = 1
"""Nobody shares them here, and each costs time: every second of virtual time looks through all."""


def _store_ms() -> int:
    return START_MS + round(trio.current_time() * 1000)


class MemoryServer:
    """A Redis in this process, for several queues that share it, or one after the other."""

    def __init__(self) -> None:
        self._server = memory_server(_store_ms)

    def runner(self) -> MemoryRunner:
        """One more road to it."""
        return MemoryRunner(_store_ms, server=self._server)


class MemoryQueue(ActorQueue):
    """An `ActorQueue` for tests, with the same methods, and `advance` and `redis` besides.

    Without `settings` they are the defaults: 15 seconds of quiet, five retries. Their `redis_url`
    is not looked at. Without `server` the queue has an empty one of its own; what is left on one
    that is given is there for the next queue, as after a restart.
    """

    redis: MemoryRunner
    """The road to the store: after `redis.go_down()` every call fails until `redis.come_back()`;
    after `redis.lose_answers(1, "append")` the next push is kept, and fails all the same."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        deliver: DeliverCallback | Receiver,
        server: MemoryServer | None = None,
    ) -> None:
        self.redis = (server or MemoryServer()).runner()
        super().__init__(settings or Settings(shards=SHARDS), deliver)

    async def advance(self, seconds: float) -> None:
        """Let so much time pass; see `actor_queue.testing.clock.advance`."""
        await advance(seconds)

    def _road(self, settle: Settle | None) -> Road:
        return Road(self.redis, store_clock=_store_ms, trust_clock=trio.current_time)
