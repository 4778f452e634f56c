"""The road between a replica and the server: a `Runner` that delays, loses, repeats and lies.

A call that was sent is on the wire: the sender's end or sleep does not take it back. Two
connections as in production, messages in on one and everything else on the other; each keeps
its order, and one that fails takes its calls with it, some of which may still be carried out
while newer ones of the next connection go past them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from actor_queue.core.headroom import Headroom, Memory
from actor_queue.store.api import StoreInfo, StoreUnavailable
from actor_queue.transport.refusals import NO_ROOM
from actor_queue.transport.reserve import Reserve
from actor_queue.transport.runner import Call, OneByOne, ScriptError, Watch
from actor_queue.transport.script import Script
from tests.simulation.history import Granted, NoRoom, Sent

if TYPE_CHECKING:
    from tests.simulation.replica import Replica
    from tests.simulation.world import World

REPLY_TIMEOUT_S = 2.0
RECONNECT_S = 0.25
OWNERS = frozenset(
    [
        "claim",
        "claim_replay",
        "ack",
        "retry",
        "bury",
        "divide",
        "acquire",
        "renew",
        "release",
        "heartbeat",
        "dead_expire",
    ]
)
"""Scripts of which a copy may arrive long after: all that may be repeated without a name."""
WORK = frozenset(["dead_expire", "replay_job", "dead_replay"])
"""What a replica sends that deletes old letters, or sends all of them again."""
INFO = Script("info_v0", "", "", "", "")
"""Stands for the command, which is no script."""


class Exchange:
    """Calls under way, and what came of them."""

    def __init__(self, calls: Sequence[Call], connection: Connection) -> None:
        self.calls = calls
        self.connection = connection
        self.done = trio.Event()
        self.replies: list[object] = []
        self.error: StoreUnavailable | None = None

    def answer(self, replies: list[object]) -> None:
        if not self.done.is_set():
            self.replies = replies
            self.done.set()

    def fail(self, detail: str, *, executed: bool | None = None) -> None:
        if not self.done.is_set():
            self.error = StoreUnavailable(detail, executed=executed)
            self.done.set()


class Connection:
    """Keeps order, until it breaks."""

    def __init__(self) -> None:
        self.under_way: list[Exchange] = []
        self.arrived = self.answered = 0.0

    def break_off(self) -> None:
        for exchange in self.under_way:
            exchange.fail("the connection broke")
        self.under_way.clear()


class Wire(OneByOne):
    """One replica's. Implements `store.runner.Runner`."""

    def __init__(self, world: World, replica: Replica) -> None:
        self.world = world
        self.replica = replica
        self.cut = False
        self.channels: Sequence[bytes] = ()
        self._chance = world.dice.stream(f"wire {replica.name}")
        self._connections = {"in": Connection(), "other": Connection()}
        self._inbox: list[bytes | None] = []
        self._woken = trio.Event()
        self._watches: list[tuple[bytes, Watch]] = []
        settings = world.plan.settings
        self._reserve = Reserve(Headroom(settings.redis_reserve_bytes))

    # Calls

    async def run(self, calls: Sequence[Call]) -> list[object]:
        """See `Runner.run`."""
        if not calls:
            return []
        if not (self.world.plan.maxmemory and calls[0].script.verb.startswith("append")):
            return await self._run(calls)
        replies = await self._reserve.take_in(calls, lambda: self._run(calls))
        refused = [each for each in replies if isinstance(each, ScriptError)]
        if any(each.code == NO_ROOM for each in refused):
            self.world.history.note(NoRoom(trio.current_time(), self.replica.name))
        return replies

    async def watch_memory(self) -> None:
        """As the runner of a server does. Until cancelled."""
        if self.world.plan.maxmemory:
            await self._reserve.watch(self._ask_memory)

    async def _ask_memory(self) -> object:
        (facts,) = await self._run([Call(INFO, (), ())])
        return facts

    def memory(self) -> Memory | None:
        """See `Runner.memory`."""
        return self._reserve.memory

    async def _run(self, calls: Sequence[Call]) -> list[object]:
        asked = trio.current_time()
        self._note(calls)
        if calls[0].script.verb in WORK:
            self.replica.at_work()
        self.replica.boundary()
        # A process that is stopped between its decision and the system call is stopped here.
        await trio.lowlevel.checkpoint()
        if self.replica.dead:
            await trio.sleep_forever()
        exchange = self._send(calls)
        with trio.move_on_after(REPLY_TIMEOUT_S):
            await exchange.done.wait()
        if not exchange.done.is_set():
            self._break(exchange.connection)
        if exchange.error is not None:
            if calls[0].script.verb == "release":
                # What was not given back has to run out.
                self.world.trouble(self.world.lease_s + 1, "a hand-over failed")
            raise exchange.error
        self._note_grants(calls, exchange.replies, asked)
        return exchange.replies

    def server_of(self, key: bytes) -> None:
        """See `Runner.server_of`."""

    def _note(self, calls: Sequence[Call]) -> None:
        for name, shard, epoch, nonce in map(_lease_named, calls):
            if nonce:
                self.world.history.note(
                    Sent(trio.current_time(), self.replica.name, name, shard, epoch, nonce)
                )

    def _note_grants(self, calls: Sequence[Call], replies: list[object], asked: float) -> None:
        for call, reply in zip(calls, replies, strict=True):
            name, shard, epoch, nonce = _lease_named(call)
            match name, reply:
                case "acquire", [b"ok", int(epoch)]:
                    pass
                case "renew", 1:
                    pass
                case _:
                    continue
            granted = Granted(trio.current_time(), self.replica.name, shard, epoch, nonce, asked)
            self.world.history.note(granted)

    def _send(self, calls: Sequence[Call]) -> Exchange:
        name = "in" if calls[0].script.verb.startswith("append") else "other"
        connection = self._connections[name]
        exchange = Exchange(calls, connection)
        connection.under_way.append(exchange)
        connection.arrived = self._after(connection.arrived)
        fate = self._fate()
        if fate in ("lost_request", "late"):
            wait_s = self._chance.uniform(0.05, 6) if fate == "late" else None
            self._lose(exchange, wait_s)
        elif fate == "refused":
            self.world.trouble(1.0, "a call was refused")
            connection.under_way.remove(exchange)
            exchange.fail("the server refused", executed=False)
        else:
            self.world.agenda.at(connection.arrived, lambda: self._arrive(exchange, fate))
        return exchange

    def _lose(self, exchange: Exchange, wait_s: float | None) -> None:
        """The sender hears that the connection broke; the request arrives much later, or never."""
        notice_s = self._chance.uniform(0.001, 1.5)
        self.world.trouble(notice_s + 1.2, "a request was lost")
        self.world.agenda.after(notice_s, lambda: self._break(exchange.connection))
        if wait_s is not None:
            calls = exchange.calls
            self.world.trouble(wait_s + self.world.lease_s + 1, "a request came late")
            self.world.expect(wait_s)
            self.world.agenda.after(wait_s, lambda: self._execute(calls, late=True))

    def _arrive(self, exchange: Exchange, fate: str | None) -> None:
        connection = exchange.connection
        if self.world.away or self.cut:
            if self.world.away:
                self._break(connection)
            return
        if exchange not in connection.under_way and self._chance.random() < 0.5:
            # Its connection broke before the server had read it.
            return
        part = len(exchange.calls)
        if fate == "lost_answer":
            part = self._chance.randint(1, part)
        replies = self._execute(exchange.calls[:part])
        if exchange not in connection.under_way:
            return
        if fate == "lost_answer":
            self._break(connection)
            return
        if fate == "copy":
            self._copy(exchange.calls)
        connection.answered = self._after(connection.answered)
        self.world.agenda.at(connection.answered, lambda: self._answer(exchange, replies))

    def _answer(self, exchange: Exchange, replies: list[object]) -> None:
        if exchange in exchange.connection.under_way and not self.cut and not self.world.away:
            self.replica.boundary()
            exchange.connection.under_way.remove(exchange)
            exchange.answer(replies)

    def _copy(self, calls: Sequence[Call]) -> None:
        again = [call for call in calls if call.script.verb in OWNERS]
        wait_s = self._chance.uniform(0.005, 6)
        self.world.trouble(wait_s + self.world.lease_s + 1, "a copy is on its way")
        self.world.expect(wait_s)
        self.world.agenda.after(wait_s, lambda: self._execute(again, copy=True))

    def _execute(
        self, calls: Sequence[Call], *, copy: bool = False, late: bool = False
    ) -> list[object]:
        if self.world.away:
            return []
        name = self.replica.name
        return [self.world.execute(call, name, copy=copy, late=late) for call in calls]

    def _break(self, connection: Connection) -> None:
        self.world.trouble(1.2, "a connection broke")
        connection.break_off()
        for name, each in self._connections.items():
            if each is connection:
                self._connections[name] = Connection()

    def break_all(self) -> None:
        """The server closed every connection."""
        for connection in list(self._connections.values()):
            self._break(connection)
        self.reconnect()

    # Chance

    def _after(self, predecessor: float) -> float:
        """When something sent now comes out at the other end, behind what was sent before."""
        now = trio.current_time()
        delay_s = self._chance.uniform(0.0001, 0.002)
        if self._struck("slow", 0.04):
            delay_s += self._chance.uniform(0.02, 0.9)
        moment = max(predecessor, now + delay_s)
        if moment > now + 0.01:
            self.world.trouble(moment - now + 0.02, "a slow call")
        return moment

    def _fate(self) -> str | None:
        for fault, share in FATES:
            if self._struck(fault, share):
                return fault
        return None

    def _struck(self, fault: str, share: float) -> bool:
        rate = self.world.plan.rates.get(fault)
        return rate is not None and self.world.chaos and self._chance.random() < share * rate

    @property
    def chance(self) -> random.Random:
        return self._chance

    # News

    def publish(self, message: bytes) -> None:
        """The server sends `message` down the subscription, if there is one."""
        if self.cut or self.world.away or not self.channels:
            return
        delay_s = self._chance.uniform(0.0001, 0.002)
        if self._struck("deaf", 0.5):
            self.world.trouble(1.1, "a nudge was dropped or delayed")
            if self._chance.random() < 0.5:
                return
            delay_s = self._chance.uniform(0.02, 1.0)
        self.world.agenda.after(delay_s, lambda: self._hear(message))

    def reconnect(self) -> None:
        """The subscription was lost; it is new after a moment."""
        self.world.agenda.after(RECONNECT_S, lambda: self._hear(None))

    def _hear(self, message: bytes | None) -> None:
        if not self.cut and not self.world.away:
            self._inbox.append(message)
            self._woken.set()

    @contextmanager
    def watch(self, key: bytes, changed: Callable[[], None]) -> Iterator[Watch]:
        """See `Runner.watch`."""
        watch = Watch(changed, live=True)
        self._watches.append((key, watch))
        changed()
        try:
            yield watch
        finally:
            self._watches.remove((key, watch))

    def changed(self, keys: Sequence[bytes]) -> None:
        """The server tells whoever waits for a change of one of these keys."""
        for key, watch in self._watches:
            if key in keys and not (self.cut or self.world.away or self._struck("deaf", 0.5)):
                self.world.agenda.after(self._chance.uniform(0.0001, 0.002), watch.changed)

    async def listen(self, channels: Sequence[bytes], hear: Callable[[bytes | None], None]) -> None:
        """See `Runner.listen`. In a task of the replica: a frozen one hears nothing."""
        await trio.sleep(0.001)
        self.channels = channels
        self._inbox.append(None)
        while True:
            while self._inbox:
                hear(self._inbox.pop(0))
            self._woken = trio.Event()
            await self._woken.wait()

    # The rest of a runner

    async def ping(self) -> None:
        raise NotImplementedError

    async def info(self) -> StoreInfo:
        raise NotImplementedError

    def trouble(self) -> str | None:
        return None


FATES = (
    ("refused", 0.03),
    ("lost_request", 0.03),
    ("lost_answer", 0.04),
    ("late", 0.04),
    ("copy", 0.05),
)
"""With the share of the calls that a rate of 1 strikes."""


def shard_in(key: bytes) -> int:
    """Of `{aq:7}:lease`; -1 for a key of no shard."""
    if not key.startswith(b"{"):
        return -1
    return int(key[1 : key.index(b"}")].rpartition(b":")[2])


def _lease_named(call: Call) -> tuple[str, int, int, str]:
    """Script, shard, epoch, nonce; an empty nonce when the call names no lease."""
    name, args = call.script.verb, call.args
    match name:
        case "claim" | "claim_replay" | "retry" | "bury" | "divide" | "renew" | "dead_expire":
            epoch, nonce = args[1], args[2]
        case "release":
            epoch, nonce = args[0], args[1]
        case "acquire":
            epoch, nonce = 0, args[2]
        case _:
            return name, -1, 0, ""
    return name, shard_in(call.keys[0]), int(epoch), str(nonce)
