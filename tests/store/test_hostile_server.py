"""Whatever answers in Redis' place: the replica lives, says so, and recovers."""

from __future__ import annotations

import logging
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actor_queue.core.batch import Batch
from actor_queue.core.message import Message
from actor_queue.core.outcome import Delivered, Outcome
from actor_queue.core.settings import Settings
from actor_queue.runtime.engine import Engine
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.keys import Keys
from actor_queue.store.needs import needs_of
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.transport.address import connector
from actor_queue.transport.connect import runner_for
from actor_queue.transport.pipe import Pipe
from actor_queue.transport.wire import Command
from tests.servers import Server
from tests.store.hostile import CANARY, Liar, Lie, lies, lying

HOSTILE_S = 1.0
"""How long it lies: the pipes, the sweep and the renewals have all asked by then."""
PATIENCE_S = 30.0
MEMORY_GROWTH_MAX_KIB = 700 * 1024


@dataclass
class Replica:
    engine: Engine
    liar: Liar
    delivered: list[str] = field(default_factory=list)
    details: set[str] = field(default_factory=set)
    """What was said of the store while it could not be used."""
    arrived: trio.Event = field(default_factory=trio.Event)

    async def post(self, text: str) -> None:
        body = b'{"user": "ana", "message": "%b"}' % text.encode()
        await self.engine.push([Message("ana", body, 100, self.engine.new_id(), remembered=False)])

    async def says_so(self) -> bool:
        """Whether somebody who asks is told that the store cannot be used."""
        for ask in (self.engine.leases, lambda: self.post("a"), lambda: self.engine.dead(5, None)):
            try:
                await ask()
            except StoreUnavailable as error:
                self.details.add(error.detail)
            else:
                return False
        return True

    async def recovers(self) -> None:
        """The service works as ever."""
        with trio.fail_after(PATIENCE_S):
            while True:
                try:
                    await self.post("of age")
                    break
                except StoreUnavailable:
                    await trio.sleep(0.05)
            while "of age" not in self.delivered:
                await self.arrived.wait()
            while self.engine.unready() is not None:
                await trio.sleep(0.05)


@asynccontextmanager
async def replica(server: Server, namespace: str) -> AsyncIterator[Replica]:
    async with lying(server.socket) as liar:
        url = f"redis://127.0.0.1:{liar.port}"
        chosen = Settings(redis_url=url, namespace=namespace, shards=4, lease_ttl_ms=1_500)
        keys = Keys(namespace, chosen.shards)
        runner = runner_for(url, needs_of(keys.meta, chosen.shards, FORMAT))
        store = RedisStore(runner, chosen, replica="r-1")

        async def deliver(batch: Batch, deadline_s: float) -> Outcome:
            one.delivered += batch.messages
            one.arrived.set()
            one.arrived = trio.Event()
            return Delivered(200)

        one = Replica(Engine(chosen, store, deliver), liar)
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.serve)
            await runner.prepare()
            await store.check(allow_eviction=True)
            async with one.engine.running():
                yield one
                liar.be_honest()
            nursery.cancel_scope.cancel()


def test_a_reply_too_many_gives_nobody_the_reply_of_another(valkey_server: Server) -> None:
    """With calls always under way nothing else would ever show it."""
    wrong: list[object] = []
    doubtful: list[StoreUnavailable] = []

    async def main() -> None:
        async with lying(valkey_server.socket) as liar, trio.open_nursery() as nursery:
            pipe = Pipe(connector(f"redis://127.0.0.1:{liar.port}"))
            await nursery.start(pipe.serve)

            async def ask(number: int) -> None:
                for i in range(300):
                    text = f"{number} {i}"
                    if (number, i) == (0, 100):
                        liar.lie([Lie(b"+stray\r\n", in_front=True)], greets=True)
                    try:
                        (reply,) = await pipe.run([Command(b"ECHO", (text,))])
                    except StoreUnavailable as error:
                        doubtful.append(error)
                    else:
                        if reply != text.encode():
                            wrong.append(reply)
                    if liar.told:
                        liar.be_honest()

            async with trio.open_nursery() as asking:
                for number in range(4):
                    asking.start_soon(ask, number)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert not wrong
    assert doubtful
    assert all(error.executed is None for error in doubtful)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(lies, st.booleans())
def test_whatever_redis_answers_a_replica_lives_and_recovers(
    valkey_server: Server,
    namespace: str,
    caplog: pytest.LogCaptureFixture,
    told: list[Lie],
    greets: bool,
) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        async with replica(valkey_server, namespace) as one:
            await one.recovers()
            one.delivered.clear()
            one.liar.lie(told, greets=greets)
            with trio.move_on_after(HOSTILE_S):
                while True:
                    await one.says_so()
                    await trio.sleep(0.01)
            one.liar.be_honest()
            await one.recovers()
            details.update(one.details)

    details: set[str] = set()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    trio.run(main)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_GROWTH_MAX_KIB
    assert not any(CANARY.decode() in text for text in (caplog.text, *details))
    assert len(caplog.text) < 20_000
    caplog.clear()
