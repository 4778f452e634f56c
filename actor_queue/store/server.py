"""The road to one Redis or Valkey server: coredis, without its retries and without its pool.

Two pipes: messages in on one, the owner's verbs and everything else on the other, so that a
flood of messages does not stand in front of the claims, nor a slow page in front of either.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import anyio
from coredis.connection import BaseConnection
from coredis.pool import ConnectionPool

from actor_queue.core.settings import Durability
from actor_queue.store.api import StoreInfo, StoreMisconfigured, StoreUnavailable
from actor_queue.store.listener import listen
from actor_queue.store.pipe import PING, Command, Connect, Pipe
from actor_queue.store.refusals import refusal
from actor_queue.store.runner import Call, ScriptError
from actor_queue.store.scripts import Script, all_scripts, script

CONNECT_TIMEOUT_S = 1.5
PROBE_INTERVAL_S = 0.5
LOAD_TURNS_MAX = 3

BARRIER_TIMEOUT_MS = 1_500
"""An append-only file that is synced every second keeps a message waiting for up to a second."""

_BARRIERS: dict[Durability, Command | None] = {
    "memory": None,
    "fsync": Command(b"WAITAOF", (1, 0, BARRIER_TIMEOUT_MS)),
    "replica": Command(b"WAIT", (1, BARRIER_TIMEOUT_MS)),
}


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Writes are refused for `sentence`, until a write goes through again."""

    sentence: str


class ServerRunner:
    """A `Runner`. Make it with `connected`."""

    def __init__(self, url: str, probe: Call, durability: Durability = "memory") -> None:
        self._connect = _connector(url)
        self._probe = probe
        self._refused: _Trouble | None = None
        self._plain = False
        self._intake = Pipe(self._connect, _BARRIERS[durability])
        self._rest = Pipe(self._connect)

    async def run(self, calls: Sequence[Call]) -> list[object]:
        """See `Runner.run`."""
        if not calls:
            return []
        pipe = self._intake if calls[0].script.name.startswith("append") else self._rest
        replies = await pipe.run([self._command(call) for call in calls])
        for _ in range(LOAD_TURNS_MAX):
            lost = [i for i, reply in enumerate(replies) if _is(reply, "NOSCRIPT")]
            if not lost:
                break
            # A script that is not there was not run, so these may be sent again.
            await self._load(pipe)
            again = await pipe.run([self._command(calls[i]) for i in lost])
            for i, reply in zip(lost, again, strict=True):
                replies[i] = reply
        self._notice(calls, replies)
        return replies

    async def listen(self, channel: bytes, hear: Callable[[bytes | None], None]) -> None:
        """See `Runner.listen`."""
        await listen(self._connect, channel, hear)

    async def ping(self) -> None:
        """See `Runner.ping`."""
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

    def trouble(self) -> str | None:
        """See `Runner.trouble`."""
        failure = self._intake.last_failure or self._rest.last_failure
        return failure or (self._refused.sentence if self._refused else None)

    @property
    def reconnects(self) -> int:
        """How often a connection was replaced since the start."""
        return max(0, self._intake.reconnects) + max(0, self._rest.reconnects)

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Run both pipes until cancelled."""
        async with anyio.create_task_group() as pipes:
            await pipes.start(self._intake.serve)
            await pipes.start(self._rest.serve)
            task_status.started()
            while True:
                await anyio.sleep(PROBE_INTERVAL_S)
                if self._refused is not None:
                    await self._try_a_write()

    async def _try_a_write(self) -> None:
        """Nobody's message is sent while writes are refused, so something has to find out."""
        try:
            await self.run([self._probe])
        except StoreUnavailable:
            return

    async def prepare(self) -> None:
        """Learn what the server understands, and load the scripts."""
        info = await self.info()
        self._plain = info.server == "redis" and info.version.startswith("6.")
        await self._load(self._rest)

    def _command(self, call: Call) -> Command:
        sha = call.script.plain_sha if self._plain else call.script.sha
        return Command(b"EVALSHA", (sha, len(call.keys), *call.keys, *call.args))

    async def _load(self, pipe: Pipe) -> None:
        replies = await pipe.run(
            [Command(b"SCRIPT", ("LOAD", self._source(each))) for each in all_scripts()]
        )
        for reply in replies:
            if isinstance(reply, ScriptError):
                raise StoreUnavailable(f"Redis does not take scripts: {reply.text}", executed=False)

    def _source(self, each: Script) -> str:
        return each.plain_source if self._plain else each.source

    def _notice(self, calls: Sequence[Call], replies: Sequence[object]) -> None:
        for call, reply in zip(calls, replies, strict=True):
            if not isinstance(reply, ScriptError):
                if call.script.name.startswith(("append", "meta")):
                    self._refused = None
            elif (known := refusal(reply.code)) and known.writes:
                self._refused = _Trouble(known.sentence)


@asynccontextmanager
async def connected(
    url: str, probe: Call, durability: Durability = "memory"
) -> AsyncIterator[ServerRunner]:
    """A runner that keeps its connections alive until the context ends.

    `probe` is a cheap write that tells whether writes are possible again. Does not raise when
    the server is away: it goes on trying.
    """
    async with anyio.create_task_group() as tasks:
        runner = ServerRunner(url, probe, durability)
        await tasks.start(runner.serve)
        try:
            yield runner
        finally:
            tasks.cancel_scope.cancel()


def probe_call(meta_key: bytes, shards: int, form: int) -> Call:
    """The probe a runner wants: writes nothing that is not there, but is refused like a write."""
    return Call(script("meta_v1"), (meta_key,), (shards, form))


def _connector(url: str) -> Connect:
    try:
        pool = ConnectionPool.from_url(url, decode_components=True)
        if url.startswith("rediss://"):
            pool.connection_kwargs["ssl_context"] = _tls(url)
    except (ValueError, TypeError, OSError) as error:
        raise StoreMisconfigured("REDIS_URL cannot be understood") from error
    location, kind = pool.location, cast("Callable[..., BaseConnection]", pool.connection_class)
    options = dict(pool.connection_kwargs)
    options.pop("processing_budget", None)
    options["connect_timeout"] = CONNECT_TIMEOUT_S
    if location is None:
        raise StoreMisconfigured("REDIS_URL names no host")

    async def connect() -> BaseConnection:
        return kind(location, **options)

    return connect


def _tls(url: str) -> ssl.SSLContext:
    """coredis would neither insist on a certificate nor look at the name in it."""
    options = dict(parse_qsl(urlsplit(url).query))
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is(reply: object, code: str) -> bool:
    return isinstance(reply, ScriptError) and reply.code == code


def _store_info(facts: object, policy: object, clock: object, local_s: float) -> StoreInfo:
    if isinstance(facts, ScriptError):
        raise StoreUnavailable(f"Redis refuses INFO: {facts.text}", executed=False)
    assert isinstance(facts, bytes)
    lines = (line.partition(":") for line in facts.decode("utf-8", "replace").splitlines())
    info = {name: value for name, _, value in lines}
    valkey = info.get("valkey_version")
    skew = 0
    if isinstance(clock, list):
        seconds, micros = (int(part) for part in clock)
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
        return value.decode() if isinstance(value, bytes) else None
    return None
