"""What people wrote is masked until somebody asks for it: who may, and what is kept of that.

`?texts=true` needs `admin` on the conversation's route. Every answer with texts is one line in the
log that says whose key asked and about whom, never what was written. Without the parameter, a
program with an admin's key gets a dead letter whole; a browser's session and a `read` key do not.
"""

from __future__ import annotations

from quart import request

from actor_queue.core.conversation import route_of
from actor_queue.http import inputs, models
from actor_queue.http.auth import lacking
from actor_queue.http.problem import Problem
from actor_queue.http.routing import caller
from actor_queue.runtime.lines import tell


def texts_wanted(conversation: str, *, by_default: bool) -> bool | Problem:
    """Whether this answer has the texts of a conversation, by its key. `by_default` is for a
    program that may ask for them and says nothing. A key may read on all routes and be an admin's
    on one of them."""
    sent = {name: text for name, text in request.args.items() if name == "texts"}
    asked = inputs.read(models.ShowTexts, sent).texts
    who = caller()
    entry = None if who is None else who.entry_for("admin")
    may = who is None or (entry is not None and entry.reaches(route_of(conversation)))
    if asked and entry is not None and not may:
        return Problem(
            403,
            f"This key has the scope admin on the route {entry.route} only.",
            title="Another route",
        )
    if asked and not may:
        return lacking("admin")
    if asked is not None:
        return asked
    return by_default and may and (who is None or who.ends_at_s is None)


def tell_of_texts(logged_as: str, batch: str | None = None) -> None:
    """Who is shown the texts of whom. `logged_as` is how the log names the user."""
    who = caller()
    entry = None if who is None else who.entry_for("admin")
    about = {} if batch is None else {"batch": batch}
    key = {} if entry is None else {"key": entry.name}
    tell("texts_shown", user=logged_as, **about, **key)
