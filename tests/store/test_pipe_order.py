"""In which order calls that wait together reach the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha1

import pytest
import redis
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.transport.address import connector
from actor_queue.transport.pipe import ASKING, Pipe, Settle
from actor_queue.transport.runner import ScriptError
from actor_queue.transport.wire import Command
from tests.servers import Server

LIST = b"pipe:order"
PUSH = "return redis.call('RPUSH', KEYS[1], ARGV[1])"
PUSH_SHA = sha1(PUSH.encode(), usedforsecurity=False).hexdigest()
WAIT = Command(b"WAIT", (0, 200))


@pytest.fixture
def order(valkey_server: Server) -> Iterator[redis.Redis]:
    """Where the commands of these tests leave a trace."""
    with valkey_server.client() as eye:
        eye.delete(LIST)
        yield eye
        eye.delete(LIST)


@asynccontextmanager
async def piped(url: str, settle: Settle | None = None) -> AsyncIterator[Pipe]:
    async with trio.open_nursery() as nursery:
        pipe = Pipe(connector(url), settle=settle)
        await nursery.start(pipe.serve)
        yield pipe
        nursery.cancel_scope.cancel()


def push(name: object) -> Command:
    return Command(b"RPUSH", (LIST, str(name)))


def push_by_script(name: object) -> Command:
    return Command(b"EVALSHA", (PUSH_SHA, 1, LIST, str(name)), source=PUSH)


def traced(eye: redis.Redis) -> list[str]:
    return [item.decode() for item in eye.lrange(LIST, 0, -1)]


@given(arrivals=st.lists(st.integers(0, 20), min_size=1, max_size=150))
def test_commands_that_wait_together_go_in_the_order_of_their_arrival(
    valkey_server: Server, arrivals: list[int]
) -> None:
    async def main() -> None:
        may_go = trio.Event()

        async def settle() -> int:
            await may_go.wait()
            return 2**63

        async with piped(valkey_server.url, settle) as pipe, trio.open_nursery() as nursery:
            for i, arrived in enumerate(arrivals):
                nursery.start_soon(pipe.run, [push(f"{arrived}-{i}")], arrived)
            await trio.testing.wait_all_tasks_blocked()
            may_go.set()

    with valkey_server.client() as eye:
        eye.delete(LIST)
        trio.run(main)
        taken = [int(name.partition("-")[0]) for name in traced(eye)]
    assert taken == sorted(arrivals)


def test_what_arrived_after_the_time_that_is_certain_waits_for_the_next_group(
    valkey_server: Server, order: redis.Redis
) -> None:
    """While the first group is settled a later message is read, an earlier one is still missing."""

    async def main() -> None:
        said: list[int] = []

        async def settle() -> int:
            said.append(len(said))
            if len(said) == 1:
                nursery.start_soon(pipe.run, [push("latest")], 30)
                await trio.testing.wait_all_tasks_blocked(0.01)
                return 20
            nursery.start_soon(pipe.run, [push("between")], 25)
            await trio.testing.wait_all_tasks_blocked(0.01)
            return 40

        async with piped(valkey_server.url, settle) as pipe, trio.open_nursery() as nursery:
            await pipe.run([push("first")], 10)

    trio.run(main)
    assert traced(order) == ["first", "between", "latest"]


@pytest.mark.parametrize("asking", [False, True])
def test_nothing_overtakes_a_call_whose_script_the_server_has_forgotten(
    valkey_server: Server, order: redis.Redis, asking: bool
) -> None:
    async def settle() -> int:
        for _ in range(5):  # what was started has run by then
            await trio.lowlevel.checkpoint()
        return 2**63

    async def main() -> None:
        async with piped(valkey_server.url, settle) as pipe, trio.open_nursery() as nursery:
            for turn in range(5):
                order.script_flush()
                for i in range(20):
                    command = push_by_script(100 * turn + i)
                    commands = [ASKING, command] if asking else [command]
                    nursery.start_soon(pipe.run, commands, 100 * turn + i)
                    if i % 7 == 0:
                        await trio.lowlevel.checkpoint()
                await trio.testing.wait_all_tasks_blocked()

    trio.run(main)
    assert traced(order) == [str(100 * turn + i) for turn in range(5) for i in range(20)]


def test_a_server_that_does_not_load_a_script_says_why(
    valkey_server: Server, order: redis.Redis
) -> None:
    async def main() -> object:
        async with piped(valkey_server.url) as pipe:
            broken = Command(b"EVALSHA", (PUSH_SHA, 1, LIST, "x"), source="this is no Lua")
            (reply,) = await pipe.run([broken])
            (ok,) = await pipe.run([push("next")])
            assert ok == 1
            return reply

    order.script_flush()
    reply = trio.run(main)
    assert isinstance(reply, ScriptError)
    assert "compiling" in reply.text
    assert traced(order) == ["next"]
