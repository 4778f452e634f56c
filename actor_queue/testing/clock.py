"""Virtual time in a Trio run: it stands still while the program works; a test moves it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import trio
import trio.testing

STEP_MIN_S = 1e-6
"""Smaller than any timer is meant, and large enough to change a clock that shows a year."""

RESOLUTION_S = 0.001
"""That of the store's clock: what is due at the end of an `advance` may be due by so much later."""

T = TypeVar("T")


def run(main: Callable[..., Awaitable[T]], *arguments: object) -> T:
    """`trio.run(main, *arguments)` in virtual time, which begins at 0.

    Whenever every task waits, the time jumps to the next moment at which one goes on: sleeping for
    an hour takes no time. It jumps also while a task waits for the real world, such as a thread or
    a connection; take `trio.run(main, clock=trio.testing.MockClock())` for a test with these, and
    move the time with `advance` alone.
    """
    return trio.run(main, *arguments, clock=trio.testing.MockClock(autojump_threshold=0))


Settle = Callable[[], Awaitable[object]]
"""Returns when nothing more happens without time passing."""


async def advance(seconds: float, settle: Settle = trio.testing.wait_all_tasks_blocked) -> None:
    """Let `seconds` of virtual time pass, and all happen that is due in it, each at its time.

    Returns when every task waits again. Raises RuntimeError where the time is real.
    """
    if not 0 <= seconds < math.inf:
        raise ValueError(f"seconds is {seconds!r}; allowed: 0 or more")
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, trio.testing.MockClock):
        raise RuntimeError(  # noqa: TRY004  # no argument has a wrong type
            "this test runs in real time: start it with actor_queue.testing.run(main), or with"
            " trio.run(main, clock=trio.testing.MockClock()); with pytest-trio take autojump_clock"
        )
    await _step(clock, trio.current_time() + seconds, settle)


async def _step(clock: trio.testing.MockClock, until: float, settle: Settle) -> None:
    """One jump would make everything late that is due on the way, so stop at each timer."""
    while True:
        await settle()
        left = until - trio.current_time()
        to_next = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if to_next <= left + RESOLUTION_S:
            clock.jump(max(to_next, STEP_MIN_S))
        elif left > 0:
            clock.jump(left)
        else:
            return


@contextmanager
def going_on() -> Iterator[None]:
    """Inside the block a clock that only `advance` moves goes at the pace of real time, as soon as
    every task waits.

    For opening and closing a queue: both may wait for time to pass, and nobody can call `advance`
    meanwhile. Where nothing waits, no time passes, so the next `advance` ends at the same moment.
    """
    clock = trio.lowlevel.current_clock()
    if (
        not isinstance(clock, trio.testing.MockClock)
        or clock.rate > 0
        or clock.autojump_threshold < math.inf
    ):
        yield
        return
    block = trio.CancelScope()

    async def start_clock() -> None:
        with block:
            await trio.testing.wait_all_tasks_blocked()
            # The block may have ended after this task was woken.
            if not block.cancel_called:
                clock.rate = 1.0

    # Not in a nursery: that would put a group around what the block raises.
    trio.lowlevel.spawn_system_task(start_clock)
    try:
        yield
    finally:
        block.cancel()
        clock.rate = 0.0
