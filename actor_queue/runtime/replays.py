"""The job that sends dead letters again, all or some: counted first, then oldest first, at a pace.

One replica does it, whichever was asked. It tells the store how far it is, so that every replica
can say so, and hears there whether it is to stop. When that replica dies the job is abandoned until
another one, which looks for that every few seconds, takes it up: what was not queued is a dead
letter still. Nobody takes up a job that was asked to stop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Final

import trio

from actor_queue.store.api import DeadLetter, Store, StoreUnavailable
from actor_queue.store.base import Spoilt
from actor_queue.store.lists_api import DeadFilter
from actor_queue.store.replay_api import ReplayJob
from actor_queue.transport.reading import Unreadable

PAGE: Final = 100
LETTERS_MAX: Final = 100_000
"""By one job: the oldest; another job takes the next."""
PAUSE_S: Final = 0.2
"""Between two pages, so at most 500 letters a second stand in front of claims. A slower job has
smaller pages, and one that is slower still longer pauses."""
AGAIN_S: Final = 1.0
LOOK_S: Final = 5.0
"""Between two looks for a job that was abandoned."""
SOON_S: Final = 1.0
"""How long whoever began it waits for its end."""


class Replays:
    """`run()` does what `begin()` asked for. `queued` hears of each letter that was queued."""

    def __init__(
        self, store: Store, new_id: Callable[[], str], queued: Callable[[DeadLetter, float], None]
    ) -> None:
        self._store = store
        self._new_id = new_id
        self._queued = queued
        self._begun = trio.Event()
        self._next: tuple[ReplayJob, trio.Event] | None = None
        """The job that was begun last, and what tells of its end."""

    async def begin(self, wanted: DeadFilter, per_second: int) -> ReplayJob:
        """The job as it is after a moment: a small one is over. Raises `StoreUnavailable`.

        While another job goes on, that one, which may be about other letters.
        """
        asked = f"replay-{self._new_id()}"
        job = await self._store.replay_begin(asked, wanted, per_second)
        if job.id != asked:
            return job
        ended = trio.Event()
        self._next = job, ended
        self._begun.set()
        with trio.move_on_after(SOON_S):
            await ended.wait()
        return await self._store.replay_look() or job

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with trio.move_on_after(LOOK_S):
                await self._begun.wait()
            if not self._begun.is_set():
                await self._take_up()
                continue
            self._begun = trio.Event()
            assert self._next is not None
            job, ended = self._next
            await self._carry_out(job)
            ended.set()

    async def _take_up(self) -> None:
        """Go on with a job whose replica is gone, under an id of ours: if that replica was only
        frozen, it hears that the job is another's."""
        asked = f"replay-{self._new_id()}"
        try:
            job = await self._store.replay_take(asked)
        except StoreUnavailable:
            return  # the next look will tell
        if job is not None and job.id == asked:
            await self._carry_out(job)

    async def _carry_out(self, job: ReplayJob) -> None:
        letters, unreadable = await self._waiting(job)
        total = job.replayed + len(letters) + unreadable
        job = replace(job, total=total, passed_over=unreadable)
        oldest_first = iter(reversed(letters))
        goes_on = await self._tell(job, over=False)
        at_once = min(PAGE, max(1, int(job.per_second * PAUSE_S)))
        while goes_on and (page := list(islice(oldest_first, at_once))):
            for letter in page:
                queued = await self._queue(letter)
                job = replace(
                    job,
                    replayed=job.replayed + queued,
                    passed_over=job.passed_over + (not queued),
                )
            goes_on = await self._tell(job, over=False)
            if goes_on and len(page) == at_once:
                await trio.sleep(max(PAUSE_S, 1 / job.per_second))
        await self._tell(job, over=True)

    async def _waiting(self, job: ReplayJob) -> tuple[deque[DeadLetter], int]:
        """Without their messages, newest first; those that are queued already left out. And how
        many cannot be read."""
        found: deque[DeadLetter] = deque(maxlen=LETTERS_MAX)
        cursor: str | None = None
        unreadable = 0
        while await self._tell(job, over=False):  # counting many takes a while
            try:
                page = await self._store.dead(PAGE, cursor, job.wanted)
            except StoreUnavailable:
                await trio.sleep(AGAIN_S)
                continue
            found.extend(letter for letter in page.letters if not letter.queued)
            unreadable += page.unreadable
            cursor = page.cursor
            if cursor is None:
                break
        return found, unreadable

    async def _queue(self, letter: DeadLetter) -> bool:
        while True:
            asked = trio.current_time()
            try:
                queued = await self._store.dead_queue(letter)
            except (Unreadable, Spoilt):
                return False  # what somebody else wrote there stays, and stops nobody's letter
            except StoreUnavailable:
                await trio.sleep(AGAIN_S)
                continue
            if queued:
                self._queued(letter, asked)
            return queued

    async def _tell(self, job: ReplayJob, *, over: bool) -> bool:
        """Whether to go on: not when asked to stop, or when another job has taken its place."""
        while True:
            try:
                known = await self._store.replay_tell(job, over=over)
            except StoreUnavailable:
                await trio.sleep(AGAIN_S)
                continue
            return known is not None and known.id == job.id and known.state == "running"
