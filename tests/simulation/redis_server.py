"""A server in memory that runs the real scripts, fast enough for thousands of simulated runs.

It knows the commands that the scripts use and no others; `test_redis_server.py` holds its
answers against fakeredis'. Time is what the given clock says. Compiled scripts are kept for the
whole process, which is what makes it about ten times as fast as fakeredis.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import lupa.lua51

from actor_queue.transport.runner import Call, ScriptError

Clock = Callable[[], int]
Words = tuple[bytes, ...]

_LUA = lupa.lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True)
_SPREAD = _LUA.eval("function(t) return unpack(t, 1, #t) end")
_ENTER_KEYS = _LUA.eval("function(...) KEYS = {...} end")
_ENTER_ARGV = _LUA.eval("function(...) ARGV = {...} end")
_COMPILED: dict[str, Any] = {}
OOM_ALLOWED = "allow-oom"
BESIDES = 50
"""Bytes that a key takes besides its name and its value."""


@dataclass
class Data:
    """Everything that a restart may roll back."""

    values: dict[bytes, Any] = field(default_factory=dict)
    """bytes, list, dict (a hash), or `SortedSet`."""
    expiries: dict[bytes, int] = field(default_factory=dict)
    """Key → ms of the server's clock."""


class SortedSet(dict[bytes, float]):
    """Member → score; small enough here to be sorted when it is read."""

    def ranked(self) -> list[tuple[bytes, float]]:
        return sorted(self.items(), key=lambda item: (item[1], item[0]))


class Server:
    """One server. `source` gives the Lua for a script, so that a fault can be planted in it."""

    running: ClassVar[Server]
    """The one whose script is running: a script finds its server by it."""

    def __init__(self, clock: Clock, source: Callable[[Any], str]) -> None:
        self.clock = clock
        self.data = Data()
        self.writes = 0
        """How many commands that write were carried out."""
        self.published: list[tuple[bytes, bytes]] = []
        self.maxmemory = 0
        """Bytes; 0: no limit."""
        self.foreign = 0
        """Bytes that somebody else's data take."""
        self._source = source

    @property
    def used(self) -> int:
        """Bytes that everything takes, about as a real server counts: with something for each."""
        return self.foreign + sum(
            BESIDES + len(key) + _bytes_of(value) for key, value in self.data.values.items()
        )

    def run(self, call: Call) -> object:
        """What the script returns, or a `ScriptError`. A script that fails is not rolled back."""
        if self._is_full(call):
            return ScriptError("OOM", "command not allowed when used memory > 'maxmemory'", False)
        source = self._source(call.script)
        compiled = _COMPILED.get(source)
        if compiled is None:
            compiled = _COMPILED[source] = _LUA.compile(source)
        _ENTER_KEYS(*call.keys)
        _ENTER_ARGV(*[arg if type(arg) is bytes else _word(arg) for arg in call.args])
        Server.running = self
        try:
            return _reply(compiled())
        except lupa.lua51.LuaError as error:
            return ScriptError("ERR", str(error), None)

    def _is_full(self, call: Call) -> bool:
        # A world's own data never fill the server, so it is looked at only where others' are there.
        if not (self.maxmemory and self.foreign) or OOM_ALLOWED in call.script.source:
            return False
        return self.used > self.maxmemory

    def snapshot(self) -> Data:
        return copy.deepcopy(self.data)

    def restore(self, data: Data) -> None:
        self.data = copy.deepcopy(data)

    # Values by type

    def find(self, key: bytes) -> Any:
        """The value of `key`; None if there is none or it has expired."""
        until = self.data.expiries.get(key)
        if until is not None and until <= self.clock():
            del self.data.expiries[key], self.data.values[key]
        return self.data.values.get(key)

    def make(self, key: bytes, kind: type) -> Any:
        """The value of `key` for writing, empty if it was not there."""
        self.writes += 1
        value = self.find(key)
        if value is None:
            value = self.data.values[key] = kind()
        assert isinstance(value, kind), f"{key!r} is no {kind.__name__}"
        return value

    def hash(self, key: bytes) -> dict[bytes, bytes]:
        """For reading, also from outside."""
        return self.find(key) or {}

    def items(self, key: bytes) -> list[bytes]:
        return self.find(key) or []

    def scores(self, key: bytes) -> SortedSet:
        return self.find(key) or SortedSet()

    def forget(self, *keys: bytes) -> int:
        self.writes += 1
        for key in keys:
            self.data.expiries.pop(key, None)
        return sum(self.data.values.pop(key, None) is not None for key in keys)

    def tidy(self, key: bytes) -> None:
        """An empty value is no value."""
        if not self.data.values.get(key):
            self.forget(key)


def _bytes_of(value: Any) -> int:
    """A member of a set with its score, or a field of a hash, counts as 20 bytes and its own."""
    match value:
        case bytes():
            return len(value)
        case list():
            return sum(map(len, value))
        case SortedSet():
            return sum(20 + len(member) for member in value)
    return sum(20 + len(name) + len(each) for name, each in value.items())


# Commands, by name. Each gets its words as bytes and returns bytes, int, list, or None.


def _hset(server: Server, key: bytes, *pairs: bytes) -> int:
    server.make(key, dict).update(zip(pairs[::2], pairs[1::2], strict=True))
    return len(pairs) // 2


def _hsetnx(server: Server, key: bytes, name: bytes, value: bytes) -> int:
    return int(server.make(key, dict).setdefault(name, value) is value)


def _hmget(server: Server, key: bytes, *names: bytes) -> list[bytes | None]:
    found = server.hash(key)
    return [found.get(name) for name in names]


def _hdel(server: Server, key: bytes, *names: bytes) -> int:
    gone = sum(server.make(key, dict).pop(name, None) is not None for name in names)
    server.tidy(key)
    return gone


def _rpush(server: Server, key: bytes, *values: bytes) -> int:
    target: list[bytes] = server.make(key, list)
    target.extend(values)
    return len(target)


def _lpush(server: Server, key: bytes, *values: bytes) -> int:
    target: list[bytes] = server.make(key, list)
    target[:0] = reversed(values)
    return len(target)


def _lpop(server: Server, key: bytes) -> bytes | None:
    if not server.items(key):
        return None
    value: bytes = server.make(key, list).pop(0)
    server.tidy(key)
    return value


def _lrange(server: Server, key: bytes, first: bytes, last: bytes) -> list[bytes]:
    values = server.items(key)
    start, end = _span(len(values), first, last)
    return values[start:end]


def _ltrim(server: Server, key: bytes, first: bytes, last: bytes) -> bytes:
    if server.items(key):
        kept = _lrange(server, key, first, last)
        server.make(key, list)[:] = kept
        server.tidy(key)
    return b"OK"


def _lindex(server: Server, key: bytes, index: bytes) -> bytes | None:
    values, at = server.items(key), int(index)
    return values[at] if -len(values) <= at < len(values) else None


def _linsert(server: Server, key: bytes, where: bytes, pivot: bytes, value: bytes) -> int:
    assert where == b"BEFORE"
    values = server.items(key)
    if pivot not in values:
        return -1 if values else 0
    target: list[bytes] = server.make(key, list)
    target.insert(target.index(pivot), value)
    return len(target)


def _lpos(server: Server, key: bytes, value: bytes) -> int | None:
    values = server.items(key)
    return values.index(value) if value in values else None


def _lrem(server: Server, key: bytes, count: bytes, value: bytes) -> int:
    assert count == b"1"
    if value not in server.items(key):
        return 0
    server.make(key, list).remove(value)
    server.tidy(key)
    return 1


def _rename(server: Server, old: bytes, new: bytes) -> bytes:
    value = server.find(old)
    if value is None:
        raise lupa.lua51.LuaError("ERR no such key")
    server.forget(new)
    until = server.data.expiries.get(old)
    server.forget(old)
    server.data.values[new] = value
    if until is not None:
        server.data.expiries[new] = until
    return b"OK"


def _lset(server: Server, key: bytes, index: bytes, value: bytes) -> bytes:
    if not -len(server.items(key)) <= int(index) < len(server.items(key)):
        raise lupa.lua51.LuaError("ERR index out of range")
    server.make(key, list)[int(index)] = value
    return b"OK"


def _set(server: Server, key: bytes, value: bytes, how: bytes, ms: bytes) -> bytes | None:
    if (how, ms) == (b"XX", b"KEEPTTL"):
        if server.find(key) is None:
            return None
        server.writes += 1
        server.data.values[key] = value
        return b"OK"
    assert how == b"PX"
    server.forget(key)
    server.data.values[key] = value
    server.data.expiries[key] = server.clock() + int(ms)
    return b"OK"


def _pexpire(server: Server, key: bytes, ms: bytes) -> int:
    server.writes += 1
    if server.find(key) is None:
        return 0
    server.data.expiries[key] = server.clock() + int(ms)
    return 1


def _persist(server: Server, key: bytes) -> int:
    server.writes += 1
    return int(server.data.expiries.pop(key, None) is not None)


def _zadd(server: Server, key: bytes, *pairs: bytes) -> int:
    target: SortedSet = server.make(key, SortedSet)
    before = len(target)
    target.update(zip(pairs[1::2], map(float, pairs[::2]), strict=True))
    return len(target) - before


def _zrem(server: Server, key: bytes, *members: bytes) -> int:
    gone = sum(server.make(key, SortedSet).pop(member, None) is not None for member in members)
    server.tidy(key)
    return gone


def _zscore(server: Server, key: bytes, member: bytes) -> bytes | None:
    score = server.scores(key).get(member)
    return None if score is None else _score(score)


def _zrangebyscore(server: Server, key: bytes, low: bytes, high: bytes, *how: bytes) -> list[bytes]:
    inside = _within(low, high)
    found = [item for item in server.scores(key).ranked() if inside(item[1])]
    if b"LIMIT" in how:
        offset, count = map(int, how[how.index(b"LIMIT") + 1 :][:2])
        found = found[offset:][:count]
    return _flat(found) if b"WITHSCORES" in how else [member for member, _ in found]


def _zrange(server: Server, key: bytes, first: bytes, last: bytes, *how: bytes) -> list[bytes]:
    ranked = server.scores(key).ranked()
    start, end = _span(len(ranked), first, last)
    if b"WITHSCORES" in how:
        return _flat(ranked[start:end])
    return [member for member, _ in ranked[start:end]]


def _zrevrange(server: Server, key: bytes, first: bytes, last: bytes, how: bytes) -> list[bytes]:
    ranked = server.scores(key).ranked()[::-1]
    start, end = _span(len(ranked), first, last)
    return _flat(ranked[start:end])


def _zrank(server: Server, key: bytes, member: bytes) -> int | None:
    ranked = [name for name, _ in server.scores(key).ranked()]
    return ranked.index(member) if member in ranked else None


def _zrevrank(server: Server, key: bytes, member: bytes) -> int | None:
    rank = _zrank(server, key, member)
    return None if rank is None else len(server.scores(key)) - 1 - rank


def _zcount(server: Server, key: bytes, low: bytes, high: bytes) -> int:
    return sum(map(_within(low, high), server.scores(key).values()))


def _zremrangebyscore(server: Server, key: bytes, low: bytes, high: bytes) -> int:
    inside = _within(low, high)
    gone = [name for name, score in server.scores(key).items() if inside(score)]
    return _zrem(server, key, *gone) if gone else 0


def _publish(server: Server, channel: bytes, message: bytes) -> int:
    server.published.append((channel, message))
    return 0


def _time(server: Server) -> list[bytes]:
    now = server.clock()
    return [b"%d" % (now // 1000), b"%d" % (now % 1000 * 1000)]


COMMANDS: dict[bytes, Callable[..., Any]] = {
    b"DEL": Server.forget,
    b"EXISTS": lambda server, key: int(server.find(key) is not None),
    b"GET": Server.find,
    b"HDEL": _hdel,
    b"HGET": lambda server, key, name: server.hash(key).get(name),
    b"HMGET": _hmget,
    b"HSET": _hset,
    b"HSETNX": _hsetnx,
    b"LINDEX": _lindex,
    b"LINSERT": _linsert,
    b"LLEN": lambda server, key: len(server.items(key)),
    b"LPOP": _lpop,
    b"LPOS": _lpos,
    b"LPUSH": _lpush,
    b"LRANGE": _lrange,
    b"LREM": _lrem,
    b"LSET": _lset,
    b"LTRIM": _ltrim,
    b"PERSIST": _persist,
    b"PEXPIRE": _pexpire,
    b"PUBLISH": _publish,
    b"RENAME": _rename,
    b"RPUSH": _rpush,
    b"SET": _set,
    b"TIME": _time,
    b"UNLINK": Server.forget,
    b"ZADD": _zadd,
    b"ZCARD": lambda server, key: len(server.scores(key)),
    b"ZCOUNT": _zcount,
    b"ZRANGE": _zrange,
    b"ZRANGEBYSCORE": _zrangebyscore,
    b"ZRANK": _zrank,
    b"ZREM": _zrem,
    b"ZREMRANGEBYSCORE": _zremrangebyscore,
    b"ZREVRANGE": _zrevrange,
    b"ZREVRANK": _zrevrank,
    b"ZSCORE": _zscore,
}


LISTS = frozenset([b"HMGET", b"LRANGE", b"TIME", b"ZRANGE", b"ZRANGEBYSCORE", b"ZREVRANGE"])
"""Commands that answer with a list, also with one of a single element."""


def _call(name: bytes, *args: Any) -> Any:
    """`redis.call`. A list goes as a tuple, which Lua sees as so many results."""
    result = COMMANDS[name](
        Server.running, *[arg if type(arg) is bytes else _word(arg) for arg in args]
    )
    if result is None:
        return False
    if type(result) is list:
        assert name in LISTS, f"{name!r} answers with a list, and LISTS does not say so"
        return tuple([False if value is None else value for value in result])
    return result


_LUA.execute(
    """
    function serve(call, lists)
      redis = { call = function(name, ...)
        if lists[name] then
          return { call(name, ...) }
        end
        return call(name, ...)
      end }
    end
    """
)
_LUA.globals().serve(_call, _LUA.table_from(dict.fromkeys(LISTS, 1)))


# Between Python, Lua and the wire


def _word(value: Any) -> bytes:
    match value:
        case bytes():
            return value
        case str():
            return value.encode()
        case int():
            return b"%d" % value
    return f"{value:.17g}".encode()


def _reply(value: Any) -> object:
    match value:
        case bool():
            return 1 if value else None
        case bytes() | int() | None:
            return value
        case float():
            return int(value)
    count = len(value)
    if count == 0:
        return []
    spread = _SPREAD(value)
    return [_reply(each) for each in (spread if count > 1 else (spread,))]


def _score(score: float) -> bytes:
    return f"{score:.17g}".encode()


def _flat(pairs: list[tuple[bytes, float]]) -> list[bytes]:
    return [word for member, score in pairs for word in (member, _score(score))]


def _span(length: int, first: bytes, last: bytes) -> tuple[int, int]:
    start, end = int(first), int(last)
    start = max(0, start + length if start < 0 else start)
    return start, (end + length if end < 0 else end) + 1


def _within(low: bytes, high: bytes) -> Callable[[float], bool]:
    """Whether a score lies between two bounds as commands spell them: `(5` is open, `-inf`."""

    def inside(score: float) -> bool:
        above = score > float(low[1:]) if low[:1] == b"(" else score >= float(low)
        below = score < float(high[1:]) if high[:1] == b"(" else score <= float(high)
        return above and below

    return inside
