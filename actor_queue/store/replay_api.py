"""The job that sends all dead letters again, and what a store keeps of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from actor_queue.store.api import DeadLetter

ReplayState = Literal["running", "stopping", "done", "stopped", "abandoned"]


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """The sending again of all dead letters. `abandoned`: whoever did it is gone."""

    id: str
    state: ReplayState
    total: int | None
    """None until they are counted."""
    replayed: int
    passed_over: int
    """Gone meanwhile, or not to be read."""


class ReplayStore(Protocol):
    """All may raise `StoreUnavailable`."""

    async def dead_queue(self, letter: DeadLetter) -> bool:
        """`Store.dead_replay` of a letter that was read already; False if it is gone."""
        ...

    async def replay_begin(self, job_id: str) -> ReplayJob:
        """A job of this id, or the one that goes on."""
        ...

    async def replay_tell(self, job: ReplayJob, *, over: bool) -> ReplayJob | None:
        """How far it is. What is known of the job afterwards, which may be another one."""
        ...

    async def replay_stop(self) -> ReplayJob | None:
        """Ask the job to end; None if there is none."""
        ...

    async def replay_look(self) -> ReplayJob | None:
        """The job that goes on, or was the last within an hour."""
        ...
