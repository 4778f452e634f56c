"""What is wrong with a Redis, or with each primary of several.

Uses redis-py, the plain synchronous client, so that it judges the server by other eyes than the
service's. Changes nothing.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import redis
import trio

from actor_queue.app.embedded import running_server_url
from actor_queue.app.finding import Finding
from actor_queue.app.logs import redact_url
from actor_queue.app.primaries import TIMEOUT_S, one_server, primaries, server_at
from actor_queue.core.headroom import Memory, reserve_bytes
from actor_queue.core.settings import Settings
from actor_queue.core.url import MANY_NODE_SCHEMES
from actor_queue.store.api import StoreMisconfigured, StoreUnavailable
from actor_queue.store.keys import Keys
from actor_queue.store.rights import missing_rights, rights_call
from actor_queue.transport.address import scheme_of
from actor_queue.transport.aim import Aim
from actor_queue.transport.refusals import ACL_RECIPE, NO_DATABASE, NoSuchDatabase
from actor_queue.transport.server import BARRIERS

VERSION_MIN = (6, 2)
WAITAOF_VERSION_MIN = (7, 2)
MEMORY_SHARE_WARN = 0.8
SKEW_WARN_S = 1.0
LATENCY_WARN_MS = 5.0
LATENCY_ROUNDS = 20

PLAIN_SCRIPT = "return redis.call('TIME')[1]"
COMMANDS = {
    "info": "INFO",
    "eviction": "CONFIG GET",
    "clock": "TIME",
    "latency": "PING",
    "shards": "HGET",
}
"""Of the checks that a user of few rights may be refused."""
UNREADABLE = (redis.RedisError, OSError, ValueError, TypeError, LookupError, AttributeError)
"""Whatever comes of a server that refuses, has gone, or is no Redis. An error may quote what the
server sent, so its text is shown nowhere."""

Info = Mapping[str, Any]


def examine_redis(settings: Settings) -> Iterator[Finding]:
    """In the order of what depends on what."""
    url = url_of(settings)
    if url is None:
        yield Finding(
            "fail",
            "redis",
            "REDIS_URL is not set and no `actor-queue dev` runs on the data in"
            f" {settings.data_dir} (AQ_DATA_DIR, seen from this folder): set REDIS_URL, for example"
            " redis://localhost:6379/0, or ask in the folder in which `dev` runs",
        )
        return
    if scheme_of(url) in MANY_NODE_SCHEMES:
        yield from _many(url, settings)
        return
    with one_server(url) as client:
        yield from _server(client, redact_url(url), settings, Aim(url, settings.redis_set_by))


def url_of(settings: Settings) -> str | None:
    """Where the service looks, or where a `dev` that runs here has its own; None for nowhere."""
    return settings.redis_url or running_server_url(settings.data_dir)


def _many(url: str, settings: Settings) -> Iterator[Finding]:
    """Every primary for itself; the first words of a finding say which one."""
    try:
        places = primaries(url)
    except StoreMisconfigured as error:
        yield Finding("fail", "redis", str(error))
        return
    except UNREADABLE as error:
        yield _unreachable(redact_url(url), error, Aim(url))
        return
    if not places:
        yield Finding(
            "fail",
            "redis",
            "no sentinel knows a primary of that name: correct the name after / in REDIS_URL, it is"
            " the one in the sentinels' `sentinel monitor`",
        )
    for place in places:
        where = f"{place.host}:{place.port}"
        with server_at(url, place) as client:
            for finding in _server(client, where, settings, Aim(url)):
                yield replace(finding, text=f"{where}: {finding.text.removeprefix(where + ' ')}")


def _unreachable(where: str, error: Exception, aim: Aim) -> Finding:
    variable = "REDIS_URL" if aim.set_by == "REDIS_URL" else "REDIS_PASSWORD"
    match error:
        case redis.AuthenticationError() if not aim.password:
            text = f"{where} wants a password: set it in {variable}"
        case redis.AuthenticationError() | redis.exceptions.NoPermissionError():
            text = (
                f"{where} refuses the user or password: correct them in"
                f" {variable}{aim.password_doubt}"
            )
        case redis.BusyLoadingError():
            text = f"{where} is still loading its data: try again in a moment"
        case redis.ResponseError() if "NOAUTH" in str(error):
            text = f"{where} wants a password: set it in {variable}"
        case _ if (explained := _explained(error, aim)) is not None:
            text = explained
        case redis.TimeoutError():
            text = f"{where} does not answer within {TIMEOUT_S:g} s: check host, port and firewall"
        case _:
            text = f"{where} cannot be reached: check that it runs, and the host and port"
    return Finding("fail", "redis", text)


def _explained(error: Exception, aim: Aim) -> str | None:
    """A database that is not there, or a port that speaks something else."""
    kind = NoSuchDatabase if NO_DATABASE in str(error) else StoreUnavailable
    explained = trio.run(aim.explained, kind(str(error), executed=False))
    return None if explained is None else str(explained)


def _server(client: redis.Redis, where: str, settings: Settings, aim: Aim) -> Iterator[Finding]:
    """The checks that need a connection; each fails for itself."""
    try:
        client.ping()
    except UNREADABLE as error:
        yield _unreachable(where, error, aim)
        return
    yield Finding("ok", "redis", f"answers at {where}")
    try:
        info: Info = client.info()
    except UNREADABLE as error:
        yield _unable("info", error)
        info = {}
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("version", lambda: _version(info, settings)),
        ("eviction", lambda: _eviction(client, info, settings)),
        ("memory", lambda: _memory(info, settings)),
        ("persistence", lambda: _persistence(info, settings)),
        ("replication", lambda: _replication(info, settings)),
        ("clock", lambda: _clock(client)),
        ("scripts", lambda: _scripts(client, info, settings)),
        ("latency", lambda: _latency(client)),
        ("shards", lambda: _shards(client, settings)),
    ]
    for name, check in checks:
        try:
            yield from check()
        except UNREADABLE as error:
            yield _unable(name, error)


def _unable(check: str, error: Exception) -> Finding:
    """Says what kind of error it was. What the server answered may be anybody's text."""
    if isinstance(error, redis.exceptions.NoPermissionError):
        command = COMMANDS.get(check, "the command")
        text = f"could not be checked: allow {command} to this user, if it is to be"
    else:
        text = f"could not be checked ({type(error).__name__}): look at the log of Redis"
    return Finding("warn", check, text)


def _version(info: Info, settings: Settings) -> Iterator[Finding]:
    redis_version = str(info.get("redis_version", ""))
    if not redis_version:
        yield Finding(
            "warn", "version", "the server does not tell its version: it must be 6.2 or newer"
        )
        return
    valkey = info.get("valkey_version")
    name = f"Valkey {valkey}" if valkey else f"Redis {redis_version}"
    # Valkey reports the Redis version whose commands it has.
    version = tuple(int(number) for number in re.findall(r"\d+", redis_version)[:2])
    if version < VERSION_MIN:
        yield Finding("fail", "version", f"{name} is too old: upgrade to Redis 6.2 or any Valkey")
    elif settings.durability == "fsync" and version < WAITAOF_VERSION_MIN:
        yield Finding(
            "fail",
            "version",
            f"{name} has no WAITAOF, which AQ_DURABILITY=fsync needs:"
            " upgrade to Redis 7.2 or any Valkey, or set AQ_DURABILITY=memory",
        )
    else:
        yield Finding("ok", "version", name)


def _eviction(client: redis.Redis, info: Info, settings: Settings) -> Iterator[Finding]:
    policy = info.get("maxmemory_policy")
    if policy is None:
        answer: Any = client.config_get("maxmemory-policy")
        policy = answer.get("maxmemory-policy")
    if policy == "noeviction":
        yield Finding("ok", "eviction", "maxmemory-policy is noeviction")
        return
    allowed = settings.allow_eviction
    yield Finding(
        "warn" if allowed else "fail",
        "eviction",
        f"maxmemory-policy is {policy}, so a full Redis throws messages away: set it with"
        " `CONFIG SET maxmemory-policy noeviction` and in the server's configuration"
        + ("" if allowed else ", or accept the loss with AQ_ALLOW_EVICTION=true"),
    )


def _memory(info: Info, settings: Settings) -> Iterator[Finding]:
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    memory = Memory(used, most, reserve_bytes(most, settings.redis_reserve_bytes))
    text = f"{_mib(used)} in use"
    if most == 0:
        yield Finding("ok", "memory", f"{text}, no limit set")
        return
    text += f" of {_mib(most)}"
    if memory.reserve >= most:
        yield Finding(
            "fail",
            "memory",
            f"AQ_REDIS_RESERVE is {_mib(memory.reserve)} and maxmemory {_mib(most)}, so every POST"
            " answers 503: lower the one or raise the other",
        )
    elif memory.left < memory.reserve:
        yield Finding(
            "fail",
            "memory",
            f"{text}, and AQ_REDIS_RESERVE keeps the last {_mib(memory.reserve)} for what was"
            " accepted, so every POST answers 503: raise maxmemory, or look at what is stored",
        )
    elif used >= MEMORY_SHARE_WARN * most:
        yield Finding(
            "warn",
            "memory",
            f"{text}: raise maxmemory, because every POST answers 503 when less than"
            f" {_mib(memory.reserve)} is left",
        )
    else:
        yield Finding("ok", "memory", text)


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _persistence(info: Info, settings: Settings) -> Iterator[Finding]:
    if "aof_enabled" not in info:
        yield Finding("warn", "persistence", "the server does not tell: make sure appendonly is on")
        return
    if not info["aof_enabled"]:
        needed = settings.durability == "fsync"
        yield Finding(
            "fail" if needed else "warn",
            "persistence",
            "the append-only file is off, so a restart of Redis loses messages"
            + (" and AQ_DURABILITY=fsync cannot be kept" if needed else "")
            + ": set it with `CONFIG SET appendonly yes` and in the server's configuration",
        )
        return
    for name in ("aof_last_write_status", "aof_last_bgrewrite_status"):
        if info.get(name, "ok") != "ok":
            yield Finding(
                "fail", "persistence", f"{name} is {info[name]}: look at the server's disk"
            )
            return
    yield Finding("ok", "persistence", "the append-only file is on")


def _replication(info: Info, settings: Settings) -> Iterator[Finding]:
    if info.get("role", "master") != "master":
        yield Finding("fail", "replication", "this server is a read-only replica: name its primary")
    elif settings.durability == "replica" and int(info.get("connected_slaves", 0)) < 1:
        yield Finding(
            "fail",
            "replication",
            "AQ_DURABILITY is replica and no replica is connected, so every POST would answer 503:"
            " connect one, or set AQ_DURABILITY=memory",
        )


def _clock(client: redis.Redis) -> Iterator[Finding]:
    before = time.time()
    seconds, micros = client.time()
    here = (before + time.time()) / 2
    skew = seconds + micros / 1e6 - here
    if abs(skew) > SKEW_WARN_S:
        yield Finding(
            "warn",
            "clock",
            f"the clock of Redis is {skew:+.1f} s from this machine's: run NTP on both;"
            " quiet times are right all the same, times in webhooks are those of Redis",
        )
    else:
        yield Finding("ok", "clock", f"{skew * 1000:+.0f} ms from this machine's")


def _scripts(client: redis.Redis, info: Info, settings: Settings) -> Iterator[Finding]:
    """Asks what the service asks at its start, with rights that the service itself needs."""
    plain = str(info.get("redis_version", "")).startswith("6.")
    barrier = BARRIERS[settings.durability]
    call = rights_call(Keys(settings.namespace, 1).meta, () if barrier is None else (barrier,))
    try:
        if plain:  # Redis 6.2 cannot be asked for rights
            client.evalsha(client.script_load(PLAIN_SCRIPT), 0)
            missing = None
        else:
            client.script_load(call.script.source)
            reply: Any = client.evalsha(call.script.sha, 0, *call.args)
            missing = missing_rights([name.encode() for name in reply])
    except redis.exceptions.NoPermissionError:
        missing = f"this user may not run scripts: give it the rights in {ACL_RECIPE}"
    if missing is None:
        yield Finding("ok", "scripts", "scripts run" + ("" if plain else ", with all their rights"))
    else:
        yield Finding("fail", "scripts", missing)


def _latency(client: redis.Redis) -> Iterator[Finding]:
    times_ms = []
    for _ in range(LATENCY_ROUNDS):
        started = time.perf_counter()
        client.ping()
        times_ms.append((time.perf_counter() - started) * 1000)
    median = statistics.median(times_ms)
    text = f"a PING takes {median:.2f} ms, at most {max(times_ms):.1f} ms"
    if median > LATENCY_WARN_MS:
        yield Finding("warn", "latency", f"{text}: move Redis nearer, every POST waits for it")
    else:
        yield Finding("ok", "latency", text)


def _shards(client: redis.Redis, settings: Settings) -> Iterator[Finding]:
    try:
        answer: Any = client.hget(f"{settings.namespace}:meta", "shards")
    except redis.exceptions.MovedError:
        return  # another node of the cluster has the key, and is asked too
    if answer is None:
        yield Finding("ok", "shards", f"the namespace {settings.namespace} has not been used yet")
    elif not (answer.isascii() and answer.isdigit()):
        text = f"the key {settings.namespace}:meta holds something that the service did not write"
        yield Finding("fail", "shards", f"{text}: use another AQ_NAMESPACE, or drop what is there")
    elif answer == str(settings.shards):
        yield Finding("ok", "shards", f"{answer}, as the namespace {settings.namespace} was made")
    else:
        yield Finding(
            "fail",
            "shards",
            f"AQ_SHARDS is {settings.shards}, but the namespace {settings.namespace} was made with"
            f" {answer}: set AQ_SHARDS={answer}, or use another AQ_NAMESPACE",
        )
