"""`drop`: delete for ever what a user has waiting, or many have; or all that is known of one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from actor_queue.app.commands.asking import (
    Asking,
    asks,
    user_path,
)
from actor_queue.app.commands.many import Whom
from actor_queue.app.commands.users import quoted
from actor_queue.app.terminal import (
    NO,
    complain,
    confirmed,
    counted,
    note,
    show_table,
)

DROPPED_COLUMNS = ("received_at", "message_id", "message")
DROPPED_COLUMNS_MASKED = ("received_at", "message_id", "characters")
DROPPED_SHOWN = 20
"""Without their texts; nobody reads a longer table of what is gone."""
ERASED_COUNTS = ("dropped", "dead", "attempts", "ids")
ERASED_FIELDS = ("user", *ERASED_COUNTS, "batch", "under_way")
TextsOption = Annotated[
    bool, typer.Option("--texts", help="Show what was written, whole, and all of it.")
]


def register(app: typer.Typer) -> None:
    app.command("drop")(drop)


@asks("admin")
def drop(
    asking: Asking,
    whom: Whom,
    texts: TextsOption = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--everything", help="Erase the user: dead letters, attempts and message ids too."
        ),
    ] = False,
) -> int:
    """Delete for ever what a user has waiting, or many have.

    One user's texts, which may be private and long, are shown with --texts, and are in what --json
    prints. Nobody can ask for them afterwards.
    """
    if everything and whom.user is None:
        raise typer.BadParameter("it needs one user, by name", param_hint="--everything")
    if (user := whom.one()) is None:
        return whom.many(asking, "drop", "relieved for ever of what waits")
    path = user_path(user, whom.route)
    if everything:
        return _erase(asking, user, path, whom.yes)
    if not whom.yes:
        view = asking.service.get(path)
        batch = view.get("batch") or {}
        waiting = counted(view.get("pending", 0), "waiting message")
        under_way = counted(batch.get("messages", 0), "message")
        what = f"{waiting} of {quoted(user)}"
        if batch:
            what += f" and a batch of {under_way} under way"
        if not confirmed(f"{what} would be deleted for ever", yes=False):
            return complain("nothing was deleted", NO)
    answer = asking.service.delete(path, reason=whom.reason)
    if not answer.get("dropped") and not answer.get("batch"):
        return complain(f"nothing waited for {quoted(user)}, so nothing was deleted", NO)
    asking.show(answer, ("user", "dropped", "batch"))
    if answer.get("messages") and not asking.as_json:
        print()
        _show_dropped(answer, texts)
    return 0


def _erase(asking: Asking, user: str, path: str, yes: bool) -> int:
    """Call after call until nothing is left to look at."""
    if not confirmed(f"everything about {quoted(user)} would be deleted for ever", yes=yes):
        return complain("nothing was deleted", NO)
    total = answer = asking.service.delete(path, everything="true")
    while not answer.get("complete", True):
        answer = asking.service.delete(path, everything="true", cursor=answer.get("cursor"))
        counts = {name: total.get(name, 0) + answer.get(name, 0) for name in ERASED_COUNTS}
        total = total | counts | {"complete": answer.get("complete"), "cursor": None}
    asking.show(total, ERASED_FIELDS)
    if total.get("under_way") and not asking.as_json:
        note("an attempt is under way: what there is of its batch goes when the attempt has ended")
    return 0


def _show_dropped(answer: dict[str, Any], texts: bool) -> None:
    messages = answer["messages"]
    if texts:
        show_table(DROPPED_COLUMNS, messages)
        shown = len(messages)
    else:
        rows = [
            each | {"characters": len(str(each.get("message", "")))}
            for each in messages[:DROPPED_SHOWN]
        ]
        show_table(DROPPED_COLUMNS_MASKED, rows)
        shown = len(rows)
    if shown < answer["dropped"]:
        note(f"these are the first {shown} of {answer['dropped']}; the others are gone, too")
