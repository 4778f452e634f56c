"""What every command that asks a service shares: where it is, with which key, JSON or not.

`asks` gives a command these options and hands it an `Asking`; a no of the service, or nobody
there, becomes one sentence and exit status 1.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actor_queue.app.terminal import (
    NO,
    WRONG,
    Unasked,
    complain,
    json_text,
    lines_of_a_row,
    note,
    show_fields,
    show_json,
    show_paragraphs,
    show_table,
)
from actor_queue.core.settings import Settings, SettingsError
from actor_queue.store.api import UserState

if TYPE_CHECKING:
    from actor_queue.app.remote import Remote

DOTENV = ".env"
ROW_LINES_MAX = 2
"""A table with more lines a row is harder to read than sentences."""
PAGE_MAX = 1_000
"""The most that the service lists at once."""
KEY_FILE_BYTES_MAX = 4_096


def seconds_from_0(text: str) -> float:
    """The value of an option: 0 or more."""
    return _seconds(text, "0 or more", lambda number: number >= 0)


def seconds_above_0(text: str) -> float:
    """The value of an option: more than 0."""
    return _seconds(text, "more than 0", lambda number: number > 0)


def _seconds(text: str, allowed: str, fits: Callable[[float], bool]) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or not fits(number):
        raise typer.BadParameter(f"{text!r} is not a number of seconds, {allowed}")
    return number


def _entries(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise typer.BadParameter(f"{text!r} is not a whole number, 1 or more")
    return number


UserArgument = Annotated[str, typer.Argument(help="The user, exactly as it was posted.")]
IdArgument = Annotated[str, typer.Argument(help="The batch's id, which is its webhook-id.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
LimitOption = Annotated[
    int, typer.Option(parser=_entries, metavar="N", help="How many at most, 1 or more.")
]
CursorOption = Annotated[
    str | None, typer.Option(metavar="CURSOR", help="Go on where a list ended.")
]
UserOption = Annotated[
    str | None, typer.Option("--user", metavar="BEGINNING", help="Only users that begin so.")
]
RouteOption = Annotated[
    str | None, typer.Option("--route", metavar="ROUTE", help="Whose user it is; else default.")
]
OfRouteOption = Annotated[
    str | None, typer.Option("--route", metavar="ROUTE", help="Only those of this route.")
]
StateOption = Annotated[UserState | None, typer.Option(help="Only users in this state.")]
SinceOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Only what is no older: RFC 3339, Unix time, or 10m, 2h, 3d."
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="All of them, however many.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="Where the service is. Default: AQ_URL, else AQ_BIND or PORT."
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="An API key, shown by the process list: better --key-file. Default: from AQ_API_KEYS.",
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help="A file with the API key, and nothing else."),
]
_SHARED = {"url": UrlOption, "key": KeyOption, "key_file": KeyFileOption, "as_json": JsonOption}
_Page = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asking:
    """A service to ask, and whether its answers are shown as JSON."""

    service: Remote
    as_json: bool

    def show(self, answer: dict[str, Any], names: Sequence[str]) -> None:
        """The fields `names` of an answer, or all of it as JSON."""
        if self.as_json:
            show_json(answer)
        else:
            show_fields(answer, names)


def asks(scope: str) -> Callable[[Callable[..., int | None]], Callable[..., int]]:
    """Makes a command of a function whose first argument is an `Asking`.

    `scope` is what the key must be good for. The function returns an exit status, None for 0. An
    argument that is a dataclass stands for its fields, so that commands can share options.
    """

    def decorate(command: Callable[..., int | None]) -> Callable[..., int]:
        def with_service(
            url: str | None, key: str | None, key_file: Path | None, as_json: bool, **own: Any
        ) -> int:
            from actor_queue.app.remote import Refused

            try:
                for name, kind in together.items():
                    own[name] = kind(**{each.name: own.pop(each.name) for each in fields(kind)})
                with connected(url, key, key_file, scope) as service:
                    return command(Asking(service, as_json), **own) or 0
            except Refused as refused:
                return complain(str(refused), NO)
            except Unasked as unasked:
                return complain(str(unasked), WRONG)

        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        together = {each.name: kind for each in own if (kind := _kind_of(each)) is not None}
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            parameter.replace(kind=keyword) for each in own for parameter in _apart(each)
        ] + [
            inspect.Parameter(
                name,
                keyword,
                default=False if name == "as_json" else None,
                annotation=annotation,
            )
            for name, annotation in _SHARED.items()
        ]
        signature = inspect.Signature(parameters, return_annotation=int)
        with_service.__signature__ = signature  # type: ignore[attr-defined]
        with_service.__annotations__ = {each.name: each.annotation for each in parameters}
        with_service.__name__ = command.__name__
        with_service.__doc__ = command.__doc__
        return with_service

    return decorate


def _kind_of(parameter: inspect.Parameter) -> type[Any] | None:
    """The dataclass that it is, if so."""
    kind = parameter.annotation
    return kind if isinstance(kind, type) and is_dataclass(kind) else None


def _apart(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    kind = _kind_of(parameter)
    if kind is None:
        return [parameter]
    return list(inspect.signature(kind, eval_str=True).parameters.values())


@contextmanager
def connected(
    url: str | None, key: str | None, key_file: Path | None, scope: str
) -> Iterator[Remote]:
    """The service that the options name, else the one that the settings would start."""
    from actor_queue.app.remote import Remote, best_key, default_url

    if key is not None and key_file is not None:
        raise SettingsError("--key and --key-file are both given: give one of them")
    source = "--key"
    if key_file is not None:
        key, source = _key_of(key_file), "--key-file"
    url = url or named_service()
    if url is None or key is None:
        settings = read_settings()
        url = url or default_url(settings)
        if key is None:
            key, source = best_key(settings, scope), "AQ_API_KEYS"
    with Remote(url, key, key_source=source) as remote:
        yield remote


def named_service() -> str | None:
    """What AQ_URL says."""
    from actor_queue.app.environment import WHERE

    return os.environ.get(WHERE, "").strip() or None


def read_settings() -> Settings:
    """From the environment and `.env`."""
    from actor_queue.app.environment import load

    return load(os.environ, DOTENV, {})


def user_path(user: str, route: str | None, verb: str = "") -> str:
    """The path of a user, or of a `verb` for one."""
    query = "" if route is None else f"?route={segment(route)}"
    return f"/api/users/{segment(user)}{verb}{query}"


def segment(what: str) -> str:
    """A user or an id as part of a path."""
    from actor_queue.app.remote import segment as encoded

    if not what:
        raise typer.BadParameter("the user or the id must not be empty")
    return encoded(what)


def _key_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(KEY_FILE_BYTES_MAX + 1)
        key = content.decode("ascii").strip()
    except OSError as error:
        raise SettingsError(f"--key-file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        key = ""
    if not key or len(content) > KEY_FILE_BYTES_MAX or len(key.split()) != 1:
        raise SettingsError(f"--key-file {path} must hold one key and nothing else")
    return key


# Lists


def pages(
    service: Remote, path: str, name: str, most: int | None, cursor: str | None, **query: Any
) -> Iterator[dict[str, Any]]:
    """Pages of a list until its end, or until `most` entries; None is all of them."""
    from actor_queue.app.remote import Refused

    left = most
    while True:
        limit = PAGE_MAX if left is None else min(left, PAGE_MAX)
        page = service.get(path, limit=limit, cursor=cursor, **query)
        following = page.get("cursor")
        if page.get(name) or not following:  # with a filter a page may be empty in the middle
            yield page
        if left is not None:
            left -= len(page.get(name, []))
            if left <= 0:
                return
        if not following:
            return
        if following == cursor:
            raise Refused("the list goes on for ever at the same place: this is a fault, report it")
        cursor = following


def show_pages(
    asking: Asking,
    found: Iterator[dict[str, Any]],
    name: str,
    columns: Sequence[str],
    *,
    empty: str,
    rows: Callable[[_Page], list[dict[str, Any]]],
    in_words: Callable[[dict[str, Any]], list[tuple[str, str]]] | None = None,
) -> None:
    """Each page as it comes, so that a long list needs no memory.

    `rows` makes of a page what is shown; `empty` is said in the place of a list without entries.
    `in_words` makes sentences of a row, for a terminal too narrow for the table.
    """
    page = next(found)
    if asking.as_json:
        _show_json_pages(page, found, name)
        return
    shown = False
    while True:
        entries = rows(page)
        if entries and in_words is not None and lines_of_a_row(columns, entries) > ROW_LINES_MAX:
            show_paragraphs([line for entry in entries for line in in_words(entry)])
            shown = True
        elif entries:
            show_table(columns, entries, heading=not shown)
            shown = True
        following = next(found, None)
        if following is None:
            break
        page = following
    if not shown:
        print(empty)
    if page.get("cursor"):
        note(f"there are more: go on with --cursor {page['cursor']}, or give --all")


def _show_json_pages(page: dict[str, Any], following: Iterator[dict[str, Any]], name: str) -> None:
    """One page as it is; several as one object, written as they come."""
    second = next(following, None)
    if second is None:
        show_json(page)
        return
    print(f'{{"{name}": [')
    waiting: str | None = None  # the last entry, after which there may be no comma
    for each in chain((page, second), following):
        cursor = each.get("cursor")
        for entry in each.get(name, []):
            if waiting is not None:
                print(f"{waiting},")
            waiting = json_text(entry)
    if waiting is not None:
        print(waiting)
    print(f'], "cursor": {json_text(cursor)}}}')
