"""`watch`: who waits, as a table in the terminal that lives, until Ctrl-C.

A thread looks at the service, so that a service that hangs stops no countdown and is told of. What
was seen last stays on the screen; how old it is stands above it.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actor_queue.app.commands.asking import (
    Asking,
    SinceOption,
    StateOption,
    UserOption,
    asks,
    seconds_above_0,
)
from actor_queue.app.commands.users import COLUMNS, user_row
from actor_queue.app.logs import printable
from actor_queue.app.terminal import (
    Unasked,
    counted,
    is_plain,
    json_text,
    span,
    text,
    title,
    value_of,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from actor_queue.app.remote import Remote

EVERY_S = 1.0
DRAWN_EVERY_S = 0.25
STALE_LOOKS = 3
"""What is older than so many looks is said to be old."""
WHOLE_EVERY_LOOKS = 5
"""How many wait in all is asked with every fifth look, because each shard is asked for it."""
ROWS_MAX = 200
"""As many as a tall terminal shows."""
LINES_BESIDE = 5
"""Of the terminal, above and below the rows."""
STYLES = {"retrying": "red", "held": "yellow", "delivering": "cyan", "answering": "magenta"}

Json = dict[str, Any]


def register(app: typer.Typer) -> None:
    app.command("watch")(watch)


@asks("read")
def watch(
    asking: Asking,
    user: UserOption = None,
    state: StateOption = None,
    since: SinceOption = None,
    every: Annotated[
        float,
        typer.Option(parser=seconds_above_0, metavar="SECONDS", help="Between two looks."),
    ] = EVERY_S,
) -> None:
    """Watch who waits, until Ctrl-C."""
    # The other commands end before there is garbage.
    gc.enable()
    seen = Seen(asking.service, {"user": user, "state": state, "since": since})
    if asking.as_json:
        _follow_as_json(seen, every)
        return
    if not sys.stdout.isatty() or is_plain():
        raise Unasked(
            "watch draws on a terminal, and there is none: `actor-queue users` lists once, and"
            " `actor-queue watch --json` prints a line at each look"
        )
    seen.look()
    if seen.trouble is not None and seen.at is None:
        raise seen.trouble
    Thread(target=seen.follow, args=(every,), daemon=True).start()
    _draw(seen, every)


@dataclass
class Seen:
    """What was seen last. One thread looks, another one reads."""

    service: Remote
    wanted: Mapping[str, Any]
    users: list[Json] = field(default_factory=list)
    more: bool = False
    waiting: int | None = None
    """Of all users; None until it is known."""
    reason: str | None = None
    """Why the service accepts no message; None when it does."""
    at: float | None = None
    """When it was seen, by the monotonic clock."""
    trouble: Exception | None = None
    """Why the last look found nothing."""
    looks: int = 0

    def look(self) -> None:
        from actor_queue.app.remote import Refused

        try:
            self.reason = self.service.unready()
            if self.looks % WHOLE_EVERY_LOOKS == 0:
                leases = self.service.get("/api/shards").get("shards", [])
                self.waiting = sum(lease.get("waiting", 0) for lease in leases)
            page = self.service.get("/api/users", limit=ROWS_MAX, **self.wanted)
        except Refused as refused:
            self.trouble = refused
            return
        self.looks += 1
        self.users, self.more = page.get("users", []), bool(page.get("cursor"))
        self.at, self.trouble = time.monotonic(), None

    def follow(self, every_s: float) -> None:
        while True:
            time.sleep(every_s)
            self.look()


def _follow_as_json(seen: Seen, every_s: float) -> None:
    while True:
        seen.look()
        if seen.trouble is not None:
            raise seen.trouble
        told = {"reason": seen.reason, "waiting": seen.waiting, "users": seen.users}
        print(json_text({"ready": seen.reason is None, **told}), flush=True)
        time.sleep(every_s)


# What is drawn


def _draw(seen: Seen, every_s: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, markup=False, emoji=False)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            live.update(_screen(seen, console, every_s), refresh=True)
            time.sleep(DRAWN_EVERY_S)


def _screen(seen: Seen, console: Console, every_s: float) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    now = time.monotonic()
    age_s = now - (seen.at or now)
    old = age_s > max(STALE_LOOKS * every_s, STALE_LOOKS)
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    for column in COLUMNS:
        table.add_column(title(column), overflow="fold")
    users = seen.users[: max(1, console.size.height - LINES_BESIDE)]
    for view in users:
        row = user_row(later(view, age_s))
        style = "dim" if old else STYLES.get(str(view.get("state")), "")
        table.add_row(*(Text(value_of(column, row.get(column)), style) for column in COLUMNS))
    lines = [Text(line, style) for line, style in _above(seen, age_s, old=old)]
    hidden = len(seen.users) - len(users)
    if hidden or seen.more:
        under = [Text(f"{hidden:,}{' or more' if seen.more else ''} more, due later", "dim")]
    else:
        under = [] if users else [Text("nobody is waiting" if not any(_given(seen)) else "nobody")]
    return Group(*lines, table, *under)


def _given(seen: Seen) -> list[Any]:
    return [value for value in seen.wanted.values() if value is not None]


def _above(seen: Seen, age_s: float, *, old: bool) -> list[tuple[str, str]]:
    """The lines above the table, each with its style."""
    asked = ", ".join(f"{name} {text(str(value))}" for name, value in seen.wanted.items() if value)
    waiting = "" if seen.waiting is None else f", {counted(seen.waiting, 'user')} waiting in all"
    lines = [(f"{seen.service.url}{waiting}" + (f"; shown: {asked}" if asked else ""), "")]
    if seen.trouble is not None or old:
        why = "the service does not answer" if seen.trouble is None else str(seen.trouble)
        lines.append((printable(f"as it was {span(age_s)} ago: {why}"), "bold red"))
    elif seen.reason is not None:
        lines.append((printable(f"not ready: {seen.reason}"), "bold red"))
    return lines


def later(view: Json, by_s: float) -> Json:
    """A user as it is so many seconds after it was seen, if nothing happened."""
    moved = dict(view)
    for name in ("fires_in", "held_for"):
        moved[name] = _less(view.get(name), by_s)
    if batch := view.get("batch"):
        begun = batch.get("attempt_for")
        moved["batch"] = batch | {
            "retry_in": _less(batch.get("retry_in"), by_s),
            "attempt_for": None if begun is None else begun + by_s,
        }
    return moved


def _less(seconds: float | None, by_s: float) -> float | None:
    return None if seconds is None else max(0.0, seconds - by_s)
