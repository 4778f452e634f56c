"""A replica as a process: an engine that can be stopped gently, killed, or frozen anywhere."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from actor_queue.core.batch import Batch
from actor_queue.core.outcome import Outcome
from actor_queue.core.routes import RouteTable
from actor_queue.runtime.engine import Engine
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.redis import RedisStore
from tests.simulation.bots import ANSWER_KEY
from tests.simulation.history import Broken
from tests.simulation.scheduling import PROCESS, inside
from tests.simulation.wire import Wire

if TYPE_CHECKING:
    from tests.simulation.world import World

REQUEST_TIMEOUT_S = 4.0
WORK_SHARE = 0.4
"""Of the calls in the middle of long work that `crash_at_work` strikes at a rate of 1."""
WORK_BOUNDARIES_MAX = 6


class Request:
    """What a client waits for."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.result: Any = None
        self.error: StoreUnavailable | None = None

    def fail(self, executed: bool | None) -> None:
        if not self.done.is_set():
            self.error = StoreUnavailable("no answer", executed=executed)
            self.done.set()


class Replica:
    """One incarnation: a restart is a new one with a new name."""

    def __init__(self, world: World, name: str, number: int) -> None:
        self.world = world
        self.name = name
        self.dead = self._killed = False
        self.over = trio.Event()
        """Set when nothing of it runs any more."""
        self.wire = Wire(world, self)
        routes = RouteTable(world.plan.routes.values())
        store = RedisStore(self.wire, world.plan.settings, replica=name, routes=routes)
        store.answer_key = ANSWER_KEY
        self.engine = world.engine_class(
            world.plan.settings,
            store,
            self._deliver,
            clock=self._trust_clock,
            seed=number,
            routes=routes,
        )
        self._stop = trio.Event()
        self._request_s = 0.0
        self._nursery: trio.Nursery | None = None
        self._requests: list[Request] = []
        self._countdown: tuple[int, Callable[[], None]] | None = None
        self._rate, self._offset_s = 1.0, 0.0
        self._work = world.dice.stream(f"work {name}")

    async def live(self) -> None:
        """Until stopped or killed."""
        PROCESS.set(self.name)
        try:
            async with trio.open_nursery() as self._nursery:
                if self.dead:
                    return
                self._nursery.start_soon(self.wire.watch_memory)
                async with self.engine.running():
                    await self._stop.wait()
                    await self.engine.hand_over()
                    await trio.sleep(self._request_s)
                    while self._requests:
                        await self._requests[0].done.wait()
                self._nursery.cancel_scope.cancel()
        except BaseExceptionGroup as error:
            self._broke(error)
        finally:
            self.dead = True
            self._nursery = None
            self._fail_requests()
            self.over.set()
            self.world.gone(self)

    def _broke(self, error: BaseExceptionGroup[BaseException]) -> None:
        bugs, rest = error.split(Exception)
        if rest is not None:
            raise rest
        assert bugs is not None
        if self._killed:
            # It only got that far because a cancelled task goes on to its next await.
            return
        leaf: BaseException = bugs
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        where = traceback.extract_tb(leaf.__traceback__)[-1]
        what = f"{type(leaf).__name__}: {leaf} ({where.name}, line {where.lineno})"
        self.world.history.note(Broken(trio.current_time(), "bug", f"{self.name} died: {what}"))

    # What can befall it

    @property
    def serving(self) -> bool:
        """Whether a load balancer would send it something."""
        return self._nursery is not None and not self.dead and self.engine.accepting

    @property
    def up(self) -> bool:
        """Whether it claims, or will as soon as it has started."""
        return not self.dead and not self._stop.is_set()

    def stop(self, request_s: float) -> None:
        """SIGTERM, while a request goes on for `request_s`."""
        self.engine.refuse_new()
        self._request_s = request_s
        self._stop.set()
        self.world.left()

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is said."""
        if self.dead:
            return
        self.dead = self._killed = True
        self.world.left()

        async def nothing() -> None:
            pass

        self.engine.drain = nothing  # type: ignore[method-assign]
        self._fail_requests()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        self.world.freezer.thaw(self.name)

    def freeze(self) -> None:
        """SIGSTOP."""
        self.world.freezer.freeze(self.name)

    def thaw(self) -> None:
        """SIGCONT."""
        self.world.freezer.thaw(self.name)

    def after_boundaries(self, count: int, do: Callable[[], None]) -> None:
        """Let something happen at the `count`-th call sent, answer or attempt from now."""
        self._countdown = (count, do)

    def at_work(self) -> None:
        """It deletes old dead letters, or sends all of them again: now and then it dies of it."""
        rate = self.world.plan.rate("crash_at_work")
        if rate and self.world.chaos and self._work.random() < rate * WORK_SHARE:
            self.world.nemesis.kill_midway(self, self._work.randint(1, WORK_BOUNDARIES_MAX))

    def boundary(self) -> None:
        """Here the process touches the world."""
        if self._countdown is None:
            return
        count, do = self._countdown
        self._countdown = (count - 1, do) if count > 1 else None
        if count <= 1:
            do()

    # Its clock for leases

    def skew(self, rate: float, step_s: float) -> None:
        """From now on its clock goes by `rate`, after a step."""
        self._offset_s = self._trust_clock() + step_s - rate * trio.current_time()
        self._rate = rate

    def _trust_clock(self) -> float:
        return self._rate * trio.current_time() + self._offset_s

    # What it does

    async def _deliver(self, batch: Batch, deadline_s: float) -> Outcome:
        return await self.world.receiver.deliver(self, batch, deadline_s)

    async def request(self, do: Callable[[Engine], Awaitable[Any]]) -> Any:
        """What `do` returns. Raises `StoreUnavailable`, also when the process goes away."""
        if not self.serving:
            raise StoreUnavailable("not ready", executed=False)
        assert self._nursery is not None
        request = Request()
        self._requests.append(request)
        with inside(self.name):
            self._nursery.start_soon(self._handle, do, request)
        with trio.move_on_after(REQUEST_TIMEOUT_S):
            await request.done.wait()
        if not request.done.is_set() or request.error is not None:
            raise request.error or StoreUnavailable("no answer in time")
        return request.result

    async def _handle(self, do: Callable[[Engine], Awaitable[Any]], request: Request) -> None:
        try:
            request.result = await do(self.engine)
        except StoreUnavailable as error:
            request.error = error
        finally:
            if request in self._requests:
                self._requests.remove(request)
        if not self.dead:
            request.done.set()

    def _fail_requests(self) -> None:
        while self._requests:
            self._requests.pop().fail(None)
