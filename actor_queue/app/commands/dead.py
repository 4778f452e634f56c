"""`dead list`, `show`, `replay` and `drop`: batches that ran out of attempts."""

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
    YesOption,
    asks,
    pages,
    segment,
    show_pages,
)
from actor_queue.app.terminal import (
    NO,
    complain,
    confirmed,
    counted,
    show_fields,
    show_json,
    with_values,
)

LETTERS_SHOWN = 100
COUNTED_MAX = 100_000
"""How many dead letters are counted before a question; of more it says `more than`."""
COLUMNS = (
    "id", "user", "died_at", "attempts", "messages", "queued", "status", "replica", "duration_ms",
    "reason", "answer",
)  # fmt: skip
COLUMNS_REPLAYED = ("id", "user", "died_at", "attempts", "messages", "queued")
COLUMNS_JOB = ("job", "state", "total", "replayed", "passed_over")
FOLLOW_S = 1.0
OPTIONAL = ("status", "replica", "duration_ms", "answer")
NONE = "there are no dead letters"
NONE_TO_REPLAY = f"{NONE} that are not queued already"
SHOWN_APART = ("batch", "recent", "success")

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="The batches' ids.")]

dead = typer.Typer(
    help="Batches that ran out of attempts.", rich_markup_mode=None, no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    app.add_typer(dead, name="dead")


@dead.command("list")
@asks("read")
def list_(
    asking: Asking,
    limit: LimitOption = LETTERS_SHOWN,
    cursor: CursorOption = None,
    everything: AllOption = False,
) -> None:
    """The dead letters, newest first."""
    most = None if everything else limit
    found = pages(asking.service, "/api/dead", "dead", most, cursor)
    page = next(found)
    columns = with_values(COLUMNS, OPTIONAL, page.get("dead", []))
    show_pages(
        asking,
        _from(page, found),
        "dead",
        columns,
        empty=NONE,
        rows=lambda page: page.get("dead", []),
    )


@dead.command()
@asks("read")
def show(asking: Asking, batch_id: IdArgument) -> None:
    """One dead letter with the body that was refused."""
    answer = asking.service.get(f"/api/dead/{segment(batch_id)}")
    if asking.as_json:
        show_json(answer)
        return
    show_fields(answer, [name for name in answer if name not in SHOWN_APART])
    print("\nbody:")
    show_json(answer.get("batch"))


@dead.command()
@asks("admin")
def replay(
    asking: Asking, ids: Ids = None, everything: AllOption = False, yes: YesOption = False
) -> int:
    """Send dead letters again, with the same webhook-id."""
    names = _named(ids, everything)
    if names:
        return _each(asking, names, asking.service.post, "/replay", COLUMNS_REPLAYED)
    if not yes:
        letters, waiting = _count(asking, lambda letter: not letter.get("queued"))
        if letters == 0:
            return _nothing(asking, "replayed", NONE_TO_REPLAY)
        if not confirmed(f"{waiting} would be sent again", yes=False):
            return complain("nothing was sent again", NO)
    job = _followed(asking, asking.service.post("/api/dead/replay"))
    if job.get("state") == "done" and job.get("replayed") == 0:
        return _nothing(asking, "replayed", NONE_TO_REPLAY)
    smooth = job.get("state") == "done" and not job.get("passed_over")
    asking.show(job, ("replayed",) if smooth else COLUMNS_JOB)
    return 0 if job.get("state") == "done" else NO


def _followed(asking: Asking, job: dict[str, Any]) -> dict[str, Any]:
    """The job when it is over, with its progress meanwhile. Ctrl-C stops it, and not only us."""
    path = "/api/dead/replay"
    told = ""
    while job.get("state") in ("running", "stopping"):
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
    asking: Asking, ids: Ids = None, everything: AllOption = False, yes: YesOption = False
) -> int:
    """Delete dead letters for ever."""
    names = _named(ids, everything)
    if not yes:
        if names:
            letters = [asking.service.get(f"/api/dead/{segment(name)}") for name in names]
            messages = counted(sum(letter.get("messages", 0) for letter in letters), "message")
            what = f"{counted(len(names), 'dead letter')} with {messages}"
        else:
            number, what = _count(asking, lambda _: True)
            if number == 0:
                return _nothing(asking, "dropped", NONE)
        if not confirmed(f"{what} would be deleted for ever", yes=False):
            return complain("nothing was deleted", NO)
    if names:
        return _each(asking, names, asking.service.delete, "", ("id", "success"))
    dropped = _drop_all(asking)
    if dropped == 0:
        return _nothing(asking, "dropped", NONE)
    asking.show({"dropped": dropped}, ("dropped",))
    return 0


def _nothing(asking: Asking, done: str, sentence: str) -> int:
    """There was nothing to do, which is no failure."""
    if asking.as_json:
        show_json({done: 0})
    else:
        print(sentence)
    return 0


def _named(ids: list[str] | None, everything: bool) -> list[str]:
    """Each once; none for all of them."""
    if everything == bool(ids):
        raise typer.BadParameter("name dead letters, or give --all", param_hint="ID")
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


def _count(asking: Asking, matters: Callable[[dict[str, Any]], bool]) -> tuple[int, str]:
    """`3, "3 dead letters with 12 messages"`."""
    letters = messages = seen = 0
    found = pages(asking.service, "/api/dead", "dead", COUNTED_MAX, None)
    more = False
    for page in found:
        for letter in page.get("dead", []):
            seen += 1
            if matters(letter):
                letters += 1
                messages += letter.get("messages", 0)
        more = bool(page.get("cursor"))
    what = f"{counted(letters, 'dead letter')} with {counted(messages, 'message')}"
    return letters, f"more than {what}" if more else what


def _drop_all(asking: Asking) -> int:
    """All that are there now; one that comes meanwhile is left."""
    dropped = 0
    names = [
        letter["id"]
        for page in pages(asking.service, "/api/dead", "dead", None, None)
        for letter in page.get("dead", [])
    ]
    for name in names:
        dropped += asking.service.delete_if_there(f"/api/dead/{segment(name)}")
    return dropped


def _from(page: dict[str, Any], following: Iterable[dict[str, Any]]) -> Iterator[Any]:
    yield page
    yield from following
