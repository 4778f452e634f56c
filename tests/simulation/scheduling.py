"""Time and order, decided by the seed alone.

`run` gives a virtual clock and a scheduler that draws from the seed. `Freezer` stops processes
the way SIGSTOP does: the tasks of a frozen process are not run at all, wherever they are, while
the wires and everybody else go on. `Agenda` is the outside world: what happens when, in no
process.

All of this leans on private names of Trio, and says so clearly if they are gone.
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
from trio._core import _run as internals

T = TypeVar("T")
Task = trio.lowlevel.Task

STEP_S = 1e-9
PASSES_MAX = 100_000
"""Of the scheduler at one moment of virtual time; more is somebody who never sleeps."""
LOOK_OUTSIDE_EVERY = 1_000
"""Passes in one moment. Only a signal comes from there, which ends the run."""
PROCESS: ContextVar[str | None] = ContextVar("process", default=None)
"""Which process a task belongs to; inherited by the tasks that it starts."""


def run(main: Callable[[Agenda], Awaitable[T]], seed: str) -> T:
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
    clock = Clock()

    async def watched() -> T:
        agenda = Agenda(clock)
        pacer = Pacer(clock, agenda)
        with pacer.scope:
            return await main(agenda)
        raise RuntimeError(f"virtual time stands still at {clock.now!r}: somebody never sleeps")

    try:
        return trio.run(watched, clock=clock)
    finally:
        gc.enable()
        internals._r.setstate(state)
        internals._ALLOW_DETERMINISTIC_SCHEDULING = allowed  # type: ignore[misc]


class Clock(trio.abc.Clock):
    """Stands still until `Pacer` moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Waiting is left to the pacer, which takes anything above 0 for idleness."""
        return 0 if deadline <= self.now else math.inf


class Pacer:
    """Takes the place of Trio's waiting for I/O: when nobody can run, time moves on.

    That is one pass of the scheduler for each moment at which something happens. `trio.testing`'s
    clock needs three, and each of them asks the system for events that never come.
    """

    def __init__(self, clock: Clock, agenda: Agenda) -> None:
        self._runner = internals.GLOBAL_RUN_CONTEXT.runner
        for owner, name in ((self._runner, "io_manager"), (self._runner, "deadlines")):
            if not hasattr(owner, name):
                raise RuntimeError(
                    f"trio {trio.__version__}'s runner has no {name} any more, by which time moves"
                    " in a simulation: look up what took its place"
                )
        self.scope = trio.CancelScope()
        """Is cancelled when time stands still because somebody asks again and again."""
        self._clock = clock
        self._agenda = agenda
        self._system = self._runner.io_manager
        self._moment = -math.inf
        self._passes = 0
        self._runner.io_manager = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)

    def process_events(self, events: Any) -> None:
        """Trio calls it right after `get_events`."""
        if events:
            self._system.process_events(events)

    def get_events(self, timeout: float) -> Any:
        """Once in each pass of the scheduler, before deadlines are looked at and tasks are run."""
        if self._clock.now > self._moment:
            self._moment, self._passes = self._clock.now, 0
        self._passes += 1
        if self._passes == PASSES_MAX:
            self.scope.cancel()
        if self._passes % LOOK_OUTSIDE_EVERY == 0:
            return self._system.get_events(0)
        if timeout > 0:
            self._move_on()
        elif self._agenda.soonest <= self._clock.now:
            self._agenda.run_due(self._runner)
        return ()

    def _move_on(self) -> None:
        """To the next moment at which a task can run."""
        runner, clock, agenda = self._runner, self._clock, self._agenda
        while not runner.runq:
            left_s = min(runner.deadlines.next_deadline(), agenda.soonest) - clock.now
            if left_s == math.inf:
                return
            if left_s > 0:
                # By no less than a step that a float can hold: where rounding makes the sum stop
                # short of the deadline, the distance left may be too small to change it.
                clock.now += max(left_s, STEP_S)
            runner.deadlines.expire(clock.now)
            if agenda.soonest <= clock.now:
                agenda.run_due(runner)


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
    """Calls functions at their times. Those of one moment in the order they were entered.

    A task does that, in its turn among those that run in the same moment. Where it would be alone,
    which is nearly always, the functions are called without it.
    """

    def __init__(self, clock: Clock) -> None:
        self.soonest = math.inf
        self._clock = clock
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._task: Task | None = None
        """While it sleeps."""
        self._over = False

    def at(self, moment: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._entries, (moment, next(self._numbers), do))
        if not self._over:
            self.soonest = self._entries[0][0]

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self.at(self._clock.now + seconds, do)

    async def run(self) -> None:
        """Until cancelled."""

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._task, self.soonest, self._over = None, math.inf, True
            return trio.lowlevel.Abort.SUCCEEDED

        while True:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(abort)
            self._call_due()

    def run_due(self, runner: Any) -> None:
        """What is due is done now, or by the task if others run in this moment too."""
        if self._task is None:
            return
        if runner.runq:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)
        else:
            self._call_due()

    def _call_due(self) -> None:
        while self._entries and self._entries[0][0] <= self._clock.now:
            heapq.heappop(self._entries)[2]()
        self.soonest = self._entries[0][0] if self._entries else math.inf


class Dice:
    """Independent streams of chance, each named, so that one more draw here moves nothing there."""

    def __init__(self, seed: str) -> None:
        self._seed = seed

    def stream(self, name: str) -> random.Random:
        # A conversation's key holds half of a surrogate pair.
        seed = f"{self._seed}:{name}".encode(errors="backslashreplace")
        return random.Random(seed.decode())
