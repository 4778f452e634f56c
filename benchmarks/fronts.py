"""The fronts of the library: pushes per second, and how long one takes, on Trio and on asyncio.

`guest` is what was not taken: Trio inside the event loop, by `trio.lowlevel.start_guest_run`.
Run by `python -m benchmarks.fronts [SECONDS]`; the order is drawn anew in each round. In
brackets: how often the figure of the Trio front. A time is one that nine of ten calls took longer.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from actor_queue import ActorQueue, Batch, Settings, aio
from benchmarks.processes import valkey

CALLERS = 64
ROUNDS = 3

Push = Callable[[int], Awaitable[object]]


async def ignore(batch: Batch) -> None:
    del batch


class Load:
    """`CALLERS` callers, each pushing one message after the other, for some seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.times: list[float] = []

    async def caller(self, push: Push, number: int, until: float) -> None:
        turn = number
        while (before := time.perf_counter()) < until:
            await push(turn)
            self.times.append(time.perf_counter() - before)
            turn += CALLERS

    async def on_trio(self, push: Push, callers: int) -> None:
        until = time.perf_counter() + self.seconds
        async with trio.open_nursery() as nursery:
            for number in range(callers):
                nursery.start_soon(self.caller, push, number, until)

    async def on_asyncio(self, push: Push, callers: int) -> None:
        until = time.perf_counter() + self.seconds
        await asyncio.gather(*(self.caller(push, n, until) for n in range(callers)))


def pushing(queue: Any) -> Push:
    async def push(turn: int) -> None:
        await queue.push(f"user-{turn % 5_000}", "tudo bem?", ttl=600)

    return push


def on_trio(settings: Settings, load: Load, callers: int) -> None:
    async def main() -> None:
        async with ActorQueue(settings, deliver=ignore) as queue:
            await load.on_trio(pushing(queue), callers)

    trio.run(main)


def through_a_thread(settings: Settings, load: Load, callers: int) -> None:
    async def main() -> None:
        async with aio.ActorQueue(settings, deliver=ignore) as queue:
            await load.on_asyncio(pushing(queue), callers)

    asyncio.run(main())


def as_a_guest(settings: Settings, load: Load, callers: int) -> None:
    """Without what a front would need besides: a call starts a Trio task, which sets a future."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        opened: asyncio.Future[trio.Nursery] = loop.create_future()
        stop: list[trio.Event] = []
        queues: list[ActorQueue] = []

        async def engine() -> None:
            queue = ActorQueue(settings, deliver=ignore)
            async with queue, trio.open_nursery() as nursery:
                queues.append(queue)
                stop.append(trio.Event())
                opened.set_result(nursery)
                await stop[0].wait()

        trio.lowlevel.start_guest_run(
            engine,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=loop.call_soon,
            done_callback=lambda outcome: ended.set_result(None),
            host_uses_signal_set_wakeup_fd=True,
        )
        nursery = await opened
        inner = pushing(queues[0])

        async def push(turn: int) -> None:
            answered: asyncio.Future[None] = loop.create_future()

            async def call() -> None:
                await inner(turn)
                answered.set_result(None)

            nursery.start_soon(call)
            await answered

        await load.on_asyncio(push, callers)
        stop[0].set()
        await ended

    asyncio.run(main())


FRONTS = {"trio": on_trio, "thread": through_a_thread, "guest": as_a_guest}


def main(seconds: float) -> None:
    rates: dict[str, list[float]] = {name: [] for name in FRONTS}
    costs: dict[str, list[float]] = {name: [] for name in FRONTS}
    alone: dict[str, list[float]] = {name: [] for name in FRONTS}
    with valkey() as server:
        for number in range(ROUNDS):
            for name in random.sample(list(FRONTS), len(FRONTS)):
                settings = Settings(redis_url=server.url, namespace=f"{name}{number}")
                load, cpu_s = Load(seconds), time.process_time()
                FRONTS[name](settings, load, CALLERS)
                rates[name].append(len(load.times) / seconds)
                costs[name].append((time.process_time() - cpu_s) / len(load.times))
                load = Load(seconds)
                FRONTS[name](settings, load, 1)
                # Not the median, because on a busy machine that is what others cost.
                alone[name].append(statistics.quantiles(load.times, n=10)[0])
    for name in FRONTS:
        print(
            f"{name}: {_beside(rates, name, 1, '.0f')} pushes/s of {CALLERS} callers,"
            f" each {_beside(costs, name, 1e6, '.0f')} µs of CPU;"
            f" one alone takes {_beside(alone, name, 1e6, '.0f')} µs"
        )


def _beside(figures: dict[str, list[float]], name: str, unit: float, form: str) -> str:
    mine, trios = statistics.median(figures[name]), statistics.median(figures["trio"])
    return f"{mine * unit:{form}} ({mine / trios:.2f})"


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
