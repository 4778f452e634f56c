"""A primary behind sentinels: the same store, and the primary changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import trio

from actor_queue import ActorQueue
from actor_queue.core.batch import Batch
from actor_queue.core.message import Message
from actor_queue.core.settings import Durability, Settings
from actor_queue.store.api import StoreMisconfigured, StoreUnavailable
from actor_queue.store.keys import Keys
from actor_queue.store.needs import needs_of
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.transport.connect import runner_for
from actor_queue.transport.sentinel import SentinelRunner
from tests.redis_topologies import HOST, SENTINEL_NAME, TcpServer, Watched, wait_for, watched
from tests.store.steady import Steady, kept_ids

RECOVERY_S = 5.0
"""Beyond what the sentinels need until a replica is the primary."""
USERS = ("ana", "bia", "caio")


@pytest.fixture(scope="module")
def shared() -> Iterator[Watched]:
    """Only for tests that leave its primary the primary."""
    with watched() as made:
        yield made


@pytest.fixture
def doomed() -> Iterator[Watched]:
    """A set-up of the test's own, which it may break."""
    with watched() as made:
        yield made


@asynccontextmanager
async def opened(
    url: str, namespace: str, durability: Durability = "memory"
) -> AsyncIterator[tuple[RedisStore, SentinelRunner]]:
    settings = Settings(redis_url=url, namespace=namespace, shards=4)
    needs = needs_of(Keys(namespace, 4).meta, 4, FORMAT)
    runner = runner_for(url, needs, durability)
    assert isinstance(runner, SentinelRunner)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.serve)
        await runner.prepare()
        yield RedisStore(runner, settings, replica="r-1"), runner
        nursery.cancel_scope.cancel()


def test_a_message_goes_all_the_way_behind_sentinels(shared: Watched, namespace: str) -> None:
    got: list[Batch] = []

    async def main() -> None:
        done = trio.Event()

        async def deliver(batch: Batch) -> None:
            got.append(batch)
            done.set()

        settings = Settings(
            redis_url=shared.url, namespace=namespace, shards=4, durability="replica"
        )
        with trio.fail_after(20):
            async with ActorQueue(settings, deliver=deliver) as queue:
                await queue.push("ana", "Oi", ttl=0.05)
                await queue.push("ana", "tudo bem?", ttl=0.05)
                await done.wait()

    trio.run(main)
    assert [len(batch.stored) for batch in got] == [2]


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_the_primary_dies_and_nothing_acknowledged_is_lost(
    how: str, doomed: Watched, namespace: str
) -> None:
    victim = doomed.primary

    async def main() -> tuple[Steady, float]:
        async with opened(doomed.url, namespace, "replica") as (store, runner):
            steady = Steady(store, namespace, USERS)
            async with steady.sending():
                await steady.more(30)
                (victim.kill if how == "killed" else victim.freeze)()
                await trio.to_thread.run_sync(wait_for, lambda: _has_successor(doomed, victim))
                promoted_at = trio.current_time()
                await steady.more(1)
                took_s = trio.current_time() - promoted_at
                await steady.more(30)
            await _until(lambda: runner.trouble() is None)
            return steady, took_s

    steady, took_s = trio.run(main)
    victim.kill()
    assert took_s < RECOVERY_S, f"{took_s:.2f} s"
    steady.assert_nothing_is_lost(doomed.servers)


def test_in_a_failover_by_hand_the_old_primary_is_left_though_it_still_takes_writes(
    doomed: Watched, namespace: str
) -> None:
    before = doomed.primary

    async def main() -> float:
        async with opened(doomed.url, namespace) as (store, runner):
            await store.append([Message("ana", b"{}", 60_000, "before", True)])
            doomed.sentinels[0].ask("SENTINEL", "FAILOVER", SENTINEL_NAME)
            await trio.to_thread.run_sync(wait_for, lambda: doomed.primary is not before)
            changed_at = trio.current_time()
            await _until(lambda: runner.reconnects >= 2)
            took_s = trio.current_time() - changed_at
            await store.append([Message("ana", b"{}", 60_000, "after", True)])
            return took_s

    took_s = trio.run(main)
    assert before.ask("ROLE")[0] == b"master", "it was demoted too soon for this test"
    assert took_s < RECOVERY_S
    assert kept_ids([doomed.primary], namespace, "ana") == ["before", "after"]


def test_a_server_that_turns_read_only_is_looked_up_again_without_being_killed(
    shared: Watched, namespace: str
) -> None:
    """REPLICAOF by hand, which kills no connection; the sentinels make it the primary again."""

    async def main() -> None:
        async with opened(shared.url, namespace) as (store, runner):
            primary = shared.primary
            reconnects = runner.reconnects
            other = next(server for server in shared.servers if server is not primary)
            primary.ask("REPLICAOF", HOST, other.port)
            with pytest.raises(StoreUnavailable) as caught:
                await _append(store)
            assert caught.value.executed is False
            assert runner.trouble() is not None
            primary.ask("REPLICAOF", "NO", "ONE")
            await _until(lambda: runner.trouble() is None)
            await _append(store)
            assert runner.reconnects > reconnects

    trio.run(main)


def test_killed_connections_lose_and_double_nothing(shared: Watched, namespace: str) -> None:
    async def main() -> Steady:
        async with opened(shared.url, namespace) as (store, _):
            steady = Steady(store, namespace, USERS)
            async with steady.sending():
                for _ in range(3):
                    await steady.more(20)
                    shared.primary.ask("SCRIPT", "FLUSH")
                    shared.primary.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                await steady.more(20)
            return steady

    trio.run(main).assert_nothing_is_lost([shared.primary])


def test_one_sentinel_is_enough_to_find_the_primary(shared: Watched, namespace: str) -> None:
    silent = shared.sentinels[1:]
    for sentinel in silent:
        sentinel.freeze()

    async def main() -> float:
        began = trio.current_time()
        async with opened(shared.url, namespace) as (store, _):
            await _append(store)
        return trio.current_time() - began

    try:
        assert trio.run(main) < 4
    finally:
        for sentinel in silent:
            sentinel.thaw()


def test_a_sentinel_that_names_a_replica_is_not_believed(shared: Watched, namespace: str) -> None:
    async def main() -> None:
        with shared.mistaken_sentinel() as mistaken:
            alone = f"redis+sentinel://{HOST}:{mistaken.port}/{SENTINEL_NAME}"
            with pytest.RaisesGroup(
                pytest.RaisesExc(StoreUnavailable, match="no primary at present")
            ):
                async with opened(alone, namespace):
                    pass
            both = alone.replace("://", f"://{HOST}:{shared.sentinels[0].port},")
            async with opened(both, namespace) as (store, _):
                await _append(store)

    trio.run(main)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (
            lambda made: made.url_of("errado"),
            "the sentinels know no primary called 'errado': correct the name after the last / in"
            " REDIS_URL, or make them watch it",
        ),
        (
            lambda made: f"redis+sentinel://{HOST}:{made.servers[0].port}/mensagens",
            "what REDIS_URL names as sentinels are none: name their ports",
        ),
    ],
)
def test_a_wrong_name_or_no_sentinel_ends_the_start_with_one_sentence(
    shared: Watched, namespace: str, url: Callable[[Watched], str], sentence: str
) -> None:
    settings = Settings(redis_url=url(shared), namespace=namespace)

    async def main() -> None:
        with trio.fail_after(10):
            async with ActorQueue(settings, deliver=_nothing):
                pass

    with pytest.raises(StoreMisconfigured) as caught:
        trio.run(main)
    assert str(caught.value) == sentence


async def _nothing(batch: Batch) -> None:
    raise AssertionError(batch)


async def _append(store: RedisStore) -> None:
    await store.append([Message("ana", b"{}", 60_000, "m", True)])


def _has_successor(made: Watched, victim: TcpServer) -> bool:
    others = [server for server in made.servers if server is not victim]
    return any(server.ask("ROLE")[0] == b"master" for server in others)


async def _until(condition: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.02)
