"""An edge put together: settings, a road to Redis, and the endpoints that take messages.

It runs on any event loop and begins and ends with the server's ASGI lifespan. What it keeps in
Redis is due at whichever replica owns the user's shard: the script that appends tells that replica
itself, as it does between replicas. So nothing here has a timer or a lease. While somebody listens
to `/api/events` of a replica, an edge tells what it accepts, as replicas tell each other.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, cast

import anyio
import anyio.abc

from actor_queue.app.again import Use, read_on_signal
from actor_queue.app.config import ReadSetup, Setup, load_setup
from actor_queue.core.api_keys import ApiKey
from actor_queue.core.config_file import Config
from actor_queue.core.conversation import DEFAULT_ROUTE
from actor_queue.core.headroom import Memory
from actor_queue.core.message import Appended, Full, Message
from actor_queue.core.routes import Route, RouteTable
from actor_queue.core.settings import Settings, SettingsError
from actor_queue.http.backend import Names
from actor_queue.http.edge import EdgeApplication
from actor_queue.http.problem import send_problem, unavailable
from actor_queue.http.traffic import Traffic
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.events import EventBus
from actor_queue.runtime.journal import Journal, UserNames
from actor_queue.runtime.lines import described, tell
from actor_queue.runtime.relay import Relay
from actor_queue.store.api import StoreMisconfigured, StoreUnavailable, UserView
from actor_queue.store.changes_api import Changed, Unchanged
from actor_queue.store.deeds_api import Deed
from actor_queue.store.keys import Keys as StoreKeys
from actor_queue.store.needs import needs_of
from actor_queue.store.news import Malformed, News, Wanted
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.transport.aim import Aim
from actor_queue.transport.connect import prepared, runner_for

DOTENV: Final = ".env"
FIRST_LOOK_S: Final = 5.0
"""How long the server's start waits for a Redis. It goes on without one after that: `/readyz` says
why nothing is accepted, as at a replica."""
PAUSE_S: Final = 0.5
"""Between two looks for a Redis that is not there yet."""
NOT_STARTED: Final = (
    "this application has not been started: its server must support ASGI lifespan and use it"
)

Phase = Literal["starting", "running", "draining"]


class Acceptance:
    """Keeps messages in the store, and what platforms say of users. An `http.backend.DoorBackend`.

    Making one raises `StoreMisconfigured` for a `redis_url` that cannot be used.
    """

    def __init__(self, setup: Setup) -> None:
        settings = setup.settings
        assert settings.redis_url is not None
        self.settings = settings
        self.routes = RouteTable(_routes(setup.config, settings))
        self.counters = Counters()
        self.replica_id = f"e-{secrets.token_hex(6)}"
        keys = StoreKeys(settings.namespace, settings.shards)
        self._runner = runner_for(
            settings.redis_url,
            needs_of(keys.meta, settings.shards, FORMAT),
            settings.durability,
            reserve_bytes=settings.redis_reserve_bytes,
            set_by=settings.redis_set_by,
        )
        self._aim = Aim(settings.redis_url, settings.redis_set_by)
        self._store = RedisStore(
            self._runner, settings, replica=self.replica_id, routes=self.routes
        )
        self.store: Names = self._store
        self._journal = Journal(UserNames(plain=settings.log_users))
        self._events = EventBus(self.replica_id)
        self._relay = Relay(self._store, self._events, self.counters)
        self._phase: Phase = "starting"
        self._waiting_for: str | None = None
        self._prefix = secrets.token_hex(6)
        self._drawn = itertools.count()

    async def open(self, tasks: anyio.abc.TaskGroup) -> None:
        """Connect, and go on in `tasks` until they are cancelled. Raises `StoreMisconfigured` for a
        Redis that must not be used, if it says so soon."""
        await tasks.start(self._runner.serve)
        with anyio.move_on_after(FIRST_LOOK_S):
            await self._look()
        tasks.start_soon(self._run)

    def refuse_new(self) -> None:
        """From now on not ready: the first step of a graceful stop."""
        self._phase = "draining"

    def watch(self, traffic: Traffic) -> None:
        """Tell of refused requests once a minute, as long as there are more."""
        self._journal.watch("requests_refused", lambda: traffic.requests_refused)

    @property
    def redis_memory(self) -> Memory | None:
        return self._store.memory()

    def new_id(self) -> str:
        """See `runtime.engine.Engine.entropy`: no replica and no other edge draws it."""
        return f"m-{self._prefix}{next(self._drawn):08x}"

    def unready(self) -> str | None:
        """Why no message can be accepted now; None when one can."""
        if self._phase == "running":
            return self._store.trouble()
        if self._phase == "starting" and self._waiting_for is not None:
            return f"starting, and waiting: {self._waiting_for}"
        return self._phase

    async def push(self, messages: Sequence[Message]) -> list[Appended]:
        """See `runtime.engine.Engine.push`."""
        if self._phase == "starting":
            raise StoreUnavailable("starting", executed=False)
        results = await self._store.append(messages)
        self._count(results)
        return results

    async def push_each(self, messages: Sequence[Message]) -> list[Appended | StoreUnavailable]:
        """See `runtime.engine.Engine.push_each`."""
        if self._phase == "starting":
            return [StoreUnavailable("starting", executed=False)] * len(messages)
        results = await self._store.append_each(messages)
        self._count(results)
        return results

    async def describe(self, user: str) -> UserView:
        """See `Store.describe`."""
        return await self._store.describe(user)

    async def typing(self, user: str, ttl_ms: int | None) -> tuple[bool, UserView]:
        """See `Store.typing`."""
        return await self._store.typing(user, ttl_ms)

    async def hold(self, user: str, for_ms: int) -> UserView:
        """See `Store.hold`."""
        view = await self._store.hold(user, for_ms)
        self._journal.hold_began(user, for_ms)
        return view

    async def unhold(self, user: str) -> UserView:
        """See `Store.unhold`."""
        held = (await self._store.describe(user)).held_for_ms is not None
        view = await self._store.unhold(user)
        if held:
            self._journal.hold_released(user)
        return view

    async def edit(self, user: str, message_id: str, text: str) -> Changed | Unchanged:
        """See `Store.edit`."""
        return await self._store.edit(user, message_id, text)

    async def revoke(self, user: str, message_id: str) -> Changed | Unchanged:
        """See `Store.revoke`."""
        return await self._store.revoke(user, message_id)

    async def note_with_user(self, deed: Deed, user: str) -> None:
        """See `runtime.engine.Engine.note_with_user`."""
        try:
            await self._store.deed_add_with_user(deed, user)
        except StoreUnavailable:
            self.counters.deeds_lost += 1

    def _count(self, results: Sequence[Appended | StoreUnavailable]) -> None:
        for result in results:
            if isinstance(result, Full):
                self.counters.refused_full += 1
            elif isinstance(result, StoreUnavailable):
                continue
            elif result.duplicate:
                self.counters.duplicates += 1
            else:
                self.counters.accepted += 1
                if self._events.listened:
                    self._events.accepted(result)

    # The road to Redis

    async def _run(self) -> None:
        """Look until there is a Redis that can be used, then watch it. A server that runs somebody
        else's applications too is not ended by what an operator can put right meanwhile."""
        while self._phase == "starting":
            try:
                if await self._look():
                    break
            except StoreMisconfigured as error:
                self._wait_for(str(error))
            await anyio.sleep(PAUSE_S)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._journal.run, self._store.trouble, self._store.hold_ran_out)
            tasks.start_soon(self._relay.run)
            tasks.start_soon(self._store.listen, self._hear)

    def _hear(self, news: News) -> None:
        if isinstance(news, Wanted):
            self._relay.wanted()
        elif isinstance(news, Malformed):
            self.counters.events_malformed += 1

    async def _look(self) -> bool:
        """Whether messages can be accepted from now on. Raises `StoreMisconfigured`."""
        if self._phase != "starting":
            return True
        try:
            await prepared(self._runner.prepare, self._aim)
            await self._store.check(allow_eviction=self.settings.allow_eviction)
        except StoreUnavailable as error:
            self._wait_for(error.detail)
            return False
        self._journal.names.key = self._store.log_key
        self._phase = "running"
        tell("ready", pid=os.getpid())
        return True

    def _wait_for(self, reason: str) -> None:
        if reason != self._waiting_for:
            tell("redis_awaited", reason=reason)
            self._waiting_for = reason


class Edge:
    """The ASGI application. It can be started again after it has been shut down.

    `read` gives the settings and the routes, at each start. With `read_again` the keys are read
    again at SIGHUP.
    """

    def __init__(
        self,
        read: Callable[[], Setup] | None = None,
        *,
        read_again: ReadSetup | None = None,
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._read = read or setup_here
        self._read_again = read_again
        self._stop = stop
        """Ends the server, where the server is ours."""
        self.application: EdgeApplication | None = None
        self.acceptance: Acceptance | None = None
        self.failures: tuple[str, ...] = ()
        """Why it did not start, a sentence each."""
        self.crashed = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI 3.0. The types are plain because each server has its own."""
        if scope["type"] == "http":
            if self.application is None:
                await send_problem(send, unavailable(NOT_STARTED))
            else:
                await self.application(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        else:
            raise ValueError(f"an edge knows no scope of the type {scope['type']!r}")

    def refuse_new(self) -> None:
        """From now on not ready, also for requests on connections that are open."""
        if self.acceptance is not None:
            self.acceptance.refuse_new()

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        self.failures = ()
        try:
            await self._run(receive, send)
        except* SettingsError as group:
            for error in leaves(group):
                self.failures += cast(SettingsError, error).sentences
        except* StoreMisconfigured as group:
            self.failures += tuple(map(str, leaves(group)))
        except* Exception as group:
            tell("crashed", error=described(group))
            self.crashed = True
            self._stop()
            raise
        finally:
            self.application = self.acceptance = None
        if self.failures:
            await send({"type": "lifespan.startup.failed", "message": " ".join(self.failures)})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    async def _run(self, receive: Any, send: Any) -> None:
        setup = self._read()
        acceptance = Acceptance(setup)
        async with anyio.create_task_group() as tasks:
            await acceptance.open(tasks)
            application = EdgeApplication(acceptance)
            application.doors.table.replace(setup.config.all_doors(setup.settings))
            acceptance.watch(application.traffic)
            tasks.start_soon(self._read_at_signal, setup, acceptance, application)
            self.acceptance, self.application = acceptance, application
            await send({"type": "lifespan.startup.complete"})
            await receive()
            tasks.cancel_scope.cancel()

    async def _read_at_signal(
        self, before: Setup, acceptance: Acceptance, application: EdgeApplication
    ) -> None:
        if self._read_again is None:
            return

        async def use_keys(found: tuple[ApiKey, ...]) -> None:
            application.keys.replace(found)

        async def use_config(found: Config) -> None:
            acceptance.routes.replace(_routes(found, acceptance.settings))
            application.doors.table.replace(found.all_doors(acceptance.settings))

        use = Use(use_keys, use_config)
        await read_on_signal(self._read_again, before, use, self._stop)


def setup_here() -> Setup:
    """From the environment, `.env` and AQ_CONFIG. Raises `SettingsError`."""
    return load_setup(os.environ, DOTENV, {}, serving="edge")


def _routes(config: Config, settings: Settings) -> tuple[Route, ...]:
    """An edge delivers nothing, so WEBHOOK_URL need not be set where it runs: messages that name no
    route are taken for the default one all the same."""
    routes = config.all_routes(settings)
    missing = all(route.name != DEFAULT_ROUTE for route in routes)
    return (Route.default(settings), *routes) if missing else routes


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions in a group, however deep, or the one that is none."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in leaves(part)]
    return [error]
