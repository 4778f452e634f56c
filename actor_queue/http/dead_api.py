"""`/api/dead…`: batches that nobody will try again unless somebody says so."""

from __future__ import annotations

from typing import Final

from quart import Blueprint, Response, request

from actor_queue.core.payload import render
from actor_queue.http import inputs, models, shapes
from actor_queue.http.backend import Backend
from actor_queue.http.problem import Problem
from actor_queue.http.routing import (
    answer,
    asked_by,
    done,
    needs,
    problem_answer,
    reaches,
    refused_cursor,
    sent_body,
    within_reach,
)
from actor_queue.http.shared import Shared
from actor_queue.http.texts import tell_of_texts, texts_wanted
from actor_queue.store.api import DeadLetter
from actor_queue.store.lists_api import DeadFilter

UNKNOWN: Final = Problem(404, "there is no dead letter with this id")


def routes(backend: Backend) -> Blueprint:
    api = Blueprint("dead", __name__)
    kept_ms = backend.settings.dead_retention_ms

    async def in_reach(batch_id: str) -> bool:
        """Of a key that reaches all routes, nothing is asked: a letter that cannot be read can
        still be dropped."""
        key = asked_by()
        if key is None or key.route is None:
            return True
        letter = await backend.dead_letter(batch_id)
        return letter is not None and reaches(letter.user)

    @api.get("/api/dead")
    @needs("read", models.fields_of(models.ListDead))
    @Shared().view
    async def dead() -> Response:
        asked = inputs.read(models.ListDead, request.args)
        with refused_cursor():
            page = await backend.dead(asked.limit, asked.cursor, within_reach(asked.wanted()))
        letters = [shapes.dead_letter(letter, kept_ms) for letter in page.letters]
        return answer(models.DeadList(dead=letters, cursor=page.cursor, unreadable=page.unreadable))

    @api.get("/api/dead/groups")
    @needs("read", models.fields_of(models.GroupDead))
    @Shared().view
    async def groups() -> Response:
        asked = inputs.read(models.GroupDead, request.args)
        with refused_cursor():
            found = await _counted(backend, within_reach(asked.wanted()), asked.cursor)
        return answer(shapes.dead_groups(*found))

    @api.get("/api/dead/<batch:batch_id>")
    @needs("read", models.fields_of(models.ShowTexts))
    async def letter(batch_id: str) -> Response:
        found = await backend.dead_letter(batch_id)
        if found is None or found.batch is None or not reaches(found.user):
            return problem_answer(UNKNOWN)
        wanted = texts_wanted(found.user, by_default=True)
        if isinstance(wanted, Problem):
            return problem_answer(wanted)
        if not wanted:
            return answer(shapes.dead_letter_detail(found, kept_ms, None))
        tell_of_texts(backend.logged_as(found.user), found.id)
        return answer(shapes.dead_letter_detail(found, kept_ms, render(found.batch)))

    @api.delete("/api/dead/<batch:batch_id>")
    @needs("admin")
    async def drop(batch_id: str) -> Response:
        if not await in_reach(batch_id) or not await backend.dead_drop(batch_id):
            return problem_answer(UNKNOWN)
        await backend.note_deed(done("drop_dead", batch_id=batch_id), None)
        return answer(models.DeadGone(success=True, id=batch_id))

    @api.post("/api/dead/<batch:batch_id>/replay")
    @needs("admin")
    async def replay(batch_id: str) -> Response:
        why = inputs.reason(await sent_body())
        queued = await backend.dead_replay(batch_id) if await in_reach(batch_id) else None
        if queued is None:
            return problem_answer(UNKNOWN)
        await backend.note_deed(done("replay", reason=why, batch_id=queued.id), queued.user)
        return answer(shapes.dead_letter(queued, kept_ms), 202)

    return api


async def _counted(
    backend: Backend, wanted: DeadFilter, cursor: str | None
) -> tuple[list[DeadLetter], str | None, int]:
    """At most `models.GROUPED_MAX` letters from `cursor` on, where they go on, and how many
    cannot be read."""
    letters: list[DeadLetter] = []
    unreadable = 0
    for _ in range(models.GROUP_PAGES_MAX):
        page = await backend.dead(models.GROUPED_MAX - len(letters), cursor, wanted)
        letters += page.letters
        unreadable += page.unreadable
        cursor = page.cursor
        if cursor is None or len(letters) >= models.GROUPED_MAX:
            break
    return letters, cursor, unreadable
