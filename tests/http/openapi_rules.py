"""What `redocly lint` (recommended) and `spectral lint` (spectral:oas) ask of a description.

Both are programs of another ecosystem. These are their rules as far as they go beyond the
schema of OpenAPI itself, which openapi-spec-validator has. The names are theirs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

Json = dict[str, Any]


def faults(document: Json) -> list[str]:
    """`rule: where` for everything that one of the two would report."""
    return [*_about(document), *_paths(document), *_operations(document), *_nodes(document)]


def _about(document: Json) -> Iterator[str]:
    info = document["info"]
    for name in ("description", "contact", "license"):
        if not info.get(name):
            yield f"info-{name}: info"
    for server in document.get("servers") or [{"url": "example.com"}]:
        if "example.com" in server["url"]:
            yield "no-server-example.com: servers"
        if server["url"] != "/" and server["url"].endswith("/"):
            yield "no-server-trailing-slash: servers"
    tags = [tag["name"] for tag in document.get("tags", [])]
    if len(set(tags)) != len(tags):
        yield "openapi-tags-uniqueness: tags"
    yield from (f"tag-description: {t['name']}" for t in document["tags"] if not t["description"])


def _paths(document: Json) -> Iterator[str]:
    shapes = Counter(re.sub(r"\{[^}]*\}", "{}", path) for path in document["paths"])
    yield from (f"no-identical-paths: {shape}" for shape, count in shapes.items() if count > 1)
    for path, item in document["paths"].items():
        if path != "/" and path.endswith("/"):
            yield f"path-keys-no-trailing-slash: {path}"
        if "?" in path:
            yield f"path-not-include-query: {path}"
        if "{}" in path:
            yield f"path-declarations-must-exist: {path}"
        for method in item.keys() & set(METHODS):
            shared, own = item.get("parameters", []), item[method].get("parameters", [])
            resolved = [_resolved(document, parameter) for parameter in [*shared, *own]]
            names = [(p["in"], p["name"]) for p in resolved]
            if len(set(names)) != len(names):
                yield f"operation-parameters-unique: {path} {method}"
            in_path = {name for place, name in names if place == "path"}
            if in_path != set(re.findall(r"\{([^}]*)\}", path)):
                yield f"path-parameters-defined: {path} {method}"


def _operations(document: Json) -> Iterator[str]:
    schemes = document["components"]["securitySchemes"]
    tags = {tag["name"] for tag in document["tags"]}
    ids: Counter[str] = Counter()
    for where, operation in operations(document):
        for name in ("operationId", "summary", "description", "tags"):
            if not operation.get(name):
                yield f"operation-{name}: {where}"
        name = operation.get("operationId", "")
        ids[name] += 1
        if not re.fullmatch(r"[A-Za-z0-9._~-]*", name):
            yield f"operation-operationId-url-safe: {where}"
        if len(operation.get("tags", [])) > 1 or not set(operation.get("tags", [])) <= tags:
            yield f"operation-tag-defined: {where}"
        statuses = operation["responses"].keys()
        for family, rule in (("2", "operation-2xx-response"), ("4", "operation-4xx-response")):
            if not any(status.startswith(family) for status in statuses):
                yield f"{rule}: {where}"
        if "security" not in operation and "security" not in document:
            yield f"security-defined: {where}"
        used = {name for need in operation.get("security", []) for name in need}
        if not used <= schemes.keys():
            yield f"operation-security-defined: {where}"
    yield from (f"operation-operationId-unique: {name}" for name, n in ids.items() if n > 1)


def _nodes(document: Json) -> Iterator[str]:
    references: set[str] = set()
    for where, node in _all(document, "#"):
        if isinstance(node, str) and re.search(r"<script|eval\(", node):
            yield f"no-script-tags-in-markdown: {where}"
        if not isinstance(node, dict):
            continue
        reference = node.get("$ref")
        if isinstance(reference, str):
            references.add(reference)
            if len(node) > 1:
                yield f"no-$ref-siblings: {where}"
        if "enum" in node and len(set(map(str, node["enum"]))) != len(node["enum"]):
            yield f"duplicated-entry-in-enum: {where}"
        if node.get("type") == "array" and "items" not in node:
            yield f"array-items: {where}"
        required, properties = node.get("required"), node.get("properties", {})
        if isinstance(required, list) and not set(required) <= properties.keys():
            yield f"no-required-schema-properties-undefined: {where}"
    for kind, parts in document["components"].items():
        for name in parts if kind != "securitySchemes" else ():
            if f"#/components/{kind}/{name}" not in references:
                yield f"no-unused-components: {kind}/{name}"


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for group in ("paths", "webhooks"):
        for path, item in document.get(group, {}).items():
            for method in METHODS:
                if method in item:
                    yield f"{path} {method}", item[method]


def _all(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    yield where, node
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _all(value, f"{where}/{name}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _all(value, f"{where}/{index}")


def _resolved(document: Json, node: Json) -> Json:
    for part in node["$ref"].removeprefix("#/").split("/") if "$ref" in node else ():
        document = document[part]
    return document if "$ref" in node else node
