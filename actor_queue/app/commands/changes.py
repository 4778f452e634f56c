"""`edit` and `revoke`: change a message that waits, or take it back."""

from __future__ import annotations

from typing import Annotated

import typer

from actor_queue.app.commands.asking import (
    Asking,
    RouteOption,
    UserArgument,
    asks,
    segment,
    user_path,
)
from actor_queue.app.commands.many import ReasonOption, given
from actor_queue.app.commands.users import read_text, require_unicode

CHANGED_FIELDS = ("user", "message_id", "pending", "fires_in")
MessageArgument = Annotated[
    str, typer.Argument(metavar="MESSAGE_ID", help="The id that the message was accepted with.")
]


def register(app: typer.Typer) -> None:
    for command in (edit, revoke):
        app.command(command.__name__)(command)


@asks("admin")
def edit(
    asking: Asking,
    user: UserArgument,
    message_id: MessageArgument,
    text: Annotated[str, typer.Argument(help="The new text; - reads it from standard input.")],
    reason: ReasonOption = None,
    route: RouteOption = None,
) -> int:
    """Give a message that still waits another text."""
    body = {"message": read_text(text), **given(reason=reason)}
    require_unicode(body)
    asking.show(asking.service.patch(_path(user, message_id, route), body), CHANGED_FIELDS)
    return 0


@asks("admin")
def revoke(
    asking: Asking,
    user: UserArgument,
    message_id: MessageArgument,
    reason: ReasonOption = None,
    route: RouteOption = None,
) -> int:
    """Take back a message that still waits: it is never sent."""
    answer = asking.service.delete(_path(user, message_id, route), reason=reason)
    asking.show(answer, CHANGED_FIELDS)
    return 0


def _path(user: str, message_id: str, route: str | None) -> str:
    return user_path(user, route, f"/messages/{segment(message_id)}")
