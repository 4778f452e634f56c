"""`GET /openapi.json`: OpenAPI 3.1 of everything the service answers, written by hand."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from actor_queue.core.settings import Settings
from actor_queue.http.auth import Scope
from actor_queue.http.bulk import CHUNK_MESSAGES_MAX, REQUESTS_MAX, SHORT_BYTES_MAX
from actor_queue.http.inputs import LIMIT_DEFAULT, LIMIT_MAX, STATES
from actor_queue.http.schemas import COUNT, STRING, SUCCESS, Schema, listed, record, ref, schemas

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
PROBLEM: Final = "application/problem+json"

_PROBLEMS: Final = {
    "400": "Not JSON, not what is expected here, or a query parameter that this path does not take",
    "401": "No key, or an unknown one",
    "403": "The key lacks the scope; or the service has no keys, listens on loopback, and the "
    "request names a foreign Host or comes from a page of another site",
    "404": "There is no such thing",
    "408": "The body came too slowly",
    "409": "The user is on hold",
    "413": "The body is too large",
    "415": "A form, not JSON, or a content coding that is not gzip or deflate",
    "422": "A field or parameter breaks its rule; `field` names it",
    "429": "The user has too many messages, or too many bytes, waiting; see Retry-After",
    "503": "The store is away, the service is starting or stopping, or too many long requests to "
    "/api/messages are under way; see Retry-After",
}
_WITH_RETRY_AFTER: Final = {"429", "503"}
_BODY: Final = ("400", "408", "413", "415", "422")

_OPERATION_IDS: Final = {
    ("/api/message", "post"): "acceptMessage",
    ("/api/messages", "post"): "acceptMessages",
    ("/api/users", "get"): "listUsers",
    ("/api/users/{user}", "get"): "showUser",
    ("/api/users/{user}", "delete"): "dropUser",
    ("/api/users/{user}/flush", "post"): "flushUser",
    ("/api/users/{user}/typing", "post"): "signalTyping",
    ("/api/users/{user}/hold", "post"): "holdUser",
    ("/api/users/{user}/release", "post"): "releaseUser",
    ("/api/dead", "get"): "listDeadLetters",
    ("/api/dead/replay", "post"): "replayDeadLetters",
    ("/api/dead/{id}", "get"): "showDeadLetter",
    ("/api/dead/{id}", "delete"): "dropDeadLetter",
    ("/api/dead/{id}/replay", "post"): "replayDeadLetter",
    ("/api/shards", "get"): "listShards",
    ("/api/events", "get"): "followEvents",
    ("/healthz", "get"): "isAlive",
    ("/readyz", "get"): "isReady",
    ("/metrics", "get"): "showMetrics",
    ("/openapi.json", "get"): "describeApi",
    ("/docs", "get"): "showDocs",
    ("/", "get"): "showDashboard",
}
"""What generated clients call their functions, so a name here is as fixed as its path."""

Operation = dict[str, Any]


def document(settings: Settings) -> dict[str, Any]:
    """The whole description, with this service's own limits in it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "actor-queue",
            "version": version("actor-queue"),
            "summary": "Collects each user's burst of messages into one ordered webhook",
            "description": "Every message resets its user's quiet timer; when the user has been "
            "quiet for `ttl` seconds, everything goes out in order as one webhook. Bodies are "
            "JSON, also with content-encoding gzip or deflate; a slash at the end of a path means "
            "nothing; a query parameter that a path does not take is refused.",
            "contact": {"name": "Whoever runs this service"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": settings.root_path or "/"}],
        "tags": [
            {"name": "Messages", "description": "What people write, on its way in."},
            {"name": "Users", "description": "Who waits, and what can be done about it."},
            {"name": "Dead letters", "description": "Batches that nobody tries any more."},
            {"name": "Service", "description": "The service itself."},
        ],
        "paths": _named({**_messages(), **_users(), **_dead(), **_service(), **_pages()}),
        "webhooks": {"batch": {"post": _webhook()}},
        "components": {
            "schemas": schemas(settings),
            "parameters": _parameters(),
            "responses": {f"Problem{status}": _problem(status) for status in _PROBLEMS},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of AQ_API_KEYS. `admin` includes `ingest` and `read`. "
                    "Without keys the service is open.",
                }
            },
        },
    }


def _named(paths: dict[str, Any]) -> dict[str, Any]:
    """`paths` with a name for each operation. Raises KeyError for one that has none."""
    for path, item in paths.items():
        for method in item.keys() - {"parameters"}:
            item[method]["operationId"] = _OPERATION_IDS[path, method]
    return paths


def _messages() -> dict[str, Any]:
    one = _operation(
        "Messages",
        "Accept one message",
        "ingest",
        {"202": _json("Accepted: it is safe, and its timer runs", ref("Accepted"))},
        *_BODY,
        "429",
        "503",
        description="Resets the user's quiet timer. With a `message_id` the request can be "
        "repeated safely.",
        body=_body({JSON: ref("Message")}),
        parameters=[{"$ref": "#/components/parameters/IdempotencyKey"}],
    )
    many = _operation(
        "Messages",
        "Accept many messages",
        "ingest",
        {"200": _results()},
        "400",
        "413",
        "415",
        "422",
        "503",
        description="An array, or one message a line, of any length, read as a stream. One result "
        "per message in the same order; one bad message does not spoil the others. Blank lines "
        "are no messages. Once the store fails, the rest is answered 503 untried: send that "
        "again, in order. If the body as a whole turns out to be broken after the first result, "
        "one more result says so. Read while you send, if you send more than 100,000 messages. "
        f"At most {CHUNK_MESSAGES_MAX} messages with a Content-Length up to {SHORT_BYTES_MAX} are "
        f"always taken. At most {REQUESTS_MAX} longer ones are under way at once; another one gets "
        "503 before any of its messages is taken.",
        body=_body({JSON: listed(ref("Message")), NDJSON: ref("Message")}),
    )
    return {"/api/message": {"post": one}, "/api/messages": {"post": many}}


def _users() -> dict[str, Any]:
    user = ref("UserDetail")
    listing = _operation(
        "Users",
        "Who waits, soonest first",
        "read",
        {"200": _json("A page", ref("UserList"))},
        "422",
        "503",
        parameters=[
            {"name": "state", "in": "query", "schema": {"enum": list(STATES)}},
            {"$ref": "#/components/parameters/Limit"},
            {"$ref": "#/components/parameters/Cursor"},
        ],
    )
    show = _of_user("One user", "read", _json("The user", user))
    drop = _of_user(
        "Drop what is pending",
        "admin",
        _json("What was dropped", ref("Dropped")),
        description="An attempt that is under way is not stopped.",
    )
    flush = _of_user(
        "Send now",
        "admin",
        _json("The user", user),
        "409",
        description="Closes the open window. A batch that waits for its retry gets its next "
        "attempt now; that attempt counts, so that several flushes can use up the retry schedule.",
    )
    typing = _of_user(
        "The user is typing",
        "ingest",
        _json("The user", ref("TypingAnswer")),
        *_BODY,
        description="Extends an open window, never past the maximum wait.",
        body=_body({JSON: ref("Typing")}, required=False),
    )
    hold = _of_user(
        "Collect but do not send",
        "admin",
        _json("The user", user),
        *_BODY,
        description="A person has taken over the conversation. A hold ends by itself after "
        "`seconds`, 3600 unless given. A new hold replaces the last.",
        body=_body({JSON: ref("Hold")}, required=False),
    )
    release = _of_user("End a hold", "admin", _json("The user", user))
    path = "/api/users/{user}"
    parameters = [{"$ref": "#/components/parameters/User"}]
    return {
        "/api/users": {"get": listing},
        path: {"parameters": parameters, "get": show, "delete": drop},
        f"{path}/flush": {"parameters": parameters, "post": flush},
        f"{path}/typing": {"parameters": parameters, "post": typing},
        f"{path}/hold": {"parameters": parameters, "post": hold},
        f"{path}/release": {"parameters": parameters, "post": release},
    }


def _dead() -> dict[str, Any]:
    tag = "Dead letters"
    listing = _operation(
        tag,
        "Dead letters, newest first",
        "read",
        {"200": _json("A page", ref("DeadList"))},
        "422",
        "503",
        parameters=[
            {"$ref": "#/components/parameters/Limit"},
            {"$ref": "#/components/parameters/Cursor"},
        ],
    )
    found = _json("The dead letter and its webhook's body", ref("DeadLetterDetail"))
    show = _operation(tag, "One dead letter", "read", {"200": found}, "404", "503")
    gone = _json("It is gone", record({"success": SUCCESS, "id": STRING}))
    drop = _operation(tag, "Drop a dead letter", "admin", {"200": gone}, "404", "503")
    queued = _json("It goes before the user's other batches", ref("DeadLetter"))
    replay = _operation(
        tag,
        "Send a dead letter again",
        "admin",
        {"202": queued},
        "404",
        "503",
        description="With the same webhook-id and the same body.",
    )
    counted = _json("How many were queued", record({"replayed": COUNT}))
    replay_all = _operation(
        tag,
        "Send all dead letters again",
        "admin",
        {"202": counted},
        "503",
        description="The oldest first, at most 10,000; another request takes the next.",
    )
    parameters = [{"$ref": "#/components/parameters/DeadId"}]
    return {
        "/api/dead": {"get": listing},
        "/api/dead/replay": {"post": replay_all},
        "/api/dead/{id}": {"parameters": parameters, "get": show, "delete": drop},
        "/api/dead/{id}/replay": {"parameters": parameters, "post": replay},
    }


def _service() -> dict[str, Any]:
    tag = "Service"
    shards = _operation(
        tag,
        "Replicas, and who owns which shard",
        "read",
        {"200": _json("All shards", ref("Shards"))},
        "503",
    )
    events = _operation(
        tag,
        "What happens, as it happens",
        "read",
        {"200": _content("Events until the connection ends", {"text/event-stream": STRING})},
        "503",
        description="Server-sent events named accepted, fired, delivered, failed, divided, dead "
        "and moved, with a JSON object each, of all replicas; `replica` says whose. What was lost "
        "on the way, or because the listener reads too slowly, is told as dropped with its number; "
        "there is no history.",
    )
    status = record({"status": {"const": "ok"}})
    alive = _operation(
        tag,
        "Alive",
        None,
        {"200": _json("It is", status)},
        description="Whether the process answers; it asks nothing of the store.",
    )
    ready = _operation(
        tag,
        "Can accept messages",
        None,
        {"200": _json("It can", status)},
        "503",
        description="503 with the reason until it can, and while it stops.",
    )
    metrics = _operation(
        tag,
        "Numbers for Prometheus",
        None,
        {"200": _content("Text", {"text/plain": STRING})},
        "400",
        description="In Prometheus' text format 0.0.4.",
    )
    return {
        "/api/shards": {"get": shards},
        "/api/events": {"get": events},
        "/healthz": {"get": alive},
        "/readyz": {"get": ready},
        "/metrics": {"get": metrics},
    }


def _pages() -> dict[str, Any]:
    tag = "Service"
    self_description = {"type": "object", "description": "OpenAPI 3.1."}
    description = _operation(
        tag,
        "This description",
        None,
        {"200": _json("OpenAPI", self_description)},
        "400",
        description="With this service's own limits in it.",
    )
    docs = _operation(
        tag,
        "It, for people",
        None,
        {"200": _content("The page", {"text/html": STRING})},
        description="This description as a page, which needs no internet.",
    )
    page = _operation(
        tag,
        "The dashboard",
        None,
        {"200": _content("The page", {"text/html": STRING})},
        description="The service as a page, which needs no internet.",
    )
    return {
        "/openapi.json": {"get": description},
        "/docs": {"get": docs},
        "/": {"get": page},
    }


def _webhook() -> Operation:
    def header(name: str, text: str) -> dict[str, Any]:
        return {"name": name, "in": "header", "schema": STRING, "description": text}

    return {
        "tags": ["Messages"],
        "summary": "One user's burst, as your receiver gets it",
        "operationId": "receiveBatch",
        "security": [],
        "description": "Any 2xx is success. Anything else is tried again on the schedule, with "
        "Retry-After honoured; 410 ends it at once. At 413 the batch comes again as two, in order, "
        "each with an id of its own, until a message alone gets 413. Redirects are not followed.",
        "parameters": [
            header("webhook-id", "One per batch, the same on every attempt and replay."),
            header("webhook-timestamp", "Of this attempt, in seconds since 1970."),
            header("webhook-signature", "Standard Webhooks, when a secret is configured."),
            header("idempotency-key", "Equal to webhook-id."),
        ],
        "requestBody": _body({JSON: ref("Webhook")}),
        "responses": {
            "2XX": {"description": "Taken"},
            "4XX": {"description": "A failed attempt, tried again; 410 ends it, 413 divides it"},
        },
    }


# Parts


def _operation(
    tag: str,
    summary: str,
    scope: Scope | None,
    answers: dict[str, Any],
    *problems: str,
    description: str = "",
    body: dict[str, Any] | None = None,
    parameters: list[dict[str, Any]] | None = None,
) -> Operation:
    keyed = ("400", "401", "403") if scope else ("403",)
    needed = f"Needs a key with the scope `{scope}`, if there are keys." if scope else ""
    operation: Operation = {
        "tags": [tag],
        "summary": summary,
        "description": " ".join(text for text in (description, needed) if text),
        "security": [{"key": []}] if scope else [],
        "responses": answers
        | {
            status: {"$ref": f"#/components/responses/Problem{status}"}
            for status in sorted({*problems, *keyed})
        },
    }
    if body is not None:
        operation["requestBody"] = body
    if parameters is not None:
        operation["parameters"] = parameters
    return operation


def _of_user(
    summary: str,
    scope: Scope,
    answer: dict[str, Any],
    *problems: str,
    description: str = "",
    body: dict[str, Any] | None = None,
) -> Operation:
    return _operation(
        "Users",
        summary,
        scope,
        {"200": answer},
        "400",
        "404",
        "503",
        *problems,
        description=description,
        body=body,
    )


def _content(description: str, content: dict[str, Schema]) -> dict[str, Any]:
    return {
        "description": description,
        "content": {kind: {"schema": schema} for kind, schema in content.items()},
    }


def _json(description: str, schema: Schema) -> dict[str, Any]:
    return _content(description, {JSON: schema})


def _results() -> dict[str, Any]:
    return _content("One result per message", {JSON: listed(ref("Result")), NDJSON: ref("Result")})


def _body(content: dict[str, Schema], *, required: bool = True) -> dict[str, Any]:
    return {
        "required": required,
        "content": {kind: {"schema": schema} for kind, schema in content.items()},
    }


def _problem(status: str) -> dict[str, Any]:
    problem = _content(_PROBLEMS[status], {PROBLEM: ref("Problem")})
    if status in _WITH_RETRY_AFTER:
        problem["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
        }
    return problem


def _parameters() -> dict[str, Any]:
    return {
        "User": _path_parameter("user", "Percent-encoded; any user that has sent a message."),
        "DeadId": _path_parameter("id", "The webhook-id."),
        "IdempotencyKey": {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": STRING,
            "description": "The same as `message_id`; if both are there they must agree.",
        },
        "Limit": {
            "name": "limit",
            "in": "query",
            "schema": {
                "type": "integer",
                "minimum": 1,
                "maximum": LIMIT_MAX,
                "default": LIMIT_DEFAULT,
            },
        },
        "Cursor": {
            "name": "cursor",
            "in": "query",
            "schema": STRING,
            "description": "From the page before.",
        },
    }


def _path_parameter(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": STRING,
        "description": description,
    }
