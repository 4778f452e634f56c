"""`ActorQueue`, on Trio and on asyncio, with a Redis in this process and in virtual time."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import trio
import trio.testing

from actor_queue import aio
from actor_queue.app.deliver import DeliverCallback, Receiver
from actor_queue.app.queue import ActorQueue, Road
from actor_queue.core.batch import Batch
from actor_queue.core.routes import RouteTable
from actor_queue.core.settings import Settings
from actor_queue.testing.clock import advance, going_on
from actor_queue.testing.memory import MemoryRunner, memory_server
from actor_queue.transport.pipe import Settle

START_MS = 1_700_000_000_000
"""What the store's clock shows at second 0 of the run: 2023-11-14T22:13:20Z."""

SHARDS = 1
"""Nobody shares them here, and each costs time: every second of virtual time looks through all."""


DELIVER_PATIENCE_S = 1.0
"""Real seconds for which `AsyncioMemoryQueue.advance` waits for a `deliver` to end."""


def _store_ms() -> int:
    return START_MS + round(trio.current_time() * 1000)


class MemoryServer:
    """A Redis in this process, for several queues that share it, or one after the other.

    On asyncio only one after the other: there each queue moves the clock, which goes on.
    """

    def __init__(self) -> None:
        self._server = memory_server(_store_ms)
        self.clock = trio.testing.MockClock()
        """For a queue that starts a Trio run of its own."""

    def runner(self) -> MemoryRunner:
        """One more road to it."""
        return MemoryRunner(_store_ms, server=self._server)


class MemoryQueue(ActorQueue):
    """An `ActorQueue` for tests, with the same methods, and `advance` and `redis` besides.

    Without `settings` they are the defaults: 15 seconds of quiet, five retries. Their `redis_url`
    is not looked at. Without `server` the queue has an empty one of its own; what is left on one
    that is given is there for the next queue, as after a restart.

    Opening and closing wait as those of `ActorQueue` do: closing for each `deliver` under way,
    opening for a Redis that is away. On a clock that only `advance` moves they wait in real time.
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
        routes: RouteTable | Iterable[str] = (),
    ) -> None:
        self.redis = (server or MemoryServer()).runner()
        super().__init__(settings or Settings(shards=SHARDS), deliver, routes=routes)

    async def __aenter__(self) -> Self:
        if not trio.lowlevel.in_trio_run():
            return await super().__aenter__()  # which says what to do instead
        with going_on():
            return await super().__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with going_on():
            await super().__aexit__(kind, error, traceback)

    async def advance(self, seconds: float) -> None:
        """Let so much time pass; see `actor_queue.testing.clock.advance`."""
        await advance(seconds)

    def _road(self, settle: Settle | None) -> Road:
        return Road(self.redis, store_clock=_store_ms, trust_clock=trio.current_time)


class AsyncioMemoryQueue(aio.ActorQueue):
    """`actor_queue.aio.ActorQueue` for tests, with `advance` and `redis` as in `MemoryQueue`.

    Only the queue's time is virtual: `asyncio.sleep` takes as long as ever.
    """

    redis: MemoryRunner
    """See `MemoryQueue`."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        deliver: DeliverCallback,
        server: MemoryServer | None = None,
        routes: Iterable[str] = (),
    ) -> None:
        self._server = server or MemoryServer()
        self._under_way: set[object] = set()
        """Attempts, from when the thread asks for one until it has heard of its end."""
        self._slow: set[object] = set()
        super().__init__(settings or Settings(shards=SHARDS), deliver, routes=routes)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` of the queue's time pass; what is due is delivered at its time.

        Each `deliver` that began has ended when this returns, unless it takes a second and more.
        """
        await self._call(lambda: advance(seconds, self._settle))

    async def _settle(self) -> None:
        """Until the thread's tasks wait, and no `deliver` that will soon end is under way."""
        await trio.testing.wait_all_tasks_blocked()
        until = time.monotonic() + DELIVER_PATIENCE_S
        while self._under_way - self._slow:
            if time.monotonic() > until:
                self._slow |= self._under_way
            await trio.to_thread.run_sync(time.sleep, 0.0005)
            await trio.testing.wait_all_tasks_blocked()

    async def _on_loop(self, batch: Batch) -> object:
        # The loop's own set of tasks has an attempt later, and no more before its end is heard of.
        attempt = object()
        self._under_way.add(attempt)
        try:
            return await super()._on_loop(batch)
        finally:
            self._under_way.discard(attempt)
            self._slow.discard(attempt)

    async def _answer_all(self) -> None:
        with going_on():
            await super()._answer_all()

    def _engine_room(self, start_timeout_s: float) -> ActorQueue:
        queue = MemoryQueue(
            self.settings, deliver=self._on_loop, server=self._server, routes=self._routes
        )
        self.redis = queue.redis
        return queue

    def _clock(self) -> trio.testing.MockClock:
        return self._server.clock
