"""`/api/routes`: how each receiver is, pausing one, and sending it a test."""

from __future__ import annotations

from quart import Blueprint, Response

from actor_queue.core.conversation import is_route_name
from actor_queue.http import inputs, shapes
from actor_queue.http.backend import Backend, SendTest
from actor_queue.http.problem import not_found, unavailable
from actor_queue.http.routing import (
    allowed_route,
    answer,
    asked_by,
    done,
    needs,
    problem_answer,
    sent_body,
)
from actor_queue.runtime.lines import tell


def routes(backend: Backend, send_test: SendTest | None = None) -> Blueprint:
    api = Blueprint("receivers", __name__)

    @api.get("/api/routes")
    @needs("read")
    async def listed() -> Response:
        return answer(shapes.routes(await backend.gates.receivers(allowed_route(None))))

    @api.post("/api/routes/<name>/pause")
    @needs("admin")
    async def pause(name: str) -> Response:
        why = inputs.reason(await sent_body())
        allowed_route(name)  # first, so that a bound key does not learn which others there are
        if not is_route_name(name) or name not in backend.routes:
            return problem_answer(not_found())
        key = asked_by()
        await backend.gates.pause(name, None if key is None else key.name, why)
        await backend.note_deed(done("pause", route=name), None)
        return answer(shapes.routes(await backend.gates.receivers(name)))

    @api.post("/api/routes/<name>/resume")
    @needs("admin")
    async def resume(name: str) -> Response:
        inputs.reason(await sent_body())
        allowed_route(name)
        # One that has left the file may be resumed before it comes back.
        if not is_route_name(name):
            return problem_answer(not_found())
        await backend.gates.resume(name)
        await backend.note_deed(done("resume", route=name), None)
        return answer(shapes.routes(await backend.gates.receivers(name)))

    @api.post("/api/routes/<name>/test")
    @needs("admin")
    async def test(name: str) -> Response:
        inputs.reason(await sent_body())
        allowed_route(name)
        if not is_route_name(name) or name not in backend.routes:
            return problem_answer(not_found())
        if send_test is None:
            return problem_answer(unavailable("this process sends no tests"))
        tested = await send_test(name)
        if tested is None:
            return problem_answer(not_found())
        key = asked_by()
        by = {} if key is None else {"key": key.name}
        tell("test_sent", route=name, result=tested.level, **by)
        return answer(tested)

    return api
