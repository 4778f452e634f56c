"""`/api/users…` and `/api/shards`: who waits, and what an operator can do about it."""

from __future__ import annotations

from quart import Blueprint, Response, request

from actor_queue.http import inputs, shapes
from actor_queue.http.backend import Backend
from actor_queue.http.problem import Problem
from actor_queue.http.routing import answer, asked_user, needs, problem_answer, sent_body
from actor_queue.store.api import UserView
from actor_queue.store.base import ATTEMPT_MARGIN_MS

USER = "/api/users/<path>"
"""The dispatcher puts a fixed word in the place of the user, who is in the scope instead."""


def routes(backend: Backend) -> Blueprint:
    api = Blueprint("users", __name__)
    limit_ms = backend.settings.webhook_timeout_ms + ATTEMPT_MARGIN_MS

    def page(view: UserView) -> shapes.Json:
        return shapes.user_page(view, limit_ms, backend.logged_as(view.user))

    @api.get("/api/users")
    @needs("read", ("state", "limit", "cursor"))
    async def users() -> Response:
        state, limit = inputs.state(request.args), inputs.limit(request.args)
        try:
            found = await backend.users(state, limit, inputs.cursor(request.args))
        except ValueError:
            inputs.refuse_cursor()
        listed = [shapes.user_line(view, limit_ms) for view in found.users]
        return answer({"users": listed, "cursor": found.cursor})

    @api.get(USER)
    @needs("read")
    async def user(path: str) -> Response:
        return answer(page(await backend.describe(asked_user())))

    @api.post(f"{USER}/flush")
    @needs("admin")
    async def flush(path: str) -> Response:
        inputs.nothing(await sent_body())
        view = await backend.flush(asked_user())
        if view == "held":
            detail = "this user is on hold; release it first"
            return problem_answer(Problem(409, detail, title="On hold"))
        return answer(page(view))

    @api.post(f"{USER}/typing")
    @needs("ingest")
    async def typing(path: str) -> Response:
        ttl_ms = inputs.typing_ttl_ms(await sent_body(), backend.settings.max_ttl_ms)
        extended, view = await backend.typing(asked_user(), ttl_ms)
        return answer({**page(view), "extended": extended})

    @api.post(f"{USER}/hold")
    @needs("admin")
    async def hold(path: str) -> Response:
        for_ms = inputs.hold_ms(await sent_body())
        return answer(page(await backend.hold(asked_user(), for_ms)))

    @api.post(f"{USER}/release")
    @needs("admin")
    async def release(path: str) -> Response:
        inputs.nothing(await sent_body())
        return answer(page(await backend.unhold(asked_user())))

    @api.delete(USER)
    @needs("admin")
    async def drop(path: str) -> Response:
        name = asked_user()
        return answer(shapes.dropped(name, await backend.drop(name)))

    @api.get("/api/shards")
    @needs("read")
    async def shards() -> Response:
        return answer(shapes.shards(await backend.replicas(), await backend.leases()))

    return api
