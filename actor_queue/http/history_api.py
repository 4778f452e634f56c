"""`/api/attempts` and `/api/deeds`: what the service did lately, and what people did."""

from __future__ import annotations

from typing import Final

from quart import Blueprint, Response, request

from actor_queue.core.conversation import conversation_of
from actor_queue.core.history import PastAttempt
from actor_queue.core.json_text import refuse_field
from actor_queue.http import inputs, models
from actor_queue.http.backend import Backend
from actor_queue.http.lookup import Found, Known, look_up
from actor_queue.http.problem import Problem
from actor_queue.http.routing import (
    allowed_route,
    answer,
    needs,
    problem_answer,
    within_reach,
)
from actor_queue.http.shapes import deed, moment
from actor_queue.store.api import AttemptRecord

UNKNOWN: Final = Problem(
    404, "nothing is known of this id; with the user of a message, messages that wait are found too"
)


def routes(backend: Backend) -> Blueprint:
    api = Blueprint("history", __name__)

    @api.get("/api/attempts")
    @needs("read", models.fields_of(models.ListAttempts))
    async def attempts() -> Response:
        asked = inputs.read(models.ListAttempts, request.args)
        try:
            found = await backend.attempts(within_reach(asked.wanted()), asked.limit, asked.cursor)
        except ValueError:
            models.refuse_cursor()
        listed = [past_attempt(each) for each in found.attempts]
        return answer(models.AttemptList(attempts=listed, cursor=found.cursor))

    @api.get("/api/find")
    @needs("read", models.fields_of(models.Find))
    async def find() -> Response:
        asked = inputs.read(models.Find, request.args)
        if asked.id is None:
            refuse_field("id", "id must be a webhook-id or a message_id")
        route = allowed_route(asked.route)
        found = await look_up(backend, asked.id, asked.user, route)
        if not found.found and not found.remembered:
            return problem_answer(UNKNOWN)
        return answer(_look_up(asked.id, found))

    @api.get("/api/deeds")
    @needs("read", models.fields_of(models.ListDeeds), all_routes=True)
    async def deeds() -> Response:
        asked = inputs.read(models.ListDeeds, request.args)
        found = await backend.deeds(None, asked.limit)
        return answer(models.DeedList(deeds=list(map(deed, found))))

    return api


def _look_up(name: str, finding: Known) -> models.LookUp:
    return models.LookUp(
        id=name,
        found=[_found(each) for each in finding.found],
        remembered=finding.remembered,
        complete=finding.complete,
    )


def _found(found: Found) -> models.Found:
    return models.Found(
        user=conversation_of(found.user).user,
        route=conversation_of(found.user).route,
        batch_id=found.batch_id,
        matched=found.matched,
        where=found.where,
        attempts=[
            models.FoundAttempt(
                at=moment(each.at_ms),
                attempt=each.number,
                outcome=each.outcome,
                status=each.status,
                reason=each.reason,
                answer=each.answer if isinstance(each, AttemptRecord) else None,
                replica=each.replica,
                duration_ms=each.took_ms,
                messages=each.messages,
            )
            for each in found.attempts
        ],
    )


def past_attempt(attempt: PastAttempt) -> models.PastAttempt:
    return models.PastAttempt(
        at=moment(attempt.at_ms),
        user=attempt.user,
        route=attempt.route,
        batch_id=attempt.batch_id,
        attempt=attempt.number,
        outcome=attempt.outcome,
        status=attempt.status,
        reason=attempt.reason,
        duration_ms=attempt.took_ms,
        messages=attempt.messages,
        bytes=attempt.size,
        replica=attempt.replica,
    )
