"""Whoever waits for a change of a key is told by the server, and writers do nothing for that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import redis
import trio

from actor_queue.core.answers import Ticket
from actor_queue.core.batch import Batch
from actor_queue.core.message import Message
from actor_queue.core.outcome import Delivered, Outcome
from actor_queue.core.settings import Settings
from actor_queue.runtime import answers
from actor_queue.runtime.engine import Engine
from actor_queue.store.keys import Keys
from actor_queue.store.needs import needs_of
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.transport import watched
from actor_queue.transport.address import connector
from actor_queue.transport.server import connected
from actor_queue.transport.watched import WatchedKeys
from tests.servers import Server, delete_namespace
from tests.store.hostile import Lie, lying

NEVER_S = 1_000.0


@asynccontextmanager
async def opened(server: Server, namespace: str, replica: str = "r-1") -> AsyncIterator[RedisStore]:
    settings = Settings(namespace=namespace, shards=2)
    needs = needs_of(Keys(namespace, 2).meta, 2, FORMAT)
    async with connected(server.url, needs) as runner:
        await runner.prepare()
        yield RedisStore(runner, settings, replica=replica)


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(5):
        while not condition():
            await trio.sleep(0.005)


def tracking(eye: redis.Redis) -> list[dict[str, str]]:
    return [each for each in eye.client_list() if "t" in each["flags"]]


def test_a_change_by_anybody_is_told_each_time(
    server: Server, namespace: str, eye: redis.Redis
) -> None:
    async def main() -> None:
        told: list[float] = []
        async with opened(server, namespace) as store, opened(server, namespace) as other:
            assert not tracking(eye), "nobody waits"
            with store.watch("ana", lambda: told.append(trio.current_time())) as watch:
                await until(lambda: watch.live and told)
                assert len(tracking(eye)) == 1
                for text in ("m-1", "m-2"):
                    told.clear()
                    await other.append([Message("bia", b"{}", 60_000, text, False)])
                    await trio.sleep(0.05)
                    assert not told, "another's change"
                    await other.append([Message("ana", b"{}", 60_000, text, False)])
                    await until(lambda: told)
                told.clear()
                await other.drop("ana")
                await until(lambda: told)

    trio.run(main)


def test_the_connection_is_there_while_somebody_waits(
    server: Server, namespace: str, eye: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "LINGER_S", 0.0)
    monkeypatch.setattr(watched, "PING_INTERVAL_S", 0.01)

    async def main() -> None:
        async with opened(server, namespace) as store:
            for _ in range(2):
                with store.watch("ana", lambda: None) as one, store.watch("bia", lambda: None):
                    await until(lambda: one.live)
                    assert len(tracking(eye)) == 1, "one for all keys"
                await until(lambda: not tracking(eye))

    trio.run(main)


def test_whoever_waits_looks_again_when_the_connection_was_cut(
    server: Server, namespace: str, eye: redis.Redis
) -> None:
    async def main() -> None:
        told: list[bool] = []
        async with opened(server, namespace) as store:
            with store.watch("ana", lambda: told.append(watch.live)) as watch:
                await until(lambda: watch.live)
                told.clear()
                for each in tracking(eye):
                    eye.client_kill(each["addr"])
                await until(lambda: True in told)
                assert told[0] is False, "until the new one is there nothing is told"
                told.clear()
                await store.append([Message("ana", b"{}", 60_000, "m", False)])
                await until(lambda: told)

    trio.run(main)


def test_where_the_server_may_not_tell_whoever_waits_knows_that(
    valkey_server: Server, namespace: str
) -> None:
    async def main() -> None:
        told: list[bool] = []
        url = f"unix://{namespace}:x@{valkey_server.socket}"
        needs = needs_of(Keys(namespace, 2).meta, 2, FORMAT)
        async with connected(url, needs) as runner:
            await runner.prepare()
            with runner.watch(b"key", lambda: told.append(watch.live)) as watch:
                await until(lambda: told)
                assert told == [False]

    rights = ["+@all", "-client|tracking"]
    with valkey_server.client() as admin:
        admin.acl_setuser(
            namespace, enabled=True, nopass=True, keys=["*"], channels=["*"], commands=rights
        )
        try:
            trio.run(main)
        finally:
            admin.acl_deluser(namespace)
            delete_namespace(admin, namespace)


@pytest.mark.parametrize("said", [b":x\r\n", b"-\xff\r\n", b"#\r\n", b"$-7\r\n", b"+QUEUED\r\n"])
def test_whatever_a_server_says_to_it_whoever_waits_looks_for_itself(
    valkey_server: Server, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(watched, "REFUSED_PAUSE_S", 0.01)

    async def main() -> None:
        told: list[bool] = []
        async with lying(valkey_server.socket) as liar, trio.open_nursery() as nursery:
            liar.lie([Lie(said)], greets=True)
            keys = WatchedKeys(connector(f"redis://127.0.0.1:{liar.port}"))
            nursery.start_soon(keys.serve)
            with keys.watch(b"key", lambda: told.append(watch.live)) as watch:
                await until(lambda: told)
                assert told[0] is False
                liar.be_honest()
                await until(lambda: watch.live)
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_of_keys_that_nobody_waits_for_nothing_is_kept() -> None:
    """Also where no server ever tells anything, and somebody always waits."""

    async def main() -> None:
        keys = WatchedKeys(connector("redis://127.0.0.1:1"))
        with keys.watch(b"key", lambda: None):
            for each in range(1_000):
                with keys.watch(b"key %d" % each, lambda: None):
                    pass
            assert keys._untold == {b"key"}

    trio.run(main)


def test_a_call_for_news_at_one_replica_hears_of_what_another_took_without_a_look(
    server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LOOK_ALL_THE_SAME_S", NEVER_S)
    sent: list[Batch] = []

    async def deliver(batch: Batch, deadline_s: float) -> Outcome:
        sent.append(batch)
        return Delivered(202)

    async def main() -> None:
        settings = Settings(
            namespace=namespace, shards=2, answer="later", public_url="http://queue.example"
        )
        async with AsyncExitStack() as stack:
            engines = []
            for replica in ("r-1", "r-2"):
                store = await stack.enter_async_context(opened(server, namespace, replica))
                store.answer_key = b"the key of the namespace"
                engines.append(Engine(settings, store, deliver))
                await stack.enter_async_context(engines[-1].running())
            one, other = engines
            for user in ("ana", "bia"):
                await one.push([Message(user, b'{"message":"a"}', 0, "m-1", False)])
            await until(lambda: len(sent) == 2)
            ana, bia = (ticket_of(one, batch) for batch in sent)

            async def write() -> None:
                await one.push([Message(ana.conversation, b"{}", 60_000, "m-2", False)])

            async def end() -> None:
                await other.answers.done(bia, only_latest=False)

            await hears(other, ana, write)
            await hears(one, bia, end)

    trio.run(main)


def ticket_of(engine: Engine, batch: Batch) -> Ticket:
    assert batch.offer is not None
    ticket = engine.answers.ticket(batch.offer.url.rpartition("/")[2])
    assert ticket is not None
    return ticket


async def hears(waiting: Engine, ticket: Ticket, act: Callable[[], Awaitable[None]]) -> None:
    """The call returns, which it would not in time without being told."""
    told: list[object] = []

    async def wait() -> None:
        told.append(await waiting.answers.wait(ticket, answers.WAIT_MAX_S))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            watches = waiting.store._runner._node._watched._watches  # type: ignore[attr-defined]
            await until(lambda: any(each.live for group in watches.values() for each in group))
            assert not told
            await act()
