"""The recipe in `deploy/redis-acl.md`: it is enough, and one right less is said."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import trio

from actor_queue.core.batch import Attempt, batch_id
from actor_queue.core.history import AttemptFilter, PastAttempt
from actor_queue.core.message import Message
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.store.api import Lease, StoreMisconfigured, StoreUnavailable
from actor_queue.store.deeds_api import Deed
from actor_queue.store.keys import Keys
from actor_queue.store.needs import needs_of
from actor_queue.store.news import DueElsewhere, Freed, News
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.store.rights import ON_KEYS
from actor_queue.store.routes_api import Probe
from actor_queue.store.scripts import all_scripts
from actor_queue.transport.connect import runner_for
from tests.servers import Server, fresh_namespace

RECIPE = Path(__file__).parents[2] / "deploy" / "redis-acl.md"
PASSWORD = "CHANGE-ME"


def recipe() -> list[str]:
    """The words after the user's name."""
    block = re.search(r"```\nACL SETUSER actor-queue (.*?)```", RECIPE.read_text(), re.DOTALL)
    assert block is not None
    return block[1].split()


COMMANDS = [word for word in recipe() if word.startswith("+")]


@dataclass
class User:
    """A user of the server under test, whose namespace is `namespace`."""

    server: Server
    admin: redis.Redis
    namespace: str

    def allow(self, words: list[str]) -> None:
        ours = [word.replace("aq:", f"{self.namespace}:") for word in words]
        self.admin.execute_command("ACL", "SETUSER", self.namespace, "reset", *ours)

    @asynccontextmanager
    async def store(self, durability: str = "memory") -> AsyncIterator[RedisStore]:
        url = f"unix://{self.namespace}:{PASSWORD}@{self.server.socket}"
        settings = Settings(redis_url=url, namespace=self.namespace, shards=2)
        needs = needs_of(Keys(self.namespace, 2).meta, 2, FORMAT)
        runner = runner_for(url, needs, durability)  # type: ignore[arg-type]
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.serve)
            try:
                await runner.prepare()
                store = RedisStore(runner, settings, replica="r-1")
                await store.check(allow_eviction=False)
                yield store
            finally:
                nursery.cancel_scope.cancel()


@pytest.fixture
def user(valkey_server: Server) -> Iterator[User]:
    with valkey_server.client() as admin:
        made = User(valkey_server, admin, fresh_namespace())
        yield made
        admin.execute_command("ACL", "DELUSER", made.namespace)
        for key in admin.scan_iter(f"*{made.namespace}*"):
            admin.delete(key)


async def everything(store: RedisStore) -> None:
    """Every verb of the store once, through every branch that runs other commands."""
    heard: list[News] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.listen, heard.append)
        while not heard:
            await trio.sleep(0.01)
        await store.heartbeat("r-1", 5_000)
        leases = await store.acquire([0, 1], "r-1", "n", 5_000)
        await store.renew([each for each in leases if isinstance(each, Lease)], 5_000)
        other = RedisStore(store._runner, store._settings, replica="r-2")
        for user in ("ana", "bia", "caio", "davi"):
            await other.append(
                [Message(user, b'{"message":"oi"}', 0, f"{user}-{i}", True) for i in range(3)]
            )
        await _until(lambda: any(isinstance(each, DueElsewhere) for each in heard))
        shards = {each.shard: each for each in leases if isinstance(each, Lease)}
        await _attempts(store, shards)
        await _operations(store)
        await store.release(list(shards.values()))
        await store.tell_free("r-2")
        await _events(store)
        await _until(lambda: any(isinstance(each, Freed) for each in heard))
        await store.leave("r-1")
        nursery.cancel_scope.cancel()


async def _events(store: RedisStore) -> None:
    heard: list[bytes | None] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.listen_to_events, heard.append)
        await _until(lambda: None in heard)
        await store.want_events()
        await store.publish_events(b"parcel")
        await _until(lambda: b"parcel" in heard)
        nursery.cancel_scope.cancel()


async def _attempts(store: RedisStore, leases: dict[int, Lease]) -> None:
    await store.due([0, 1], 5_000, 10)
    lease, attempt = await _claim(store, leases, "ana")
    await store.retry(lease, attempt, 0, 500, "answered 500")
    lease, attempt = await _claim(store, leases, "ana")
    await store.ack(attempt, 200)
    lease, attempt = await _claim(store, leases, "bia")
    await store.bury(lease, attempt, 410, "answered 410")
    await store.dead(10, None)
    await store.dead_letter(attempt.batch.id)
    await store.dead_replay(attempt.batch.id)
    lease, attempt = await _claim(store, leases, "bia")
    await store.bury(lease, attempt, 410, "answered 410")
    await store.dead_replay(attempt.batch.id)
    await store.drop("bia")
    await store.dead_drop(attempt.batch.id)


async def _claim(store: RedisStore, leases: dict[int, Lease], user: str) -> tuple[Lease, Attempt]:
    lease = leases[shard_of(user, len(leases))]
    token = batch_id(lease.shard, secrets.token_hex(10))
    claim = await store.claim(lease, user, token, token)
    assert isinstance(claim, Attempt), claim
    return lease, claim


async def _operations(store: RedisStore) -> None:
    await store.append([Message("caio", b'{"message":"oi"}', 60_000, "later", True)])
    await store.typing("caio", 1_000)
    await store.hold("caio", 60_000)
    await store.flush("caio")
    await store.unhold("caio")
    await store.flush("caio")
    await store.describe("caio")
    page = await store.users(None, 1, None)
    await store.users(None, 1, page.cursor)
    await store.leases()
    await store.drop("caio")
    past = PastAttempt("caio", "b", 1, "delivered", 200, None, 1, 1, 1, "r-1")
    await store.attempts_add([(0, past)])
    await store.attempts(AttemptFilter(), 1, None)
    await store.remembers("caio", "later")
    await store.deed_add(Deed("hold", "ana"), "caio")
    await store.deeds("caio", 1)
    await store.sign_out("a" * 16, 2_000_000_000)
    await store.signed_out()
    await store.erase("caio", None)
    await store.erase_rest([0, 1])
    await store.routes()
    await store.route_open("default", "timed out", 0)
    await store.route_probe("default", 1_000)
    probe = Probe(1, 1)
    await store.route_probe_failed("default", probe, "timed out", 0)
    await store.route_close("default", probe)
    await store.route_pause("default", "ana", None)
    await store.route_resume("default")
    await store.due_beside([0, 1], 5_000, 10, ["default"], ["", ""])
    await store.ping()


async def _until(condition: object) -> None:
    assert callable(condition)
    with trio.fail_after(5):
        while not condition():
            await trio.sleep(0.01)


def test_the_recipe_is_enough_for_everything(user: User) -> None:
    async def main() -> None:
        with trio.fail_after(20):
            async with user.store() as store:
                await everything(store)

    user.allow(recipe())
    trio.run(main)
    refused = [entry for entry in user.admin.acl_log() if entry["username"] == user.namespace]
    assert {entry["object"] for entry in refused} <= {"client|setinfo", "config|get"}


@pytest.mark.parametrize("right", COMMANDS)
def test_one_right_less_ends_the_start_with_its_name(user: User, right: str) -> None:
    sentence = refused(user, [word for word in recipe() if word != right])
    assert right.removeprefix("+").replace("|", " ").upper() in sentence
    assert "deploy/redis-acl.md" in sentence


@pytest.mark.parametrize("pattern", ["~aq:*", "~{aq:*}:*", "&aq:nudge:*"])
def test_without_the_keys_or_the_channel_the_start_ends_with_a_sentence(
    user: User, pattern: str
) -> None:
    assert "deploy/redis-acl.md" in refused(user, [word for word in recipe() if word != pattern])


@pytest.mark.parametrize(("durability", "right"), [("replica", "WAIT"), ("fsync", "WAITAOF")])
def test_a_durability_without_its_right_ends_the_start(
    user: User, durability: str, right: str
) -> None:
    user.admin.config_set("appendonly", "yes")
    try:
        assert right in refused(user, recipe(), durability)
    finally:
        user.admin.config_set("appendonly", "no")


def test_a_wrong_password_ends_the_start(user: User) -> None:
    sentence = refused(user, [">another" if word[0] == ">" else word for word in recipe()])
    assert sentence == "Redis refuses the user or the password in REDIS_URL"


def test_a_script_that_lost_a_right_on_its_way_may_have_been_carried_out(user: User) -> None:
    async def main() -> None:
        async with user.store() as store:
            user.admin.execute_command("ACL", "SETUSER", user.namespace, "-rpush")
            with pytest.raises(StoreUnavailable, match="does not allow") as caught:
                await store.append([Message("ana", b"{}", 0, "m", False)])
            assert caught.value.executed is None
            assert "deploy/redis-acl.md" in (store.trouble() or "")

    user.allow(recipe())
    trio.run(main)


def test_the_rights_that_are_looked_at_are_those_of_the_scripts_and_of_the_recipe() -> None:
    source = "".join(each.source for each in all_scripts())
    used = set(re.findall(r"redis\.call\('([A-Z]+)'", source))
    for first, second in re.findall(r"redis\.call\(up and '([A-Z]+)' or '([A-Z]+)'", source):
        used |= {first, second}
    assert used - {"TIME", "PUBLISH", "SCAN"} == set(ON_KEYS)
    assert {word[1:].upper() for word in COMMANDS} == used | {
        *("PING", "INFO", "EVALSHA", "SCRIPT|LOAD", "SUBSCRIBE")
    }


def refused(user: User, words: list[str], durability: str = "memory") -> str:
    """The one sentence that the start ends with."""

    async def main() -> None:
        with trio.fail_after(10):
            async with user.store(durability):
                pass

    user.allow(words)
    with pytest.raises(ExceptionGroup) as caught:
        trio.run(main)
    found = caught.value.split(StoreMisconfigured)[0]
    assert found is not None, caught.value
    sentence = str(found.exceptions[0])
    assert "\n" not in sentence
    assert PASSWORD not in sentence
    return sentence
