"""One verb for many users or dead letters: counted, asked about, and done piece after piece."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from actor_queue.app.commands.asking import (
    AllOption,
    Asking,
    SinceOption,
    StateOption,
    UserOption,
    YesOption,
)
from actor_queue.app.terminal import NO, complain, confirmed, counted, show_json

COUNTS_MAX = 10
"""Dry runs before a question, of up to 10,000 each; of more it says `more than`."""

MaybeUser = Annotated[
    str | None, typer.Argument(metavar="[USER]", help="The user, exactly as it was posted.")
]
ReasonOption = Annotated[
    str | None,
    typer.Option("--reason", metavar="TEXT", help="Why, for whoever looks at the user later."),
]
WhomRouteOption = Annotated[
    str | None,
    typer.Option(
        "--route", metavar="ROUTE", help="Of one: whose user it is; of many: only of this route."
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say how many it would be.")]

Json = dict[str, Any]


def given(**fields: object) -> Json:
    """Those that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Whom:
    """The options of a verb for one user, by name, or for many, by what they have in common."""

    user: MaybeUser = None
    beginning: UserOption = None
    state: StateOption = None
    since: SinceOption = None
    everybody: AllOption = False
    dry_run: DryRunOption = False
    yes: YesOption = False
    reason: ReasonOption = None
    route: WhomRouteOption = None

    def one(self) -> str | None:
        """The user; None where it is for many. Raises `typer.BadParameter` unless it is clear."""
        self._filters()
        return self.user

    def many(self, asking: Asking, verb: str, done: str, **more: object) -> int:
        """`verb` for all of them, see `for_many`; `more` is for the request's body."""
        wanted = (self._filters() or {}) | given(reason=self.reason, **more)
        path = f"/api/users/{verb}"
        return for_many(asking, path, wanted, "user", done, dry_run=self.dry_run, yes=self.yes)

    def _filters(self) -> Json | None:
        filters: Json = {"user": self.beginning, "state": self.state, "since": self.since}
        if self.user is None:
            filters["route"] = self.route
        return whom(self.user is not None, self.everybody, self.dry_run, "USER", **filters)


def whom(named: bool, everything: bool, dry_run: bool, hint: str, **filters: object) -> Json | None:
    """The filters of a verb for many; None where it is for those that are `named`.

    Raises `typer.BadParameter` unless it is clear which. No filter at all is `--all`.
    """
    given = {name: value for name, value in filters.items() if value is not None}
    options = ", ".join(f"--{name}" for name in filters)
    if named + bool(given) + everything != 1:
        raise typer.BadParameter(
            f"say whom: one way of these: by name, by {options}, or --all", param_hint=hint
        )
    if named and dry_run:
        raise typer.BadParameter("it is for many, not for those that are named", param_hint=hint)
    for name, value in given.items():
        if not str(value).strip():
            raise typer.BadParameter("it is empty", param_hint=f"--{name}")
    return None if named else given


def count(asking: Asking, path: str, wanted: Json) -> tuple[Json, bool]:
    """The sum of dry runs, and whether there are more."""
    total: Json = {"would": 0, "messages": 0, "passed_over": 0}
    cursor = None
    for _ in range(COUNTS_MAX):
        body = wanted | {"dry_run": True} | ({} if cursor is None else {"cursor": cursor})
        answer = asking.service.post(path, body)
        total = {name: total[name] + answer.get(name, 0) for name in total}
        cursor = answer.get("cursor")
        if cursor is None:
            break
    return total, cursor is not None


def in_words(total: Json, more: bool, what: str) -> str:
    """`3 users with 12 messages`."""
    said = f"{counted(total['would'], what)} with {counted(total['messages'], 'message')}"
    return f"more than {said}" if more else said


def for_many(
    asking: Asking,
    path: str,
    wanted: Json,
    what: str,
    done: str,
    *,
    dry_run: bool,
    yes: bool,
    number: str = "done",
    none: str = "there is nobody with whom this could be done",
) -> int:
    """All of it. `done` says what happens to `what`, `number` is how their number is called, and
    `none` is said where there are none."""
    total = None
    if dry_run or not yes:
        total, more = count(asking, path, wanted)
        if dry_run:
            asking.show(total, tuple(total))
            return 0
        if total["would"] == 0:
            return _nothing(asking, number, none)
        if not confirmed(f"{in_words(total, more, what)} would be {done}", yes=False):
            return complain(f"nothing was {done}", NO)
    answer, whole = _pieces(asking, path, wanted, done, total)
    if whole and answer["done"] == 0:
        return _nothing(asking, number, none)
    passed_over = {"passed_over": answer["passed_over"]} if answer["passed_over"] else {}
    shown = {number: answer["done"], **passed_over}
    asking.show(shown, tuple(shown))
    return 0 if whole else complain("stopped; the rest is as it was", NO)


def _pieces(
    asking: Asking, path: str, wanted: Json, done: str, total: Json | None
) -> tuple[Json, bool]:
    """What was done, and whether it is all. Ctrl-C ends it between two pieces."""
    sum_: Json = {"done": 0, "messages": 0, "passed_over": 0}
    cursor = None
    try:
        while True:
            body = wanted if cursor is None else wanted | {"cursor": cursor}
            answer = asking.service.post(path, body)
            sum_ = {name: sum_[name] + answer.get(name, 0) for name in sum_}
            cursor = answer.get("cursor")
            if cursor is None:
                return sum_, True
            of = "" if total is None else f" of {total['would']}"
            print(f"{sum_['done']}{of} {done}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        return sum_, False


def _nothing(asking: Asking, number: str, sentence: str) -> int:
    """There was nothing to do, which is no failure."""
    if asking.as_json:
        show_json({number: 0})
    else:
        print(sentence)
    return 0
