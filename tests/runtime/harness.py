"""Engines under virtual time: the production runtime and scripts on one in-process store.

    async def main() -> None:
        async with stage(shards=2) as s:
            a = await s.start("ra")
            await a.post("ana", "oi", ttl_s=1)
            await trio.sleep(5)
            assert [sent.texts for sent in s.seen] == [["oi"]]

    run(main)

A replica here is killed by `crash` as by SIGKILL: nothing is drained, nothing is given back.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import trio
import trio.testing
from trio._core import _run as internals

from actor_queue.core.batch import Batch
from actor_queue.core.message import Accepted, Message
from actor_queue.core.outcome import Delivered, Failed, Outcome
from actor_queue.core.payload import render
from actor_queue.core.routes import RouteTable
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.runtime.engine import Engine
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.redis import RedisStore
from actor_queue.testing.memory import MemoryRunner, memory_server
from actor_queue.transport.runner import Call

START_MS = 1_700_000_000_000
VIRTUAL_LIMIT_S = 200_000
"""No test's story is longer; one that waits for what never comes ends here."""

T = TypeVar("T")
Answer = Callable[["Sent"], Awaitable[Outcome]]
Fault = Literal["refused", "lost"]


def now_ms(at: float | None = None) -> int:
    """The store's clock, now or at a virtual time."""
    return START_MS + round((trio.current_time() if at is None else at) * 1000)


def run(main: Callable[[], Awaitable[T]], seed: int = 0) -> T:
    """`main` under a virtual clock; the same seed gives the same order of tasks."""
    state, allowed = internals._r.getstate(), internals._ALLOW_DETERMINISTIC_SCHEDULING
    internals._r.seed(seed)
    internals._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]

    async def limited() -> T:
        with trio.fail_after(VIRTUAL_LIMIT_S):
            return await main()

    try:
        return trio.run(limited, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        internals._r.setstate(state)
        internals._ALLOW_DETERMINISTIC_SCHEDULING = allowed  # type: ignore[misc]


@dataclass(eq=False)
class Sent:
    """One attempt as the receiver saw it. Times in virtual seconds."""

    at: float
    replica: str
    batch: Batch
    deadline_s: float
    until: float | None = None
    """None while it is under way; a killed replica's attempt ends with it."""
    outcome: Outcome | None = None

    @property
    def user(self) -> str:
        return self.batch.user

    @property
    def texts(self) -> list[str]:
        return self.batch.messages

    @property
    def body(self) -> bytes:
        return render(self.batch)


@dataclass(frozen=True)
class Asked:
    """One round trip to the store."""

    at: float
    replica: str
    scripts: tuple[str, ...]


async def taken(sent: Sent) -> Outcome:
    """The receiver that takes everything at once."""
    return Delivered(200)


def in_turn(*outcomes: Outcome | None, takes_s: float = 0) -> Answer:
    """Answer attempt after attempt with `outcomes`, then 200. None: never answers."""
    left = list(outcomes)

    async def answer(sent: Sent) -> Outcome:
        outcome = left.pop(0) if left else Delivered(200)
        if outcome is None:
            await trio.sleep_forever()
        await trio.sleep(takes_s)
        return outcome or Delivered(200)

    return answer


def after(seconds: float, outcome: Outcome | None = None) -> Answer:
    """Answer every attempt after so long."""

    async def answer(sent: Sent) -> Outcome:
        await trio.sleep(seconds)
        return outcome or Delivered(200)

    return answer


FAILED = Failed("answered 503", status=503)
REFUSED = Failed("answered 400", status=400)
"""From a receiver that is alive: it opens no route."""
GONE = Failed("answered 410", status=410, final=True)


class FaultyRunner(MemoryRunner):
    """One replica's road to the common server."""

    def __init__(self, s: Stage, replica: str) -> None:
        super().__init__(now_ms, server=s.server)
        self._stage = s
        self._replica = replica
        self.deaf = False
        """News from others is lost."""
        self.heard: list[bytes | None] = []
        """All news that was not."""
        self.before: Callable[[str], None] = lambda name: None
        self.after: Callable[[str], None] = lambda name: None
        """Called with each script's name, before and after it ran."""
        self.lag_s: Callable[[str], float] = lambda name: 0.0
        """How long the answer to each script is on its way back."""

    async def run(self, calls: Sequence[Call]) -> list[object]:
        names = tuple(call.script.name for call in calls)
        self._stage.asked.append(Asked(trio.current_time(), self._replica, names))
        fault = self._stage.next_fault()
        if self._stage.down or fault == "refused":
            await trio.lowlevel.checkpoint()
            raise StoreUnavailable("Redis is away", executed=False)
        for name in names:
            self.before(name)
        replies = await super().run(calls)
        for name in names:
            self.after(name)
        if lag_s := max(map(self.lag_s, names), default=0.0):
            await trio.sleep(lag_s)
        if fault == "lost":
            raise StoreUnavailable("the answer was lost", executed=None)
        return replies

    async def listen(self, channels: Sequence[bytes], hear: Callable[[bytes | None], None]) -> None:
        def listened(text: bytes | None) -> None:
            if not self._cut_off:
                self.heard.append(text)
                hear(text)

        await super().listen(channels, listened)

    @property
    def _cut_off(self) -> bool:
        return self.deaf or self._stage.down


class MortalEngine(Engine):
    """Production's engine, which can also be killed."""

    killed = False

    async def drain(self) -> None:
        if not self.killed:
            await super().drain()


class Replica:
    """An engine and the switch that ends it."""

    store_class = RedisStore

    def __init__(self, s: Stage, name: str, seed: int) -> None:
        self.name = name
        self.skew_s = 0.0
        """Added to the clock that measures trust."""
        self.runner = FaultyRunner(s, name)
        self.store = self.store_class(
            self.runner, s.settings, replica=name, clock=now_ms, routes=s.routes
        )
        self.store.answer_key = b"the key of the namespace"  # which a start draws or reads

        async def deliver(batch: Batch, deadline_s: float) -> Outcome:
            return await s.deliver(name, batch, deadline_s)

        self.engine = MortalEngine(
            s.settings,
            self.store,
            deliver,
            clock=lambda: trio.current_time() + self.skew_s,
            seed=seed,
            routes=s.routes,
        )
        self._stop = trio.Event()
        self._stopped = trio.Event()
        self._scope = trio.CancelScope()

    async def live(self, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with self._scope:
                async with self.engine.running():
                    task_status.started()
                    await self._stop.wait()
        finally:
            self._stopped.set()

    async def stop(self) -> None:
        """As on SIGTERM; back when it is done."""
        self._stop.set()
        await self._stopped.wait()

    async def crash(self) -> None:
        """As on SIGKILL."""
        self.engine.killed = True
        self._scope.cancel()
        with trio.CancelScope(shield=True):
            await self._stopped.wait()

    async def post(
        self, user: str, text: str, ttl_s: float = 1, message_id: str | None = None
    ) -> Accepted:
        """One message that the store must take. Named if it has an id."""
        (result,) = await self.engine.push([message(user, text, ttl_s, message_id)])
        assert isinstance(result, Accepted)
        return result

    async def post_surely(self, user: str, text: str, ttl_s: float, message_id: str) -> Accepted:
        """As a sender that repeats until it is told yes."""
        while True:
            try:
                return await self.post(user, text, ttl_s, message_id)
            except StoreUnavailable:
                await trio.sleep(0.1)


class Stage:
    """One server, its replicas and the receiver."""

    def __init__(self, nursery: trio.Nursery, settings: Settings) -> None:
        self.settings = settings
        self.routes = RouteTable.of(settings)
        """Of all replicas."""
        self.server = memory_server(now_ms)
        self.down = False
        self.seen: list[Sent] = []
        self.asked: list[Asked] = []
        self.answer: Answer = taken
        self.replicas: list[Replica] = []
        self._nursery = nursery
        self._seeds = itertools.count(1)
        self._faults: list[Fault | None] = []

    async def start(
        self, name: str, shards: int | None = None, kind: type[Replica] = Replica
    ) -> Replica:
        """A running replica; back when it owns `shards` (default: all; 0: does not wait)."""
        replica = kind(self, name, next(self._seeds))
        self.replicas.append(replica)
        await self._nursery.start(replica.live)
        wanted = self.settings.shards if shards is None else shards
        await until(lambda: replica.engine.shards_owned >= wanted)
        return replica

    def fail_call(self, number: int, fault: Fault, times: int = 1) -> None:
        """Let the `number`-th round trip from now go wrong (0: the next), and those after it."""
        faults: list[Fault | None] = [fault] * times
        self._faults = [None] * number + faults

    def next_fault(self) -> Fault | None:
        return self._faults.pop(0) if self._faults else None

    async def deliver(self, replica: str, batch: Batch, deadline_s: float) -> Outcome:
        """The receiver, and what waits for its answer."""
        sent = Sent(trio.current_time(), replica, batch, deadline_s)
        self.seen.append(sent)
        try:
            with trio.move_on_after(deadline_s):
                sent.outcome = await self.answer(sent)
            sent.outcome = sent.outcome or Failed("timed out")
            return sent.outcome
        finally:
            sent.until = trio.current_time()

    # Reading what was seen

    def of(self, user: str) -> list[Sent]:
        return [sent for sent in self.seen if sent.user == user]

    def times(self, since: float = 0) -> list[float]:
        return [round(sent.at - since, 6) for sent in self.seen]

    def texts(self, user: str | None = None) -> list[list[str]]:
        """Per attempt."""
        return [sent.texts for sent in self.seen if user in (None, sent.user)]

    def calls(self, script: str, since: float = 0) -> list[Asked]:
        return [asked for asked in self.asked if script in asked.scripts and asked.at >= since]

    def check(self, accepted: dict[str, list[str]]) -> None:
        """What was accepted was delivered: in order, never two at once, each text in one batch."""
        assert {sent.user for sent in self.seen} <= set(accepted)
        for user, texts in accepted.items():
            sent = self.of(user)
            for earlier, later in itertools.pairwise(sent):
                assert earlier.until is not None, "the first of two attempts never ended"
                assert earlier.until <= later.at, "two attempts of one user overlap"
            batches = {one.batch.id: one for one in sent}
            assert [each for one in batches.values() for each in one.texts] == texts
            assert all(one.body == batches[one.batch.id].body for one in sent)
            order = [key for key, _ in itertools.groupby(one.batch.id for one in sent)]
            assert len(order) == len(batches), "a batch came again after its successor"


@asynccontextmanager
async def stage(**settings: Any) -> AsyncIterator[Stage]:
    """An empty store without replicas; those still running at the end are killed."""
    values: dict[str, Any] = {"redis_url": "redis://memory", "shards": 1}
    async with trio.open_nursery() as nursery:
        s = Stage(nursery, Settings(**(values | settings)))
        yield s
        for replica in s.replicas:
            await replica.crash()


def message(user: str, text: str, ttl_s: float, message_id: str | None = None) -> Message:
    body = json.dumps({"user": user, "message": text}, separators=(",", ":")).encode()
    name = message_id or f"m-{next(_names)}"
    return Message(user, body, round(ttl_s * 1000), name, message_id is not None)


_names = itertools.count()


async def until(condition: Callable[[], bool], within_s: float = 1_000) -> None:
    with trio.fail_after(within_s):
        while not condition():
            await trio.sleep(0.001)


def users_of_shards(shards: int) -> list[str]:
    """A user of each shard, in the shards' order."""
    found: dict[int, str] = {}
    for number in itertools.count():
        name = f"u{number}"
        found.setdefault(shard_of(name, shards), name)
        if len(found) == shards:
            return [found[shard] for shard in range(shards)]
    raise AssertionError


def users_in(shard: int, shards: int, count: int) -> list[str]:
    """So many users of one shard."""
    names = (f"user-{n}" for n in range(100 * shards * count))
    return [name for name in names if shard_of(name, shards) == shard][:count]
