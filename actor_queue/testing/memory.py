"""The store without a server: the real scripts on fakeredis, behind the production code's own seam.

`RedisStore` and everything above it run unchanged. Time is whatever the given clock says, also
for keys that expire, so a virtual day takes milliseconds:

    store = memory_store(Settings(shards=2), clock=lambda: 1_000 + int(trio.current_time() * 1000))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any

import anyio
import anyio.lowlevel
import redis
import trio

try:
    import fakeredis
    import lupa  # noqa: F401  # without it fakeredis cannot run a script
    from fakeredis._core import Database
except ImportError as error:
    raise ImportError(
        "actor_queue.testing needs fakeredis with Lua, from the extra `testing` of actor-queue:"
        " pip install '/path/to/clone[testing]'"
    ) from error

from actor_queue.core.settings import Settings
from actor_queue.store.api import StoreInfo, StoreUnavailable
from actor_queue.store.redis import RedisStore
from actor_queue.transport.runner import WRONG_TYPE, Call, ScriptError, Watch
from actor_queue.transport.script import Script

Clock = Callable[[], int]
Patch = Callable[[Script], str]
"""The Lua to run for a script; to plant a fault in it."""

ANSWER_KEY = b"the key of the namespace"
"""A start draws it, or reads it. These stores have none."""


class DirectRunner:
    """Runs calls one after the other through a redis-py client, and never waits."""

    def __init__(self, client: redis.Redis, source: Patch) -> None:
        self.client = client
        self._source = source
        self._shas: dict[str, str] = {}

    async def run(self, calls: Sequence[Call]) -> list[object]:
        return [self._reply(call) for call in calls]

    async def run_each(self, calls: Sequence[Call]) -> list[object]:
        """See `Runner.run_each`."""
        replies: list[object] = [None] * len(calls)
        for place in sorted(range(len(calls)), key=lambda place: calls[place].arrived_ns):
            try:
                (replies[place],) = await self.run([calls[place]])
            except StoreUnavailable as error:
                replies[place] = error
        return replies

    def _reply(self, call: Call) -> object:
        sha = self._shas.get(call.script.name)
        if sha is None:
            sha = self._shas[call.script.name] = str(
                self.client.script_load(self._source(call.script))
            )
        try:
            return self.client.evalsha(sha, len(call.keys), *call.keys, *call.args)
        except redis.ResponseError as error:
            code, _, words = str(error).partition(" ")
            if WRONG_TYPE in words:
                code = WRONG_TYPE  # as in Redis 6, the code stands inside the script's error
            return ScriptError(code, words, None)

    def server_of(self, key: bytes) -> object:
        return None

    async def listen(self, channels: Sequence[bytes], hear: Callable[[bytes | None], None]) -> None:
        raise NotImplementedError("nothing waits here")

    def watch(self, key: bytes, changed: Callable[[], None]) -> AbstractContextManager[Watch]:
        """See `Runner.watch`."""
        return nullcontext(Watch(changed))

    async def ping(self) -> None:
        self.client.ping()

    async def info(self) -> StoreInfo:
        return StoreInfo(
            server="valkey",
            version="9.0.0",
            maxmemory_policy="noeviction",
            maxmemory=0,
            used_memory=0,
            aof_enabled=True,
            rdb_save=False,
            clock_skew_ms=0,
        )

    def memory(self) -> None:
        return None

    def trouble(self) -> str | None:
        return None


class MemoryRunner(DirectRunner):
    """One in-process server. Gives way to other tasks around each call, as a network would."""

    def __init__(
        self,
        clock: Clock,
        source: Patch = lambda script: script.plain_source,
        server: fakeredis.FakeServer | None = None,
    ) -> None:
        self.server = server or memory_server(clock)
        super().__init__(fakeredis.FakeRedis(server=self.server), source)
        self._down: str | None = None
        self._answers_to_lose = 0
        self._loses = ""

    def go_down(self, detail: str = "Redis is away") -> None:
        """Every call fails, not carried out, until `come_back`."""
        self._down = detail

    def come_back(self) -> None:
        self._down = None

    def lose_answers(self, count: int, script: str = "") -> None:
        """The next `count` round trips are carried out, and fail all the same.

        With `script` only those that run a script whose name begins so: `append`, `ack`, `claim`.
        """
        self._answers_to_lose = count
        self._loses = script

    async def run(self, calls: Sequence[Call]) -> list[object]:
        await anyio.lowlevel.checkpoint()
        self._refuse_when_down()
        replies = await super().run(calls)
        spread_news(self.server)
        _tell_of_changes(self.server, calls)
        await anyio.lowlevel.checkpoint()
        if self._answers_to_lose and any(c.script.name.startswith(self._loses) for c in calls):
            self._answers_to_lose -= 1
            raise StoreUnavailable("the answer was lost", executed=None)
        return replies

    async def listen(self, channels: Sequence[bytes], hear: Callable[[bytes | None], None]) -> None:
        subscription: Any = self.client.pubsub()  # type: ignore[no-untyped-call]
        subscription.subscribe(*channels)
        for _ in channels:
            subscription.get_message()  # the confirmation
        listener = Listener(subscription, lambda text: None if self._down else hear(text))
        listeners_of(self.server).append(listener)
        hear(None)
        try:
            await anyio.sleep_forever()
        finally:
            listeners_of(self.server).remove(listener)
            subscription.close()

    @contextmanager
    def watch(self, key: bytes, changed: Callable[[], None]) -> Iterator[Watch]:
        """See `Runner.watch`. Told of each script that may have changed the key."""
        watch = Watch(changed, live=True)
        watches = watches_of(self.server).setdefault(key, set())
        watches.add(watch)
        try:
            yield watch
        finally:
            watches.discard(watch)

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """There is nothing to connect."""
        task_status.started()
        await trio.sleep_forever()

    async def prepare(self) -> None:
        await self.ping()

    async def ping(self) -> None:
        await anyio.lowlevel.checkpoint()
        self._refuse_when_down()

    def trouble(self) -> str | None:
        return self._down

    def _refuse_when_down(self) -> None:
        if self._down is not None:
            raise StoreUnavailable(self._down, executed=False)


@dataclass(eq=False)
class Listener:
    """A subscription, and who hears what comes on it."""

    subscription: Any
    hear: Callable[[bytes], None]


def listeners_of(server: fakeredis.FakeServer) -> list[Listener]:
    """Who listens on this server, through whichever runner."""
    if not hasattr(server, "listeners"):
        server.listeners = []  # type: ignore[attr-defined]
    found: list[Listener] = server.listeners  # type: ignore[attr-defined]
    return found


def spread_news(server: fakeredis.FakeServer) -> None:
    """Hand over what was published, at once: there is no network to wait for."""
    for listener in list(listeners_of(server)):
        while message := listener.subscription.get_message():
            listener.hear(message["data"])


def watches_of(server: fakeredis.FakeServer) -> dict[bytes, set[Watch]]:
    """Who waits for a change of which key on this server, through whichever runner."""
    if not hasattr(server, "watches"):
        server.watches = {}  # type: ignore[attr-defined]
    found: dict[bytes, set[Watch]] = server.watches  # type: ignore[attr-defined]
    return found


def _tell_of_changes(server: fakeredis.FakeServer, calls: Sequence[Call]) -> None:
    watches = watches_of(server)
    for call in calls if watches else ():
        if not call.script.reads_only:
            for key in call.keys:
                for watch in tuple(watches.get(key, ())):
                    watch.changed()


def memory_store(
    settings: Settings,
    clock: Clock,
    *,
    server: fakeredis.FakeServer | None = None,
    replica: str = "r-1",
) -> RedisStore:
    """A store: of its own and empty, or one more replica's on `server`."""
    store = RedisStore(MemoryRunner(clock, server=server), settings, replica=replica, clock=clock)
    store.answer_key = ANSWER_KEY
    return store


def memory_server(clock: Clock) -> fakeredis.FakeServer:
    """An empty in-process server whose keys expire by `clock` (ms)."""
    server = fakeredis.FakeServer(server_type="valkey")
    server.dbs[0] = VirtualTimeDatabase(server.lock, clock)
    return server


class VirtualTimeDatabase(Database):
    """fakeredis sets `time` from the machine's clock before each command; here that is ignored."""

    def __init__(self, lock: Lock, clock: Clock) -> None:
        self._clock = clock
        super().__init__(lock)

    @property
    def time(self) -> float:
        return self._clock() / 1000

    @time.setter
    def time(self, machine_time: float) -> None:
        pass
