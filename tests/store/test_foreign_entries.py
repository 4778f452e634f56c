"""What somebody else wrote into Redis stops nobody but, at most, the user it stands at."""

from __future__ import annotations

import ast
import json
import logging
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import redis
import trio

from actor_queue.app.doctor.waiting import examine_waiting
from actor_queue.core.batch import Batch
from actor_queue.core.conversation import Conversation, key_to_bytes
from actor_queue.core.message import Message
from actor_queue.core.outcome import Outcome
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.runtime.engine import Engine
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.keys import Keys, ShardKeys, UserKeys
from actor_queue.store.needs import needs_of
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.transport.server import connected
from actor_queue.webhook.client import UNREADABLE, WebhookClient
from tests.servers import Server
from tests.webhook.receiver import answering, receiving

SHARDS = 2
PATIENCE_S = 20.0
NOT_UTF8 = b"\xff\xfe\xfd"


@dataclass
class Place:
    """A running replica with a receiver, and a hand in its Redis."""

    engine: Engine
    eye: redis.Redis
    keys: Keys
    delivered: list[str] = field(default_factory=list)

    def shard(self, user: str) -> ShardKeys:
        return self.keys.shards[shard_of(user, SHARDS)]

    def of(self, user: str) -> UserKeys:
        return self.shard(user).of(user)

    async def post(self, user: str, text: str = "oi", ttl_ms: int = 50) -> None:
        body = json.dumps({"user": user, "message": text}).encode()
        message = Message(user, body, ttl_ms, self.engine.new_id(), remembered=False)
        await self.engine.push([message])

    async def goes_through(self, user: str) -> None:
        with trio.fail_after(PATIENCE_S):
            await self.post(user)
            while user not in self.delivered:  # the receiver is a real one
                await trio.sleep(0.01)


async def until(true: Callable[[], bool]) -> None:
    """Polls, because a sweep tells nobody; nothing depends on how long it takes."""
    with trio.fail_after(PATIENCE_S):
        while not true():
            await trio.sleep(0.02)


@asynccontextmanager
async def place(server: Server, namespace: str) -> AsyncIterator[Place]:
    keys = Keys(namespace, SHARDS)
    settings = Settings(namespace=namespace, shards=SHARDS, lease_ttl_ms=1_500)
    with server.client() as eye:
        async with (
            receiving(answering(200)) as receiver,
            WebhookClient(receiver.url) as client,
            connected(server.url, needs_of(keys.meta, SHARDS, FORMAT)) as runner,
        ):
            await runner.prepare()
            store = RedisStore(runner, settings, replica="r-1")
            await store.check(allow_eviction=True)

            async def deliver(batch: Batch, deadline_s: float) -> Outcome:
                outcome = await client.deliver(batch, deadline_s)
                here.delivered.append(batch.user)
                return outcome

            here = Place(Engine(settings, store, deliver), eye, keys)
            async with here.engine.running():
                yield here


def neighbours() -> tuple[str, str]:
    """Two users of one shard."""
    first, *others = (f"user-{i}" for i in range(50))
    return first, next(user for user in others if shard_of(user, SHARDS) == shard_of(first, SHARDS))


def elsewhere(user: str) -> str:
    """Of another shard."""
    others = (f"other-{i}" for i in range(50))
    return next(each for each in others if shard_of(each, SHARDS) != shard_of(user, SHARDS))


def test_a_member_of_the_index_that_is_no_user_of_the_shard_stops_nobody(
    valkey_server: Server, namespace: str
) -> None:
    """Not UTF-8, or another shard's: claiming that one would look like the loss of the lease."""
    ana, _ = neighbours()

    async def main() -> None:
        async with place(valkey_server, namespace) as here:
            here.eye.zadd(here.shard(ana).due, {NOT_UTF8: 1, elsewhere(ana): 2, b"": float("-inf")})
            await here.goes_through(ana)
            await trio.sleep(2.5)  # the sweep comes past at least once
            assert here.engine.counters.fenced == 0
            await here.goes_through(elsewhere(ana))
            assert here.engine.unready() is None

    trio.run(main)


def test_strangers_in_the_index_take_nobody_s_place_in_the_sweep(
    valkey_server: Server, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """More of them than a look sees, all due before a user of whom no replica was told."""
    ana, _ = neighbours()
    strangers = {NOT_UTF8 + str(i).encode(): i for i in range(3_000)}

    async def main() -> None:
        async with place(valkey_server, namespace) as here:
            await here.post(ana, ttl_ms=60_000)
            here.eye.hset(here.of(ana).state, "od", 1)
            due = here.shard(ana).due
            here.eye.zadd(due, {**strangers, ana: 3_000})
            with trio.fail_after(PATIENCE_S):
                while ana not in here.delivered:  # as above
                    await trio.sleep(0.05)
            await trio.sleep(2.5)  # what is passed over is told within a second
            assert here.eye.zcard(due) == len(strangers)

    caplog.set_level(logging.WARNING, "actor_queue")
    trio.run(main)
    told = [record for record in caplog.records if "entries_set_aside" in record.getMessage()]
    assert len(told) == 1


@pytest.mark.parametrize("which", ["state", "pending", "line", "flight", "history"])
def test_another_kind_of_value_at_a_user_s_key_stops_that_user_alone(
    valkey_server: Server, namespace: str, which: str
) -> None:
    ana, bia = neighbours()

    async def main() -> None:
        async with place(valkey_server, namespace) as here:
            here.eye.sadd(getattr(here.of(ana), which), "garbage")
            try:
                await here.post(ana)
            except StoreUnavailable as error:
                assert error.detail.startswith("a key of the service")  # noqa: PT017
            here.eye.zadd(here.shard(ana).due, {ana: 1})
            await here.goes_through(bia)
            page = await here.engine.users(None, 10, None)
            assert bia not in [view.user for view in page.users]
            assert here.engine.unready() is None

    trio.run(main)


def test_thousands_of_users_that_cannot_be_claimed_hide_nobody(
    valkey_server: Server, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All of them are due before a user of whom no replica was told."""
    ana, bia = neighbours()

    async def main() -> None:
        async with place(valkey_server, namespace) as here:
            shard = here.shard(ana)
            for user in (ana, bia):
                await here.post(user, ttl_ms=60_000)
                here.eye.hset(here.of(user).state, "od", 1)
            spoilt = [f"spoilt-{i}" for i in range(6_000)]
            spoilt = [each for each in spoilt if shard_of(each, SHARDS) == shard.shard]
            pipe = here.eye.pipeline()
            for each in spoilt:
                pipe.sadd(shard.of(each).state, "garbage")
            pipe.zadd(shard.due, {**dict.fromkeys(spoilt, 1), ana: 3_000})
            pipe.execute()
            await until(lambda: ana in here.delivered)
            await until(lambda: here.engine.entries_set_aside > len(spoilt) / 2)
            assert here.engine.unready() is None
            pipe = here.eye.pipeline()
            for each in spoilt:
                pipe.delete(shard.of(each).state)
            pipe.zrem(shard.due, *spoilt)
            pipe.execute()
            await until(lambda: here.engine.entries_set_aside == 0)
            here.eye.zadd(shard.due, {bia: 3_000})
            await until(lambda: bia in here.delivered)

    caplog.set_level(logging.WARNING, "actor_queue")
    trio.run(main)
    assert any("entries_set_aside" in record.getMessage() for record in caplog.records)
    assert "spoilt-" not in caplog.text


def test_a_user_that_was_set_aside_goes_on_when_its_keys_are_right_again(
    valkey_server: Server, namespace: str
) -> None:
    """Nobody posts for the user meanwhile, and no replica is told."""
    ana, _ = neighbours()

    async def main() -> None:
        async with place(valkey_server, namespace) as here:
            await here.post(ana, ttl_ms=60_000)
            mine, due = here.of(ana), here.shard(ana).due
            here.eye.hset(mine.state, "od", 1)
            here.eye.sadd(mine.line, "garbage")
            here.eye.zadd(due, {ana: 1})
            await until(lambda: here.engine.entries_set_aside == 1)
            here.eye.delete(mine.line)
            await until(lambda: ana in here.delivered)
            await until(lambda: here.engine.entries_set_aside == 0)

    trio.run(main)


def test_another_kind_of_value_at_a_lease_is_moved_aside_and_the_shard_goes_on(
    valkey_server: Server, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the service would say that it is ready, and refuse every POST of the shard."""
    ana, _ = neighbours()
    settings = Settings(namespace=namespace, shards=SHARDS)

    async def main() -> None:
        async with place(valkey_server, namespace) as here:
            await here.goes_through(ana)
            shard = here.shard(ana)
            for garbage in ("first", "second"):
                here.delivered.clear()
                here.eye.delete(shard.lease)
                here.eye.sadd(shard.lease, garbage)
                await here.goes_through(elsewhere(ana))
                await until(lambda: here.eye.type(shard.lease) == b"hash")
                await here.goes_through(ana)
                assert here.eye.smembers(shard.aside) == {garbage.encode()}
            assert here.engine.unready() is None
            assert here.engine.entries_set_aside == 0
            assert len(await here.engine.leases()) == SHARDS
            (found,) = [
                each.text
                for each in await trio.to_thread.run_sync(
                    examine_waiting, valkey_server.url, settings
                )
                if each.check == "foreign entries"
            ]
            assert found.endswith(f"""DEL '"{shard.aside.decode()}"'""")

    caplog.set_level(logging.WARNING, "actor_queue")
    trio.run(main)
    assert any("leases_replaced" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("epoch", ["abc", "", "9" * 40, "1e5", "nan", "-1"])
def test_an_epoch_that_is_none_of_ours_is_replaced_and_the_shard_goes_on(
    server: Server, namespace: str, epoch: str
) -> None:
    async def main() -> None:
        async with place(server, namespace) as p:
            await p.goes_through("ana")
            p.eye.hset(p.shard("ana").lease, "epoch", epoch)
            p.delivered.clear()
            await p.goes_through("ana")
            fenced = p.engine.counters.fenced
            p.delivered.clear()
            await p.goes_through("ana")
            assert p.engine.counters.fenced == fenced

    trio.run(main)


def test_a_stranger_among_the_members_is_nobody_s_heartbeat(
    valkey_server: Server, namespace: str
) -> None:
    ana, _ = neighbours()

    async def main() -> None:
        async with place(valkey_server, namespace) as here:
            here.eye.zadd(here.keys.members, {NOT_UTF8: 1e15, b"": 1e15, b"a b": float("inf")})
            await trio.sleep(1.5)
            await here.goes_through(ana)
            assert [each.id for each in await here.engine.replicas()] == ["r-1"]
            assert here.engine.unready() is None

    trio.run(main)


def test_a_message_that_cannot_be_read_makes_a_dead_letter_and_the_user_goes_on(
    valkey_server: Server, namespace: str
) -> None:
    ana, _ = neighbours()

    async def main() -> None:
        async with place(valkey_server, namespace) as here:
            await here.post(ana, ttl_ms=1_000)
            here.eye.lset(here.of(ana).pending, 0, NOT_UTF8)
            with trio.fail_after(PATIENCE_S):
                while not (letters := (await here.engine.dead(5, None)).letters):
                    await trio.sleep(0.05)
            (letter,) = letters
            assert letter.reason == UNREADABLE
            with pytest.raises(StoreUnavailable, match="cannot read"):
                await here.engine.dead_letter(letter.id)
            here.delivered.clear()
            await here.goes_through(ana)
            assert await here.engine.dead_drop(letter.id)
            assert (await here.engine.dead(5, None)).letters == ()

    trio.run(main)


def test_garbage_among_attempts_and_dead_letters_is_passed_over(
    valkey_server: Server, namespace: str
) -> None:
    ana, _ = neighbours()

    async def main() -> None:
        async with place(valkey_server, namespace) as here:
            await here.goes_through(ana)
            history, shard = here.of(ana).history, here.shard(ana)
            lines: list[bytes | str] = [NOT_UTF8, "[1]", "[" * 100_000, '["a",2,3,4,5,6,7]']
            here.eye.rpush(history, *lines)
            name = f"b{shard.shard:04x}" + "0" * 20
            garbled, wrong = name[:-1] + "1", name[:-1] + "2"
            here.eye.hset(shard.letter(garbled)[0], mapping={"user": ana, "at": "x"})
            here.eye.sadd(shard.letter(wrong)[0], "garbage")
            members = {NOT_UTF8: 1, b"": 2, b"hello": float("inf"), name: 3, garbled: 4, wrong: 5}
            here.eye.zadd(shard.dead, members)
            view = await here.engine.describe(ana)
            assert [record.outcome for record in view.recent] == ["delivered"]
            found, after = [], None
            for _ in range(20):
                page = await here.engine.dead(1, after)
                found += page.letters
                after = page.cursor
                if after is None:
                    break
            assert (found, after) == ([], None)
            # They are counted all the same, by the list and by the job that takes all.
            assert (await here.engine.dead(10, None)).unreadable == 4
            job = await here.engine.replay_all()
            assert (job.total, job.passed_over, job.replayed) == (4, 4, 0)
            assert await here.engine.dead_drop(garbled)

    trio.run(main)


def test_the_doctor_names_what_is_foreign_and_how_to_drop_it(
    valkey_server: Server, namespace: str
) -> None:
    ana, bia = neighbours()
    keys, settings = Keys(namespace, SHARDS), Settings(namespace=namespace, shards=SHARDS)
    shard = keys.shards[shard_of(ana, SHARDS)]

    def foreign() -> list[str]:
        found = examine_waiting(valkey_server.url, settings)
        return [each.text for each in found if each.check == "foreign entries"]

    with valkey_server.client() as eye:
        eye.zadd(shard.due, {bia: 5})
        assert foreign() == []
        strangers = [f"\n$(reboot){i}" for i in range(40)]
        strangers = [each for each in strangers if shard_of(each, SHARDS) != shard.shard]
        eye.zadd(shard.due, {name: 10 * i for i, name in enumerate([*strangers, "x" * 5_000])})
        (said,) = foreign()
        assert said.count("redis-cli") == 5
        assert "To see the first: " in said
        assert said.isprintable()
        assert "reboot" not in said
        assert len(said) < 2_000
        eye.zrem(shard.due, *strangers, "x" * 5_000)
        eye.zadd(shard.due, {NOT_UTF8: 1.5})
        command = foreign()[0].partition("To see it: redis-cli --quoted-input ")[2]
        verb, key, *words = shlex.split(command)
        assert eye.execute_command(verb, ast.literal_eval(f"b{key}"), *words) == [NOT_UTF8]
        eye.zrem(shard.due, NOT_UTF8)
        assert foreign() == []
        for key in (shard.lease, shard.dead):
            eye.sadd(key, "garbage")
            assert foreign()[0].endswith(f"""DEL '"{key.decode()}"'""")
            eye.delete(key)
        assert foreign() == []


def advice(server: Server, namespace: str) -> str:
    found = examine_waiting(server.url, Settings(namespace=namespace, shards=SHARDS))
    return "".join(each.text for each in found if each.check == "foreign entries")


def test_the_doctor_takes_a_conversation_of_any_route_for_ours(
    valkey_server: Server, namespace: str
) -> None:
    """Whoever followed the advice to remove it would lose what it has waiting."""
    cruz = Conversation("vendas", "cruz").key
    of = Keys(namespace, SHARDS).shards[shard_of(cruz, SHARDS)]
    with valkey_server.client() as eye:
        eye.zadd(of.due, {key_to_bytes(cruz): 5})
        assert advice(valkey_server, namespace) == ""
        eye.set(of.of(cruz).pending, "garbage")
        said = advice(valkey_server, namespace)
        assert f"{of.tag.decode()}:p:USER, where USER is among those of" in said
        assert "cruz" not in said


def test_no_advice_of_the_doctor_names_a_user(valkey_server: Server, namespace: str) -> None:
    """Not even a stranger's entry: it may be a user's, of another release or another shard."""
    ana, _ = neighbours()
    there, here = (Keys(namespace, SHARDS).shards[shard_of(each, SHARDS)]
                   for each in (elsewhere(ana), ana))  # fmt: skip
    with valkey_server.client() as eye:
        strangers = {b"\xffno route\xffmaria": 1, ana: 2, b"\xffvendas": float("inf")}
        eye.zadd(there.due, strangers)
        eye.zadd(here.dead, {"maria": 3})
        eye.zadd(here.due, {ana: 4})
        eye.set(here.of(ana).state, "garbage")
        said = advice(valkey_server, namespace)
        assert said.startswith("5 things in Redis")
        assert not any(name in said for name in (ana, "maria", "vendas", "ZREM", "DEL"))
        assert "Never remove an entry from an index `:due` whose user has a hash" in said


def test_a_flush_sends_what_waits_for_a_user_whose_entry_was_removed_by_hand(
    valkey_server: Server, namespace: str
) -> None:
    ana, _ = neighbours()

    async def main() -> None:
        async with place(valkey_server, namespace) as here:
            await here.post(ana, ttl_ms=60_000)
            assert here.eye.zrem(here.shard(ana).due, ana) == 1
            await here.engine.flush(ana)
            await until(lambda: ana in here.delivered)

    trio.run(main)


def test_the_doctor_names_the_spoilt_keys_of_a_user_and_of_a_dead_letter(
    valkey_server: Server, namespace: str
) -> None:
    ana, _ = neighbours()
    keys, settings = Keys(namespace, SHARDS), Settings(namespace=namespace, shards=SHARDS)
    shard = keys.shards[shard_of(ana, SHARDS)]
    mine = shard.of(ana)

    def dropped() -> list[str]:
        (said,) = [
            each.text
            for each in examine_waiting(valkey_server.url, settings)
            if each.check == "foreign entries"
        ] or [""]
        return said.partition(": redis-cli --quoted-input ")[2].split("; redis-cli --quoted-input ")

    with valkey_server.client() as eye:
        eye.zadd(shard.due, {ana: 5})
        for key in (mine.state, mine.pending, mine.line, mine.flight, mine.history):
            eye.set(key, "garbage")
            kind = key.removesuffix(ana.encode()).decode()
            assert f" {kind}USER, where USER is among those of" in advice(valkey_server, namespace)
            eye.delete(key)
        name = f"b{shard.shard:04x}" + "0" * 20
        eye.zadd(shard.dead, {name: 1})
        texts = [each.text for each in examine_waiting(valkey_server.url, settings)]
        assert any("1 dead letter that cannot be read" in text for text in texts)
        entry = f"""ZREM '"{shard.dead.decode()}"' '"{name}"'"""
        assert dropped() == [entry], "an entry without its letter"
        facts, messages = shard.letter(name)
        eye.set(facts, "garbage")
        assert dropped() == [entry, f"""DEL '"{facts.decode()}"'"""]
        eye.delete(facts)
        eye.hset(facts, mapping={"user": ana, "at": "x"})
        assert dropped() == [entry, f"""DEL '"{facts.decode()}"'"""]
        eye.hset(facts, mapping={"at": 1, "fa": 1, "fn": 1, "why": "", "fm": "classic"})
        eye.set(messages, "garbage")
        assert f"""DEL '"{messages.decode()}"'""" in dropped()
