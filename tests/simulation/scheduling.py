"""Time and order, decided by the seed alone.

`run` gives a virtual clock and a scheduler that draws from the seed. `Freezer` stops processes
the way SIGSTOP does: the tasks of a frozen process are not run at all, wherever they are, while
the wires and everybody else go on. `Agenda` is the outside world: what happens when, in no
process.

All of this leans on three private names of Trio, and says so clearly if they are gone.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import trio
import trio.testing
from trio._core import _run as internals

T = TypeVar("T")
Task = trio.lowlevel.Task

STEP_S = 1e-9
PASSES_MAX = 100_000
"""Of the scheduler at one moment of virtual time; more is somebody who never sleeps."""
PROCESS: ContextVar[str | None] = ContextVar("process", default=None)
"""Which process a task belongs to; inherited by the tasks that it starts."""


def run(main: Callable[[], Awaitable[T]], seed: str) -> T:
    """`main` under a virtual clock, the same way each time for the same seed."""
    for name in ("_ALLOW_DETERMINISTIC_SCHEDULING", "_r", "GLOBAL_RUN_CONTEXT"):
        if not hasattr(internals, name):
            raise RuntimeError(
                f"trio {trio.__version__} has no trio._core._run.{name} any more, by which a"
                " simulation is made repeatable: look up what took its place"
            )
    state, allowed = internals._r.getstate(), internals._ALLOW_DETERMINISTIC_SCHEDULING
    internals._r.seed(seed)
    internals._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    # A run is over before a collection would pay.
    gc.disable()
    watch = _Watch()
    try:
        return trio.run(watch.over, main, clock=_clock(), instruments=[watch])
    finally:
        gc.enable()
        internals._r.setstate(state)
        internals._ALLOW_DETERMINISTIC_SCHEDULING = allowed  # type: ignore[misc]


class _Watch(trio.abc.Instrument):
    """Ends a run in which time stands still because somebody asks again and again."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._moment = -math.inf
        self._passes = 0

    def before_io_wait(self, timeout: float) -> None:
        """Once in each pass of the scheduler."""
        if (moment := trio.current_time()) > self._moment:
            self._moment, self._passes = moment, 0
        self._passes += 1
        if self._passes == PASSES_MAX:
            self._scope.cancel()

    async def over(self, main: Callable[[], Awaitable[T]]) -> T:
        """What `main` returns. Raises RuntimeError if it had to be ended."""
        with self._scope:
            return await main()
        raise RuntimeError(f"virtual time stands still at {self._moment!r}: somebody never sleeps")


def _clock() -> trio.testing.MockClock:
    """Jumps to the next deadline, and past it by no less than a step that a float can hold.

    The clock's own jump adds the distance to the deadline, and where rounding makes that sum stop
    short of it, the distance left is too small to change it: the run would spin for ever.
    """
    clock = trio.testing.MockClock(autojump_threshold=0)

    def jump() -> None:
        left_s = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if 0 < left_s < math.inf:
            clock.jump(max(left_s, STEP_S))

    if not hasattr(clock, "_autojump"):
        raise RuntimeError(f"trio {trio.__version__}'s MockClock has no _autojump any more")
    clock._autojump = jump  # type: ignore[method-assign]
    return clock


class Freezer:
    """Keeps the tasks of frozen processes out of the scheduler's queue."""

    def __init__(self) -> None:
        runner = internals.GLOBAL_RUN_CONTEXT.runner
        if type(getattr(runner, "runq", None)) is not deque:
            raise RuntimeError(
                f"trio {trio.__version__} keeps its runnable tasks in no deque `runner.runq` any"
                " more, by which a simulated process is frozen: look up what took its place"
            )
        self._queue = _Queue(runner.runq)
        runner.runq = self._queue

    def freeze(self, process: str) -> None:
        self._queue.frozen.setdefault(process, [])

    def thaw(self, process: str) -> None:
        self._queue.extend(self._queue.frozen.pop(process, []))

    def frozen(self, process: str) -> bool:
        return process in self._queue.frozen


class _Queue(deque[Task]):
    """What Trio appends to when a task becomes runnable."""

    def __init__(self, tasks: deque[Task]) -> None:
        super().__init__(tasks)
        self.frozen: dict[str, list[Task]] = {}

    def append(self, task: Task) -> None:
        if self.frozen:
            held = self.frozen.get(task.context.get(PROCESS) or "")
            if held is not None:
                held.append(task)
                return
        super().append(task)


@contextmanager
def inside(process: str) -> Any:
    """What is started in here belongs to `process`."""
    token = PROCESS.set(process)
    try:
        yield
    finally:
        PROCESS.reset(token)


class Agenda:
    """Calls functions at their times. Those of one moment in the order they were entered."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._scope: trio.CancelScope | None = None

    def at(self, moment: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._entries, (moment, next(self._numbers), do))
        if self._scope is not None and moment < self._scope.deadline:
            self._scope.deadline = moment

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self.at(trio.current_time() + seconds, do)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            deadline = self._entries[0][0] if self._entries else math.inf
            with trio.CancelScope(deadline=deadline) as self._scope:
                await trio.sleep_forever()
            while self._entries and self._entries[0][0] <= trio.current_time():
                heapq.heappop(self._entries)[2]()


class Dice:
    """Independent streams of chance, each named, so that one more draw here moves nothing there."""

    def __init__(self, seed: str) -> None:
        self._seed = seed

    def stream(self, name: str) -> random.Random:
        return random.Random(f"{self._seed}:{name}")
