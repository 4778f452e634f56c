"""What the fields of the models are made of: ranges, formats, and how each is described.

Two kinds of models. A `Model` is what the service says; it is built by `shapes` and written as
JSON by msgspec. `Parameters` are what the service may be asked, in a query or in a small JSON body;
`inputs` reads them, because msgspec takes what is refused here (a field that is named twice), and
refuses what is taken (a number that is written as text).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, get_type_hints

from msgspec import Meta, Raw, Struct
from msgspec.structs import fields

from actor_queue.core.admission import milliseconds
from actor_queue.core.conversation import ROUTE_CHARACTERS_MAX, is_route_name
from actor_queue.core.json_text import refuse_field
from actor_queue.core.moments import moment_ms

Schema = dict[str, Any]


class Model(Struct, frozen=True):
    """What the service says."""


class Open(Model, frozen=True):
    """A model that other fields may stand beside: what senders pass through."""


class Parameters(Struct, frozen=True, kw_only=True):
    """What the service may be asked. Every field has a `Kind`, and can be left out."""


AnyModel = type[Model] | type[Parameters]


def about(text: str, **schema: object) -> Meta:
    """A field's description, with `schema` for what its type does not say.

    `required` is for a parameter of a query that its view refuses to do without.
    """
    return Meta(description=text, extra_json_schema=schema or None)


def fields_of(model: AnyModel) -> tuple[str, ...]:
    """The names, in the order in which they are written."""
    return model.__struct_fields__


# Of answers

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(description="Seconds.")]
MaybeSeconds = Annotated[float | None, Meta(description="Seconds.")]
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
MaybeMoment = Annotated[str | None, Meta(extra_json_schema={"format": "date-time"})]
Success = Annotated[bool, Meta(extra_json_schema={"const": True})]
WrittenObject = Annotated[
    Raw, Meta(extra_json_schema={"type": "object", "additionalProperties": True})
]
"""An object that is JSON already: decoded and encoded again, its numbers might lose digits."""

# Of what is asked


@dataclass(frozen=True, slots=True)
class Kind:
    """How a field of `Parameters` is written: its schema, and what reads it.

    `read(name, value)` gets what JSON or a query held, never null and never an empty text, and
    raises `Refused` with 422 and the field's name.
    """

    schema: Schema
    read: Callable[[str, object], object]
    in_body: Schema | None = None
    """The schema in a JSON body, where that may hold other types than the text of a query."""


SECONDS_AS_TEXT: Final = r"^ *([0-9]{1,15}(\.[0-9]{1,15})?|-0{1,15}(\.0{1,15})?)? *$"
"""Of what is not text, JSON Schema asks no pattern."""
ROUTE_AS_TEXT: Final = r"^[A-Za-z0-9_.-]*$"
MOMENT_AS_TEXT: Final = (
    r"^ *([0-9]{1,13}(\.[0-9]{1,9})?|[0-9]{1,9}[smhd]|[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?)?)? *$"
)


def span(at_most_s: int | None = None) -> Kind:
    """Seconds, more than 0, as a number or as its text; milliseconds once they are read."""

    def read(name: str, value: object) -> object:
        given = milliseconds(name, value)
        if given is not None:
            require_span(name, given, None if at_most_s is None else at_most_s * 1_000)
        return given

    schema: Schema = {
        "type": ["number", "string", "null"],
        "exclusiveMinimum": 0,
        "pattern": SECONDS_AS_TEXT,
    }
    return Kind(schema if at_most_s is None else schema | {"maximum": at_most_s}, read)


def require_span(name: str, given_ms: int, at_most_ms: int | None) -> None:
    """Raises `Refused` with 422."""
    if given_ms <= 0 or (at_most_ms is not None and given_ms > at_most_ms):
        most = "" if at_most_ms is None else f" and at most {at_most_ms / 1000:g} seconds"
        refuse_field(name, f"{name} must be over 0{most}")


def whole(least: int, most: int) -> Kind:
    """A whole number, or its digits."""

    def read(name: str, value: object) -> object:
        # As JSON has it, 3.0 is a whole number.
        meant = int(value) if type(value) is float and value.is_integer() else value
        text = str(meant).strip(" ") if type(meant) in (int, str) else ""
        if text.isascii() and text.isdigit() and len(text) <= len(str(most)):
            number = int(text)
            if least <= number <= most:
                return number
        refuse_field(name, f"{name} must be a whole number from {least} to {most}")

    schema: Schema = {"type": "integer", "minimum": least, "maximum": most}
    digits = rf"^ *[0-9]{{1,{len(str(most))}}} *$"
    return Kind(schema, read, schema | {"type": ["integer", "string"], "pattern": digits})


def _yes_or_no(name: str, value: object) -> object:
    if value is True or value == "true":
        return True
    if value is False or value == "false":
        return False
    refuse_field(name, f"{name} must be true or false")


FLAG: Final = Kind({"type": "boolean"}, _yes_or_no, {"enum": [True, False, "true", "false"]})


def one_of(names: tuple[str, ...]) -> Kind:
    def read(name: str, value: object) -> object:
        if value not in names:
            refuse_field(name, f"{name} must be one of {', '.join(names)}")
        return value

    return Kind({"type": "string", "enum": list(names)}, read)


def beginning(bytes_max: int) -> Kind:
    """What a text begins with; a number is taken as its text."""

    def read(name: str, value: object) -> object:
        text = str(value) if type(value) in (int, str) else ""
        if not 1 <= len(text.encode(errors="replace")) <= bytes_max:
            refuse_field(name, f"{name} must have 1 to {bytes_max} bytes")
        return text

    schema: Schema = {"type": "string", "maxLength": bytes_max}
    return Kind(schema, read, schema | {"type": ["string", "integer"], "minLength": 1})


def _route(name: str, value: object) -> object:
    text = str(value) if type(value) in (int, str) else ""
    if not is_route_name(text):
        refuse_field(name, f"{name} must be a route's name: letters, digits, `_`, `.` and `-`")
    return text


ROUTE: Final = Kind(
    {"type": "string", "pattern": ROUTE_AS_TEXT, "maxLength": ROUTE_CHARACTERS_MAX},
    _route,
    {"type": ["string", "integer"], "pattern": ROUTE_AS_TEXT, "minLength": 1},
)


def moment() -> Kind:
    """See `core.moments`; milliseconds since 1970 once it is read."""

    def read(name: str, value: object) -> object:
        return moment_ms(name, value, int(time.time() * 1_000))

    schema: Schema = {"type": "string", "pattern": MOMENT_AS_TEXT}
    in_body = schema | {"type": ["string", "number"], "minimum": 0, "minLength": 1}
    return Kind(schema, read, in_body)


def parameter_schemas(model: type[Parameters], *, in_body: bool = False) -> dict[str, Schema]:
    """Of each field, by name: its kind, its description and what it is when it is left out."""
    hints = get_type_hints(model, include_extras=True)
    described = {}
    for field in fields(model):
        kind, meta = _marks(hints[field.name])
        schema = dict((kind.in_body if in_body else None) or kind.schema)
        if meta.description:
            schema["description"] = meta.description
        if field.default is not None:
            schema["default"] = field.default
        described[field.name] = schema | (meta.extra_json_schema or {})
    return described


@cache
def kinds_of(model: type[Parameters]) -> dict[str, Kind]:
    hints = get_type_hints(model, include_extras=True)
    return {name: _marks(hints[name])[0] for name in fields_of(model)}


def _marks(hint: Any) -> tuple[Kind, Meta]:
    kinds = [mark for mark in hint.__metadata__ if isinstance(mark, Kind)]
    metas = [mark for mark in hint.__metadata__ if isinstance(mark, Meta)]
    assert len(kinds) == 1, "a parameter has one kind"
    return kinds[0], metas[0] if metas else Meta()
