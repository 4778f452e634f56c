"""What all lists have: pages of so many entries, and a cursor to the next page."""

from __future__ import annotations

from typing import Annotated, Final, NoReturn

from actor_queue.core.json_text import refuse_field
from actor_queue.http.models.kinds import ROUTE, Kind, about, moment, whole
from actor_queue.store.api import CURSOR_CHARACTERS_MAX

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000

Cursor = Annotated[str | None, about("Continues the list; null at its end.")]


def refuse_cursor() -> NoReturn:
    """Raises `Refused` with 422."""
    refuse_field("cursor", "cursor must be one that an earlier page ended with")


def _cursor(name: str, value: object) -> object:
    if type(value) is not str or len(value) > CURSOR_CHARACTERS_MAX:
        refuse_cursor()
    return value


CURSOR: Final = Kind(
    {"type": "string", "pattern": "^[0-9A-Za-z_-]*$", "maxLength": CURSOR_CHARACTERS_MAX}, _cursor
)


Limit = Annotated[int, whole(1, LIMIT_MAX), about("How many at most.")]
After = Annotated[str | None, CURSOR, about("From the page before.")]
"""Every list takes these two, as `limit` and `cursor`. msgspec has no classes with two bases."""

OfRoute = Annotated[str | None, ROUTE, about("Only those of this route.")]
ItsRoute = Annotated[
    str | None,
    ROUTE,
    about("Whose user it is; that of the key where it has one, else `default`."),
]
Route = Annotated[str, about("Whose receiver it is for: a conversation is a user of a route.")]

Since = Annotated[
    int | None,
    moment(),
    about(
        "Only what is no older than this: a date or a time of RFC 3339, in UTC where it does not "
        "say, seconds or milliseconds since 1970, or how long ago, as 90s, 10m, 2h or 3d.",
        examples=["10m"],
    ),
]
