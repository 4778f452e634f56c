"""What the Quart modules share: answers, the scope a view needs, and the user asked about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar, cast

import msgspec
from quart import Response, g, request
from quart_trio.wrappers import TrioRequest
from werkzeug.routing import BaseConverter

from actor_queue.core.api_keys import ApiKey
from actor_queue.core.codings import decoded
from actor_queue.core.conversation import DEFAULT_ROUTE, Conversation, route_of
from actor_queue.core.history import AttemptFilter
from actor_queue.core.json_text import Refused
from actor_queue.http import inputs, models
from actor_queue.http.auth import Caller, Scope
from actor_queue.http.models import Model, refuse_cursor
from actor_queue.http.problem import JSON_TYPE, PROBLEM_TYPE, Problem, not_found
from actor_queue.http.request import (
    MESSAGE_IN_SCOPE,
    NOT_A_FORM,
    USER_IN_SCOPE,
    Head,
    is_form,
)
from actor_queue.store.deeds_api import Deed, DeedName
from actor_queue.store.lists_api import DeadFilter, UserFilter

NEEDS: Final = "needs_scope"
TAKES: Final = "takes_parameters"
ALL_ROUTES: Final = "is_about_all_routes"
BODY_BYTES_MAX: Final = 64 * 1024


def requests_with(message_bytes_max: int) -> type[TrioRequest]:
    """Requests whose body may have `BODY_BYTES_MAX`; one with a new text for a message, so many."""

    class Sized(TrioRequest):
        def __init__(self, *args: Any, **named: Any) -> None:
            changes_message = MESSAGE_IN_SCOPE in named["scope"]
            self.body_bytes_max = message_bytes_max if changes_message else BODY_BYTES_MAX
            named["max_content_length"] = self.body_bytes_max
            super().__init__(*args, **named)

    return Sized


class BatchId(BaseConverter):
    """One segment of a path, but no word that stands in an id's place: `/api/dead/drop` is a path
    of its own, and `DELETE` of it is 405, not a search for a batch of that name."""

    regex = r"(?!(?:replay|drop|groups)$)[^/]+"


View = Callable[..., Awaitable[Response]]
AnyFilter = TypeVar("AnyFilter", UserFilter, DeadFilter, AttemptFilter)
AnyView = TypeVar("AnyView", bound=View)


def needs(
    scope: Scope | None, parameters: Collection[str] | None = (), *, all_routes: bool = False
) -> Callable[[AnyView], AnyView]:
    """Mark a view with the scope its key must have, None for open ones, and with the query
    parameters that it takes, None for any. A view without a mark is a bug, and answers nobody.

    `all_routes`: what it says or does has no route, so a key that is bound to one may not ask.
    """

    def mark(view: AnyView) -> AnyView:
        setattr(view, NEEDS, scope)
        setattr(view, ALL_ROUTES, all_routes)
        setattr(view, TAKES, parameters)
        return view

    return mark


def asked_name() -> str:
    """The user in the path, as the dispatcher took it from the bytes that were sent.

    Raises `Refused` with 404 for a path that only became this one by being decoded.
    """
    user = cast(dict[str, object], request.scope).get(USER_IN_SCOPE)
    if not isinstance(user, str):
        raise Refused(404, "Not Found", not_found().detail)
    return user


def asked_user() -> str:
    """The conversation that the request is about, by its key: the user in the path, on the route of
    the query. Raises `Refused`, as `asked_name` and `allowed_route` do."""
    name = asked_name()
    sent = {each: text for each, text in request.args.items() if each == "route"}
    route = allowed_route(inputs.read(models.OneUser, sent).route)
    return Conversation(route or DEFAULT_ROUTE, name).key


def allowed_route(route: str | None) -> str | None:
    """The route that a request is about, of which `route` was asked for; None: all of them.

    Raises `Refused` with 403 where the key reaches another one only.
    """
    key = asked_by()
    if key is None or key.route is None:
        return route
    if route not in (None, key.route):
        raise Refused(403, "Another route", f"This key reaches the route {key.route} only.")
    return key.route


def within_reach(wanted: AnyFilter) -> AnyFilter:
    """A list's filter, as far as the key reaches. Raises `Refused` as `allowed_route` does."""
    return replace(wanted, route=allowed_route(wanted.route))


def reaches(conversation: str) -> bool:
    """Whether the key reaches a conversation, by its key."""
    key = asked_by()
    return key is None or key.reaches(route_of(conversation))


def asked_message() -> str:
    """As `asked_user`, the id of the message in the path."""
    message_id = cast(dict[str, object], request.scope).get(MESSAGE_IN_SCOPE)
    if not isinstance(message_id, str):
        raise Refused(404, "Not Found", not_found().detail)
    return message_id


def caller() -> Caller | None:
    """Whom the request was let in for; None where everything is open."""
    return cast(Caller | None, g.get("caller"))


def asked_by() -> ApiKey | None:
    """The key that the request was let in with; None where everything is open."""
    return cast(ApiKey | None, g.get("key"))


def done(name: DeedName, **facts: Any) -> Deed:
    """What the key that was sent has done."""
    key = asked_by()
    return Deed(name, None if key is None else key.name, **facts)


def sent_key() -> bytes | None:
    """The `Authorization` header."""
    header = request.headers.get("authorization")
    return None if header is None else header.encode("latin-1")


async def sent_body(bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The request's body, decoded. Raises `Refused`, and what Quart makes 408 and 413 of."""
    head = Head.of(request.scope["headers"])
    coding = head.coding
    body = await request.get_data(as_text=False)
    assert isinstance(body, bytes)
    if coding is not None and body:
        body = decoded(coding, body, bytes_max)
    if body and (head.form_refusal() or (head.is_form and is_form(body))):
        raise Refused(415, "Unsupported Media Type", NOT_A_FORM)
    return body


@contextmanager
def refused_cursor() -> Iterator[None]:
    """A cursor that is not ours is a field that breaks its rule."""
    try:
        yield
    except ValueError:
        refuse_cursor()


def answer(body: Model, status: int = 200) -> Response:
    return raw_answer(msgspec.json.encode(body), status)


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
