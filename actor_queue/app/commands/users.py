"""`users`, `user`, and what can be done about a user: send, flush, hold, release, typing, drop."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from actor_queue.app.commands.asking import (
    ROW_LINES_MAX,
    AllOption,
    Asking,
    CursorOption,
    LimitOption,
    OfRouteOption,
    RouteOption,
    SinceOption,
    StateOption,
    UserArgument,
    UserOption,
    asks,
    pages,
    seconds_above_0,
    seconds_from_0,
    show_pages,
    user_path,
)
from actor_queue.app.commands.many import Whom, given
from actor_queue.app.logs import printable
from actor_queue.app.terminal import (
    NO,
    complain,
    counted,
    lines_of_a_row,
    note,
    show_fields,
    show_json,
    show_paragraphs,
    show_table,
    span,
    text,
    with_values,
)

TEXT_BYTES_MAX = 16_777_216
"""The largest `AQ_MAX_BODY` that a service may have."""

USERS_SHOWN = 100
COLUMNS = ("user", "state", "pending", "batch", "next")
FIELDS = ("state", "pending", "next", "logged_as")
ATTEMPT_COLUMNS = (
    "at", "attempt", "outcome", "status", "duration_ms", "messages", "replica", "batch_id",
    "reason", "answer",
)  # fmt: skip
ATTEMPT_OPTIONAL = ("duration_ms", "replica", "answer")
BLOCKED = {
    "missing": "is not configured",
    "paused": "is paused; `actor-queue resume` ends that",
    "open": "has a receiver that fails, so only a probe goes from time to time",
}
RESERVED = {
    "user": "the first argument",
    "message": "the second argument",
    "ttl": "--ttl",
    "message_id": "--message-id",
}


def register(app: typer.Typer) -> None:
    for command in (send, users, user, flush, hold, release, typing):
        app.command(command.__name__)(command)


@asks("ingest")
def send(
    asking: Asking,
    user: UserArgument,
    text: Annotated[str, typer.Argument(help="The message; - reads it from standard input.")],
    ttl: Annotated[
        float | None,
        typer.Option(
            parser=seconds_from_0,
            metavar="SECONDS",
            help="Seconds of quiet, 0 or more (0: at once).",
        ),
    ] = None,
    message_id: Annotated[
        str | None,
        typer.Option(
            "--message-id",
            "--id",
            metavar="ID",
            help="Names the message: it can be sent again safely.",
        ),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            metavar="NAME=VALUE",
            help="A field that passes through; as JSON if it is, else as text. Repeatable.",
        ),
    ] = None,
    route: Annotated[
        str | None,
        typer.Option("--route", metavar="ROUTE", help="The receiver that it is for; else default."),
    ] = None,
) -> None:
    """Post one message."""
    body: dict[str, Any] = _passed_through(fields or [])
    body |= {"user": user, "message": read_text(text)}
    if ttl is not None:
        body["ttl"] = ttl
    if message_id is not None:
        body["message_id"] = message_id
    if route is not None:
        body["route"] = route
    require_unicode(body)
    answer = asking.service.post("/api/message", body)
    asking.show(answer, (*_with_route(answer), "message_id", "pending", "fires_in", "duplicate"))


@asks("read")
def users(
    asking: Asking,
    user: UserOption = None,
    state: StateOption = None,
    since: SinceOption = None,
    limit: LimitOption = USERS_SHOWN,
    cursor: CursorOption = None,
    everybody: AllOption = False,
    route: OfRouteOption = None,
) -> None:
    """Who is waiting, soonest first."""
    most = None if everybody else limit
    query = {"user": user, "state": state, "since": since, "route": route}
    found = pages(asking.service, "/api/users", "users", most, cursor, **query)
    empty = "nobody is waiting" if state is None else f"nobody is {state}"
    if user is not None or since is not None or route is not None:
        empty = f"{empty} who was asked for"
    show_pages(asking, found, "users", COLUMNS, empty=empty, rows=_user_rows)


@asks("read")
def user(asking: Asking, user: UserArgument, route: RouteOption = None) -> int:
    """Everything about one user but the texts."""
    answer = asking.service.get(user_path(user, route))
    if _unknown(answer):
        if asking.as_json:
            show_json(answer)
        return complain(
            f"nobody knows the user {quoted(user)}: no message waits, and none was delivered"
            " within the last day",
            NO,
        )
    _show_user(asking, answer)
    return 0


@asks("admin")
def flush(asking: Asking, whom: Whom) -> int:
    """Send now what a user has waiting, or many have.

    A batch that waits for its retry gets its next attempt now. That attempt counts: after the last
    one of AQ_RETRY_SCHEDULE the batch is a dead letter.
    """
    if (user := whom.one()) is None:
        return whom.many(asking, "flush", "sent what waits")
    answer = asking.service.post(user_path(user, whom.route, "/flush"), given(reason=whom.reason))
    if _unknown(answer):
        return complain(f"nothing waits for {quoted(user)}, so nothing was sent", NO)
    _show_user(asking, answer, attempts=False)
    attempt = _attempt_now(answer)
    if attempt > 1 and not asking.as_json:
        print(
            f"\nattempt {attempt} goes now, and it counts: after the last one of"
            " AQ_RETRY_SCHEDULE the batch is a dead letter"
        )
    return 0


@asks("admin")
def hold(
    asking: Asking,
    whom: Whom,
    seconds: Annotated[
        float | None,
        typer.Option(
            parser=seconds_above_0,
            metavar="SECONDS",
            help="How long at most, more than 0. Default: 3600, an hour.",
        ),
    ] = None,
) -> int:
    """Keep a user's messages, or many users', do not send them."""
    body = given(seconds=seconds, reason=whom.reason)
    if (user := whom.one()) is None:
        return whom.many(asking, "hold", "put on hold", seconds=seconds)
    _show_user(asking, asking.service.post(user_path(user, whom.route, "/hold"), body), False)
    return 0


@asks("admin")
def release(asking: Asking, whom: Whom) -> int:
    """End a hold, or many; what waited is sent in its time."""
    if (user := whom.one()) is None:
        return whom.many(asking, "release", "released")
    # The answer to a release does not tell whether there was a hold.
    held = asking.service.get(user_path(user, whom.route)).get("held_for") is not None
    path = user_path(user, whom.route, "/release")
    _show_user(asking, asking.service.post(path, given(reason=whom.reason)), False)
    if not held and not asking.as_json:
        note(f"{quoted(user)} was not on hold, so nothing changed")
    return 0


@asks("ingest")
def typing(
    asking: Asking,
    user: UserArgument,
    ttl: Annotated[
        float | None,
        typer.Option(
            parser=seconds_above_0, metavar="SECONDS", help="Seconds of quiet, more than 0."
        ),
    ] = None,
    route: RouteOption = None,
) -> int:
    """Say that a user is typing: the batch waits on."""
    body = {} if ttl is None else {"ttl": ttl}
    answer = asking.service.post(user_path(user, route, "/typing"), body)
    if answer.get("extended") is False:
        if asking.as_json:
            show_json(answer)
        why = (
            f"a batch of {quoted(user)} is under way"
            if answer.get("batch")
            else f"no message of {quoted(user)} waits for its batch to close"
        )
        return complain(f"{why}, so nothing was extended", NO)
    _show_user(asking, answer, attempts=False)
    return 0


# What is shown


def next_step(view: dict[str, Any]) -> str | None:
    """What happens next with a user, in words; None when nothing will."""
    blocked, words = view.get("blocked"), _next_step(view)
    if blocked is None:
        return words
    route = view.get("route") or "default"
    why = BLOCKED.get(blocked, "is {blocked}").format(blocked=blocked)
    said = f"waits: the route {route} {why}"
    # When it would go otherwise is of no interest; what failed, and how long a hold lasts, is.
    return f"{said}; {words}" if words and view.get("state") in ("held", "retrying") else said


def _next_step(view: dict[str, Any]) -> str | None:
    batch = view.get("batch") or {}
    fires_in, held_for = view.get("fires_in"), view.get("held_for")
    match view.get("state"):
        case "delivering":
            begun = batch.get("attempt_for")
            words = [f"attempt {batch.get('attempts', 1)}"]
            words += [] if begun is None else [f"for {span(begun)}"]
            words += [] if fires_in is None else [f"at most {span(fires_in)} more"]
            return ", ".join(words)
        case "answering":
            taken = f"attempt {batch.get('attempts', 1)} was taken"
            return f"{taken}, to be answered within {span(batch.get('answer_in') or 0)}"
        case "held":
            return None if held_for is None else f"held for {span(held_for)} more"
        case "retrying":
            retry_in = batch.get("retry_in") or 0
            failed = counted(batch.get("attempts", 0), "attempt")
            why = batch.get("failure")
            when = f"in {span(retry_in)}" if retry_in > 0 else "now"
            return f"{failed} failed, next {when}" + (f": {why}" if why else "")
        case _:
            if fires_in is None:
                return None
            return f"fires in {span(fires_in)}" if fires_in > 0 else "fires now"


def _user_rows(page: Any) -> list[dict[str, Any]]:
    rows = [user_row(view) for view in page.get("users", [])]
    return [row | {"user": shown_user(row)} for row in rows]


def shown_user(answer: dict[str, Any]) -> str:
    """A user in a table, with the route where it is not the default one."""
    route = answer.get("route") or "default"
    user = str(answer.get("user"))
    return user if route == "default" else f"{user} (route {route})"


def _with_route(answer: dict[str, Any]) -> tuple[str, ...]:
    """The names of what says whose conversation it is."""
    return ("user",) if answer.get("route") in (None, "default") else ("user", "route")


def user_row(view: dict[str, Any]) -> dict[str, Any]:
    """One user in a table: how large the batch is, and what happens next in words."""
    return view | {"next": next_step(view), "batch": (view.get("batch") or {}).get("messages")}


def _show_user(asking: Asking, answer: dict[str, Any], attempts: bool = True) -> None:
    if asking.as_json:
        show_json(answer)
        return
    show_fields(answer | {"next": next_step(answer)}, (*_with_route(answer), *FIELDS))
    batch = answer.get("batch")
    if batch:
        print("\nbatch under way:")
        show_fields(batch, list(batch), prefix="  ")
    if not attempts:
        return
    recent = answer.get("recent") or []
    if recent:
        print("\nrecent attempts:")
        columns = with_values(ATTEMPT_COLUMNS, ATTEMPT_OPTIONAL, recent)
        if lines_of_a_row(columns, recent) <= ROW_LINES_MAX:
            show_table(columns, recent)
        else:
            show_paragraphs([line for attempt in recent for line in _in_words(attempt)])
    elif answer.get("state") in ("delivering", "answering"):
        print("\nan attempt is being made; none has ended yet")
    else:
        print("\nno attempt was made within the last day")


def _in_words(attempt: dict[str, Any]) -> list[tuple[str, str]]:
    """The batch's id, on a line of its own to be copied, and a sentence about the attempt."""
    took_ms, answer = attempt.get("duration_ms"), attempt.get("answer")
    what = ": ".join(str(attempt[name]) for name in ("outcome", "reason") if attempt.get(name))
    parts = [
        f"attempt {attempt.get('attempt')} at {attempt.get('at')}",
        what,
        *([] if took_ms is None else [f"after {took_ms} ms"]),
        counted(attempt.get("messages") or 0, "message"),
        *([f"by {attempt['replica']}"] if attempt.get("replica") else []),
    ]
    said = f"; it said: {answer}" if answer else ""
    return [
        ("-", text(attempt.get("batch_id"))),
        ("", ", ".join(parts) + said),
    ]


def _attempt_now(view: dict[str, Any]) -> int:
    """The number of the attempt that a flush has started, or that is under way; 0 for none."""
    batch = view.get("batch") or {}
    begun: int = batch.get("attempts", 0)
    match view.get("state"):
        case "retrying":
            return begun + 1
        case "delivering" | "answering":
            return begun
        case _:
            return 0


def _unknown(view: dict[str, Any]) -> bool:
    """Whether the service has no trace of this user, as it has of none that it never saw."""
    return (
        view.get("state") == "idle"
        and not view.get("pending")
        and not view.get("batch")
        and not view.get("recent")
    )


def quoted(user: str) -> str:
    return printable(repr(user))


# What is sent


def _passed_through(fields: list[str]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{field!r} is not NAME=VALUE", param_hint="--field")
        if name in RESERVED:
            raise typer.BadParameter(f"{name} is given by {RESERVED[name]}", param_hint="--field")
        if name in body:
            raise typer.BadParameter(f"{name} is given twice", param_hint="--field")
        body[name] = _value(value)
    return body


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return text


def _not_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def read_text(text: str) -> str:
    """The text of an argument; `-` stands for what standard input has."""
    return _standard_input() if text == "-" else text


def _standard_input() -> str:
    """All of it, without the line break that `echo` puts at its end.

    No text at all is refused, because it is how a pipeline that failed ends.
    """
    if sys.stdin.isatty():
        note("type the message; Ctrl-D on a line of its own ends it")
    content = sys.stdin.buffer.read(TEXT_BYTES_MAX + 1)
    if len(content) > TEXT_BYTES_MAX:
        raise typer.BadParameter(
            f"standard input has more than {TEXT_BYTES_MAX} bytes", param_hint="TEXT"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise typer.BadParameter("standard input is not UTF-8", param_hint="TEXT") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise typer.BadParameter(
            "standard input is empty, so nothing was sent; '' as TEXT sends an empty message"
        )
    return text


def require_unicode(body: dict[str, Any]) -> None:
    """Bytes that are no UTF-8 come from the shell as halves of surrogate pairs."""
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("the message must be UTF-8", param_hint="TEXT") from None
