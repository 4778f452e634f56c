"""`/api/users/{user}/messages/{message_id}`: a message that waits is edited, or taken back."""

from __future__ import annotations

from typing import Final, assert_never

from quart import Blueprint, Response, request

from actor_queue.http import inputs, models, shapes
from actor_queue.http.backend import Backend
from actor_queue.http.problem import Problem, retry_after
from actor_queue.http.routing import (
    answer,
    asked_message,
    asked_user,
    done,
    needs,
    problem_answer,
    sent_body,
)
from actor_queue.store.changes_api import Unchanged, WhyUnchanged

MESSAGE: Final = "/api/users/<path>/messages/<message>"
"""The dispatcher puts fixed words in the places of the user and the id, which are in the scope."""
FULL_RETRY_S: Final = 5
CLAIMED: Final = Problem(
    409,
    "this message does not wait any more: it has been claimed and is on its way, or it was"
    " delivered, given up or dropped",
    title="On its way",
)


def routes(backend: Backend) -> Blueprint:
    api = Blueprint("messages", __name__)
    body_bytes_max = backend.settings.max_body_bytes

    @api.patch(MESSAGE)
    @needs("admin", models.fields_of(models.OneUser))
    async def edit(path: str, message: str) -> Response:
        text, why = inputs.new_text(await sent_body(body_bytes_max))
        user = asked_user()
        outcome = await backend.edit(user, asked_message(), text)
        if isinstance(outcome, Unchanged):
            return problem_answer(_problem(outcome.why))
        await backend.note_deed(done("edit", reason=why), user)
        return answer(shapes.changed(outcome))

    @api.delete(MESSAGE)
    @needs("admin", models.fields_of(models.RevokeMessage))
    async def revoke(path: str, message: str) -> Response:
        why = inputs.read(models.RevokeMessage, request.args).reason
        user = asked_user()
        outcome = await backend.revoke(user, asked_message())
        if isinstance(outcome, Unchanged):
            return problem_answer(_problem(outcome.why))
        await backend.note_deed(done("revoke", reason=why), user)
        return answer(shapes.changed(outcome))

    return api


def _problem(why: WhyUnchanged) -> Problem:
    match why:
        case "claimed":
            return CLAIMED
        case "revoked":
            return Problem(404, "this message was taken back before")
        case "unknown":
            return Problem(404, "no message with this id waits for this user")
        case "body":
            return Problem(413, "with this text the message would be larger than AQ_MAX_BODY")
        case "batch":
            return Problem(
                413,
                "with this text the batch of this message would be larger than"
                " AQ_MAX_BATCH_BYTES: send the text as a message of its own",
            )
        case "pending":
            return Problem(
                429,
                "with this text more than AQ_MAX_PENDING_BYTES would wait for this user",
                headers=(retry_after(FULL_RETRY_S),),
            )
        case _:
            assert_never(why)
