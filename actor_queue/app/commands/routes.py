"""`routes`, `pause` and `resume`: the receivers, and whether they are asked."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from actor_queue.app.commands.asking import Asking, asks, segment
from actor_queue.app.terminal import note, show_json, show_table

COLUMNS = (
    "route", "state", "since", "attempts", "failed", "p50_ms", "p99_ms", "waiting", "reason",
)  # fmt: skip

RouteArgument = Annotated[str, typer.Argument(metavar="ROUTE", help="The name of a route.")]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is shown with the route.")
]

Json = dict[str, Any]


def register(app: typer.Typer) -> None:
    app.command("routes")(routes)
    app.command("pause")(pause)
    app.command("resume")(resume)


@asks("read")
def routes(asking: Asking) -> None:
    """How each receiver is: its state, attempts and answer times of the last minute, who waits."""
    _show(asking, asking.service.get("/api/routes"))


@asks("admin")
def pause(asking: Asking, route: RouteArgument, reason: ReasonOption = None) -> None:
    """Attempt nothing on a route, in all replicas, until it is resumed."""
    body: Json = {} if reason is None else {"reason": reason}
    _show(asking, asking.service.post(f"/api/routes/{segment(route)}/pause", body))


@asks("admin")
def resume(asking: Asking, route: RouteArgument) -> None:
    """Make attempts on a route again; where its receiver was failing, one goes now."""
    _show(asking, asking.service.post(f"/api/routes/{segment(route)}/resume", {}))


def _show(asking: Asking, answer: Json) -> None:
    if asking.as_json:
        show_json(answer)
        return
    rows = []
    for each in answer["routes"]:
        times = each["answer_ms"] or {"p50": None, "p99": None}
        rows.append(each | {"p50_ms": times["p50"], "p99_ms": times["p99"]})
    show_table(COLUMNS, rows)
    if not answer["complete"]:
        note("more users wait than were counted")
