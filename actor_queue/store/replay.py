"""The one job that sends all dead letters again: where it stands, whichever replica is asked."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final, Literal

from actor_queue.store.base import StoreBase
from actor_queue.store.lists_api import EVERY_LETTER, DeadFilter
from actor_queue.store.replay_api import PER_SECOND_MAX, ReplayJob, ReplayState
from actor_queue.transport.reading import READING, Unreadable, expect, listed, number, text

SILENT_MS: Final = 10_000
"""A job that was not heard of for so long has nobody any more who does it."""
KEPT_MS: Final = 3_600_000

Verb = Literal["begin", "tell", "take", "stop", "look"]


class ReplayJobs(StoreBase):
    """The verbs behind `/api/dead/replay`."""

    async def replay_begin(
        self, job_id: str, wanted: DeadFilter = EVERY_LETTER, per_second: int = PER_SECOND_MAX
    ) -> ReplayJob:
        """See `Store.replay_begin`."""
        new = ReplayJob(job_id, "running", None, 0, 0, wanted, per_second)
        job = await self._ask_job("begin", job_id, _told(new))
        if job is None:
            raise Unreadable
        return job

    async def replay_tell(self, job: ReplayJob, *, over: bool) -> ReplayJob | None:
        """See `Store.replay_tell`."""
        return await self._ask_job("tell", job.id, _told(job), "" if over else SILENT_MS)

    async def replay_take(self, job_id: str) -> ReplayJob | None:
        """See `Store.replay_take`."""
        return await self._ask_job("take", job_id)

    async def replay_stop(self, job_id: str = "") -> ReplayJob | None:
        """See `Store.replay_stop`."""
        return await self._ask_job("stop", job_id)

    async def replay_look(self) -> ReplayJob | None:
        """See `Store.replay_look`."""
        return await self._ask_job("look")

    async def _ask_job(
        self, verb: Verb, job_id: str = "", told: str = "", silent: int | str = SILENT_MS
    ) -> ReplayJob | None:
        args = (self._now, verb, job_id, told, silent, KEPT_MS)
        said = listed(await self._call("replay_job_v3", (self._keys.replay,), *args))
        if not said:
            return None
        with READING:
            return _job(said)


def _told(job: ReplayJob) -> str:
    """Three numbers, as a release without filters reads them; what narrows a job stands behind them
    only where something does. That release then finds it unreadable, and so takes up no job whose
    filter it would not keep to."""
    told: list[object] = [job.total, job.replayed, job.passed_over]
    if job.wanted.narrow or job.per_second != PER_SECOND_MAX:
        wanted = asdict(job.wanted)
        if job.wanted.route is None:
            del wanted["route"]  # so that a release without routes takes the job up, too
        told.append({**wanted, "per_second": job.per_second})
    return json.dumps(told)


def _job(said: list[object]) -> ReplayJob:
    name, told, silent_ms, over, stop = said
    total, replayed, passed_over, *narrowed = json.loads(text(told))
    expect(isinstance(total, int | None), isinstance(replayed, int), isinstance(passed_over, int))
    wanted, per_second = _narrowed(*narrowed) if narrowed else (EVERY_LETTER, PER_SECOND_MAX)
    return ReplayJob(
        text(name),
        _state(over=text(over) == "1", stop=text(stop) == "1", silent_ms=number(silent_ms)),
        total,
        replayed,
        passed_over,
        wanted,
        per_second,
    )


def _narrowed(told: dict[str, Any]) -> tuple[DeadFilter, int]:
    """Raises TypeError for a field that is not known: a job is never about more than was asked."""
    per_second = told.pop("per_second")
    wanted = DeadFilter(**told)
    expect(
        type(per_second) is int and 1 <= per_second <= PER_SECOND_MAX,
        isinstance(wanted.user, str) and isinstance(wanted.reason, str),
        isinstance(wanted.route, str | None),
        isinstance(wanted.status, int | None) and isinstance(wanted.since_ms, int | None),
    )
    return wanted, per_second


def _state(*, over: bool, stop: bool, silent_ms: int) -> ReplayState:
    if over:
        return "stopped" if stop else "done"
    if silent_ms >= SILENT_MS:
        # Nobody takes up what somebody has asked to end.
        return "stopped" if stop else "abandoned"
    return "stopping" if stop else "running"
