"""`attempts` and `deeds`: what was sent lately and what came of it, and what was done by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from actor_queue.app.commands.asking import (
    AllOption,
    Asking,
    CursorOption,
    LimitOption,
    asks,
    pages,
    segment,
    show_pages,
)
from actor_queue.app.terminal import note, show_fields, show_table
from actor_queue.core.history import PastOutcome
from actor_queue.store.deeds_api import DEEDS_MAX, USER_DEEDS_MAX

ATTEMPTS_SHOWN = 50
COLUMNS = (
    "at", "user", "outcome", "status", "duration_ms", "attempt", "messages", "bytes", "replica",
    "batch_id", "reason",
)  # fmt: skip

DEED_COLUMNS = ("at", "deed", "by", "logged_as", "seconds", "batch_id", "route")
USER_DEED_COLUMNS = ("at", "deed", "by", "reason", "seconds", "batch_id")

FOUND_FIELDS = ("user", "batch_id", "matched", "where")
FOUND_COLUMNS = (
    "at", "attempt", "outcome", "status", "duration_ms", "messages", "replica", "reason", "answer",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    app.command("attempts")(attempts)
    app.command("deeds")(deeds)
    app.command("find")(find)


@asks("read")
def attempts(
    asking: Asking,
    user: Annotated[
        str | None, typer.Option(metavar="PREFIX", help="Only users whose name begins so.")
    ] = None,
    outcome: Annotated[
        PastOutcome | None, typer.Option(help="Only attempts that ended so.")
    ] = None,
    status: Annotated[
        str | None, typer.Option(metavar="CODE", help="Only those that the receiver answered so.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only those that ended no sooner: 2025-01-30T01:19:45Z, or seconds since 1970.",
        ),
    ] = None,
    route: Annotated[
        str | None, typer.Option(metavar="ROUTE", help="Only those of this receiver.")
    ] = None,
    limit: LimitOption = ATTEMPTS_SHOWN,
    cursor: CursorOption = None,
    everything: AllOption = False,
) -> None:
    """The last attempts of all users, newest first: at most AQ_HISTORY of them are remembered."""
    most = None if everything else limit
    query = {"user": user, "outcome": outcome, "status": status, "since": since, "route": route}
    found = pages(asking.service, "/api/attempts", "attempts", most, cursor, **query)
    limited = any(text is not None for text in query.values())
    empty = "no attempt that is remembered fits" if limited else "no attempt is remembered"
    show_pages(
        asking,
        found,
        "attempts",
        COLUMNS,
        empty=empty,
        rows=lambda page: page.get("attempts", []),
    )


@asks("read")
def deeds(
    asking: Asking,
    user: Annotated[
        str | None, typer.Argument(help="One user, with the reasons. Default: all, without names.")
    ] = None,
    limit: LimitOption = ATTEMPTS_SHOWN,
) -> None:
    """What was done by hand, newest first: when, by which key, and why."""
    if user is None:
        answer = asking.service.get("/api/deeds", limit=min(limit, DEEDS_MAX))
    else:
        answer = asking.service.get(f"/api/users/{segment(user)}", deeds="true")
    found = answer.get("deeds", [])[: limit if user is None else min(limit, USER_DEEDS_MAX)]
    if asking.as_json:
        asking.show(answer, ())
    elif found:
        show_table(DEED_COLUMNS if user is None else USER_DEED_COLUMNS, found)
    else:
        print("nothing was done by hand")


@asks("read")
def find(
    asking: Asking,
    id: Annotated[str, typer.Argument(help="A webhook-id, or a message_id.")],
    user: Annotated[
        str | None,
        typer.Option(metavar="USER", help="Whose it is: finds messages that wait, too."),
    ] = None,
) -> None:
    """Which batch an id names or is in, where it is, and every attempt at it."""
    answer = asking.service.get("/api/find", id=id, user=user)
    if asking.as_json:
        asking.show(answer, ())
        return
    for number, found in enumerate(answer.get("found", [])):
        if number:
            print()
        show_fields(found, FOUND_FIELDS)
        if found.get("attempts"):
            print()
            show_table(FOUND_COLUMNS, found["attempts"])
    if not answer.get("found"):
        print("this user's message of this id was accepted; nothing else is remembered of it")
    if not answer.get("complete"):
        note("there is more than one look-up reads: say whose it is with --user")
