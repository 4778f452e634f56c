"""The actors of this replica: who has one, and who gets one.

An actor exists only for a user who is due within the horizon, so memory follows activity and
not the amount that waits. The horizon shrinks as the actors become many (`core/horizon.py`), and
whoever is turned away is found by the sweep in time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import trio

from actor_queue.core.horizon import HORIZON_S, NEAR_S, horizon_s
from actor_queue.runtime.actor import Actor
from actor_queue.runtime.lanes import Lanes
from actor_queue.runtime.world import World

FINISH_POLL_S = 0.01
TASK_NAME = "actor_queue.runtime.actor.Actor"
"""Of each actor's task, as Trio would make it of the class. Trio would make it for each task."""
SHORT_S = 2.0
"""With a shorter horizon the next sweep may come too late for a user whose actor gave up."""


class Registry:
    """`run` must be running before the first nudge.

    More than `actors_max` actors there are only of users who are due now, and of a route no more
    than are brought in at once.
    """

    def __init__(self, world: World, actors_max: int) -> None:
        self._world = world
        self._actors_max = actors_max
        self.turned_away: Callable[[float], None] = lambda at: None
        """Called when a user gets no actor, with when the user is due (trio clock)."""
        self._actors: dict[str, Actor] = {}
        self._when_ended = self._ended
        """One object for all actors."""
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

    @property
    def lanes(self) -> Lanes:
        return self._world.lanes

    @property
    def full(self) -> bool:
        """Whether nobody gets an actor, not even who is due now."""
        return len(self._actors) >= self._actors_max + self._world.lanes.besides

    @property
    def horizon_s(self) -> float:
        """In how many seconds at most somebody must be due to get an actor now."""
        return horizon_s(len(self._actors), self._actors_max)

    def nudge(self, user: str, shard: int, at: float, asked: float) -> bool:
        """The user's next step is at `at`; the store was asked at `asked` (both trio clock).

        False: the user has no actor, and gets none now.
        """
        actor = self._actors.get(user)
        if actor is not None:
            actor.nudge(at, asked)
            if actor.done:
                # Too far away by now.
                self._forget(actor)
                self.turned_away(at)
            return True
        if not self._open or self._world.gates.bars(user):
            return False
        if not self._has_room(at - trio.current_time()):
            self.turned_away(at)
            return False
        actor = Actor(self._world, user, shard, at)
        self._actors[user] = actor
        self._look_ahead()
        assert self._nursery is not None
        self._nursery.start_soon(actor.run, self._when_ended, name=TASK_NAME)
        return True

    def hint(self, user: str, at: float) -> None:
        """A sleeper's next step may be at `at` already; whoever is busy hears the truth anyway."""
        actor = self._actors.get(user)
        if actor is not None and actor.sleeping:
            actor.nudge(at, asked=-math.inf)
            if actor.done:
                self._forget(actor)
                self.turned_away(at)

    def _has_room(self, due_in_s: float) -> bool:
        """Those who are due now come before those who only wait, however many these are."""
        if due_in_s <= NEAR_S:
            return not self.full
        if due_in_s > HORIZON_S:
            return False
        room = due_in_s <= self.horizon_s
        self._world.counters.timers_put_off += not room
        return room

    def _look_ahead(self) -> None:
        """Who has an actor and has to wait for longer than this gives it up, too."""
        reach_s = self.horizon_s
        if reach_s != self._world.policy.horizon_s:
            self._world.policy = replace(self._world.policy, horizon_s=reach_s)

    def _forget(self, actor: Actor) -> None:
        if self._actors.get(actor.user) is actor:
            del self._actors[actor.user]
            self._look_ahead()

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

    def _ended(self, actor: Actor) -> None:
        """Nothing is awaited between an actor's end and this, so no nudge can fall in between."""
        short = self.horizon_s < SHORT_S
        self._forget(actor)
        if short:
            # It may have ended because its user is due a little later than that.
            self.turned_away(trio.current_time() + NEAR_S)
