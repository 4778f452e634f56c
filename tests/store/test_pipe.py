"""One connection: what each error means, and what a caller is told when it is in doubt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from coredis.exceptions import RedisError
from coredis.parser import Parser

from actor_queue.core.message import Accepted, Appended, Message
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.store.api import Lease, StoreMisconfigured, StoreUnavailable
from actor_queue.store.base import Spoilt
from actor_queue.store.keys import Keys
from actor_queue.store.needs import needs_of
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.transport import listener, server
from actor_queue.transport import pipe as pipe_module
from actor_queue.transport.address import connector
from actor_queue.transport.pipe import PING, Overloaded, Pipe, run_connection
from actor_queue.transport.refusals import NOT_EXECUTED, Redirected, answered, may_pass
from actor_queue.transport.runner import ScriptError
from actor_queue.transport.server import connected
from actor_queue.transport.wire import Command
from tests.acceptance.redis_process import RedisProcess, redis_process
from tests.servers import Server, delete_namespace

MISSING_SHA = "0" * 40
WAIT = Command(b"WAIT", (1, 200))


def told(line: str) -> ScriptError:
    """What becomes of an error line on the wire."""
    parser = Parser()
    parser.feed(f"-{line}\r\n".encode())
    parsed = parser.parse(decode=False, encoding="utf-8")
    assert isinstance(parsed, tuple)
    error = parsed[1]
    assert isinstance(error, RedisError)
    return answered(error)


NOTHING_DONE = {
    "NOSCRIPT": "NOSCRIPT No matching script. Please use EVAL.",
    "LOADING": "LOADING Redis is loading the dataset in memory",
    "READONLY": "READONLY You can't run script with write flag on readonly replica.",
    "OOM": "OOM allow-oom flag is not set on the script, can not run it when used memory is …",
    "MISCONF": "MISCONF Redis is configured to save RDB snapshots, but it's unable to persist",
    "MASTERDOWN": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is 'no'.",
    "NOREPLICAS": "NOREPLICAS Not enough good replicas to write.",
    "BUSY": "BUSY Redis is busy running a script. You can only call SCRIPT KILL",
    "CLUSTERDOWN": "CLUSTERDOWN Hash slot not served",
    "TRYAGAIN": "TRYAGAIN Multiple keys request during rehashing of slot",
    "MOVED": "MOVED 3999 10.0.0.1:6381",
    "ASK": "ASK 3999 10.0.0.1:6381",
    "CROSSSLOT": "CROSSSLOT Keys in request don't hash to the same slot",
    "NOAUTH": "NOAUTH Authentication required.",
    "WRONGPASS": "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM": "NOPERM User app has no permissions to run the 'evalsha' command",
    "UNKNOWN": "ERR unknown command 'EVALSHA', with args beginning with: 'f1d2' '1' 'aq:meta'",
    "EXECABORT": "EXECABORT Transaction discarded because of previous errors.",
}
PASSING = {"NOSCRIPT", "LOADING", "READONLY", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN"}


@pytest.mark.parametrize("code", NOT_EXECUTED)
def test_an_error_from_before_a_script_s_first_line_means_that_nothing_was_done(code: str) -> None:
    error = told(NOTHING_DONE[code])
    assert (error.code, error.executed) == (code, False)
    assert may_pass(error) is (code in PASSING)


@pytest.mark.parametrize(
    "line",
    [
        "ERR Error running script: @user_script:3: Script attempted to access nonexistent global",
        "OOM command not allowed when used memory > 'maxmemory'. script: 1a, on @user_script:7.",
        "READONLY You can't write against a read only replica. script: 1a, on @user_script:7.",
        "ERR ACL failure in script: User a has no permissions to run the 'zadd' command"
        " script: 1a, on @user_script:9.",
        "ERR The user executing the script can't run this command or subcommand script: 1a,"
        " on @user_script:9.",
        "WRONGTYPE Operation against a key holding the wrong kind of value script: 1a,"
        " on @user_script:2.",
        "UNBLOCKED force unblock from blocking operation, instance state changed",
        "NOBODYKNOWS what this is",
    ],
)
def test_any_other_error_may_have_come_after_a_write(line: str) -> None:
    error = told(line)
    assert error.executed is None
    assert not may_pass(error)


def test_a_redirection_says_where_to() -> None:
    moved, ask = told(NOTHING_DONE["MOVED"]), told("ASK 7 :6381")
    assert isinstance(moved, Redirected)
    assert isinstance(ask, Redirected)
    assert (moved.slot, moved.host, moved.port, moved.asking) == (3999, "10.0.0.1", 6381, False)
    assert (ask.host, ask.asking) == ("", True)


def test_a_right_that_is_missing_is_named_and_nothing_else_of_the_server_s_words() -> None:
    assert told("NOPERM User app has no permissions to run the 'zadd' command").text == (
        "Redis does not allow its user the command ZADD: give it the rights in deploy/redis-acl.md"
    )
    assert "app" not in told("NOPERM No permissions to access a key").text.split()


def test_a_command_that_is_not_there_is_named_and_not_what_it_was_asked() -> None:
    assert told(NOTHING_DONE["UNKNOWN"]).text == (
        "this Redis does not know the command EVALSHA: use Redis 6.2 or newer, or Valkey,"
        " with scripts"
    )


# Real servers in the state that the error speaks of


def test_what_a_server_refuses_before_the_first_line_was_not_done(valkey_server: Server) -> None:
    states = {
        "OOM": ("maxmemory", "1", "0"),
        "NOREPLICAS": ("min-replicas-to-write", "1", "0"),
    }
    with valkey_server.client() as eye:
        sha = eye.script_load("#!lua\nreturn redis.call('INCR', KEYS[1])")
        for code, (name, bad, good) in states.items():
            eye.config_set(name, bad)
            try:
                error = run_one(valkey_server.url, Command(b"EVALSHA", (sha, 1, b"pipe:n")))
            finally:
                eye.config_set(name, good)
            assert isinstance(error, ScriptError)
            assert (error.code, error.executed) == (code, False)
        assert eye.get("pipe:n") is None


def test_what_is_refused_needs_no_word_that_it_is_safe(valkey_server: Server) -> None:
    """A barrier that fails puts in doubt what was carried out, and nothing else."""

    async def main() -> None:
        async with piped(valkey_server.url, WAIT) as pipe:
            (reply,) = await pipe.run([Command(b"EVALSHA", (MISSING_SHA, 0))])
            assert isinstance(reply, ScriptError)
            assert (reply.code, reply.executed) == ("NOSCRIPT", False)
            with pytest.raises(StoreUnavailable, match="no replica of Redis confirmed") as caught:
                await pipe.run([Command(b"DEL", (b"pipe:none",))])
            assert caught.value.executed is None
            assert pipe.last_failure is not None

    trio.run(main)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actor_queue.transport.pipe.REPLY_TIMEOUT_S", 0.5)
    monkeypatch.setattr("actor_queue.transport.pipe.GREETING_TIMEOUT_S", 0.5)


@pytest.mark.usefixtures("impatient")
def test_an_answer_without_the_word_that_it_is_safe_is_in_doubt() -> None:
    """The server freezes between the reply and the barrier's."""

    async def main(process: RedisProcess) -> None:
        async with piped(process.url, Command(b"WAIT", (1, 60_000))) as pipe:
            with pytest.raises(StoreUnavailable) as caught:
                await pipe.run([Command(b"SET", (b"k", b"v"))])
            assert caught.value.executed is None

    with redis_process() as process:
        trio.run(main, process)
        with process.client() as eye:
            assert eye.get("k") == b"v"


def test_messages_and_claims_wait_for_the_copy_and_renewals_do_not(
    valkey_server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a server without a replica, what waits for one is in doubt."""
    assert server.BARRIERS["replica"] is not None
    monkeypatch.setitem(server.BARRIERS, "replica", WAIT)
    doubts: list[str] = []

    async def main() -> None:
        settings = Settings(redis_url=valkey_server.url, namespace=namespace, shards=1)
        needs = needs_of(Keys(namespace, 1).meta, 1, FORMAT)
        async with connected(valkey_server.url, needs, "replica") as runner:
            store = RedisStore(runner, settings, replica="r-1")
            (lease,) = await store.acquire([0], "r-1", "n", 5_000)
            assert isinstance(lease, Lease)

            async def doubtful(verb: str, *args: Any) -> None:
                with pytest.raises(
                    StoreUnavailable, match="no replica of Redis confirmed"
                ) as caught:
                    await getattr(store, verb)(*args)
                assert caught.value.executed is None
                doubts.append(verb)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(doubtful, "append", [Message("ana", b"{}", 0, "m", True)])
                nursery.start_soon(doubtful, "claim", lease, "ana", "token", "batch")
                with trio.fail_after(1):
                    await store.renew([lease], 5_000)
            assert runner.trouble() is not None

    trio.run(main)
    assert sorted(doubts) == ["append", "claim"]


def test_waiting_for_a_file_that_is_not_written_is_refused_at_the_start(
    valkey_server: Server, namespace: str
) -> None:
    async def main() -> list[Appended]:
        settings = Settings(redis_url=valkey_server.url, namespace=namespace, shards=1)
        needs = needs_of(Keys(namespace, 1).meta, 1, FORMAT)
        async with connected(valkey_server.url, needs, "fsync") as runner:
            with pytest.raises(StoreMisconfigured, match="appendonly yes"):
                await runner.prepare()
            with valkey_server.client() as eye:
                eye.config_set("appendonly", "yes")
                try:
                    await runner.prepare()
                    store = RedisStore(runner, settings, replica="r-1")
                    return await store.append([Message("ana", b"{}", 0, "m", True)])
                finally:
                    eye.config_set("appendonly", "no")

    assert len(trio.run(main)) == 1


@pytest.mark.usefixtures("impatient")
def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    async def main(process: RedisProcess) -> None:
        with process.frozen(), trio.fail_after(5):
            async with piped(process.url) as pipe:
                with pytest.raises(StoreUnavailable, match="does not answer") as caught:
                    await pipe.run([PING])
                assert caught.value.executed is False

    with redis_process() as process:
        trio.run(main, process)


def test_a_connection_that_the_server_has_ended_is_replaced_before_anything_is_sent(
    valkey_server: Server,
) -> None:
    async def main() -> None:
        async with piped(valkey_server.url) as pipe:
            await pipe.run([PING])
            with valkey_server.client() as eye:
                eye.client_kill_filter(_type="normal", skipme=True)
            assert await pipe.run([PING]) == [b"PONG"]
            assert pipe.reconnects == 1

    trio.run(main)


# coredis closes a connection's buffer a moment before it calls the connection unusable.


def test_a_subscription_whose_connection_has_just_ended_is_given_up(
    valkey_server: Server,
) -> None:
    async def main() -> None:
        connection = await connector(valkey_server.url)()
        async with trio.open_nursery() as nursery:
            assert await nursery.start(run_connection, connection) is None
            connection._write_buffer_in.close()
            assert connection.usable
            await listener._keep_alive(connection)
            assert not connection.usable
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_nobody_waits_for_ever_at_a_pipe_that_ends(valkey_server: Server) -> None:
    async def main() -> None:
        outcomes: list[StoreUnavailable] = []

        async def ask(pipe: Pipe, command: Command) -> None:
            with pytest.raises(StoreUnavailable) as caught:
                await pipe.run([command])
            outcomes.append(caught.value)

        async with trio.open_nursery() as callers:  # noqa: SIM117 - they outlive the pipe
            async with piped(valkey_server.url) as pipe:
                callers.start_soon(ask, pipe, Command(b"BLPOP", (b"pipe:never", 0)))
                await trio.testing.wait_all_tasks_blocked(0.05)
                callers.start_soon(ask, pipe, PING)
                await trio.testing.wait_all_tasks_blocked(0.05)
        assert [each.executed for each in outcomes if each.executed is False] == [False]
        assert len(outcomes) == 2
        with pytest.raises(StoreUnavailable) as caught:
            await pipe.run([PING])
        assert caught.value.executed is False

    trio.run(main)


def test_each_command_has_a_fate_of_its_own_when_too_much_waits(
    valkey_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe_module, "QUEUE_CALLS_MAX", 3)
    echoes = [Command(b"ECHO", (str(i),)) for i in range(5)]

    async def main() -> list[object]:
        async with piped(valkey_server.url) as pipe:
            return await pipe.run_each(echoes, range(5))

    replies = trio.run(main)
    assert replies[:3] == [b"0", b"1", b"2"]
    assert [type(each) for each in replies[3:]] == [Overloaded, Overloaded]


def test_each_command_is_told_when_the_connection_is_given_up(valkey_server: Server) -> None:
    async def main() -> list[object]:
        replies: list[object] = []

        async def ask(pipe: Pipe) -> None:
            commands = [Command(b"BLPOP", (b"pipe:never", 0)), PING, PING]
            replies.extend(await pipe.run_each(commands, [1, 2, 3]))

        async with trio.open_nursery() as callers:  # noqa: SIM117 - they outlive the pipe
            async with piped(valkey_server.url) as pipe:
                callers.start_soon(ask, pipe)
                await trio.testing.wait_all_tasks_blocked(0.05)
        return replies

    assert [type(each) for each in trio.run(main)] == [StoreUnavailable] * 3


def test_a_user_whose_key_is_spoilt_costs_no_other_message_that_came_with_it(
    valkey_server: Server, namespace: str
) -> None:
    settings = Settings(redis_url=valkey_server.url, namespace=namespace)
    keys = Keys(namespace, settings.shards)
    shard = keys.shards[shard_of("bad", settings.shards)]

    async def main() -> list[object]:
        needs = needs_of(keys.meta, settings.shards, FORMAT)
        async with connected(valkey_server.url, needs) as runner:
            messages = [Message(user, b"{}", 1_000, user, False) for user in ("a", "bad", "c")]
            return list(await RedisStore(runner, settings).append_each(messages))

    with valkey_server.client() as eye:
        eye.set(shard.of("bad").state, "a text where a hash should be")
        answers = trio.run(main)
        delete_namespace(eye, namespace)
    assert [type(each) for each in answers] == [Accepted, Spoilt, Accepted]


def run_one(url: str, command: Command) -> object:
    async def main() -> object:
        async with piped(url) as pipe:
            (reply,) = await pipe.run([command])
            return reply

    return trio.run(main)


@asynccontextmanager
async def piped(url: str, barrier: Command | None = None) -> AsyncIterator[Pipe]:
    pipe = Pipe(connector(url), barrier)
    async with trio.open_nursery() as nursery:
        await nursery.start(pipe.serve)
        yield pipe
        nursery.cancel_scope.cancel()
