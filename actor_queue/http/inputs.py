"""What may be asked of the API: query parameters and small JSON bodies, read into the models.

Everything wrong is a `Refused` with 400 or 422 and the field's name. A field that is not known is
refused too: a misspelt `seconds` must not hold a user for the default hour. Null, or an empty text,
is a field that was not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, TypeVar

from actor_queue.core.admission import text_of_edit
from actor_queue.core.json_text import (
    BYTE_ORDER_MARK,
    NAME_CHARACTERS_SHOWN,
    Refused,
    read_object,
    refuse_field,
)
from actor_queue.http import models
from actor_queue.http.models.kinds import kinds_of, require_span

Asked = TypeVar("Asked", bound=models.Parameters)


def read(model: type[Asked], fields: Mapping[str, object], *, spelled: bool = False) -> Asked:
    """Of a query, whose names were looked at already (`query_refusal`), or of a program.

    `spelled` refuses what would otherwise be a field that was not given.
    """
    kinds = kinds_of(model)
    given = {}
    for name, value in fields.items():
        kind = kinds.get(name)
        if kind is None:
            _refuse_unknown(name, tuple(kinds))
        if value is None or (type(value) is str and not value.strip(" ")):
            if spelled:
                refuse_field(name, f"{name} is empty: leave it out if it is not to count")
            continue
        meant = kind.read(name, value)
        if meant is not None:
            given[name] = meant
    return model(**given)


def from_body(model: type[Asked], body: bytes) -> Asked:
    """Of a JSON object; nothing at all is an empty one."""
    fields: Mapping[str, object] = {}
    if body.removeprefix(BYTE_ORDER_MARK).strip():
        _, fields = read_object(body)
    return read(model, fields)


def spelled(model: type[Asked], body: bytes) -> Asked:
    """Of one of `models.SPELLED`. No body at all is refused: an empty object means everybody."""
    _, fields = read_object(body)
    return read(model, fields, spelled=True)


def typing_ttl_ms(body: bytes, ttl_max_ms: int) -> int | None:
    """Of `models.Typing`; None for the user's own."""
    given = from_body(models.Typing, body).ttl
    if given is not None:
        require_span("ttl", given, ttl_max_ms)
    return given


def hold_ms(body: bytes) -> int:
    """Of `models.Hold`."""
    given = from_body(models.Hold, body).seconds
    return models.HOLD_DEFAULT_S * 1000 if given is None else given


def hold_reason(body: bytes) -> str | None:
    """Of `models.Hold`."""
    return from_body(models.Hold, body).reason


def reason(body: bytes) -> str | None:
    """Of `models.Because`."""
    return from_body(models.Because, body).reason


def new_text(body: bytes) -> tuple[str, str | None]:
    """Of `models.NewText`: the text, and why."""
    text, others = text_of_edit(body)
    known = models.fields_of(models.NewText)
    for name in others:
        if name not in known:
            _refuse_unknown(name, known)
    return text, read(models.Because, others).reason


def _refuse_unknown(name: str, known: tuple[str, ...]) -> NoReturn:
    takes = f"only the field{'s' * (len(known) > 1)} {', '.join(known)}"
    raise Refused(422, "Invalid field", f"the body may have {takes}", name[:NAME_CHARACTERS_SHOWN])
