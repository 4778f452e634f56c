"""What the Quart modules share: answers, the scope a view needs, and the user asked about."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection
from typing import Final, TypeVar, cast

from quart import Response, request
from werkzeug.routing import BaseConverter

from actor_queue.core.codings import decoded
from actor_queue.core.json_text import Refused
from actor_queue.http.auth import Scope
from actor_queue.http.problem import JSON_TYPE, PROBLEM_TYPE, Problem, not_found
from actor_queue.http.request import NOT_A_FORM, USER_IN_SCOPE, Head, is_form

NEEDS: Final = "needs_scope"
TAKES: Final = "takes_parameters"
BODY_BYTES_MAX: Final = 64 * 1024


class BatchId(BaseConverter):
    """One segment of a path, but not the word that stands in an id's place: `/api/dead/replay` is
    a path of its own, and `DELETE` of it is 405, not a search for a batch of that name."""

    regex = r"(?!replay$)[^/]+"


View = Callable[..., Awaitable[Response]]
AnyView = TypeVar("AnyView", bound=View)


def needs(
    scope: Scope | None, parameters: Collection[str] | None = ()
) -> Callable[[AnyView], AnyView]:
    """Mark a view with the scope its key must have, None for open ones, and with the query
    parameters that it takes, None for any. A view without a mark is a bug, and answers nobody."""

    def mark(view: AnyView) -> AnyView:
        setattr(view, NEEDS, scope)
        setattr(view, TAKES, parameters)
        return view

    return mark


def asked_user() -> str:
    """The user in the path, as the dispatcher took it from the bytes that were sent.

    Raises `Refused` with 404 for a path that only became this one by being decoded.
    """
    user = cast(dict[str, object], request.scope).get(USER_IN_SCOPE)
    if not isinstance(user, str):
        raise Refused(404, "Not Found", not_found().detail)
    return user


async def sent_body() -> bytes:
    """The request's body, decoded. Raises `Refused`, and what Quart makes 408 and 413 of."""
    head = Head.of(request.scope["headers"])
    coding = head.coding
    body = await request.get_data(as_text=False)
    assert isinstance(body, bytes)
    if coding is not None and body:
        body = decoded(coding, body, BODY_BYTES_MAX)
    if body and (head.form_refusal() or (head.is_form and is_form(body))):
        raise Refused(415, "Unsupported Media Type", NOT_A_FORM)
    return body


def answer(body: object, status: int = 200) -> Response:
    return raw_answer(json.dumps(body, ensure_ascii=False).encode(), status)


def raw_answer(body: bytes, status: int = 200) -> Response:
    return Response(
        body,
        status,
        content_type=JSON_TYPE.decode(),
        headers={"cache-control": "no-store"},
    )


def problem_answer(problem: Problem) -> Response:
    return Response(
        problem.render(),
        problem.status,
        content_type=PROBLEM_TYPE.decode(),
        headers={name.decode(): value.decode() for name, value in problem.headers},
    )
