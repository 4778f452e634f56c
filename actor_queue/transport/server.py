"""The road to one Redis or Valkey server: coredis, without its retries and without its pool.

Messages in on one pipe, the owner's verbs and everything else on another, so that a flood of
messages does not stand in front of the claims, nor a slow page in front of either. Where more
than Redis' memory is waited for, claims have a pipe of their own: renewals must not queue
behind a disk.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager

import anyio

from actor_queue.core.headroom import Headroom, Memory
from actor_queue.core.settings import Durability, RedisVariable
from actor_queue.transport.address import connector
from actor_queue.transport.errors import StoreMisconfigured, StoreUnavailable
from actor_queue.transport.listener import listen
from actor_queue.transport.needs import Needs
from actor_queue.transport.pipe import ASKING, PING, Connect, Pipe, Settle
from actor_queue.transport.reading import READING, expect, number, octets, shown
from actor_queue.transport.refusals import NEVER_WORKS, WrongSetUp, refusal
from actor_queue.transport.reserve import Reserve
from actor_queue.transport.runner import Call, ScriptError, StoreInfo, Watch
from actor_queue.transport.script import Script
from actor_queue.transport.watched import WatchedKeys
from actor_queue.transport.wire import Command

PROBE_INTERVAL_S = 0.5

BARRIER_TIMEOUT_MS = 1_500
"""An append-only file that is synced every second keeps a message waiting for up to a second."""

BARRIERS: dict[Durability, Command | None] = {
    "memory": None,
    "fsync": Command(b"WAITAOF", (1, 0, BARRIER_TIMEOUT_MS)),
    "replica": Command(b"WAIT", (1, BARRIER_TIMEOUT_MS)),
}
INFO_MEMORY = Command(b"INFO", ("memory",))

_QUOTABLE = re.compile(r"[A-Za-z0-9._+-]{0,40}")

WAITAOF_VERSION_MIN = (7, 2)


class Node:
    """One server and its pipes. With `moves`, another server may become the primary. `set_by` is
    the variable that sentences name."""

    def __init__(
        self,
        connect: Connect,
        durability: Durability,
        *,
        moves: bool = False,
        settle: Settle | None = None,
        headroom: Callable[[], Headroom] | None = None,
        set_by: RedisVariable = "REDIS_URL",
    ) -> None:
        self._reserve = None if headroom is None else Reserve(headroom())
        barrier = BARRIERS[durability]
        self._intake = Pipe(connect, barrier, moves=moves, settle=settle, set_by=set_by)
        self._rest = Pipe(connect, moves=moves, set_by=set_by)
        # A claim that was rolled back after its attempt would let a message go twice under two
        # ids: what a 202 waits for, an attempt waits for too.
        self._claims = Pipe(connect, barrier, moves=moves, set_by=set_by) if barrier else self._rest
        self._pipes = list(dict.fromkeys((self._intake, self._rest, self._claims)))
        self._watched = WatchedKeys(connect)
        self._durability = durability
        self.plain = False
        """Whether the server is too old for scripts with flags."""

    async def run(self, calls: Sequence[Call], *, asking: bool = False) -> list[object]:
        """As `Runner.run`. With `asking`, each call says that it was sent here by an ASK."""
        pipe = self._pipe_for(calls[0].script)
        if pipe is self._intake and self._reserve is not None:
            return await self._reserve.take_in(
                calls, lambda: self._send(pipe, calls, asking=asking)
            )
        return await self._send(pipe, calls, asking=asking)

    async def _send(self, pipe: Pipe, calls: Sequence[Call], *, asking: bool) -> list[object]:
        arrived_ns = calls[0].arrived_ns
        if not asking:
            return await pipe.run([self._command(call) for call in calls], arrived_ns)
        commands = [word for call in calls for word in (ASKING, self._command(call))]
        return (await pipe.run(commands, arrived_ns))[1::2]

    async def run_each(self, calls: Sequence[Call]) -> list[object]:
        """As `Runner.run_each`, for messages."""
        if self._reserve is None:
            return await self._send_each(calls)
        return await self._reserve.take_in(calls, lambda: self._send_each(calls))

    async def _send_each(self, calls: Sequence[Call]) -> list[object]:
        return await self._intake.run_each(
            [self._command(call) for call in calls], [call.arrived_ns for call in calls]
        )

    def watch(self, key: bytes, changed: Callable[[], None]) -> AbstractContextManager[Watch]:
        """See `Runner.watch`."""
        return self._watched.watch(key, changed)

    async def ping(self) -> None:
        """Raises `StoreUnavailable`."""
        await self._rest.run([PING])

    async def info(self) -> StoreInfo:
        """See `Runner.info`."""
        before = time.time()
        facts, memory_policy, clock = await self._rest.run(
            [
                Command(b"INFO", ()),
                Command(b"CONFIG", ("GET", "maxmemory-policy")),
                Command(b"TIME", ()),
            ]
        )
        middle = (before + time.time()) / 2
        return _store_info(facts, memory_policy, clock, middle)

    async def prepare(self, needs: Needs) -> StoreInfo:
        """Learn what the server understands, and load the scripts.

        Raises `StoreMisconfigured`, and `StoreUnavailable` for what may pass.
        """
        try:
            info = await self.info()
            self.plain = info.server == "redis" and info.version.startswith("6.")
            _check_durability(info, self._durability)
            await self._load_all(needs.scripts)
        except WrongSetUp as error:
            raise StoreMisconfigured(error.detail) from error
        return info

    async def check_rights(self, needs: Needs, *besides: Command) -> None:
        """Raises `StoreMisconfigured` when a script would be stopped half-way for want of one."""
        if not self.plain:
            barrier = BARRIERS[self._durability]
            commands = besides if barrier is None else (*besides, barrier)
            (reply,) = await self.run([needs.rights(commands)])
            if missing := needs.missing(reply):
                raise StoreMisconfigured(missing)

    @property
    def failure(self) -> str | None:
        """Why the server could not be asked the last time."""
        return next((pipe.last_failure for pipe in self._pipes if pipe.last_failure), None)

    @property
    def refuses_messages(self) -> str | None:
        """Why new messages are refused, though the server would take them."""
        return None if self._reserve is None else self._reserve.sentence()

    @property
    def memory(self) -> Memory | None:
        """None while nothing is known."""
        return None if self._reserve is None else self._reserve.memory

    @property
    def reconnects(self) -> int:
        return sum(max(0, pipe.reconnects) for pipe in self._pipes)

    async def serve(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the pipes until cancelled."""
        async with anyio.create_task_group() as tasks:
            for pipe in self._pipes:
                await tasks.start(pipe.serve)
            tasks.start_soon(self._watched.serve)
            if self._reserve is not None:
                tasks.start_soon(self._reserve.watch, self._ask_memory)
            task_status.started()

    async def _ask_memory(self) -> object:
        (facts,) = await self._rest.run([INFO_MEMORY])
        return facts

    def _pipe_for(self, first: Script) -> Pipe:
        match first.way:
            case "messages":
                return self._intake
            case "claims":
                return self._claims
            case "rest":
                return self._rest

    def _command(self, call: Call) -> Command:
        sha = call.script.plain_sha if self.plain else call.script.sha
        words = (sha, len(call.keys), *call.keys, *call.args)
        return Command(b"EVALSHA", words, source=self._source(call.script))

    async def _load_all(self, scripts: Sequence[Script]) -> None:
        replies = await self._rest.run(
            [Command(b"SCRIPT", ("LOAD", self._source(each))) for each in scripts]
        )
        for reply in replies:
            if isinstance(reply, ScriptError):
                kind = WrongSetUp if reply.code in NEVER_WORKS else StoreUnavailable
                raise kind(f"Redis does not take scripts: {reply.text}", executed=False)

    def _source(self, each: Script) -> str:
        return each.plain_source if self.plain else each.source


class ServerRunner:
    """A `Runner`. Make it with `connected`, or `serve` it yourself."""

    def __init__(
        self,
        connect: Connect,
        needs: Needs,
        durability: Durability = "memory",
        *,
        moves: bool = False,
        settle: Settle | None = None,
        headroom: Callable[[], Headroom] | None = None,
        set_by: RedisVariable = "REDIS_URL",
    ) -> None:
        self._connect = connect
        self._set_by = set_by
        self._needs = needs
        self._refused: str | None = None
        """Writes are refused with this sentence, until one goes through again."""
        self._node = Node(
            connect, durability, moves=moves, settle=settle, headroom=headroom, set_by=set_by
        )

    async def run(self, calls: Sequence[Call]) -> list[object]:
        """See `Runner.run`."""
        if not calls:
            return []
        replies = await self._node.run(calls)
        self._notice(calls, replies)
        return replies

    async def run_each(self, calls: Sequence[Call]) -> list[object]:
        """See `Runner.run_each`. All must be of the kind that `Pipe` calls messages."""
        replies = await self._node.run_each(calls)
        self._notice(calls, replies)
        return replies

    def server_of(self, key: bytes) -> None:
        """See `Runner.server_of`: there is one."""

    async def listen(self, channels: Sequence[bytes], hear: Callable[[bytes | None], None]) -> None:
        """See `Runner.listen`."""
        await listen(self._connect, channels, hear)

    def watch(self, key: bytes, changed: Callable[[], None]) -> AbstractContextManager[Watch]:
        """See `Runner.watch`."""
        return self._node.watch(key, changed)

    async def ping(self) -> None:
        """See `Runner.ping`."""
        await self._node.ping()

    async def info(self) -> StoreInfo:
        """See `Runner.info`."""
        return await self._node.info()

    def trouble(self) -> str | None:
        """See `Runner.trouble`."""
        return self._node.failure or self._refused or self._node.refuses_messages

    def memory(self) -> Memory | None:
        """See `Runner.memory`."""
        return self._node.memory

    @property
    def reconnects(self) -> int:
        """How often a connection was replaced since the start."""
        return self._node.reconnects

    async def prepare(self) -> None:
        """See `Node.prepare`. Raises `StoreMisconfigured` besides for a node of a cluster."""
        info = await self._node.prepare(self._needs)
        if info.extra.get("cluster_enabled") == "1":
            raise StoreMisconfigured(
                f"{self._set_by} names a node of a Redis Cluster:"
                " write REDIS_URL=redis+cluster://host:port,…"
            )
        await self._node.check_rights(self._needs)

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Run until cancelled. Says started after trying to connect, whatever came of it."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._node.serve)
            task_status.started()
            while True:
                await anyio.sleep(PROBE_INTERVAL_S)
                if self._refused is not None:
                    await self._try_a_write()

    async def _try_a_write(self) -> None:
        """Nobody's message is sent while writes are refused, so something has to find out."""
        try:
            await self.run([self._needs.probe])
        except StoreUnavailable:
            return

    def _notice(self, calls: Sequence[Call], replies: Sequence[object]) -> None:
        for call, reply in zip(calls, replies, strict=True):
            if isinstance(reply, StoreUnavailable):
                continue
            if not isinstance(reply, ScriptError):
                if call.script.way == "messages" or call.script == self._needs.probe.script:
                    self._refused = None
            elif refuses_writes(reply):
                self._refused = reply.text


@asynccontextmanager
async def connected(
    url: str, needs: Needs, durability: Durability = "memory"
) -> AsyncIterator[ServerRunner]:
    """A runner that keeps its connections alive until the context ends.

    Does not raise when the server is away: it goes on trying.
    """
    async with anyio.create_task_group() as tasks:
        runner = ServerRunner(connector(url), needs, durability)
        await tasks.start(runner.serve)
        try:
            yield runner
        finally:
            tasks.cancel_scope.cancel()


def refuses_writes(reply: object) -> bool:
    """Whether this says that nothing can be written at present."""
    if not isinstance(reply, ScriptError):
        return False
    known = refusal(reply.code)
    return known is not None and known.writes


def _check_durability(info: StoreInfo, durability: Durability) -> None:
    if durability != "fsync":
        return
    if info.server == "redis" and _version(info.version) < WAITAOF_VERSION_MIN:
        raise StoreMisconfigured(
            f"AQ_DURABILITY=fsync needs Redis 7.2 or any Valkey, and this is Redis {info.version}:"
            " upgrade it, or use another AQ_DURABILITY"
        )
    if not info.aof_enabled:
        raise StoreMisconfigured(
            "AQ_DURABILITY=fsync waits for the append-only file, and Redis has none: set"
            " appendonly yes there, or use another AQ_DURABILITY"
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def _store_info(facts: object, policy: object, clock: object, local_s: float) -> StoreInfo:
    if isinstance(facts, ScriptError):
        kind = WrongSetUp if facts.code in NEVER_WORKS else StoreUnavailable
        raise kind(f"Redis refuses INFO: {facts.text}", executed=False)
    with READING:
        return _info_of(shown(octets(facts)), policy, clock, local_s)


def _info_of(facts: str, policy: object, clock: object, local_s: float) -> StoreInfo:
    lines = (line.partition(":") for line in facts.splitlines())
    info = {name: value for name, _, value in lines}
    # These two are quoted in what an operator reads.
    for name in ("valkey_version", "redis_version", "maxmemory_policy"):
        expect(_QUOTABLE.fullmatch(info.get(name, "")) is not None)
    valkey = info.get("valkey_version")
    skew = 0
    if isinstance(clock, list):
        seconds, micros = map(number, clock)
        expect(0 <= seconds < 2**40, 0 <= micros < 10**6)
        skew = round((seconds + micros / 1e6 - local_s) * 1000)
    return StoreInfo(
        server="valkey" if valkey else "redis",
        version=valkey or info.get("redis_version", "0"),
        maxmemory_policy=info.get("maxmemory_policy") or _policy(policy),
        maxmemory=int(info.get("maxmemory", 0)),
        used_memory=int(info.get("used_memory", 0)),
        aof_enabled=info.get("aof_enabled") == "1",
        rdb_save=info.get("rdb_last_save_time", "0") != "0",
        clock_skew_ms=skew,
        extra={name: info[name] for name in ("role", "cluster_enabled") if name in info},
    )


def _policy(reply: object) -> str | None:
    if isinstance(reply, dict):
        value = next(iter(reply.values()), None)
        if isinstance(value, bytes):
            expect(_QUOTABLE.fullmatch(shown(value)) is not None)
            return shown(value)
    return None
