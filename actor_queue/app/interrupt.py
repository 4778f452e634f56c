"""Ctrl-C in a program on Trio that has a queue: it reaches the program, never a task of the queue.

Trio raises `KeyboardInterrupt` in whichever task runs. In one of ours it ended a connection to
Redis while that was being made, which counts as a Redis that is away: the queue connected again,
and the program never heard of the interrupt.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import trio

Interrupted = Callable[[int, FrameType | None], object]

_open: list[Spared] = []


class Spared:
    """What a queue runs: the nurseries that the task which opens it has opened since `spared`."""

    def __init__(self) -> None:
        self._task = trio.lowlevel.current_task()
        self._first = len(self._task.child_nurseries)
        self._last: int | None = None

    def complete(self) -> None:
        """The queue is open: nurseries that its task opens from now on are the program's."""
        self._last = len(self._task.child_nurseries)

    def has(self, nursery: trio.Nursery) -> bool:
        return nursery in self._task.child_nurseries[self._first : self._last]


@contextmanager
def spared() -> Iterator[Spared]:
    """While this is open, an interrupt that meets a task of the queue goes to the main task.

    A second one is raised where it falls, because a `deliver` that blocks the loop would keep the
    first one from ever arriving. A program with a handler of its own keeps it.
    """
    ours = Spared()
    before = _handler_of_trio()
    if not (before or _open) or threading.current_thread() is not threading.main_thread():
        yield ours
        return
    if before is not None:
        signal.signal(signal.SIGINT, _Handler(before))
    _open.append(ours)
    try:
        yield ours
    finally:
        _open.remove(ours)
        now = signal.getsignal(signal.SIGINT)
        if not _open and isinstance(now, _Handler):
            signal.signal(signal.SIGINT, now.before)


class _Handler:
    """The handler of SIGINT while a queue is open; `before` is the one of Trio."""

    def __init__(self, before: Interrupted) -> None:
        self.before = before
        self._spared = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self._spared and _is_in_queue():
            self._spared = True
            # Without a frame to raise in, Trio raises in the main task when that runs next.
            frame = None
        self.before(number, frame)


def _is_in_queue() -> bool:
    try:
        task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
    except RuntimeError:
        return False
    while task is not None and (nursery := task.parent_nursery) is not None:
        if any(queue.has(nursery) for queue in _open):
            return True
        task = nursery.parent_task
    return False


def _handler_of_trio() -> Interrupted | None:
    """What is not Trio's was put there by the program."""
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler) and getattr(handler, "__module__", "").startswith("trio."):
        return handler
    return None
