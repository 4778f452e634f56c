"""`/api/dead…`: batches that nobody will try again unless somebody says so."""

from __future__ import annotations

import json
from typing import Final

from quart import Blueprint, Response, request

from actor_queue.core.payload import render
from actor_queue.http import inputs, shapes
from actor_queue.http.backend import Backend
from actor_queue.http.problem import Problem
from actor_queue.http.routing import answer, needs, problem_answer, raw_answer, sent_body

UNKNOWN: Final = Problem(404, "there is no dead letter with this id")
NO_JOB: Final = Problem(404, "dead letters were not sent again as a whole within the last hour")


def routes(backend: Backend) -> Blueprint:
    api = Blueprint("dead", __name__)

    @api.get("/api/dead")
    @needs("read", ("limit", "cursor"))
    async def dead() -> Response:
        try:
            page = await backend.dead(inputs.limit(request.args), inputs.cursor(request.args))
        except ValueError:
            inputs.refuse_cursor()
        letters = [shapes.dead_letter(letter) for letter in page.letters]
        return answer({"dead": letters, "cursor": page.cursor})

    @api.get("/api/dead/<batch:batch_id>")
    @needs("read")
    async def letter(batch_id: str) -> Response:
        found = await backend.dead_letter(batch_id)
        if found is None or found.batch is None:
            return problem_answer(UNKNOWN)
        # The webhook's own bytes: decoded and encoded again, numbers might lose digits.
        about = json.dumps(shapes.dead_letter(found), ensure_ascii=False).encode()
        return raw_answer(about[:-1] + b', "batch": ' + render(found.batch) + b"}")

    @api.delete("/api/dead/<batch:batch_id>")
    @needs("admin")
    async def drop(batch_id: str) -> Response:
        if not await backend.dead_drop(batch_id):
            return problem_answer(UNKNOWN)
        return answer({"success": True, "id": batch_id})

    @api.post("/api/dead/<batch:batch_id>/replay")
    @needs("admin")
    async def replay(batch_id: str) -> Response:
        inputs.nothing(await sent_body())
        queued = await backend.dead_replay(batch_id)
        if queued is None:
            return problem_answer(UNKNOWN)
        return answer(shapes.dead_letter(queued), 202)

    @api.post("/api/dead/replay")
    @needs("admin")
    async def replay_all() -> Response:
        inputs.nothing(await sent_body())
        return answer(shapes.replay_job(await backend.replay_all()), 202)

    @api.get("/api/dead/replay")
    @needs("read")
    async def replay_job() -> Response:
        job = await backend.replay_job()
        return problem_answer(NO_JOB) if job is None else answer(shapes.replay_job(job))

    @api.delete("/api/dead/replay")
    @needs("admin")
    async def stop_replaying() -> Response:
        job = await backend.replay_stop()
        return problem_answer(NO_JOB) if job is None else answer(shapes.replay_job(job), 202)

    return api
