"""The description is one that linters and generators of clients have nothing to say about."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from actor_queue.core.settings import Settings
from actor_queue.http.openapi import document
from tests.http.openapi_rules import Json, faults, operations

SETTINGS = [
    Settings(),
    Settings(root_path="/redis-api", max_ttl_ms=1, default_ttl_ms=1, max_body_bytes=64),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_description_is_valid_and_keeps_the_rules_of_the_linters(settings: Settings) -> None:
    description = document(settings)
    errors = OpenAPIV31SpecValidator(description).iter_errors()
    assert [error.message for error in errors] == []
    assert faults(description) == []


def test_every_example_is_one() -> None:
    description = document(Settings())
    for name, schema in description["components"]["schemas"].items():
        for field, part in schema.get("properties", {}).items():
            for example in part.get("examples", []):
                assert list(OAS31Validator(part).iter_errors(example)) == [], (name, field)


def post(description: Json) -> Json:
    operation: Json = description["paths"]["/api/message"]["post"]
    return operation


def schema(description: Json) -> Json:
    found: Json = description["components"]["schemas"]["Accepted"]
    return found


MISTAKES: dict[str, Callable[[Json], Any]] = {
    "info-contact": lambda d: d["info"].pop("contact"),
    "info-description": lambda d: d["info"].pop("description"),
    "no-server-trailing-slash": lambda d: d["servers"][0].update(url="/redis-api/"),
    "openapi-tags-uniqueness": lambda d: d["tags"].append(d["tags"][0]),
    "tag-description": lambda d: d["tags"][0].update(description=""),
    "no-identical-paths": lambda d: d["paths"].update({"/api/dead/{x}": {}}),
    "path-keys-no-trailing-slash": lambda d: d["paths"].update({"/a/": {}}),
    "path-parameters-defined": lambda d: d["paths"]["/api/dead/{id}"].pop("parameters"),
    "operation-operationId": lambda d: post(d).pop("operationId"),
    "operation-operationId-unique": lambda d: post(d).update(operationId="showUser"),
    "operation-operationId-url-safe": lambda d: post(d).update(operationId="a b"),
    "operation-description": lambda d: post(d).update(description=""),
    "operation-summary": lambda d: post(d).pop("summary"),
    "operation-tag-defined": lambda d: post(d).update(tags=["Nothing"]),
    "operation-2xx-response": lambda d: post(d)["responses"].pop("202"),
    "operation-4xx-response": lambda d: d["webhooks"]["batch"]["post"]["responses"].pop("4XX"),
    "security-defined": lambda d: d["webhooks"]["batch"]["post"].pop("security"),
    "operation-security-defined": lambda d: post(d).update(security=[{"nobody": []}]),
    "no-unused-components": lambda d: d["components"]["schemas"].update({"Lost": {}}),
    "no-$ref-siblings": lambda d: post(d)["parameters"][0].update(name="x"),
    "array-items": lambda d: schema(d)["properties"].update(a={"type": "array"}),
    "no-required-schema-properties-undefined": lambda d: schema(d)["required"].append("lost"),
    "no-script-tags-in-markdown": lambda d: post(d).update(description="<script>"),
}


@pytest.mark.parametrize("rule", MISTAKES)
def test_each_rule_finds_its_mistake(rule: str) -> None:
    description = copy.deepcopy(document(Settings()))
    MISTAKES[rule](description)
    assert rule in {fault.partition(":")[0] for fault in faults(description)}


def test_every_operation_says_what_it_refuses() -> None:
    description = document(Settings())
    allow = description["components"]["responses"]["Problem405"]["headers"]["Allow"]
    assert allow["required"]
    for where, operation in operations(description):
        if where.startswith("batch"):
            continue  # the receiver's own
        statuses = operation["responses"].keys()
        assert {"400", "403", "405"} <= statuses, where
        keyed = where.startswith(("/api/", "/in/")) and where != "/api/session delete"
        keyed = keyed and not where.startswith("/api/answers/")  # the address is the key
        assert ("401" in statuses) == keyed, where
        for status in ("408", "413", "415"):
            assert (status in statuses) == ("requestBody" in operation), where
        if "requestBody" in operation:
            assert "422" in statuses, where
