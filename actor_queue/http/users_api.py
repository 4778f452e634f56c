"""`/api/users…` and `/api/shards`: who waits, and what an operator can do about it."""

from __future__ import annotations

from collections.abc import Callable

from quart import Blueprint, Response, request

from actor_queue.core.conversation import route_of
from actor_queue.core.json_text import refuse_field
from actor_queue.http import inputs, models, shapes
from actor_queue.http.backend import Backend
from actor_queue.http.problem import Problem
from actor_queue.http.routing import (
    answer,
    asked_user,
    done,
    needs,
    problem_answer,
    refused_cursor,
    sent_body,
    within_reach,
)
from actor_queue.http.shared import Shared
from actor_queue.http.texts import tell_of_texts, texts_wanted
from actor_queue.runtime.receivers import Blocked
from actor_queue.store.api import UserView
from actor_queue.store.base import ATTEMPT_MARGIN_MS
from actor_queue.store.deeds_api import USER_DEEDS_MAX

ON_HOLD = Problem(409, "this user is on hold; release it first", title="On hold")
ONE_USER = models.fields_of(models.OneUser)
USER = "/api/users/<path>"
"""The dispatcher puts a fixed word in the place of the user, who is in the scope instead."""


def routes(backend: Backend) -> Blueprint:
    api = Blueprint("users", __name__)

    def limit_ms(view: UserView) -> int:
        """What the store allows an attempt."""
        route = backend.routes.get(route_of(view.user))
        timeout_ms = backend.settings.webhook_timeout_ms if route is None else route.timeout_ms
        return timeout_ms + ATTEMPT_MARGIN_MS

    def blocked(view: UserView) -> Blocked | None:
        return backend.gates.blocked(route_of(view.user))

    def page(view: UserView) -> models.UserDetail:
        logged_as = backend.logged_as(view.user)
        return shapes.user_page(view, limit_ms(view), blocked(view), logged_as)

    @api.get("/api/users")
    @needs("read", models.fields_of(models.ListUsers))
    @Shared().view
    async def users() -> Response:
        asked = inputs.read(models.ListUsers, request.args)
        with refused_cursor():
            found = await backend.users(within_reach(asked.wanted()), asked.limit, asked.cursor)
        listed = [shapes.user_line(view, limit_ms(view), blocked(view)) for view in found.users]
        return answer(models.UserList(users=listed, cursor=found.cursor))

    @api.get(USER)
    @needs("read", models.fields_of(models.ShowUser))
    async def user(path: str) -> Response:
        if inputs.read(models.ShowUser, request.args).deeds:
            name = asked_user()
            found = await backend.deeds(name, USER_DEEDS_MAX)
            return answer(shapes.user_deeds(name, found))
        name = asked_user()
        wanted = texts_wanted(name, by_default=False)
        if isinstance(wanted, Problem):
            return problem_answer(wanted)
        shown = page(await backend.describe(name))
        if not wanted:
            return answer(shown)
        tell_of_texts(shown.logged_as)
        return answer(shapes.user_texts(shown, await backend.waiting(name)))

    @api.post(f"{USER}/flush")
    @needs("admin", ONE_USER)
    async def flush(path: str) -> Response:
        why, name = inputs.reason(await sent_body()), asked_user()
        view = await backend.flush(name)
        if view == "held":
            return problem_answer(ON_HOLD)
        await backend.note_deed(done("flush", reason=why), name)
        return answer(page(view))

    @api.post(f"{USER}/typing")
    @needs("ingest", ONE_USER)
    async def typing(path: str) -> Response:
        ttl_ms = inputs.typing_ttl_ms(await sent_body(), backend.settings.max_ttl_ms)
        extended, view = await backend.typing(asked_user(), ttl_ms)
        return answer(shapes.typing_answer(page(view), extended=extended))

    _holds(api, backend, page)
    _drops(api, backend)
    return api


def _holds(api: Blueprint, backend: Backend, page: Callable[[UserView], models.UserDetail]) -> None:
    @api.post(f"{USER}/hold")
    @needs("admin", ONE_USER)
    async def hold(path: str) -> Response:
        body, name = await sent_body(), asked_user()
        for_ms = inputs.hold_ms(body)
        deed = done("hold", reason=inputs.hold_reason(body), seconds=for_ms / 1000)
        view = await backend.hold(name, for_ms)
        await backend.note_deed(deed, name)
        return answer(page(view))

    @api.post(f"{USER}/release")
    @needs("admin", ONE_USER)
    async def release(path: str) -> Response:
        why, name = inputs.reason(await sent_body()), asked_user()
        view = await backend.unhold(name)
        await backend.note_deed(done("release", reason=why), name)
        return answer(page(view))


def _drops(api: Blueprint, backend: Backend) -> None:
    @api.delete(USER)
    @needs("admin", models.fields_of(models.DropUser))
    async def drop(path: str) -> Response:
        asked = inputs.read(models.DropUser, request.args)
        name = asked_user()
        if asked.everything:
            try:
                erased = await backend.erase(name, asked.cursor)
            except ValueError:
                models.refuse_cursor()
            if asked.cursor is None:
                await backend.note_deed(done("erase"), name)
            return answer(shapes.erased(name, erased))
        if asked.cursor is not None:
            refuse_field("cursor", "cursor belongs to everything=true")
        wanted = texts_wanted(name, by_default=True) is True
        gone = await backend.drop(name)
        await backend.note_deed(done("drop", reason=asked.reason), name)
        if wanted and gone.stored:
            tell_of_texts(backend.logged_as(name))
        return answer(shapes.dropped(name, gone, masked=not wanted))


def shards(backend: Backend) -> Blueprint:
    api = Blueprint("shards", __name__)

    @api.get("/api/shards")
    @needs("read")
    @Shared().view
    async def shards() -> Response:
        return answer(shapes.shards(await backend.replicas(), await backend.leases()))

    return api
