"""Drive a store synchronously and look at what it leaves behind.

A `Subject` answers the store's verbs at once and can be looked at through a plain client. The
look knows key names (from `store/keys.py`, the only module that spells them) and nothing else
of the service.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fakeredis
import redis
from fakeredis.model import Hash, ZSet

from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.store.keys import Keys
from actor_queue.store.redis import RedisStore
from actor_queue.testing.memory import DirectRunner, Patch, memory_server
from tests.servers import Server, delete_namespace

Dump = dict[bytes, object]
"""Every key of the namespace with its value."""


@dataclass
class Now:
    """The clock of one run, in ms. Moved by the test alone."""

    ms: int = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms


class Subject:
    """The real `RedisStore` over a client that never waits, under a clock that the test moves."""

    def __init__(
        self, client: redis.Redis, settings: Settings, now: Now, source: Patch | None = None
    ) -> None:
        self.client = client
        self.settings = settings
        self.now = now
        self.keys = Keys(settings.namespace, settings.shards)
        runner = DirectRunner(client, source or (lambda script: script.plain_source))
        self.store = RedisStore(runner, settings, clock=now)

    def call(self, verb: str, *args: object, **named: object) -> Any:
        return finished(getattr(self.store, verb)(*args, **named))

    def dump(self) -> Dump:
        """Read by type, so that equal dumps mean equal data."""
        ours = tuple(
            text.encode()
            for text in (f"{self.settings.namespace}:", f"{{{self.settings.namespace}:")
        )
        names = sorted(key for key in self.client.scan_iter(count=1_000) if key.startswith(ours))
        pipe = self.client.pipeline(transaction=False)
        for name in names:
            pipe.type(name)
        kinds = pipe.execute() if names else []
        for name, kind in zip(names, kinds, strict=True):
            _read(pipe, name, kind)
        return dict(zip(names, pipe.execute() if names else [], strict=True))

    def expiring(self, name: bytes) -> bool:
        return bool(self.client.pttl(name) >= 0)

    # What a dump says, by place

    def pending(self, dump: Dump, user: str) -> list[bytes]:
        return _list(dump.get(self._keys_of(user).pending, []))

    def flight(self, dump: Dump, user: str) -> list[bytes]:
        return _list(dump.get(self._keys_of(user).flight, []))

    def letter_items(self, dump: Dump, user: str, batch_id: str) -> list[bytes]:
        shard = self.keys.shards[self._shard(user)]
        return _list(dump.get(shard.letter(batch_id)[1], []))

    def due(self, dump: Dump, shard: int) -> dict[str, int]:
        entries = dump.get(self.keys.shards[shard].due, [])
        assert isinstance(entries, list)
        return {member.decode(): int(score) for member, score in entries}

    def named_key(self, user: str, message_id: str) -> bytes:
        return self.keys.shards[self._shard(user)].named(user.encode(), message_id)

    def constant_keys(self) -> set[bytes]:
        """Keys that may stay for ever: their number does not grow with users or messages."""
        return {
            self.keys.members,
            self.keys.modes,
            self.keys.meta,
            *(keys.lease for keys in self.keys.shards),
        }

    def _keys_of(self, user: str) -> Any:
        return self.keys.shards[self._shard(user)].of(user)

    def _shard(self, user: str) -> int:
        return shard_of(user, self.settings.shards)


class MemorySubject(Subject):
    """Looks into the in-process server itself: the same dump, ten times as fast."""

    def __init__(self, settings: Settings, now: Now, source: Patch | None = None) -> None:
        self.server = memory_server(now)
        client = fakeredis.FakeRedis(server=self.server)
        super().__init__(client, settings, now, source)

    def dump(self) -> Dump:
        database = self.server.dbs[0]
        return {name: _value(database[name].value) for name in sorted(database)}


@contextmanager
def memory_subject(
    settings: Settings, now: Now, source: Patch | None = None
) -> Iterator[MemorySubject]:
    """On an in-process server of its own."""
    subject = MemorySubject(settings, now, source)
    with subject.client:
        yield subject


@contextmanager
def server_subject(server: Server, settings: Settings, now: Now) -> Iterator[Subject]:
    """On a real server that nothing else uses meanwhile; with the scripts as they are loaded in
    production, shebang and flags included."""
    with server.client() as client:
        try:
            yield Subject(client, settings, now, lambda script: script.source)
        finally:
            delete_namespace(client, settings.namespace)


def finished(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    work.close()
    raise AssertionError("the store waited for something that is not its runner")


_READERS: dict[bytes, Callable[[Any, bytes], object]] = {
    b"string": lambda pipe, name: pipe.get(name),
    b"hash": lambda pipe, name: pipe.hgetall(name),
    b"list": lambda pipe, name: pipe.lrange(name, 0, -1),
    b"zset": lambda pipe, name: pipe.zrange(name, 0, -1, withscores=True),
}


def _read(pipe: Any, name: bytes, kind: bytes) -> None:
    _READERS[kind](pipe, name)


def _value(value: Any) -> object:
    """fakeredis's own representation, as a client would read it."""
    if isinstance(value, Hash):
        return dict(value.getall())
    if isinstance(value, ZSet):
        return sorted(value.items(), key=lambda entry: (entry[1], entry[0]))
    return list(value) if isinstance(value, list) else value


def _list(value: object) -> list[bytes]:
    assert isinstance(value, list)
    return value
