"""The job that sends all dead letters again, and what a store keeps of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

from actor_queue.store.lists_api import EVERY_LETTER, DeadFilter

if TYPE_CHECKING:
    from actor_queue.store.api import DeadLetter

PER_SECOND_MAX: Final = 500
"""Dead letters that a job queues in a second: so many stand in front of claims."""

ReplayState = Literal["running", "stopping", "done", "stopped", "abandoned"]


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """The sending again of dead letters. `abandoned`: whoever did it is gone, and nobody has
    taken it up yet."""

    id: str
    state: ReplayState
    total: int | None
    """None until they are counted."""
    replayed: int
    passed_over: int
    """Gone meanwhile, or not to be read."""
    wanted: DeadFilter = EVERY_LETTER
    """Which dead letters."""
    per_second: int = PER_SECOND_MAX
    """How many at most."""


class ReplayStore(Protocol):
    """All may raise `StoreUnavailable`."""

    async def dead_queue(self, letter: DeadLetter) -> bool:
        """`Store.dead_replay` of a letter that was read already; False if it is gone."""
        ...

    async def replay_begin(
        self, job_id: str, wanted: DeadFilter = EVERY_LETTER, per_second: int = PER_SECOND_MAX
    ) -> ReplayJob:
        """A job of this id, or the one that goes on, which may be about others."""
        ...

    async def replay_tell(self, job: ReplayJob, *, over: bool) -> ReplayJob | None:
        """How far it is. What is known of the job afterwards, which may be another one."""
        ...

    async def replay_take(self, job_id: str) -> ReplayJob | None:
        """Take up an abandoned job: it has this id from now on, and goes on counting. What is known
        of the job otherwise, which then has another id; None if there is none."""
        ...

    async def replay_stop(self, job_id: str = "") -> ReplayJob | None:
        """Ask the job of this id to end, or without an id whichever goes on. What is known of the
        job afterwards, which may be another one; None if there is none."""
        ...

    async def replay_look(self) -> ReplayJob | None:
        """The job that goes on, or was the last within an hour."""
        ...
