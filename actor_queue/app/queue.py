"""The library: a queue in your own program, without HTTP and without a webhook. It runs on Trio.

    async with ActorQueue(settings, deliver=my_async_function) as queue:
        await queue.push("joao.silva", "Oi", ttl=15)

On asyncio the same class is `actor_queue.aio.ActorQueue`. The service is this one's first client.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self, TypeVar

import trio

from actor_queue.app.deliver import DeliverCallback, Receiver, attempts_of
from actor_queue.app.interrupt import spared
from actor_queue.app.logs import redact_url
from actor_queue.app.verbs import Verbs
from actor_queue.core.admission import AdmissionPolicy
from actor_queue.core.conversation import ROUTE_CHARACTERS_MAX, is_route_name
from actor_queue.core.message import Appended, Message
from actor_queue.core.routes import ROUTES_MAX, Route, RouteTable
from actor_queue.core.settings import Mistake, Settings, SettingsError
from actor_queue.runtime.engine import Engine
from actor_queue.runtime.lines import tell
from actor_queue.runtime.owner import awake_time
from actor_queue.store.api import StoreInfo, StoreUnavailable
from actor_queue.store.keys import Keys
from actor_queue.store.needs import needs_of
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.transport.aim import Aim
from actor_queue.transport.connect import prepared, runner_for
from actor_queue.transport.pipe import Settle
from actor_queue.transport.runner import Runner

START_PAUSE_S = 0.5
"""Between two looks for a Redis that is not there yet."""
START_TIMEOUT_S = 10.0
"""How long a program waits for Redis when it says nothing else."""

T = TypeVar("T")


class ServedRunner(Runner, Protocol):
    """The road to Redis: `serve` runs it, `prepare` returns when it can be used."""

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None: ...

    async def prepare(self) -> None: ...


class Road(NamedTuple):
    """How a queue reaches its store, and the clocks that go with it."""

    runner: ServedRunner
    store_clock: Callable[[], int] | None = None
    """The store's time in milliseconds; None: the server's own."""
    trust_clock: Callable[[], float] = awake_time
    """The seconds by which a lease is trusted."""
    aim: Aim | None = None
    """Where the runner wants to connect, for a start that fails; None: nowhere outside."""


class ActorQueue(Verbs):
    """A queue, open inside `async with`, on Trio. It is opened once.

    Opening connects to Redis and starts to deliver what waits there, also what an earlier process
    left. Closing takes no new attempts, finishes those under way (at most `webhook_timeout_ms` and
    two seconds) and hands over; what waits stays in Redis. Any number of queues and services can
    share a namespace: each message is delivered by one of them.

    `deliver` is an `async def` that gets one `Batch`; see `DeliverCallback`. `start_timeout_s` is
    how long opening waits for Redis; `math.inf` waits as long as it takes. `settle` is for the
    service: it is awaited before a group of messages is taken. `routes` are names of routes beside
    `default`, all with the limits of `settings` and each with attempts, retries and a breaker of
    its own; `deliver` finds a batch's in `batch.route`. The service gives a table instead.

    Making one raises TypeError for a `deliver` that is no such function, `SettingsError` without a
    `redis_url`, and `StoreMisconfigured` for a `redis_url` that cannot be used. Opening raises
    `StoreUnavailable` when Redis is still away after `start_timeout_s`, and `StoreMisconfigured`
    when it must not be used as it is.

    All methods raise `StoreUnavailable` when Redis is away: unless its `executed` is False, nobody
    knows whether the call was carried out. `Refused` says which argument is wrong, and why.
    RuntimeError: the queue is not open. A `user` is text or a whole number, and 42 is "42".
    """

    def __init__(
        self,
        settings: Settings,
        deliver: DeliverCallback | Receiver,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        settle: Settle | None = None,
        routes: RouteTable | Iterable[str] = (),
    ) -> None:
        if not start_timeout_s > 0:
            raise ValueError(f"start_timeout_s is {start_timeout_s!r}; allowed: more than 0")
        self.settings = settings
        self._start_timeout_s = start_timeout_s
        road = self._road(settle)
        self._runner = road.runner
        self._aim = road.aim
        replica = f"r-{secrets.token_hex(6)}"
        routes = table_of(settings, routes)
        self._store = RedisStore(
            road.runner, settings, replica=replica, clock=road.store_clock, routes=routes
        )
        self.engine = Engine(
            settings, self._store, attempts_of(deliver), clock=road.trust_clock, routes=routes
        )
        self._policy = AdmissionPolicy.of(settings, routes)
        self.store_info: StoreInfo | None = None
        """What kind of server it is, once the queue is open."""
        self._phase: Literal["new", "opening", "open", "closed"] = "new"
        self._stack = AsyncExitStack()

    def _road(self, settle: Settle | None) -> Road:
        url = self.settings.redis_url
        if url is None:
            raise SettingsError(
                Mistake(
                    ("REDIS_URL",),
                    "redis_url is not set: there is no Redis to keep messages in; write"
                    ' Settings(redis_url="redis://localhost"), or set REDIS_URL and use'
                    " Settings.from_env()",
                )
            )
        keys = Keys(self.settings.namespace, self.settings.shards)
        needs = needs_of(keys.meta, self.settings.shards, FORMAT)
        named = self.settings.redis_set_by
        return Road(
            runner_for(
                url,
                needs,
                self.settings.durability,
                settle=settle,
                reserve_bytes=self.settings.redis_reserve_bytes,
                set_by=named,
            ),
            aim=Aim(url, named),
        )

    # Opening and closing

    async def __aenter__(self) -> Self:
        if not trio.lowlevel.in_trio_run():
            raise RuntimeError(
                "this ActorQueue runs on Trio: start the program with trio.run(main), or take"
                " actor_queue.aio.ActorQueue, which runs on asyncio"
            )
        if self._phase != "new":
            raise RuntimeError(f"this queue is {self._phase} already: make a new ActorQueue")
        self._phase = "opening"
        try:
            async with AsyncExitStack() as stack:
                ours = stack.enter_context(spared())
                await stack.enter_async_context(self._connected())
                await self._start()
                await stack.enter_async_context(self.engine.running())
                ours.complete()
                self._stack = stack.pop_all()
        except BaseExceptionGroup as group:
            raise _only(group) from None
        finally:
            self._phase = "closed"
        self._phase = "open"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._stack.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            # Raised inside the block: it goes on as it is, not in the groups of our nurseries.
            if _is_only(group, error):
                return
            if group.split(KeyboardInterrupt)[1] is None:
                # A second Ctrl-C was raised in one of our tasks: for the program it is the first.
                raise KeyboardInterrupt from None
            raise
        finally:
            self._phase = "closed"

    # How the verbs reach the engine

    def _require_open(self) -> None:
        if self._phase == "closed":
            raise RuntimeError("this queue is closed: make a new ActorQueue")
        if self._phase != "open":
            raise RuntimeError("this queue is not open: use it inside `async with`")

    def _new_id(self) -> str:
        return self.engine.new_id()

    async def _append(self, message: Message) -> Appended:
        (result,) = await self.engine.push([message])
        return result

    async def _ask(self, question: Callable[[Engine], Awaitable[T]]) -> T:
        self._require_open()
        return await question(self.engine)

    # Starting

    async def _start(self) -> None:
        try:
            with trio.fail_after(self._start_timeout_s):
                await self._wait_for_store()
        except trio.TooSlowError:
            why = self.engine.waiting_for or "it does not answer"
            where = redact_url(self.settings.redis_url or "")
            raise StoreUnavailable(
                f"no Redis at {where} after {self._start_timeout_s:g} s: {why}", executed=False
            ) from None

    async def _wait_for_store(self) -> None:
        while True:
            try:
                await prepared(self._runner.prepare, self._aim)
                allow_eviction = self.settings.allow_eviction
                self.store_info = await self._store.check(allow_eviction=allow_eviction)
            except StoreUnavailable as error:
                if error.detail != self.engine.waiting_for:
                    tell("redis_awaited", reason=error.detail)
                    self.engine.waiting_for = error.detail
                await trio.sleep(START_PAUSE_S)
            else:
                return

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._runner.serve)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()


def table_of(settings: Settings, routes: RouteTable | Iterable[str]) -> RouteTable:
    """The default route and those that a program names. Raises ValueError for what is no name."""
    if isinstance(routes, RouteTable):
        return routes
    default, names = Route.default(settings), [routes] if isinstance(routes, str) else list(routes)
    for name in names:
        if type(name) is not str or not is_route_name(name):
            raise ValueError(
                f"routes has {name!r}; allowed: names of 1 to {ROUTE_CHARACTERS_MAX} letters,"
                " digits, `_`, `.` and `-`"
            )
    if len(names) > ROUTES_MAX:
        raise ValueError(f"routes has {len(names)} names; allowed: at most {ROUTES_MAX}")
    return RouteTable([default, *(replace(default, name=name) for name in names)])


def _only(error: BaseException) -> BaseException:
    """The one exception that groups of one were put around; a group of several as it is."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _is_only(group: BaseException, error: BaseException | None) -> bool:
    """Whether `group` is nothing but groups of one around `error`, which may be a group itself."""
    while isinstance(group, BaseExceptionGroup) and not _is_same(group, error):
        if len(group.exceptions) != 1:
            return False
        group = group.exceptions[0]
    return _is_same(group, error)


def _is_same(found: BaseException, error: BaseException | None) -> bool:
    """A group on its way may be copied: where Trio takes its own `Cancelled` from beside it."""
    if not isinstance(found, BaseExceptionGroup) or not isinstance(error, BaseExceptionGroup):
        return found is error
    return (
        found.message == error.message
        and len(found.exceptions) == len(error.exceptions)
        and all(map(_is_same, found.exceptions, error.exceptions))
    )
