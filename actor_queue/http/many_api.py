"""Verbs for many: `POST /api/users/flush`, `hold`, `release` and `drop`, `POST /api/dead/drop`, and
the job that sends dead letters again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast, get_args

from quart import Blueprint, Response, request

from actor_queue.http import inputs, models, shapes
from actor_queue.http.backend import Backend
from actor_queue.http.problem import Problem
from actor_queue.http.routing import (
    answer,
    asked_by,
    asked_name,
    done,
    needs,
    problem_answer,
    refused_cursor,
    sent_body,
    within_reach,
)
from actor_queue.http.users_api import USER
from actor_queue.runtime.many import ManyVerb, Piece
from actor_queue.store.replay_api import ReplayJob

MANY_VERBS: Final[tuple[str, ...]] = get_args(ManyVerb)
ANOTHER_JOB: Final = Problem(
    409,
    "other dead letters are being sent again: GET /api/dead/replay says which; wait for the end of"
    " that, or DELETE it",
    title="Another replay goes on",
)
NO_JOB: Final = Problem(404, "dead letters were not sent again as a whole within the last hour")


def allowed(methods: Iterable[str]) -> set[str]:
    """Of the methods that a path answers those that it answers for the user in it: a POST is for
    many, and only where a verb stands in a user's place."""
    is_user = request.path.rpartition("/")[0] == USER.rpartition("/")[0]
    return set(methods) - ({"POST"} if is_user and asked_name() not in MANY_VERBS else set())


def _within_reach(job: ReplayJob | None) -> ReplayJob | None:
    """None for one that is about more than the key reaches."""
    key = asked_by()
    return job if job is not None and (key is None or key.reaches(job.wanted.route)) else None


async def _stopped(backend: Backend) -> ReplayJob | None:
    """The job that was asked to end; None if there is none within reach. Between a look and a stop
    another job may begin, or a replica take the job up under a new id: what was looked at is
    stopped, and nothing else."""
    job, asked = _within_reach(await backend.replay_job()), ""
    while job is not None and job.id != asked:
        asked = job.id
        job = _within_reach(await backend.replay_stop(asked))
    return job


def users(backend: Backend) -> Blueprint:
    api = Blueprint("many_users", __name__)

    @api.post(USER)
    @needs("admin")
    async def for_many(path: str) -> Response:
        """Verbs for many stand where otherwise a user does, who takes no POST (`allowed`)."""
        assert asked_name() in MANY_VERBS
        verb = cast(ManyVerb, asked_name())
        body = await sent_body()
        if verb == "hold":
            hold = inputs.spelled(models.HoldMany, body)
            for_ms = models.HOLD_DEFAULT_S * 1000 if hold.seconds is None else hold.seconds
            asked: models.ManyUsers = hold
        else:
            asked, for_ms = inputs.spelled(models.ManyUsers, body), 0
        piece = Piece(asked.dry_run, asked.limit, asked.cursor)
        with refused_cursor():
            many = await backend.do_for_many(verb, within_reach(asked.wanted()), piece, for_ms)
        if many.users:
            seconds = for_ms / 1000 if verb == "hold" else None
            await backend.note_deed_to(done(verb, reason=asked.reason, seconds=seconds), many.users)
        return answer(shapes.many(many, dry_run=asked.dry_run))

    return api


def dead(backend: Backend) -> Blueprint:
    api = Blueprint("many_dead", __name__)

    @api.post("/api/dead/replay")
    @needs("admin")
    async def replay_all() -> Response:
        body = await sent_body()
        asked = inputs.spelled(models.ReplayMany, body) if body else models.ReplayMany()
        wanted = within_reach(asked.wanted())
        if asked.dry_run:
            with refused_cursor():
                count = await backend.replay_count(wanted, asked.cursor)
            return answer(shapes.many(count, dry_run=True))
        job = await backend.replay_all(wanted, asked.per_second)
        if (job.wanted, job.per_second) != (wanted, asked.per_second):
            return problem_answer(ANOTHER_JOB)
        await backend.note_deed(done("replay_all"), None)
        return answer(shapes.replay_job(job), 202)

    @api.post("/api/dead/drop")
    @needs("admin")
    async def drop_many() -> Response:
        asked = inputs.spelled(models.ManyDead, await sent_body())
        piece = Piece(asked.dry_run, asked.limit, asked.cursor)
        with refused_cursor():
            many = await backend.drop_many_dead(within_reach(asked.wanted()), piece)
        if many.users:
            await backend.note_deed(done("drop_dead"), None)
        return answer(shapes.many(many, dry_run=asked.dry_run))

    @api.get("/api/dead/replay")
    @needs("read")
    async def replay_job() -> Response:
        job = _within_reach(await backend.replay_job())
        return problem_answer(NO_JOB) if job is None else answer(shapes.replay_job(job))

    @api.delete("/api/dead/replay")
    @needs("admin")
    async def stop_replaying() -> Response:
        job = await _stopped(backend)
        if job is not None:
            await backend.note_deed(done("stop_replay"), None)
        return problem_answer(NO_JOB) if job is None else answer(shapes.replay_job(job), 202)

    return api
