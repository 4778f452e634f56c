"""The schemas of `openapi.json`: made of the models, with this service's own limits in them."""

from __future__ import annotations

import inspect
from typing import Any, Final

import msgspec

from actor_queue.core.settings import Settings
from actor_queue.http import models
from actor_queue.http.models.kinds import Schema, parameter_schemas

STRING: Final[Schema] = {"type": "string"}
PLACE: Final = "#/components/schemas/{name}"


def ref(model: models.AnyModel | str) -> Schema:
    """A reference to a model's schema."""
    return {"$ref": PLACE.format(name=model if isinstance(model, str) else model.__name__)}


def listed(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def schemas(settings: Settings) -> Schema:
    """The component `schemas`."""
    found = {
        **_of_models(),
        **{model.__name__: _of_parameters(model) for model in models.BODIES + models.SPELLED},
        "Result": {"oneOf": [ref(models.Accepted), ref(models.Problem)]},
    }
    ttl_max = settings.max_ttl_ms / 1000
    found["Message"]["properties"]["ttl"] |= {
        "maximum": ttl_max,
        "default": settings.default_ttl_ms / 1000,
    }
    found["Typing"]["properties"]["ttl"]["maximum"] = ttl_max
    return found


def _of_models() -> dict[str, Schema]:
    _, made = msgspec.json.schema_components(models.MODELS, ref_template=PLACE)
    found: dict[str, Schema] = {}
    for model in models.MODELS:
        schema: Schema = _plain(made[model.__name__])
        schema.pop("title")
        schema.pop("description", None)
        if issubclass(model, models.Open):
            schema["additionalProperties"] = True
        found[model.__name__] = _said_of(model) | schema
    return found


def _of_parameters(model: type[models.Parameters]) -> Schema:
    described = parameter_schemas(model, in_body=True)
    for each in described.values():
        _may_be_empty(each, yes=model not in models.SPELLED)
    schema = _said_of(model) | {"type": "object", "properties": described}
    return schema | {"additionalProperties": False}


def _may_be_empty(schema: Schema, *, yes: bool) -> None:
    """Null, or an empty text, is a field that was not given, or is refused."""
    if yes:
        schema.pop("minLength", None)
    elif schema.get("minLength") == 0:
        schema["minLength"] = 1
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        kinds = [kind for kind in kinds if kind != "null"]
        schema["type"] = [*kinds, "null"] if yes else kinds


def _said_of(model: models.AnyModel) -> Schema:
    """A class's own docstring; msgspec would take an ancestor's, and its line breaks."""
    own = model.__dict__.get("__doc__")
    return {"description": " ".join(inspect.cleandoc(own).split())} if own else {}


def _plain(node: Any) -> Any:
    """`node` as a person would write it: types side by side, and one of two, not any of them."""
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {name: _plain(value) for name, value in node.items()}
    branches = found.pop("anyOf", None)
    if branches is None or "oneOf" in found:
        return found
    if all(branch.keys() == {"type"} for branch in branches):
        return found | {"type": [branch["type"] for branch in branches]}
    return found | {"oneOf": branches}
