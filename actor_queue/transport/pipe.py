"""One connection on which everything that is under way together shares a round trip.

A call costs a client about 100 µs when it travels alone and about 20 µs among thirty
others. So callers queue, and while one group is on the wire the next one gathers: group
commit, as databases do it for their log. A group goes in the order in which its calls reached this
machine, whoever ran first.

The connection is coredis's, run in a task group of ours: its pool loses a slot for each
connection that dies while it is leased. Once it is greeted its bytes are ours (`wire.py`). Nothing
is ever sent twice from here.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from operator import attrgetter
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from coredis.connection import BaseConnection
from coredis.exceptions import BusyLoadingError, InvalidResponse, RedisError
from coredis.exceptions import ConnectionError as RedisConnectionError

from actor_queue.core.settings import RedisVariable
from actor_queue.transport.bounded import BoundedConnection
from actor_queue.transport.errors import StoreUnavailable
from actor_queue.transport.refusals import answered, may_pass, refusal, unavailable
from actor_queue.transport.runner import ScriptError
from actor_queue.transport.wire import Command, Wire

GROUP_CALLS_MAX = 64
"""Enough to share the costs of a round trip, few enough that one group's replies are worked on here
while the server works on the next."""
QUEUE_CALLS_MAX = 20_000
GREETING_TIMEOUT_S = 2.0
"""From the start of a connection until it can be used."""
REPLY_TIMEOUT_S = 2.0
"""A half-open connection is given up after this long …"""
PING_INTERVAL_S = 0.75
"""… and an idle one is looked at this often: together under three seconds."""


class Overloaded(StoreUnavailable):
    """More waits than may wait; sending it again would only add to it."""


PING = Command(b"PING", ())
ASKING = Command(b"ASKING", ())
"""Stands before a command that an ASK sent here."""

ENDED = (anyio.ClosedResourceError, anyio.BrokenResourceError)
"""A connection that ends closes its buffer a moment before coredis calls it unusable."""

_UNSAFE = {
    b"WAIT": "no replica of Redis confirmed in time: connect one, or change AQ_DURABILITY",
    b"WAITAOF": "Redis did not confirm in time: look at its disk, or change AQ_DURABILITY",
}
"""What is said when a barrier counts no copy."""


Connect = Callable[[], Awaitable[BoundedConnection]]
"""Makes a fresh connection object, not yet connected. May ask around where the server is."""

Settle = Callable[[], Awaitable[int]]
"""Waits until all that has reached this machine is in the queue. Returns the time of arrival in
nanoseconds up to which that is certain."""


class _Caller:
    """Waits for all its waiters."""

    __slots__ = ("_done", "_open")

    def __init__(self, waiters: int) -> None:
        self._open = waiters
        self._done = anyio.Event()

    def one_is_done(self) -> None:
        self._open -= 1
        if not self._open:
            self._done.set()

    async def wait(self) -> None:
        await self._done.wait()


class _Waiter:
    """Commands that share their fate, until their replies are there."""

    __slots__ = ("arrived_ns", "caller", "commands", "done", "error", "replies")

    def __init__(
        self, commands: Sequence[Command], arrived_ns: int = 0, caller: _Caller | None = None
    ) -> None:
        self.commands = commands
        self.arrived_ns = arrived_ns
        self.caller = caller
        self.done = False
        self.replies: Sequence[object] = ()
        self.error: StoreUnavailable | None = None

    def finish(self) -> None:
        if not self.done:
            self.done = True
            if self.caller is not None:
                self.caller.one_is_done()


_arrival = attrgetter("arrived_ns")


class Pipe:
    """`connect` makes a fresh, unconnected connection object.

    `barrier` follows each group on the wire and answers how many copies are safe; a group whose
    barrier says none may or may not have been kept. With `moves`, another server may have
    become the primary: one that refuses as a server does that is none, is left. `settle` is
    awaited before a group is taken; `set_by` is the variable that sentences name.
    """

    def __init__(
        self,
        connect: Connect,
        barrier: Command | None = None,
        *,
        moves: bool = False,
        settle: Settle | None = None,
        set_by: RedisVariable = "REDIS_URL",
    ) -> None:
        self._connect = connect
        self._barrier = barrier
        self._moves = moves
        self._settle = settle
        self._set_by = set_by
        self._queue: deque[_Waiter] = deque()
        self._ordered = True
        self._queued = self._groups = 0
        self._wake = anyio.Event()
        self._connection: BoundedConnection | None = None
        self._wire: Wire | None = None
        self._over = False
        self.last_failure: str | None = "not connected yet"
        self.reconnects = -1

    async def run(self, commands: Sequence[Command], arrived_ns: int = 0) -> list[object]:
        """The replies in order, a `ScriptError` for each one that was refused.

        Of commands that wait together, those with a smaller `arrived_ns` go first. Raises
        `StoreUnavailable`. A caller that is cancelled does not take its commands back.
        """
        caller = _Caller(1)
        waiter = _Waiter(commands, arrived_ns, caller)
        self._enqueue(waiter)
        await caller.wait()
        if waiter.error is not None:
            raise waiter.error
        return list(waiter.replies)

    async def run_each(
        self, commands: Sequence[Command], arrived_ns: Sequence[int]
    ) -> list[object]:
        """As `run`, where each command has a place and a fate of its own: instead of being raised,
        a `StoreUnavailable` is the reply to those it is about."""
        caller = _Caller(len(commands))
        waiters = [
            _Waiter((command,), at, caller)
            for command, at in zip(commands, arrived_ns, strict=True)
        ]
        for waiter in waiters:
            try:
                self._enqueue(waiter)
            except StoreUnavailable as error:
                waiter.error = error
                waiter.finish()
        if waiters:
            await caller.wait()
        return [waiter.error or waiter.replies[0] for waiter in waiters]

    def _enqueue(self, waiter: _Waiter) -> None:
        if self._over:
            raise StoreUnavailable("this connection was given up", executed=False)
        if self._queued + len(waiter.commands) > QUEUE_CALLS_MAX:
            raise Overloaded("too much is waiting for Redis", executed=False)
        if self._queue and waiter.arrived_ns < self._queue[-1].arrived_ns:
            self._ordered = False
        self._queue.append(waiter)
        self._queued += len(waiter.commands)
        self._wake.set()

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Run until cancelled. Says started after trying to connect, whatever came of it."""
        async with anyio.create_task_group() as connections:
            try:
                await self._look(connections)
                task_status.started()
                while True:
                    if not self._queue:
                        with anyio.move_on_after(PING_INTERVAL_S):
                            await self._wake.wait()
                    if self._queue:
                        until_ns = None if self._settle is None else await self._settle()
                        if group := self._take(until_ns):
                            await self._exchange(connections, group)
                    else:
                        await self._look(connections)
            finally:
                self._over = True
                stopped = StoreUnavailable("the service is stopping", executed=False)
                self._fail(self._take_all(), stopped)
                connections.cancel_scope.cancel()

    # One round trip

    def _take(self, until_ns: int | None = None) -> list[_Waiter]:
        """The next group, in the order of arrival; nothing that arrived after `until_ns`."""
        if not self._ordered:
            self._queue = deque(sorted(self._queue, key=_arrival))
            self._ordered = True
        group: list[_Waiter] = []
        size = 0
        while self._queue and (not group or size + len(self._queue[0].commands) <= GROUP_CALLS_MAX):
            if until_ns is not None and self._queue[0].arrived_ns > until_ns:
                break
            waiter = self._queue.popleft()
            size += len(waiter.commands)
            group.append(waiter)
        self._queued -= size
        if not self._queue:
            self._wake = anyio.Event()
        return group

    async def _look(self, connections: anyio.abc.TaskGroup) -> None:
        """An idle connection proves that it lives; a dead one is replaced before it is needed."""
        await self._exchange(connections, [_Waiter([PING])])

    async def _exchange(self, connections: anyio.abc.TaskGroup, group: list[_Waiter]) -> None:
        executed: bool | None = False
        try:
            wire = await self._usable(connections)
            commands = [command for waiter in group for command in waiter.commands]
            if self._barrier is not None:
                commands.append(self._barrier)
            self._groups += 1
            end = b"%d" % self._groups
            commands.append(Command(b"PING", (end,)))
            executed = None
            replies = _in_step(await wire.exchange(commands, REPLY_TIMEOUT_S), end)
            await self._reload(wire, commands, replies)
            if not self._hand_out(group, replies):
                self._leave()
        except InvalidResponse as error:
            self._leave()
            self._fail(group, self._unavailable(error, executed=None))
        except (RedisError, StoreUnavailable) as error:
            self._leave()
            # What waits behind would only find the same.
            self._fail(group + self._take_all(), self._unavailable(error, executed=False))
        finally:
            # Cancelled on the way: nobody may wait for ever.
            cut = StoreUnavailable("the connection to Redis was given up", executed=executed)
            self._fail([waiter for waiter in group if not waiter.done], cut)

    async def _reload(self, wire: Wire, commands: Sequence[Command], replies: list[object]) -> None:
        """Load the scripts that the server has forgotten, and run what it refused for that.

        A script that is not there was not run. All of it happens before the next group is taken,
        so that nothing overtakes what was refused.
        """
        lost = [i for i, reply in enumerate(replies) if _is_forgotten(reply) and commands[i].source]
        if not lost:
            return
        batch = [
            Command(b"SCRIPT", ("LOAD", source))
            for source in dict.fromkeys(commands[i].source or "" for i in lost)
        ]
        loads = len(batch)
        for i in lost:
            if commands[i - 1] is ASKING:
                batch.append(ASKING)
            batch.append(commands[i])
        if self._barrier is not None:
            batch.append(self._barrier)
        again = await wire.exchange(batch, REPLY_TIMEOUT_S)
        refused = next((reply for reply in again[:loads] if isinstance(reply, RedisError)), None)
        if self._barrier is not None:
            replies[-1] = again.pop()
        answers = (reply for j, reply in enumerate(again) if j >= loads and batch[j] is not ASKING)
        for i, reply in zip(lost, answers, strict=True):
            replies[i] = refused if _is_forgotten(reply) and refused is not None else reply

    def _hand_out(self, group: list[_Waiter], replies: Sequence[object]) -> bool:
        """Each waiter its replies, or what is not known about them. False: leave the server."""
        doubt, stays = self._judge(replies)
        self.last_failure = None if doubt is None else doubt.detail
        start = 0
        for waiter in group:
            mine = [self._reply(reply) for reply in replies[start : start + len(waiter.commands)]]
            start += len(waiter.commands)
            # A connection that broke takes nothing back from who has all replies, unless the
            # word that they are safe is missing. What was refused needs no such word.
            doubtful = doubt is not None and (self._barrier or any(map(is_trouble, mine)))
            if doubt is not None and doubtful and not _all_refused(mine):
                self._fail([waiter], doubt)
            else:
                waiter.replies = mine
                waiter.finish()
        return stays

    def _judge(self, replies: Sequence[object]) -> tuple[StoreUnavailable | None, bool]:
        """What is doubtful about all of a group, and whether the server stays the one to ask."""
        broken = next((reply for reply in replies if is_trouble(reply)), None)
        if broken is not None:
            return self._unavailable(broken, executed=None), False
        if self._barrier is not None and not _is_safe(replies[-1]):
            unsafe = _UNSAFE[self._barrier.name]
            return StoreUnavailable(unsafe, executed=None), not self._moves
        return None, not (self._moves and any(map(_is_no_primary, replies)))

    async def _usable(self, connections: anyio.abc.TaskGroup) -> Wire:
        if self._connection is not None and self._wire is not None:
            if self._connection.usable and not self._wire.is_over():
                return self._wire
            self._leave()
        connection = await self._connect()
        error: RedisError | None = await connections.start(run_connection, connection)
        if error is not None:
            raise error
        self._connection = connection
        self._wire = Wire(await connection.taken())
        self.reconnects += 1
        return self._wire

    def _leave(self) -> None:
        """The next group gets another connection."""
        if self._connection is not None:
            self._connection.invalidate()
        self._connection = self._wire = None

    def _take_all(self) -> list[_Waiter]:
        group: list[_Waiter] = []
        while self._queue:
            group += self._take()
        return group

    def _fail(self, group: Sequence[_Waiter], error: StoreUnavailable) -> None:
        if group:
            self.last_failure = error.detail
        for waiter in group:
            # One of their own for each, because an exception carries where it was raised.
            waiter.error = unavailable(error, executed=error.executed)
            waiter.finish()

    def _unavailable(self, error: object, *, executed: bool | None) -> StoreUnavailable:
        return unavailable(error, executed=executed, set_by=self._set_by)

    def _reply(self, reply: object) -> object:
        if isinstance(reply, RedisError) and not is_trouble(reply):
            return answered(reply, self._set_by)
        return reply


async def run_connection(
    connection: BaseConnection, *, task_status: anyio.abc.TaskStatus[RedisError | None]
) -> None:
    """Keep a connection alive in the caller's task group; starts with what went wrong, or None.

    A connection that cannot be made must not take its siblings with it.
    """
    _OURS.set(True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_end_silence, connection)
        try:
            await connection.run(task_status=task_status)
        except RedisError as error:
            task_status.started(error)
        finally:
            discard(connection)
        tasks.cancel_scope.cancel()


def request_batch(
    connection: BaseConnection, commands: Sequence[Any], timeout_s: float
) -> Awaitable[Sequence[object]]:
    """Queued to be sent; what awaits it gets a reply for each. Raises `RedisError`."""
    try:
        return connection.create_request_batch(commands, timeout=timeout_s)
    except ENDED as error:
        raise RedisConnectionError("the connection has just ended") from error


def discard(connection: BaseConnection) -> None:
    """coredis leaves the buffers of a connection open that was never made."""
    for buffer in vars(connection).values():
        if isinstance(buffer, MemoryObjectReceiveStream | MemoryObjectSendStream):
            buffer.close()


class _NotOurs(logging.Filter):
    """How a connection of ours ends is told to whoever wanted it. coredis would log an error
    besides, also where it was only cancelled."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _OURS.get()


_OURS = ContextVar("_OURS", default=False)
logging.getLogger("coredis").addFilter(_NotOurs())


async def _end_silence(connection: BaseConnection) -> None:
    """A frozen server accepts connections and never greets; coredis would wait for ever."""
    await anyio.sleep(GREETING_TIMEOUT_S)
    if not connection.usable and connection.stream is not None:
        await anyio.aclose_forcefully(connection.stream)


def _is_safe(reply: object) -> bool:
    """WAIT answers with a number of replicas, WAITAOF with [local files, replicas]."""
    copies = reply[0] if isinstance(reply, list) else reply
    return isinstance(copies, int) and copies >= 1


def is_trouble(reply: object) -> bool:
    """Whether this is about the connection. "Loading" is an answer, though coredis has it there."""
    if isinstance(reply, RedisError):
        if isinstance(reply, InvalidResponse):
            return True
        return isinstance(reply, RedisConnectionError) and not isinstance(reply, BusyLoadingError)
    return isinstance(reply, BaseException)


def _in_step(replies: Sequence[object], end: bytes) -> list[object]:
    """A group's replies. Raises `InvalidResponse` unless the last one repeats what was sent last.

    One reply too many, wherever it came from, and each caller would be given another one's from
    then on: a claim could get another user's batch.
    """
    *replies_of_group, last = replies
    if not _is_end(last, end):
        raise InvalidResponse("replies and questions do not belong together")
    return replies_of_group


def _is_end(reply: object, end: bytes) -> bool:
    """A connection that broke, and a server that refuses everything, say so in the others too."""
    if isinstance(reply, RedisError):
        return is_trouble(reply) or refusal(answered(reply).code) is not None
    return reply == end or isinstance(reply, BaseException)


def _is_forgotten(reply: object) -> bool:
    return isinstance(reply, RedisError) and answered(reply).code == "NOSCRIPT"


def _is_no_primary(reply: object) -> bool:
    if not isinstance(reply, RedisError):
        return False
    error = answered(reply)
    return may_pass(error) and error.code != "NOSCRIPT"


def _all_refused(replies: Sequence[object]) -> bool:
    return all(isinstance(reply, ScriptError) and reply.executed is False for reply in replies)
