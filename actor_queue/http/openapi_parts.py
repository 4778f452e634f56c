"""What operations of `openapi.json` are made of: problems, bodies, parameters."""

from __future__ import annotations

from typing import Any, Final

from actor_queue.core.conversation import ROUTE_CHARACTERS_MAX
from actor_queue.core.message import MESSAGE_ID_BYTES_MAX, USER_BYTES_MAX
from actor_queue.http import models
from actor_queue.http.auth import Scope
from actor_queue.http.models.kinds import ROUTE_AS_TEXT, Schema, parameter_schemas
from actor_queue.http.routing import BODY_BYTES_MAX
from actor_queue.http.schemas import STRING, ref

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
PROBLEM: Final = "application/problem+json"

BODY: Final = ("408", "413", "415", "422")
"""What a path answers, besides 400, because of a body."""
ALWAYS: Final = ("400", "403", "405")
"""What every path answers, because of a head: its `Host`, its keys, its `Origin`, its method."""

PROBLEMS: Final = {
    "400": "Not JSON, not what is expected here, a query parameter that this path does not take, "
    "or a head that could be read in two ways: two Authorization headers, a Host that is none",
    "401": "No key, or an unknown one; or a session that is over",
    "403": "The key lacks the scope; or the service has no keys, listens on loopback, and the "
    "request names a foreign Host or comes from a page of another site; or it would change "
    "something with a session's cookie, and no page of this service sent it",
    "404": "There is no such thing",
    "405": "This path does not answer this method",
    "408": "The body came too slowly",
    "409": "The user is on hold; the message has been claimed; other dead letters are being sent "
    "again; or there are no keys to sign in with",
    "410": "The time for this answer is over, or the batch has another attempt, or was settled",
    "413": "The body is too large",
    "415": "A form, not JSON, or a content coding that is not gzip or deflate",
    "422": "A field or parameter breaks its rule; `field` names it",
    "429": "The user has too many messages, or too many bytes, waiting; or too many wrong keys "
    "came from this address; see Retry-After",
    "503": "The store is away, full or nearly full, the service is starting or stopping, or too "
    "many long requests to /api/messages are under way; see Retry-After",
}

_CHALLENGE: Final[Schema] = {"description": "RFC 6750.", "schema": STRING}
_RETRY_AFTER: Final[Schema] = {
    "description": "Seconds.",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
}
_HEADERS: Final[dict[str, dict[str, Schema]]] = {
    "401": {"WWW-Authenticate": {**_CHALLENGE, "required": True}},
    "403": {"WWW-Authenticate": _CHALLENGE},
    "405": {
        "Allow": {
            "description": "The methods that this path answers.",
            "required": True,
            "schema": {"type": "string", "pattern": "^[A-Z]+(, [A-Z]+)*$"},
        }
    },
    "415": {
        "Accept-Encoding": {
            "description": "The content codings that are understood, where it was another one.",
            "schema": STRING,
        }
    },
    "429": {"Retry-After": _RETRY_AFTER},
    "503": {"Retry-After": _RETRY_AFTER},
}

Operation = dict[str, Any]


def operation(
    tag: str,
    summary: str,
    scope: Scope | None,
    answers: dict[str, Any],
    *problems: str,
    description: str = "",
    body: dict[str, Any] | None = None,
    parameters: list[dict[str, Any]] | None = None,
) -> Operation:
    """One method of one path. `answers` are those that are no problem, by status; `problems` the
    statuses besides those that follow from `scope`, from `body`, and from being served at all."""
    keyed = ("401",) if scope else ()
    bodily = BODY if body is not None else ()
    needed = f"Needs a key with the scope `{scope}`, if there are keys." if scope else ""
    described: Operation = {
        "tags": [tag],
        "summary": summary,
        "description": " ".join(text for text in (description, needed) if text),
        "security": [{"key": []}, {"session": []}] if scope else [],
        "responses": answers
        | {
            status: {"$ref": f"#/components/responses/Problem{status}"}
            for status in sorted({*problems, *keyed, *bodily, *ALWAYS})
        },
    }
    if body is not None:
        described["requestBody"] = body
    if parameters is not None:
        described["parameters"] = parameters
    return described


def of_user(
    summary: str,
    scope: Scope,
    answer: dict[str, Any],
    *problems: str,
    description: str = "",
    body: dict[str, Any] | None = None,
    parameters: list[dict[str, Any]] | None = None,
) -> Operation:
    """One of the operations on the user that the path names."""
    return operation(
        "Users",
        summary,
        scope,
        {"200": answer},
        "404",
        "503",
        *problems,
        description=description,
        body=body,
        parameters=parameters,
    )


def content(description: str, kinds: dict[str, Schema]) -> dict[str, Any]:
    return {
        "description": description,
        "content": {kind: {"schema": schema} for kind, schema in kinds.items()},
    }


def json_of(description: str, schema: Schema) -> dict[str, Any]:
    return content(description, {JSON: schema})


def body_of(kinds: dict[str, Schema], *, required: bool = True) -> dict[str, Any]:
    return {
        "required": required,
        "content": {kind: {"schema": schema} for kind, schema in kinds.items()},
    }


def small_body(model: type[models.Parameters]) -> dict[str, Any]:
    """A body that may be left out."""
    return {
        "description": f"At most {BODY_BYTES_MAX} bytes.",
        **body_of({JSON: ref(model)}, required=False),
    }


def query_of(model: type[models.Parameters]) -> list[dict[str, Any]]:
    """A model's fields as parameters of a query."""
    return [_parameter(name, schema) for name, schema in parameter_schemas(model).items()]


def _parameter(name: str, schema: Schema) -> dict[str, Any]:
    """`required` stands in the schema of a field that must be there, see `about`."""
    description, required = schema.pop("description"), schema.pop("required", False)
    return {
        "name": name,
        "in": "query",
        **({"required": True} if required else {"allowEmptyValue": True}),
        "schema": schema,
        "description": description,
    }


def problems() -> dict[str, Any]:
    """The component `responses`."""
    return {f"Problem{status}": _problem(status) for status in PROBLEMS}


def parameters() -> dict[str, Any]:
    """The component `parameters`."""
    return {
        "User": {
            "name": "user",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": USER_BYTES_MAX},
            "description": "Percent-encoded; any user that has sent a message. At most "
            f"{USER_BYTES_MAX} bytes of UTF-8, decoded.",
        },
        "Route": {
            "name": "route",
            "in": "query",
            "allowEmptyValue": True,
            "schema": {
                "type": "string",
                "pattern": ROUTE_AS_TEXT,
                "maxLength": ROUTE_CHARACTERS_MAX,
            },
            "description": "Whose user it is; that of the key where it has one, else `default`.",
        },
        "MessageId": {
            "name": "message_id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": MESSAGE_ID_BYTES_MAX},
            "description": "Percent-encoded; the sender's, or the one that the 202 named. At most "
            f"{MESSAGE_ID_BYTES_MAX} bytes of UTF-8, decoded.",
        },
        "BatchId": {
            "name": "id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": "^b[0-9A-Za-z]{24,}$"},
            "description": "The webhook-id.",
        },
        "IdempotencyKey": {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {
                "type": "string",
                "pattern": rf'^("([^"\\]|\\["\\]){{0,{MESSAGE_ID_BYTES_MAX}}}"'
                rf"|.{{0,{MESSAGE_ID_BYTES_MAX}}})$",
            },
            "description": "The same as `message_id`, in UTF-8; if both are there they must agree. "
            "One in quotation marks is taken without them. An empty one is none.",
        },
    }


def _problem(status: str) -> dict[str, Any]:
    problem = content(PROBLEMS[status], {PROBLEM: ref(models.Problem)})
    if status in _HEADERS:
        problem["headers"] = _HEADERS[status]
    return problem
