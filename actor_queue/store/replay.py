"""The one job that sends all dead letters again: where it stands, whichever replica is asked."""

from __future__ import annotations

import json
from typing import Final, Literal

from actor_queue.store.base import READING, StoreBase, Unreadable, expect, listed, number, text
from actor_queue.store.replay_api import ReplayJob, ReplayState

SILENT_MS: Final = 10_000
"""A job that was not heard of for so long has nobody any more who does it."""
KEPT_MS: Final = 3_600_000

Verb = Literal["begin", "tell", "stop", "look"]


class ReplayJobs(StoreBase):
    """The verbs behind `/api/dead/replay`."""

    async def replay_begin(self, job_id: str) -> ReplayJob:
        """See `Store.replay_begin`."""
        job = await self._ask_job("begin", job_id, _progress(None, 0, 0))
        if job is None:
            raise Unreadable
        return job

    async def replay_tell(self, job: ReplayJob, *, over: bool) -> ReplayJob | None:
        """See `Store.replay_tell`."""
        told = _progress(job.total, job.replayed, job.passed_over)
        return await self._ask_job("tell", job.id, told, "" if over else SILENT_MS)

    async def replay_stop(self) -> ReplayJob | None:
        """See `Store.replay_stop`."""
        return await self._ask_job("stop")

    async def replay_look(self) -> ReplayJob | None:
        """See `Store.replay_look`."""
        return await self._ask_job("look")

    async def _ask_job(
        self, verb: Verb, job_id: str = "", told: str = "", silent: int | str = SILENT_MS
    ) -> ReplayJob | None:
        args = (self._now, verb, job_id, told, silent, KEPT_MS)
        said = listed(await self._call("replay_job_v1", (self._keys.replay,), *args))
        if not said:
            return None
        with READING:
            return _job(said)


def _progress(total: int | None, replayed: int, passed_over: int) -> str:
    return json.dumps([total, replayed, passed_over])


def _job(said: list[object]) -> ReplayJob:
    name, told, silent_ms, over, stop = said
    total, replayed, passed_over = json.loads(text(told))
    expect(isinstance(total, int | None), isinstance(replayed, int), isinstance(passed_over, int))
    return ReplayJob(
        text(name),
        _state(over=text(over) == "1", stop=text(stop) == "1", silent_ms=number(silent_ms)),
        total,
        replayed,
        passed_over,
    )


def _state(*, over: bool, stop: bool, silent_ms: int) -> ReplayState:
    if over:
        return "stopped" if stop else "done"
    if silent_ms >= SILENT_MS:
        return "abandoned"
    return "stopping" if stop else "running"
