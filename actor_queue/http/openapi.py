"""`GET /openapi.json`: OpenAPI 3.1 of everything the service answers, written by hand."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from actor_queue.core.settings import Settings
from actor_queue.http.auth import Scope
from actor_queue.http.bulk import CHUNK_MESSAGES_MAX, REQUESTS_MAX, SHORT_BYTES_MAX
from actor_queue.http.inputs import STATES
from actor_queue.http.openapi_parts import (
    JSON,
    NDJSON,
    Operation,
    body_of,
    content,
    json_of,
    of_user,
    operation,
    parameters,
    problems,
    small_body,
)
from actor_queue.http.schemas import STRING, SUCCESS, listed, record, ref, schemas

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
    ("/api/dead/replay", "get"): "showReplay",
    ("/api/dead/replay", "delete"): "stopReplay",
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


_RESULTS: Final = {JSON: listed(ref("Result")), NDJSON: ref("Result")}
_UNCHANGED: Final = {"304": {"description": "It is the one that If-None-Match names"}}


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
            "nothing; a query parameter that a path does not take is refused, an empty one is not "
            "given. Where GET is answered, HEAD is. On any path, what is no HTTP/1.1 request gets "
            "400, 408, 431, 501 or 505, and a fault of the service 500, as a problem each.",
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
        "paths": _named(
            {**_messages(), **_users(), **_dead(), **_service(settings), **_pages(settings)}
        ),
        "webhooks": {"batch": {"post": _webhook()}},
        "components": {
            "schemas": schemas(settings),
            "parameters": parameters(),
            "responses": problems(),
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
    one = operation(
        "Messages",
        "Accept one message",
        "ingest",
        {"202": json_of("Accepted: it is safe, and its timer runs", ref("Accepted"))},
        "429",
        "503",
        description="Resets the user's quiet timer. With a `message_id` the request can be "
        "repeated safely.",
        body=body_of({JSON: ref("Message")}),
        parameters=[{"$ref": "#/components/parameters/IdempotencyKey"}],
    )
    many = operation(
        "Messages",
        "Accept many messages",
        "ingest",
        {"200": content("One result per message", _RESULTS)},
        "503",
        description="An array, or one message a line, of any length, read as a stream. One result "
        "per message in the same order; one bad message does not spoil the others. Blank lines "
        "are no messages. Once the store fails, the rest is answered 503 untried: send that "
        "again, in order. If the body as a whole turns out to be broken after the first result, "
        "one more result says so. Read while you send, if you send more than 100,000 messages. "
        f"At most {CHUNK_MESSAGES_MAX} messages with a Content-Length up to {SHORT_BYTES_MAX} are "
        f"always taken. At most {REQUESTS_MAX} longer ones are under way at once; another one gets "
        "503 before any of its messages is taken.",
        body=body_of({JSON: listed(ref("Message")), NDJSON: ref("Message")}),
    )
    return {"/api/message": {"post": one}, "/api/messages": {"post": many}}


def _users() -> dict[str, Any]:
    user = ref("UserDetail")
    listing = operation(
        "Users",
        "Who waits, soonest first",
        "read",
        {"200": json_of("A page", ref("UserList"))},
        "422",
        "503",
        parameters=[
            {
                "name": "state",
                "in": "query",
                "allowEmptyValue": True,
                "schema": {"type": "string", "enum": list(STATES)},
                "description": "Only those in this state.",
            },
            {"$ref": "#/components/parameters/Limit"},
            {"$ref": "#/components/parameters/Cursor"},
        ],
    )
    show = of_user("One user", "read", json_of("The user", user))
    drop = of_user(
        "Drop what is pending",
        "admin",
        json_of("What was dropped", ref("Dropped")),
        description="An attempt that is under way is not stopped.",
    )
    flush = of_user(
        "Send now",
        "admin",
        json_of("The user", user),
        "409",
        description="Closes the open window. A batch that waits for its retry gets its next "
        "attempt now; that attempt counts, so that several flushes can use up the retry schedule.",
        body=small_body("Nothing"),
    )
    typing = of_user(
        "The user is typing",
        "ingest",
        json_of("The user", ref("TypingAnswer")),
        description="Extends an open window, never past the maximum wait.",
        body=small_body("Typing"),
    )
    hold = of_user(
        "Collect but do not send",
        "admin",
        json_of("The user", user),
        description="A person has taken over the conversation. A hold ends by itself after "
        "`seconds`, 3600 unless given. A new hold replaces the last.",
        body=small_body("Hold"),
    )
    release = of_user("End a hold", "admin", json_of("The user", user), body=small_body("Nothing"))
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
    listing = operation(
        tag,
        "Dead letters, newest first",
        "read",
        {"200": json_of("A page", ref("DeadList"))},
        "422",
        "503",
        parameters=[
            {"$ref": "#/components/parameters/Limit"},
            {"$ref": "#/components/parameters/Cursor"},
        ],
    )
    found = json_of("The dead letter and its webhook's body", ref("DeadLetterDetail"))
    show = operation(tag, "One dead letter", "read", {"200": found}, "404", "503")
    gone = json_of("It is gone", record({"success": SUCCESS, "id": STRING}))
    drop = operation(tag, "Drop a dead letter", "admin", {"200": gone}, "404", "503")
    queued = json_of("It goes before the user's other batches", ref("DeadLetter"))
    replay = operation(
        tag,
        "Send a dead letter again",
        "admin",
        {"202": queued},
        "404",
        "503",
        description="With the same webhook-id and the same body.",
        body=small_body("Nothing"),
    )
    parameters = [{"$ref": "#/components/parameters/BatchId"}]
    return {
        "/api/dead": {"get": listing},
        "/api/dead/replay": _replays(tag),
        "/api/dead/{id}": {"parameters": parameters, "get": show, "delete": drop},
        "/api/dead/{id}/replay": {"parameters": parameters, "post": replay},
    }


def _replays(tag: str) -> dict[str, Any]:
    """All dead letters at once."""
    job = ref("ReplayJob")
    begin = operation(
        tag,
        "Send all dead letters again",
        "admin",
        {"202": json_of("The job that does it, as it is after at most a second", job)},
        "503",
        description="A job of its own, the oldest first, at most 500 a second and 100,000 in all;"
        " while one goes on, that one.",
        body=small_body("Nothing"),
    )
    look = operation(
        tag,
        "How far sending all dead letters again is",
        "read",
        {"200": json_of("The job that goes on, or was the last within an hour", job)},
        "404",
        "503",
    )
    stop = operation(
        tag,
        "Stop sending all dead letters again",
        "admin",
        {"202": json_of("It ends with the page that it is at", job)},
        "404",
        "503",
    )
    return {"get": look, "post": begin, "delete": stop}


def _service(settings: Settings) -> dict[str, Any]:
    tag = "Service"
    shards = operation(
        tag,
        "Replicas, and who owns which shard",
        "read",
        {"200": json_of("All shards", ref("Shards"))},
        "503",
    )
    events = operation(
        tag,
        "What happens, as it happens",
        "read",
        {"200": content("Events until the connection ends", {"text/event-stream": STRING})},
        "503",
        description="Server-sent events named accepted, fired, delivered, failed, divided, dead "
        "and moved, with a JSON object each, of all replicas; `replica` says whose. What was lost "
        "on the way, or because the listener reads too slowly, is told as dropped with its number; "
        "there is no history.",
    )
    status = record({"status": {"const": "ok"}})
    alive = operation(
        tag,
        "Alive",
        None,
        {"200": json_of("It is", status)},
        description="Whether the process answers; it asks nothing of the store.",
    )
    ready = operation(
        tag,
        "Can accept messages",
        None,
        {"200": json_of("It can", status)},
        "503",
        description="503 with the reason until it can, and while it stops.",
    )
    metrics = operation(
        tag,
        "Numbers for Prometheus",
        _about_itself(settings),
        {"200": content("Text", {"text/plain": STRING})},
        "503",
        description="In Prometheus' text format 0.0.4. 503 while other workers' are not known.",
    )
    return {
        "/api/shards": {"get": shards},
        "/api/events": {"get": events},
        "/healthz": {"get": alive},
        "/readyz": {"get": ready},
        "/metrics": {"get": metrics},
    }


def _pages(settings: Settings) -> dict[str, Any]:
    tag = "Service"
    self_description = {"type": "object", "description": "OpenAPI 3.1."}
    description = operation(
        tag,
        "This description",
        _about_itself(settings),
        {"200": json_of("OpenAPI", self_description)},
        description="With this service's own limits in it.",
    )
    docs = operation(
        tag,
        "It, for people",
        None,
        {"200": content("The page", {"text/html": STRING}), **_UNCHANGED},
        description="This description as a page, which needs no internet.",
    )
    page = operation(
        tag,
        "The dashboard",
        None,
        {"200": content("The page", {"text/html": STRING}), **_UNCHANGED},
        description="The service as a page, which needs no internet.",
    )
    return {
        "/openapi.json": {"get": description},
        "/docs": {"get": docs},
        "/": {"get": page},
    }


def _about_itself(settings: Settings) -> Scope | None:
    """What a key must have for what the service says of itself."""
    return "read" if settings.key_for_metrics else None


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
        "requestBody": body_of({JSON: ref("Webhook")}),
        "responses": {
            "2XX": {"description": "Taken"},
            "4XX": {"description": "A failed attempt, tried again; 410 ends it, 413 divides it"},
        },
    }
