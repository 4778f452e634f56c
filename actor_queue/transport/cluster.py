"""The road to a Redis Cluster: each call to the node that has its slot.

A call that was certainly not carried out is sent again for a few seconds, because a cluster
refuses for moments what it takes afterwards: while a slot moves, while a replica becomes the
primary. Whatever may have been carried out is never sent again from here.

Two calls that write to one slot are never under way together: while a slot moves, the first could
be refused and the second be taken, and a user's messages would change places.
"""

from __future__ import annotations

import random
from binascii import crc_hqx
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha1

import anyio
import anyio.abc

from actor_queue.core.headroom import Headroom, Memory
from actor_queue.core.settings import Durability
from actor_queue.transport.address import Nodes, Place
from actor_queue.transport.asking import ask, first_answer
from actor_queue.transport.bounded import BoundedConnection
from actor_queue.transport.errors import StoreMisconfigured, StoreUnavailable
from actor_queue.transport.listener import listen
from actor_queue.transport.needs import Needs
from actor_queue.transport.pipe import ASKING, Overloaded, Settle
from actor_queue.transport.reading import READING, Unreadable, expect, listed, number, text
from actor_queue.transport.refusals import Redirected, WrongSetUp, may_pass
from actor_queue.transport.runner import Call, OneByOne, ScriptError, StoreInfo, Watch
from actor_queue.transport.script import Script
from actor_queue.transport.server import PROBE_INTERVAL_S, Node, refuses_writes
from actor_queue.transport.wire import Command

SLOTS = 16_384

PATIENCE_S = 4.0
"""How long a call that was not carried out is sent again."""
PAUSE_FIRST_S = 0.02
PAUSE_MOST_S = 0.25
REDIRECTS_AT_ONCE = 3
"""So often a call follows a redirection before it waits between two."""

MAP_INTERVAL_S = 10.0
"""Nobody says when a node joins or leaves; a redirection only says it of its slot."""
MAP_PAUSE_S = 0.1
ASKED_MAX = 8
"""Nodes that are asked for the map at the same time."""
LINGER_S = 4.0
"""For calls still under way on a node that has no slots any more."""

CLUSTER_SLOTS = Command(b"CLUSTER", ("SLOTS",))

_PROBE_SOURCE = "#!lua\nreturn 1\n"
_PROBE_SHA = sha1(_PROBE_SOURCE.encode(), usedforsecurity=False).hexdigest()
_PLAIN_SHA = sha1(b"return 1\n", usedforsecurity=False).hexdigest()
PROBE = Call(Script("probe", _PROBE_SOURCE, _PROBE_SHA, "return 1\n", _PLAIN_SHA), (), ())
"""Writes nothing and needs no slot, but a server that takes no writes refuses it as one."""

Outcome = object
"""A reply, a `ScriptError`, or a `StoreUnavailable` for a call whose reply is missing."""


@dataclass(slots=True)
class _Member:
    """A node in use."""

    node: Node
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    refused: str | None = None
    tried: bool = False


class ClusterRunner(OneByOne):
    """A `Runner` over all primaries. `serve` must run while it is used."""

    def __init__(
        self,
        nodes: Nodes,
        needs: Needs,
        durability: Durability = "memory",
        *,
        settle: Settle | None = None,
        headroom: Callable[[], Headroom] | None = None,
    ) -> None:
        self._nodes = nodes
        self._needs = needs
        self._durability = durability
        self._settle = settle
        self._headroom = headroom
        self._plain = False
        self._slots: list[Place | None] = [None] * SLOTS
        self._primaries: tuple[Place, ...] = ()
        self._members: dict[Place, _Member] = {}
        self._tasks: anyio.abc.TaskGroup | None = None
        self._stale = anyio.Event()
        self._map_failure: str | None = "not connected yet"
        self._replaced = 0

    # Calls

    async def run(self, calls: Sequence[Call]) -> list[object]:
        """See `Runner.run`."""
        outcomes: dict[int, Outcome] = {}
        for wave in _waves(calls):
            await self._carry_out(calls, wave, outcomes)
            lost = [each for each in outcomes.values() if isinstance(each, StoreUnavailable)]
            if lost:
                nothing_done = all(map(_not_executed, outcomes.values()))
                raise StoreUnavailable(lost[0].detail, executed=False if nothing_done else None)
        return [outcomes[i] for i in range(len(calls))]

    async def _carry_out(
        self, calls: Sequence[Call], wave: Sequence[int], outcomes: dict[int, Outcome]
    ) -> None:
        """Send until each call has an outcome that time does not change, or patience ends."""
        ends_at = anyio.current_time() + PATIENCE_S
        asked: dict[int, Place | None] = dict.fromkeys(wave)
        pause_s, turns = PAUSE_FIRST_S, 0
        while asked:
            sent = await self._send(calls, asked)
            outcomes.update(sent)
            if anyio.current_time() >= ends_at:
                return
            asked = {
                i: outcome.place if isinstance(outcome, _Ask) else None
                for i, outcome in sent.items()
                if _again(outcome)
            }
            turns += 1
            redirected = all(isinstance(sent[i], Redirected) for i in asked)
            if asked and not (redirected and turns <= REDIRECTS_AT_ONCE):
                await anyio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MOST_S)

    async def _send(
        self, calls: Sequence[Call], asked: dict[int, Place | None]
    ) -> dict[int, Outcome]:
        """Each call to its node, all nodes at the same time."""
        outcomes: dict[int, Outcome] = {}
        groups: dict[tuple[Place, bool], list[int]] = {}
        for i, place in asked.items():
            target = place or self._slots[slot_of(calls[i].keys[0])]
            if target is None:
                self._stale.set()
                failure = self._map_failure or "no node of the Redis Cluster serves the slot"
                outcomes[i] = StoreUnavailable(failure, executed=False)
            else:
                groups.setdefault((target, place is not None), []).append(i)
        if len(groups) == 1:
            (((place, asking), group),) = groups.items()
            await self._send_to(place, asking, calls, group, outcomes)
        else:
            async with anyio.create_task_group() as tasks:
                for (place, asking), group in groups.items():
                    tasks.start_soon(self._send_to, place, asking, calls, group, outcomes)
        return outcomes

    async def _send_to(
        self,
        place: Place,
        asking: bool,
        calls: Sequence[Call],
        group: Sequence[int],
        outcomes: dict[int, Outcome],
    ) -> None:
        member = self._member(place)
        try:
            replies = await member.node.run([calls[i] for i in group], asking=asking)
        except StoreUnavailable as error:
            replies = [error] * len(group)
        for i, reply in zip(group, replies, strict=True):
            outcomes[i] = self._learn(member, place, calls[i], reply)

    def _learn(self, member: _Member, place: Place, call: Call, reply: object) -> Outcome:
        """What a reply says about the cluster."""
        match reply:
            case Redirected() if not 0 <= reply.slot < SLOTS or not 0 < reply.port < 65_536:
                return Unreadable()
            case Redirected():
                target = Place(reply.host or place.host, reply.port)
                reply = replace(reply, text="the slot moves between nodes of the Redis Cluster")
                if reply.asking:
                    return _Ask.of(reply, target)
                self._slots[reply.slot] = target
                self._stale.set()
            case StoreUnavailable():
                self._stale.set()
            case ScriptError():
                if refuses_writes(reply):
                    member.refused = reply.text
                if may_pass(reply):
                    self._stale.set()
            case _ if not call.script.reads_only:
                member.refused = None
        return reply

    def server_of(self, key: bytes) -> Place | None:
        """See `Runner.server_of`."""
        return self._slots[slot_of(key)]

    # Listening, and what the store asks besides

    async def listen(self, channels: Sequence[bytes], hear: Callable[[bytes | None], None]) -> None:
        """See `Runner.listen`. A message reaches every node, so any will do while it is one."""
        while True:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    heard_at: list[Place] = []
                    tasks.start_soon(self._watch, heard_at, scope)
                    await listen(partial(self._connect_any, heard_at), channels, hear)

    async def _connect_any(self, heard_at: list[Place]) -> BoundedConnection:
        place = random.choice(self._primaries or self._nodes.seeds)  # noqa: S311  # not a secret
        heard_at[:] = [place]
        return self._nodes.server(place)

    async def _watch(self, heard_at: list[Place], scope: anyio.CancelScope) -> None:
        """A node that has left the cluster lives on, and hears nothing."""
        while not heard_at or not self._primaries or heard_at[0] in self._primaries:  # noqa: ASYNC110 - looked at from time to time, no signal is worth it
            await anyio.sleep(PROBE_INTERVAL_S)
        scope.cancel()

    def watch(self, key: bytes, changed: Callable[[], None]) -> AbstractContextManager[Watch]:
        """See `Runner.watch`. A slot that moves away takes its keys with it, which is a change; of
        those to come the former node does not know."""
        place = self.server_of(key)
        if place is None:
            return nullcontext(Watch(changed))
        return self._member(place).node.watch(key, changed)

    async def ping(self) -> None:
        """See `Runner.ping`: every primary."""
        for place in await self._all_primaries():
            await self._member(place).node.ping()

    async def info(self) -> StoreInfo:
        """See `Runner.info`: of all primaries together, each fact at its worst."""
        infos = [await self._member(place).node.info() for place in await self._all_primaries()]
        return _together(infos)

    async def prepare(self) -> None:
        """Learn where the slots are, and prepare every primary.

        Raises `StoreMisconfigured`, also for a cluster with a slot that nobody serves.
        """
        try:
            self._take_over(await self._ask_for_map())
        except WrongSetUp as error:
            raise StoreMisconfigured(error.detail) from error
        for place in self._primaries:
            node = self._member(place).node
            await node.prepare(self._needs)
            self._plain = node.plain
            await node.check_rights(self._needs, ASKING)

    def trouble(self) -> str | None:
        """See `Runner.trouble`: one node in trouble is trouble for its users."""
        if self._map_failure is not None:
            return self._map_failure
        used = [self._members[place] for place in self._primaries if place in self._members]
        failures = (
            each.node.failure or each.refused or each.node.refuses_messages
            for each in used
            if each.tried
        )
        return next(filter(None, failures), None)

    def memory(self) -> Memory | None:
        """See `Runner.memory`."""
        members = (self._members[place] for place in self._primaries if place in self._members)
        known = [each.node.memory for each in members if each.node.memory is not None]
        return min(known, key=lambda each: each.left - each.reserve, default=None)

    @property
    def reconnects(self) -> int:
        """How often a connection was replaced since the start."""
        return self._replaced + sum(each.node.reconnects for each in self._members.values())

    # Nodes come and go

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Run until cancelled. Says started after looking for the cluster, whatever came of it."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            await self._look_for_map()
            task_status.started()
            tasks.start_soon(self._keep_map)
            while True:
                await anyio.sleep(PROBE_INTERVAL_S)
                if self.trouble() is not None:
                    self._stale.set()
                for place, member in list(self._members.items()):
                    if member.refused is not None:
                        await self._try_a_write(place, member)

    async def _try_a_write(self, place: Place, member: _Member) -> None:
        """Nobody's message is sent while writes are refused, so something has to find out."""
        try:
            (reply,) = await member.node.run([PROBE])
        except StoreUnavailable:
            return
        self._learn(member, place, PROBE, reply)

    def _member(self, place: Place) -> _Member:
        member = self._members.get(place)
        if member is None:
            assert self._tasks is not None, "the runner is not being served"
            node = Node(
                partial(self._connect, place),
                self._durability,
                settle=self._settle,
                headroom=self._headroom,
            )
            node.plain = self._plain
            member = self._members[place] = _Member(node)
            self._tasks.start_soon(self._serve_member, member)
        return member

    async def _connect(self, place: Place) -> BoundedConnection:
        return self._nodes.server(place)

    async def _serve_member(self, member: _Member) -> None:
        with member.scope:
            async with anyio.create_task_group() as tasks:
                await tasks.start(member.node.serve)
                member.tried = True

    async def _retire(self, member: _Member) -> None:
        await anyio.sleep(LINGER_S)
        member.scope.cancel()

    # The map

    async def _keep_map(self) -> None:
        while True:
            with anyio.move_on_after(MAP_INTERVAL_S):
                await self._stale.wait()
            self._stale = anyio.Event()
            await self._look_for_map()
            await anyio.sleep(MAP_PAUSE_S)

    async def _look_for_map(self) -> None:
        try:
            self._take_over(await self._ask_for_map())
        except StoreUnavailable as error:
            self._map_failure = error.detail

    async def _all_primaries(self) -> tuple[Place, ...]:
        if not self._primaries:
            self._take_over(await self._ask_for_map())
        return self._primaries

    async def _ask_for_map(self) -> list[Place | None]:
        places = list(dict.fromkeys((*self._primaries, *self._nodes.seeds)))
        chosen = random.sample(places, min(len(places), ASKED_MAX))
        return await first_answer([partial(self._map_of, place) for place in chosen])

    async def _map_of(self, place: Place) -> list[Place | None]:
        reply = await ask(self._nodes.server(place), CLUSTER_SLOTS)
        if isinstance(reply, ScriptError) and reply.code == "NOPERM":
            raise WrongSetUp(reply.text)
        if not isinstance(reply, list):
            raise WrongSetUp("what REDIS_URL names is no Redis Cluster: write redis:// for it")
        slots = slot_map(reply, place)
        missing = slots.count(None)
        if missing:
            raise WrongSetUp(
                f"the Redis Cluster has {missing} slots that no node serves, the first is"
                f" {slots.index(None)}: repair it with `valkey-cli --cluster fix`"
            )
        return slots

    def _take_over(self, slots: list[Place | None]) -> None:
        self._map_failure = None
        self._slots = slots
        self._primaries = tuple(sorted({place for place in slots if place is not None}))
        for place in self._members.keys() - set(self._primaries):
            member = self._members.pop(place)
            self._replaced += member.node.reconnects
            assert self._tasks is not None
            self._tasks.start_soon(self._retire, member)


@dataclass(frozen=True, slots=True)
class _Ask(Redirected):
    """An ASK, with the place made out."""

    place: Place

    @classmethod
    def of(cls, told: Redirected, place: Place) -> _Ask:
        return cls(told.code, told.text, False, told.slot, told.host, told.port, told.asking, place)


# Slots


def slot_of(key: bytes) -> int:
    """As the Redis Cluster specification says: of what stands in the first braces, if anything."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    tagged = start >= 0 and end > start + 1
    return crc_hqx(key[start + 1 : end] if tagged else key, 0) % SLOTS


def slot_map(reply: Sequence[object], asked: Place) -> list[Place | None]:
    """By slot, the primary that CLUSTER SLOTS names for it. Raises `Unreadable`."""
    slots: list[Place | None] = [None] * SLOTS
    for entry in reply:
        with READING:
            between, node = listed(entry)[:2], listed(listed(entry)[2])
            first, last = map(number, between)
            host, port = node[:2]
            expect(0 <= first <= last < SLOTS)
            # A node that does not know its own name leaves it out: it is the one that was asked.
            name = text(host) if host and host != b"?" else asked.host
            slots[first : last + 1] = [Place(name, number(port))] * (last + 1 - first)
    return slots


def _waves(calls: Sequence[Call]) -> Iterator[list[int]]:
    """Calls that may be under way together, in turn: of those that write, one per slot."""
    if len(calls) == 1:
        yield [0]
        return
    before: dict[int, int] = {}
    waves: list[list[int]] = []
    for i, call in enumerate(calls):
        turn = 0
        if not call.script.reads_only:
            slot = slot_of(call.keys[0])
            turn = before.get(slot, 0)
            before[slot] = turn + 1
        if turn == len(waves):
            waves.append([])
        waves[turn].append(i)
    yield from waves


def _again(outcome: Outcome) -> bool:
    """Whether time, or another node, may change it, and nothing was done."""
    match outcome:
        case Redirected():
            return True
        case ScriptError():
            return may_pass(outcome)
        case WrongSetUp() | Overloaded():
            return False
        case StoreUnavailable(executed=False):
            return True
    return False


def _not_executed(outcome: Outcome) -> bool:
    return isinstance(outcome, ScriptError | StoreUnavailable) and outcome.executed is False


def _together(infos: Sequence[StoreInfo]) -> StoreInfo:
    evicting = (each.maxmemory_policy for each in infos)
    policy = next((each for each in evicting if each not in (None, "noeviction")), None)
    oldest = min(infos, key=lambda each: [int(n) for n in each.version.split(".") if n.isdigit()])
    return replace(
        oldest,
        maxmemory_policy=policy or oldest.maxmemory_policy,
        maxmemory=sum(each.maxmemory for each in infos),
        used_memory=sum(each.used_memory for each in infos),
        aof_enabled=all(each.aof_enabled for each in infos),
        rdb_save=all(each.rdb_save for each in infos),
        clock_skew_ms=max((each.clock_skew_ms for each in infos), key=abs),
    )
