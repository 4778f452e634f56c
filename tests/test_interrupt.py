"""Ctrl-C reaches the program that has a queue on Trio, and no task of the queue."""

from __future__ import annotations

import subprocess
import sys

import pytest

from actor_queue.core.settings import Settings
from tests.servers import Server

PATIENCE_S = 60.0
PROGRAM = """
import signal
import trio
from actor_queue import ActorQueue, Settings
signal.signal(signal.SIGINT, signal.default_int_handler)  # who started us may ignore it
settings = Settings(redis_url={url!r}, namespace={namespace!r}, retry_schedule_ms=())
async def deliver(batch):
    print("called", flush=True)
{deliver}
    print("delivered", *batch.messages)
async def main():
    during = signal.getsignal(signal.SIGINT)
{main}
try:
    trio.run(main)
except KeyboardInterrupt:
    print("interrupted")
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
WAITS = """
    async with ActorQueue(settings, deliver=deliver) as queue:
        await queue.push("ana", "Oi", ttl=0)
        await trio.sleep(3600)
"""


@pytest.fixture
def settings(valkey_server: Server, namespace: str) -> Settings:
    return Settings(redis_url=valkey_server.url, namespace=namespace)


def test_an_interrupt_that_meets_a_delivery_lets_it_finish_and_ends_the_program(
    settings: Settings,
) -> None:
    deliver = "    signal.raise_signal(signal.SIGINT)\n    await trio.sleep(0.05)"
    assert said_by(settings, deliver, WAITS) == ["called", "delivered Oi", "interrupted", "True"]


def test_a_second_interrupt_ends_a_delivery_that_blocks_the_loop(settings: Settings) -> None:
    deliver = "    for _ in range(2):\n        signal.raise_signal(signal.SIGINT)"
    assert said_by(settings, deliver, WAITS) == ["called", "interrupted", "True"]


def test_an_interrupt_in_a_task_of_the_program_is_raised_there(settings: Settings) -> None:
    main = """
    async def other():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("raised there")
            raise
    try:
        async with ActorQueue(settings, deliver=deliver), trio.open_nursery() as nursery:
            nursery.start_soon(other)
    except* KeyboardInterrupt:
        print("ended")
"""
    assert said_by(settings, "    pass", main) == ["raised there", "ended", "True"]


def test_the_last_queue_that_closes_leaves_the_handler_as_it_was(settings: Settings) -> None:
    main = """
    first, second = (ActorQueue(settings, deliver=deliver) for _ in range(2))
    await first.__aenter__()
    async with trio.open_nursery() as nursery:
        async def inner(task_status):
            async with second:
                task_status.started()
                await trio.sleep_forever()
        await nursery.start(inner)
        print(signal.getsignal(signal.SIGINT) is during)
        nursery.cancel_scope.cancel()
    print(signal.getsignal(signal.SIGINT) is during)
    await first.__aexit__(None, None, None)
    print(signal.getsignal(signal.SIGINT) is during)
"""
    assert said_by(settings, "    pass", main) == ["False", "False", "True", "True"]


def said_by(settings: Settings, deliver: str, main: str) -> list[str]:
    """The lines that the program prints, which must end well."""
    code = PROGRAM.format(
        url=settings.redis_url, namespace=settings.namespace, deliver=deliver, main=main
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()
