"""A Redis Cluster: the same store, and what happens when slots, nodes and connections move."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from actor_queue import ActorQueue
from actor_queue.core.batch import Batch
from actor_queue.core.message import Accepted, Message
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.store.api import Lease, StoreMisconfigured, StoreUnavailable
from actor_queue.store.news import News, Wanted
from actor_queue.store.redis import RedisStore
from actor_queue.transport.address import nodes
from actor_queue.transport.cluster import ClusterRunner, slot_of
from tests.redis_topologies import HOST, Cluster, TcpServer, cluster, free_ports, wait_for
from tests.servers import Server, delete_namespace
from tests.store.conformance import AppendConformance
from tests.store.conformance_each import EachConformance
from tests.store.conformance_erase import EraseConformance
from tests.store.conformance_history import HistoryConformance
from tests.store.conformance_orders import OrderConformance
from tests.store.driver import Now, Subject
from tests.store.on_cluster import (
    due_key,
    eye_of,
    needs_for,
    opened,
    user_on,
    users_everywhere,
)
from tests.store.stage import Open, Stage
from tests.store.steady import Steady, kept_ids

SHARDS = 12
RECOVERY_S = 5.0
"""Beyond what the cluster itself needs until a replica is the primary."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """Whoever breaks it, mends it."""
    with cluster() as made:
        yield made


@pytest.fixture
def settings(shared: Cluster, namespace: str) -> Iterator[Settings]:
    yield Settings(redis_url=shared.url, namespace=namespace, shards=SHARDS)
    with eye_of(shared) as eye:
        delete_namespace(eye, namespace)


class TestCluster(
    AppendConformance, EachConformance, OrderConformance, HistoryConformance, EraseConformance
):
    """The half of the suite that has calls for several nodes in one; the scripts are the same."""

    @pytest.fixture
    def opens(self, shared: Cluster) -> Open:
        @asynccontextmanager
        async def on_cluster(settings: Settings, now: Now) -> AsyncIterator[Stage]:
            with eye_of(shared) as eye:
                subject = Subject(eye, settings, now)
                runner = ClusterRunner(nodes(shared.url), needs_for(settings))
                async with trio.open_nursery() as nursery:
                    await nursery.start(runner.serve)
                    store = RedisStore(runner, settings, clock=now)
                    yield Stage(store, settings, now, subject.dump)
                    nursery.cancel_scope.cancel()
                delete_namespace(eye, settings.namespace)

        return on_cluster


# One road through all of it


def test_a_message_goes_all_the_way_on_a_cluster(shared: Cluster, settings: Settings) -> None:
    users = users_everywhere(shared, settings)
    got: list[Batch] = []

    async def main() -> None:
        done = trio.Event()

        async def deliver(batch: Batch) -> None:
            got.append(batch)
            if len(got) == len(users):
                done.set()

        with trio.fail_after(20):
            async with ActorQueue(settings, deliver=deliver) as queue:
                for user in users:
                    await queue.push(user, "Oi", ttl=0.05)
                    await queue.push(user, "tudo bem?", ttl=0.05)
                await done.wait()

    trio.run(main)
    assert sorted(batch.user for batch in got) == sorted(users)
    assert all(len(batch.stored) == 2 for batch in got)


def test_calls_for_many_nodes_are_answered_in_their_order(
    shared: Cluster, settings: Settings
) -> None:
    async def main() -> None:
        async with opened(settings) as (store, _):
            leases = await store.acquire(range(SHARDS), "r-1", "n", 5_000)
            assert [each.shard for each in leases] == list(range(SHARDS))
            assert all(isinstance(each, Lease) for each in leases)
            infos = await store.leases()
            assert [each.owner for each in infos] == ["r-1"] * SHARDS

    trio.run(main)


def test_what_a_script_publishes_on_one_node_is_heard_on_any_other(
    shared: Cluster, settings: Settings
) -> None:
    async def main() -> None:
        heard: list[bytes | None] = []
        async with opened(settings) as (store, runner), trio.open_nursery() as nursery:
            for _ in shared.primaries:
                nursery.start_soon(
                    runner.listen, [f"{settings.namespace}:nudge:r-2".encode()], heard.append
                )
            await _until(lambda: heard.count(None) >= len(shared.primaries))
            await store.acquire(range(SHARDS), "r-2", "n", 5_000)
            for user in users_everywhere(shared, settings):
                await store.append([Message(user, b"{}", 1_000, "m", False)])
            await _until(lambda: len([each for each in heard if each]) == 9)
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_events_of_one_replica_are_heard_at_another_whichever_nodes_they_are_on(
    settings: Settings,
) -> None:
    async def main() -> None:
        heard: list[bytes | None] = []
        news: list[News] = []
        async with opened(settings) as (store, _), opened(settings) as (_, runner):
            other = RedisStore(runner, settings, replica="r-2")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other.listen_to_events, heard.append)
                nursery.start_soon(store.listen, news.append)
                await _until(lambda: None in heard and bool(news))
                await other.want_events()
                await _until(lambda: any(isinstance(each, Wanted) for each in news))
                await store.publish_events(b"a parcel")
                await _until(lambda: b"a parcel" in heard)
                nursery.cancel_scope.cancel()

    trio.run(main)


# What moves


def test_a_slot_moves_under_load_and_every_message_stays_in_its_place(
    shared: Cluster, settings: Settings
) -> None:
    source, target = shared.primaries[0], shared.primaries[1]
    user = user_on(shared, source, settings)
    slot = slot_of(due_key(settings, user))

    async def main() -> Steady:
        async with opened(settings) as (store, _):
            steady = Steady(store, settings.namespace, [user, user_on(shared, target, settings)])
            async with steady.sending():
                await steady.more(50)
                steps = shared.move_slot(slot, source, target)
                while await trio.to_thread.run_sync(next, steps, None):
                    await trio.sleep(0.05)
                await steady.more(50)
                assert shared.owner_of(due_key(settings, user)) is target
            return steady

    steady = trio.run(main)
    with contextlib.suppress(StopIteration):
        steps = shared.move_slot(slot, target, source)
        while True:
            next(steps)
    assert not steady.refusals
    steady.assert_nothing_is_lost(shared.servers)


def test_a_call_follows_an_ask_and_is_carried_out_there_once(
    shared: Cluster, settings: Settings
) -> None:
    """An empty slot that is open on both sides: every call is sent on with ASKING."""
    source, target = shared.primaries[0], shared.primaries[1]
    user = user_on(shared, source, settings)
    key = due_key(settings, user)
    steps = shared.move_slot(slot_of(key), source, target)
    next(steps)

    async def main() -> None:
        async with opened(settings) as (store, runner):
            # One key: with more, a node that has none of them says TRYAGAIN.
            (lease,) = await store.acquire([shard_of(user, settings.shards)], "r-1", "n", 5_000)
            assert isinstance(lease, Lease)
            assert runner.trouble() is None

    trio.run(main)
    assert target.ask("CLUSTER", "COUNTKEYSINSLOT", slot_of(key)) == 1
    for _ in steps:
        pass
    for _ in shared.move_slot(slot_of(key), target, source):
        pass


def test_a_slot_that_stays_half_moved_is_said_and_nothing_is_kept(
    shared: Cluster, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actor_queue.transport.cluster.PATIENCE_S", 0.3)
    source, target = shared.primaries[0], shared.primaries[1]
    user = user_on(shared, source, settings)
    key = due_key(settings, user)

    async def main() -> None:
        async with opened(settings) as (store, _):
            await store.append([Message(user, b"{}", 1_000, "m", True)])
            next(shared.move_slot(slot_of(key), source, target))
            with pytest.raises(StoreUnavailable, match="moving the slot") as caught:
                await store.append([Message(user, b"{}", 1_000, "n", True)])
            assert caught.value.executed is False
            for server in (source, target):
                server.ask("CLUSTER", "SETSLOT", slot_of(key), "STABLE")
            (answer,) = await store.append([Message(user, b"{}", 1_000, "n", True)])
            assert isinstance(answer, Accepted)
            assert (answer.pending, answer.duplicate) == (2, False)

    trio.run(main)


def test_lost_scripts_and_killed_connections_lose_and_double_nothing(
    shared: Cluster, settings: Settings
) -> None:
    async def main() -> Steady:
        async with opened(settings) as (store, runner):
            steady = Steady(store, settings.namespace, users_everywhere(shared, settings))
            async with steady.sending():
                for _ in range(3):
                    await steady.more(20)
                    for server in shared.primaries:
                        server.ask("SCRIPT", "FLUSH")
                        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                await steady.more(20)
            assert runner.reconnects > 0
            return steady

    steady = trio.run(main)
    steady.assert_nothing_is_lost(shared.servers)


def test_what_may_have_been_carried_out_is_never_sent_again(
    shared: Cluster, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has no name of its sender's, so a second copy would be kept."""
    monkeypatch.setattr("actor_queue.transport.pipe.REPLY_TIMEOUT_S", 0.3)
    server = shared.primaries[0]
    user = user_on(shared, server, settings)

    async def thaw() -> None:
        # Shorter than what makes the cluster take the node for dead.
        await trio.sleep(0.6)
        server.thaw()

    async def main() -> None:
        async with opened(settings) as (store, _), trio.open_nursery() as nursery:
            await store.describe(user)
            server.freeze()
            nursery.start_soon(thaw)
            with pytest.raises(StoreUnavailable) as caught:
                await store.append([Message(user, b"{}", 1_000, "m", False)])
            assert caught.value.executed is None
        # The server has read what the service had given up.
        await _until(lambda: kept_ids([server], settings.namespace, user))

    trio.run(main)
    assert kept_ids([server], settings.namespace, user) == ["m"]


def test_messages_of_one_user_in_several_calls_keep_their_order_while_their_slot_moves(
    shared: Cluster, settings: Settings
) -> None:
    """The first call has a new user, whose keys are missing, and must wait; the second need not."""
    source, target = shared.primaries[0], shared.primaries[1]
    settings = replace(settings, max_messages=10)
    user = user_on(shared, source, settings)
    slot = slot_of(due_key(settings, user))
    numbers = range(10_000, 99_999)
    stranger = next(
        f"n{i}" for i in numbers if due_key(settings, f"n{i}") == due_key(settings, user)
    )
    sent = [Message(user, b"{}", 1_000, f"m{i}", False) for i in range(800)]

    async def main() -> None:
        async with opened(settings) as (store, _):
            await store.acquire([shard_of(user, settings.shards)], "r-1", "n", 60_000)
            # A batch in the line and one message more: all keys of this user are there.
            await store.append(sent[:11])
            steps = shared.move_slot(slot, source, target)
            next(steps)
            async with trio.open_nursery() as nursery:
                unknown = Message(stranger, b"{}", 1_000, "s", False)
                nursery.start_soon(store.append, [unknown, *sent[11:]])
                await trio.sleep(0.3)
                await trio.to_thread.run_sync(list, steps)

    trio.run(main)
    kept = kept_ids([target], settings.namespace, user)
    for _ in shared.move_slot(slot, target, source):
        pass
    assert kept == [message.message_id for message in sent]


# What dies


@pytest.fixture
def doomed(namespace: str) -> Iterator[tuple[Cluster, Settings]]:
    """A cluster of the test's own, which it may break."""
    with cluster() as made:
        yield made, Settings(redis_url=made.url, namespace=namespace, shards=SHARDS)


def test_a_primary_is_killed_and_nothing_acknowledged_is_lost(
    doomed: tuple[Cluster, Settings],
) -> None:
    made, settings = doomed
    victim = made.primaries[0]
    heir = made.replica_of(victim)

    async def main() -> Steady:
        async with opened(settings, "replica") as (store, runner):
            steady = Steady(store, settings.namespace, users_everywhere(made, settings))
            async with steady.sending():
                await steady.more(30)
                victim.kill()
                await trio.to_thread.run_sync(wait_for, lambda: _is_primary(heir))
                # Its heir has no replica left to wait for, and accepts nothing until it has.
                victim.start()
                await steady.more(30)
            await _until(lambda: runner.trouble() is None)
            return steady

    steady = trio.run(main)
    steady.assert_nothing_is_lost(made.servers)


def test_a_primary_is_frozen_and_its_users_are_served_soon_after_its_replica_took_over(
    doomed: tuple[Cluster, Settings],
) -> None:
    made, settings = doomed
    victim = made.primaries[0]
    heir = made.replica_of(victim)

    async def main() -> float:
        async with opened(settings) as (store, runner):
            steady = Steady(store, settings.namespace, users_everywhere(made, settings))
            async with steady.sending():
                await steady.more(10)
                victim.freeze()
                await trio.to_thread.run_sync(wait_for, lambda: _is_primary(heir))
                promoted_at = trio.current_time()
                await steady.more(1)
                took_s = trio.current_time() - promoted_at
                await _until(lambda: runner.trouble() is None)
            return took_s

    took_s = trio.run(main)
    assert took_s < RECOVERY_S, f"{took_s:.2f} s"


# What is wrong


def refused(settings: Settings) -> str:
    """The one sentence that the start ends with."""

    async def main() -> None:
        with trio.fail_after(10):
            async with ActorQueue(settings, deliver=_nothing):
                pass

    with pytest.raises(StoreMisconfigured) as caught:
        trio.run(main)
    return str(caught.value)


async def _nothing(batch: Batch) -> None:
    raise AssertionError(batch)


def test_a_cluster_with_a_slot_that_nobody_serves_is_refused_and_it_is_said_later_too(
    settings: Settings, shared: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actor_queue.transport.cluster.PATIENCE_S", 0.5)
    owner = shared.primaries[2]

    async def later() -> None:
        async with opened(settings) as (store, runner):
            assert runner.trouble() is None
            await trio.to_thread.run_sync(shared.abandon_slot, 16_000)
            with pytest.raises(StoreUnavailable) as caught:
                await store.leases()
            assert caught.value.executed is False
            # At first only the refusals are known; the map with the hole in it follows.
            await _until(lambda: "16000" in (runner.trouble() or ""))

    try:
        trio.run(later)
        sentence = refused(settings)
    finally:
        owner.ask("CLUSTER", "ADDSLOTS", 16_000)
        wait_for(
            lambda: all(
                b"cluster_slots_ok:16384" in s.ask("CLUSTER", "INFO") for s in shared.servers
            )
        )
    assert sentence == (
        "the Redis Cluster has 1 slots that no node serves, the first is 16000:"
        " repair it with `valkey-cli --cluster fix`"
    )


def test_one_node_that_evicts_is_refused(settings: Settings, shared: Cluster) -> None:
    odd = shared.primaries[1]
    odd.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        assert "AQ_ALLOW_EVICTION" in refused(settings)
    finally:
        odd.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_one_node_that_is_full_makes_the_service_unready_until_it_is_not(
    settings: Settings, shared: Cluster
) -> None:
    odd = shared.primaries[1]
    user = user_on(shared, odd, settings)

    async def main() -> None:
        async with opened(settings) as (store, runner):
            odd.ask("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(StoreUnavailable, match="out of memory") as caught:
                await store.append([Message(user, b"{}", 1_000, "m", True)])
            assert caught.value.executed is False
            assert runner.trouble() == "Redis is out of memory"
            odd.ask("CONFIG", "SET", "maxmemory", "0")
            await _until(lambda: runner.trouble() is None)

    try:
        trio.run(main)
    finally:
        odd.ask("CONFIG", "SET", "maxmemory", "0")


def test_a_url_that_takes_a_cluster_for_a_server_or_the_reverse_is_refused(
    settings: Settings, shared: Cluster, valkey_server: Server
) -> None:
    one = f"redis://{HOST}:{shared.primaries[0].port}"
    assert "redis+cluster://" in refused(replace(settings, redis_url=one))
    with cluster_url_of(valkey_server) as url:
        assert "no Redis Cluster" in refused(replace(settings, redis_url=url))


@contextlib.contextmanager
def cluster_url_of(server: Server) -> Iterator[str]:
    """The server of the session, on a port for a moment."""
    (port,) = free_ports(1)
    with server.client() as client:
        client.config_set("port", port)
        try:
            yield f"redis+cluster://{HOST}:{port}"
        finally:
            client.config_set("port", 0)


def _is_primary(server: TcpServer) -> bool:
    return bool(server.ask("ROLE")[0] == b"master")


async def _until(condition: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.02)
