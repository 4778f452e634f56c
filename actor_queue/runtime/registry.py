"""The actors of this replica: who has one, and who gets one.

An actor exists only for a user who is due within the horizon, so memory follows activity and
not the amount that waits. Whoever is refused one is found by the sweep in time.
"""

from __future__ import annotations

import math

import trio

from actor_queue.runtime.actor import Actor, World

HORIZON_S = 120.0
FINISH_POLL_S = 0.01
ACTORS_MAX = 250_000
"""About 1 GB; beyond it the sweep brings users in when their time comes."""
AT_ONCE_S = 2.5
"""The sweep's look ahead: nobody comes later who is refused here."""


class Registry:
    """`run` must be running before the first nudge."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._actors: dict[str, Actor] = {}
        self._nursery: trio.Nursery | None = None
        self._open = False

    def __len__(self) -> int:
        return len(self._actors)

    def __contains__(self, user: object) -> bool:
        return user in self._actors

    @property
    def awake(self) -> int:
        """Actors that are doing something, or wait for a slot to do it."""
        return self._world.awake

    def nudge(self, user: str, shard: int, at: float, asked: float) -> None:
        """The user's next step is at `at`; the store was asked at `asked` (both trio clock)."""
        actor = self._actors.get(user)
        if actor is not None:
            actor.nudge(at, asked)
            if actor.done:
                del self._actors[user]
        elif self._open and self._has_room(at - trio.current_time()):
            actor = Actor(self._world, user, shard, at)
            self._actors[user] = actor
            assert self._nursery is not None
            self._nursery.start_soon(self._live, actor, name=Actor)

    def hint(self, user: str, at: float) -> None:
        """A sleeper's next step may be at `at` already; whoever is busy hears the truth anyway."""
        actor = self._actors.get(user)
        if actor is not None and actor.sleeping:
            actor.nudge(at, asked=-math.inf)

    def _has_room(self, due_in_s: float) -> bool:
        """Those who are due at once come before those who only wait."""
        return due_in_s <= AT_ONCE_S or (due_in_s <= HORIZON_S and len(self._actors) < ACTORS_MAX)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Until cancelled; then every actor is cancelled too."""
        async with trio.open_nursery() as self._nursery:
            self._open = True
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._open = False

    async def finish(self, within_s: float) -> None:
        """Wait for the actors that are in the middle of something, no longer than `within_s`."""
        with trio.move_on_after(within_s):
            # A poll, because a signal would be paid for by every delivery.
            while self._world.awake:  # noqa: ASYNC110
                await trio.sleep(FINISH_POLL_S)

    async def _live(self, actor: Actor) -> None:
        try:
            await actor.run()
        finally:
            # Nothing is awaited between an actor's end and this, so no nudge can fall in between.
            if self._actors.get(actor.user) is actor:
                del self._actors[actor.user]
