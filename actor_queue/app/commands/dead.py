"""`dead list`, `groups`, `show`, `replay` and `drop`: batches that ran out of attempts."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any

import typer

from actor_queue.app.commands.asking import (
    AllOption,
    Asking,
    CursorOption,
    IdArgument,
    LimitOption,
    OfRouteOption,
    SinceOption,
    UserOption,
    YesOption,
    asks,
    pages,
    segment,
    show_pages,
)
from actor_queue.app.commands.many import DryRunOption, count, for_many, in_words, whom
from actor_queue.app.terminal import (
    NO,
    complain,
    confirmed,
    counted,
    note,
    show_fields,
    show_json,
    show_table,
    text,
    with_values,
)

LETTERS_SHOWN = 100
REPLAY = "/api/dead/replay"
COLUMNS = (
    "id", "user", "died_at", "expires_at", "attempts", "messages", "queued", "status", "replica",
    "duration_ms", "reason", "answer",
)  # fmt: skip
COLUMNS_GROUPS = (
    "letters", "route", "reason", "status", "messages", "queued", "oldest", "newest",
)  # fmt: skip
COLUMNS_REPLAYED = ("id", "user", "died_at", "attempts", "messages", "queued")
COLUMNS_JOB = ("job", "state", "total", "replayed", "passed_over")
FOLLOW_S = 1.0
GOES_ON = ("running", "stopping", "abandoned")
ABANDONED_LOOKS_MAX = 30
"""Looks at a job whose replica is gone. Another one takes it up much sooner, unless there is none.
"""
OPTIONAL = ("expires_at", "status", "replica", "duration_ms", "answer")
SECOND = len("2025-01-30T01:19:45")
NONE = "there are no dead letters"
NONE_TO_REPLAY = f"{NONE} that are not queued already"
SHOWN_APART = ("batch", "recent", "success")

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="The batches' ids.")]
ReasonOption = Annotated[
    str | None, typer.Option(metavar="BEGINNING", help="Only those whose reason begins so.")
]
StatusOption = Annotated[
    int | None, typer.Option(metavar="N", help="Only those whose receiver answered this last.")
]
PaceOption = Annotated[
    int | None,
    typer.Option("--per-second", metavar="N", help="How many in a second, at most 500."),
]

dead = typer.Typer(
    help="Batches that ran out of attempts.", rich_markup_mode=None, no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    app.add_typer(dead, name="dead")


@dead.command("list")
@asks("read")
def list_(
    asking: Asking,
    user: UserOption = None,
    route: OfRouteOption = None,
    reason: ReasonOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    limit: LimitOption = LETTERS_SHOWN,
    cursor: CursorOption = None,
    everything: AllOption = False,
) -> None:
    """The dead letters, newest first."""
    most = None if everything else limit
    asked = {"user": user, "reason": reason, "status": status, "since": since, "route": route}
    found = pages(asking.service, "/api/dead", "dead", most, cursor, **asked)
    page = next(found)
    columns = with_values(COLUMNS, OPTIONAL, _rows(page))
    show_pages(
        asking,
        _from(page, found),
        "dead",
        columns,
        empty=NONE if not any(asked.values()) else f"{NONE} that were asked for",
        rows=_rows,
        in_words=_in_words,
    )
    if (unreadable := page.get("unreadable", 0)) and not asking.as_json:
        # Of the first page; of all of them only the doctor can tell.
        note(
            f"{counted(unreadable, 'dead letter')} cannot be read, and so cannot be listed:"
            " `actor-queue doctor` names them"
        )


@dead.command()
@asks("read")
def groups(
    asking: Asking,
    user: UserOption = None,
    route: OfRouteOption = None,
    reason: ReasonOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    cursor: CursorOption = None,
) -> None:
    """How many died of the same thing on the same route, of the newest 1,000."""
    asked = {"user": user, "reason": reason, "status": status, "since": since, "route": route}
    answer = asking.service.get("/api/dead/groups", cursor=cursor, **asked)
    if asking.as_json:
        show_json(answer)
        return
    if not answer["groups"]:
        print(NONE if not any(asked.values()) else f"{NONE} that were asked for")
    else:
        show_table(COLUMNS_GROUPS, answer["groups"])
    if answer.get("cursor"):
        note(f"there are more: --cursor {answer['cursor']}")


def _rows(page: Any) -> list[dict[str, Any]]:
    """A service of the release before says nothing of when a letter expires."""
    return [
        letter | {"expires_at": letter["expires_at"] or "never"}
        if "expires_at" in letter
        else letter
        for letter in page.get("dead", [])
    ]


def _in_words(letter: dict[str, Any]) -> list[tuple[str, str]]:
    """The id on a line of its own to be copied, and a sentence about the letter."""
    expires_at = letter.get("expires_at")
    why = letter.get("reason") or "no reason is known"
    parts = [
        f"{text(letter.get('user'))}: {why}",
        counted(letter.get("attempts") or 0, "attempt"),
        counted(letter.get("messages") or 0, "message"),
        f"died {_second(letter.get('died_at'))}",
        *([] if expires_at is None else [f"expires {_second(expires_at)}"]),
        *(["a replay is queued"] if letter.get("queued") else []),
    ]
    return [("-", text(letter.get("id"))), ("", ", ".join(parts))]


def _second(moment: Any) -> str:
    """Without what is smaller than a second."""
    said = str(moment)
    return f"{said[:SECOND]}Z" if said[SECOND : SECOND + 1] == "." else said


@dead.command()
@asks("admin")
def show(asking: Asking, batch_id: IdArgument) -> None:
    """One dead letter with the body that was refused, which only an admin's key is told."""
    answer = asking.service.get(f"/api/dead/{segment(batch_id)}")
    if asking.as_json:
        show_json(answer)
        return
    show_fields(answer, [name for name in answer if name not in SHOWN_APART])
    if answer.get("batch") is None:
        print("\nbody: masked; a key with the scope admin is shown it")
        return
    print("\nbody:")
    show_json(answer["batch"])


def _masked(asking: Asking, batch_id: str) -> dict[str, Any]:
    """What is known of a dead letter without its texts, which would be logged as shown."""
    letter: dict[str, Any] = asking.service.get(f"/api/dead/{segment(batch_id)}", texts="false")
    return letter


@dead.command()
@asks("admin")
def replay(
    asking: Asking,
    ids: Ids = None,
    user: UserOption = None,
    route: OfRouteOption = None,
    reason: ReasonOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    per_second: PaceOption = None,
) -> int:
    """Send dead letters again, with the same webhook-id."""
    filters = {
        "user": user,
        "reason": reason,
        "status": status,
        "since": since,
        "route": route,
    }
    wanted = whom(bool(ids), everything, dry_run, "ID", **filters)
    if wanted is None:
        return _each(asking, _once(ids), asking.service.post, "/replay", COLUMNS_REPLAYED)
    if dry_run or not yes:
        total, more = count(asking, REPLAY, wanted)
        if dry_run:
            asking.show(total, tuple(total))
            return 0
        if total["would"] == 0:
            return _nothing(asking, "replayed", NONE_TO_REPLAY)
        what = in_words(total, more, "dead letter")
        if not confirmed(f"{what} would be sent again", yes=False):
            return complain("nothing was sent again", NO)
    pace = {} if per_second is None else {"per_second": per_second}
    job = _followed(asking, asking.service.post(REPLAY, (wanted | pace) or None))
    if job.get("state") == "done" and job.get("replayed") == 0:
        return _nothing(asking, "replayed", NONE_TO_REPLAY)
    smooth = job.get("state") == "done" and not job.get("passed_over")
    asking.show(job, ("replayed",) if smooth else COLUMNS_JOB)
    return 0 if job.get("state") == "done" else NO


def _followed(asking: Asking, job: dict[str, Any]) -> dict[str, Any]:
    """The job when it is over, with its progress meanwhile. Ctrl-C stops it, and not only us."""
    path = REPLAY
    told = ""
    abandoned = 0
    while job.get("state") in GOES_ON and abandoned < ABANDONED_LOOKS_MAX:
        abandoned = abandoned + 1 if job.get("state") == "abandoned" else 0
        progress = f"{job.get('replayed', 0)} of {job.get('total') or '…'} sent again"
        if progress != told:
            print(progress, file=sys.stderr, flush=True)
            told = progress
        try:
            time.sleep(FOLLOW_S)
            job = asking.service.get(path)
        except KeyboardInterrupt:
            job = asking.service.delete(path)
    return job


@dead.command()
@asks("admin")
def drop(
    asking: Asking,
    ids: Ids = None,
    user: UserOption = None,
    route: OfRouteOption = None,
    reason: ReasonOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> int:
    """Delete dead letters for ever."""
    filters = {
        "user": user,
        "reason": reason,
        "status": status,
        "since": since,
        "route": route,
    }
    wanted = whom(bool(ids), everything, dry_run, "ID", **filters)
    if wanted is not None:
        path, done = "/api/dead/drop", "deleted for ever"
        return for_many(
            asking,
            path,
            wanted,
            "dead letter",
            done,
            dry_run=dry_run,
            yes=yes,
            number="dropped",
            none=NONE,
        )
    names = _once(ids)
    if not yes:
        letters = [_masked(asking, name) for name in names]
        messages = counted(sum(letter.get("messages", 0) for letter in letters), "message")
        what = f"{counted(len(names), 'dead letter')} with {messages}"
        if not confirmed(f"{what} would be deleted for ever", yes=False):
            return complain("nothing was deleted", NO)
    return _each(asking, names, asking.service.delete, "", ("id", "success"))


def _nothing(asking: Asking, done: str, sentence: str) -> int:
    """There was nothing to do, which is no failure."""
    if asking.as_json:
        show_json({done: 0})
    else:
        print(sentence)
    return 0


def _once(ids: list[str] | None) -> list[str]:
    return list(dict.fromkeys(ids or []))


def _each(
    asking: Asking,
    names: list[str],
    order: Callable[[str], dict[str, Any]],
    verb: str,
    shown: Sequence[str],
) -> int:
    """One that is not there stops nothing; the status tells of it."""
    from actor_queue.app.remote import Refused

    answers, status = [], 0
    for name in names:
        try:
            answer = order(f"/api/dead/{segment(name)}{verb}")
        except Refused as refused:
            status = complain(f"{name}: {refused}", NO)
            continue
        answers.append(answer)
        if not asking.as_json:
            show_fields(answer, shown)
    if asking.as_json and answers:
        show_json(answers[0] if len(names) == 1 else {"dead": answers})
    return status


def _from(page: dict[str, Any], following: Iterable[dict[str, Any]]) -> Iterator[Any]:
    yield page
    yield from following
