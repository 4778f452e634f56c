"""`GET /openapi.json`: OpenAPI 3.1 of everything the service answers; its schemas are models."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from actor_queue.core.sessions import SESSION_S
from actor_queue.core.settings import Settings
from actor_queue.http import models
from actor_queue.http.auth import COOKIE, Scope
from actor_queue.http.bulk import REQUESTS_MAX, SHORT_BYTES_MAX
from actor_queue.http.chunks import CHUNK_MESSAGES_MAX
from actor_queue.http.openapi_answers import ANSWER_OPERATIONS, answers
from actor_queue.http.openapi_doors import DOOR_KEYS, DOOR_OPERATIONS, doors
from actor_queue.http.openapi_history import attempts, drop_user
from actor_queue.http.openapi_many import many_dead, many_users
from actor_queue.http.openapi_messages import MESSAGE_OPERATIONS, messages_that_wait
from actor_queue.http.openapi_parts import (
    JSON,
    NDJSON,
    body_of,
    content,
    json_of,
    of_user,
    operation,
    parameters,
    problems,
    query_of,
    small_body,
)
from actor_queue.http.openapi_receivers import ROUTE_OPERATIONS, receivers
from actor_queue.http.openapi_webhook import webhook
from actor_queue.http.schemas import STRING, listed, ref, schemas
from actor_queue.store.lists_api import LOOKED_AT_MAX

_OPERATION_IDS: Final = {
    ("/api/message", "post"): "acceptMessage",
    ("/api/messages", "post"): "acceptMessages",
    **DOOR_OPERATIONS,
    **ANSWER_OPERATIONS,
    **MESSAGE_OPERATIONS,
    **ROUTE_OPERATIONS,
    ("/api/users", "get"): "listUsers",
    ("/api/users/{user}", "get"): "showUser",
    ("/api/users/{user}", "delete"): "dropUser",
    ("/api/users/{user}/flush", "post"): "flushUser",
    ("/api/users/{user}/typing", "post"): "signalTyping",
    ("/api/users/{user}/hold", "post"): "holdUser",
    ("/api/users/{user}/release", "post"): "releaseUser",
    ("/api/users/flush", "post"): "flushUsers",
    ("/api/users/hold", "post"): "holdUsers",
    ("/api/users/release", "post"): "releaseUsers",
    ("/api/users/drop", "post"): "dropUsers",
    ("/api/dead", "get"): "listDeadLetters",
    ("/api/dead/groups", "get"): "groupDeadLetters",
    ("/api/dead/drop", "post"): "dropDeadLetters",
    ("/api/dead/replay", "post"): "replayDeadLetters",
    ("/api/dead/replay", "get"): "showReplay",
    ("/api/dead/replay", "delete"): "stopReplay",
    ("/api/dead/{id}", "get"): "showDeadLetter",
    ("/api/dead/{id}", "delete"): "dropDeadLetter",
    ("/api/dead/{id}/replay", "post"): "replayDeadLetter",
    ("/api/session", "post"): "signIn",
    ("/api/session", "get"): "showSession",
    ("/api/session", "delete"): "signOut",
    ("/api/attempts", "get"): "listAttempts",
    ("/api/deeds", "get"): "listDeeds",
    ("/api/find", "get"): "findById",
    ("/api/shards", "get"): "listShards",
    ("/api/doctor", "get"): "examine",
    ("/api/events", "get"): "followEvents",
    ("/healthz", "get"): "isAlive",
    ("/readyz", "get"): "isReady",
    ("/metrics", "get"): "showMetrics",
    ("/openapi.json", "get"): "describeApi",
    ("/docs", "get"): "showDocs",
    ("/operate", "get"): "showOperate",
    ("/", "get"): "showDashboard",
}
"""What generated clients call their functions, so a name here is as fixed as its path."""


_COST: Final = (
    "A page asks each shard for a few entries and reads as many as it shows. With a filter it "
    f"looks at {LOOKED_AT_MAX:,} at most, whether they fit or not, so that it can be short, or "
    "empty, and still have a cursor."
)
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
            {"name": "Doors", "description": "The chat platforms' own webhooks."},
            {"name": "Answers", "description": "What a receiver says that answered 202."},
            {"name": "Users", "description": "Who waits, and what can be done about it."},
            {"name": "Attempts", "description": "What was sent lately, and what came of it."},
            {"name": "Dead letters", "description": "Batches that nobody tries any more."},
            {"name": "Routes", "description": "The receivers, and whether they are asked."},
            {"name": "Service", "description": "The service itself."},
        ],
        "paths": _named(
            {
                **_messages(),
                **doors(),
                **answers(),
                **_users(),
                **messages_that_wait(),
                **attempts(),
                **_dead(),
                **receivers(),
                "/api/session": _session(),
                **_service(settings),
                **_pages(settings),
            }
        ),
        "webhooks": {"batch": {"post": webhook()}},
        "components": {
            "schemas": schemas(settings),
            "parameters": parameters(),
            "responses": problems(),
            "securitySchemes": {
                **DOOR_KEYS,
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of AQ_API_KEYS. `admin` includes `ingest` and `read`. "
                    "Without keys the service is open.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE.decode(),
                    "description": "What `POST /api/session` gives a browser for a key. What "
                    "changes something needs the service's own `Origin` with it.",
                },
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
        {"202": json_of("Accepted: it is safe, and its timer runs", ref(models.Accepted))},
        "429",
        "503",
        description="Resets the user's quiet timer. With a `message_id` the request can be "
        "repeated safely.",
        body=body_of({JSON: ref(models.Message)}),
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
        body=body_of({JSON: listed(ref(models.Message)), NDJSON: ref(models.Message)}),
    )
    return {"/api/message": {"post": one}, "/api/messages": {"post": many}}


def _users() -> dict[str, Any]:
    user = ref(models.UserDetail)
    listing = operation(
        "Users",
        "Who waits, soonest first",
        "read",
        {"200": json_of("A page", ref(models.UserList))},
        "422",
        "503",
        description=_COST,
        parameters=query_of(models.ListUsers),
    )
    show = of_user(
        "One user",
        "read",
        json_of(
            "The user; with `texts=true` what was written, too; with `deeds=true` what was done by "
            "hand",
            {"anyOf": [ref(models.UserTexts), user, ref(models.UserDeeds)]},
        ),
        "422",
        description="What was written is masked. `texts=true` needs a key with the scope `admin`, "
        "and the service logs who asked.",
        parameters=query_of(models.ShowUser),
    )
    flush = of_user(
        "Send now",
        "admin",
        json_of("The user", user),
        "409",
        description="Closes the open window. A batch that waits for its retry gets its next "
        "attempt now; that attempt counts, so that several flushes can use up the retry schedule.",
        body=small_body(models.Because),
    )
    typing = of_user(
        "The user is typing",
        "ingest",
        json_of("The user", ref(models.TypingAnswer)),
        description="Extends an open window, never past the maximum wait.",
        body=small_body(models.Typing),
    )
    hold = of_user(
        "Collect but do not send",
        "admin",
        json_of("The user", user),
        description="A person has taken over the conversation. A hold ends by itself after "
        "`seconds`, 3600 unless given. A new hold replaces the last.",
        body=small_body(models.Hold),
    )
    release = of_user(
        "End a hold", "admin", json_of("The user", user), body=small_body(models.Because)
    )
    path = "/api/users/{user}"
    parameters = [{"$ref": "#/components/parameters/User"}]
    with_route = [*parameters, {"$ref": "#/components/parameters/Route"}]
    return {
        "/api/users": {"get": listing},
        **many_users(),
        path: {"parameters": parameters, "get": show, "delete": drop_user()},
        f"{path}/flush": {"parameters": with_route, "post": flush},
        f"{path}/typing": {"parameters": with_route, "post": typing},
        f"{path}/hold": {"parameters": with_route, "post": hold},
        f"{path}/release": {"parameters": with_route, "post": release},
    }


def _dead() -> dict[str, Any]:
    tag = "Dead letters"
    listing = operation(
        tag,
        "Dead letters, newest first",
        "read",
        {"200": json_of("A page", ref(models.DeadList))},
        "422",
        "503",
        description=f"{_COST} With `since` the list ends where they are older.",
        parameters=query_of(models.ListDead),
    )
    groups = operation(
        tag,
        "Dead letters, counted by route, reason and status",
        "read",
        {"200": json_of("The groups, the largest first", ref(models.DeadGroups))},
        "422",
        "503",
        description=f"The newest {LOOKED_AT_MAX:,} that the filter lets through, at most; the "
        f"cursor goes on behind them. It reads as much as {LOOKED_AT_MAX:,} entries of the list "
        f"cost, and with a filter up to {models.GROUP_PAGES_MAX * LOOKED_AT_MAX:,}.",
        parameters=query_of(models.GroupDead),
    )
    found = json_of("The dead letter and its webhook's body", ref(models.DeadLetterDetail))
    show = operation(
        tag,
        "One dead letter",
        "read",
        {"200": found},
        "404",
        "422",
        "503",
        description="What was written is masked for a `read` key, and for a session that does not "
        "ask for it with `texts=true`. That needs the scope `admin`, and the service logs who "
        "asked.",
        parameters=query_of(models.ShowTexts),
    )
    gone = json_of("It is gone", ref(models.DeadGone))
    drop = operation(tag, "Drop a dead letter", "admin", {"200": gone}, "404", "503")
    queued = json_of("It goes before the user's other batches", ref(models.DeadLetter))
    replay = operation(
        tag,
        "Send a dead letter again",
        "admin",
        {"202": queued},
        "404",
        "503",
        description="With the same webhook-id and the same body.",
        body=small_body(models.Because),
    )
    parameters = [{"$ref": "#/components/parameters/BatchId"}]
    return {
        "/api/dead": {"get": listing},
        "/api/dead/groups": {"get": groups},
        **many_dead(),
        "/api/dead/{id}": {"parameters": parameters, "get": show, "delete": drop},
        "/api/dead/{id}/replay": {"parameters": parameters, "post": replay},
    }


def _session() -> dict[str, Any]:
    """What a browser does instead of keeping a key."""
    tag = "Service"
    cookie = {
        "Set-Cookie": {"description": "HttpOnly, SameSite=Strict.", "schema": STRING},
    }
    sign_in = operation(
        tag,
        "Sign in",
        None,
        {"204": {"description": "The cookie of a session", "headers": cookie}},
        "401",
        "409",
        "429",
        description=f"Exchanges a key for a cookie that is good for {SESSION_S // 3_600} hours, or "
        "until the key is taken out of AQ_API_KEYS. 401: the key is not known. 409: there are no "
        "keys.",
        body=body_of({JSON: ref(models.SignIn)}),
    )
    look = operation(
        tag,
        "Who is asking",
        None,
        {"200": json_of("What this caller may do", ref(models.Session))},
        "401",
        description="By the key in Authorization, else by the cookie.",
    )
    sign_out = operation(
        tag,
        "Sign out",
        None,
        {"204": {"description": "The browser has no cookie any more", "headers": cookie}},
        description="Ends the session with all workers of the process that answers. At another "
        "replica a copy of the cookie is good until its end, or until its key is taken away.",
    )
    return {"get": look, "post": sign_in, "delete": sign_out}


def _service(settings: Settings) -> dict[str, Any]:
    tag = "Service"
    shards = operation(
        tag,
        "Replicas, and who owns which shard",
        "read",
        {"200": json_of("All shards", ref(models.Shards))},
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
    doctor = operation(
        tag,
        "What is wrong with Redis and the webhook",
        "read",
        {"200": json_of("The findings", ref(models.Checkup))},
        "503",
        description="What `actor-queue doctor` finds, with this service's settings. It changes "
        "nothing and calls no webhook. One look at a time, at most 20 s long; its findings are "
        "kept for 5 s. It costs a few hundred questions to Redis and reads at most 1,000 users.",
    )
    status = ref(models.Health)
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
        "/api/doctor": {"get": doctor},
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
        "Description of this API (OpenAPI 3.1)",
        _about_itself(settings),
        {"200": json_of("OpenAPI", self_description)},
        description="With this service's own limits in it.",
    )
    docs = operation(
        tag,
        "Reference of this API, as a page",
        None,
        {"200": content("The page", {"text/html": STRING}), **_UNCHANGED},
        description="This description as a page, which needs no internet.",
    )
    operate = operation(
        tag,
        "The operator's view, as a page",
        None,
        {"200": content("The page", {"text/html": STRING}), **_UNCHANGED},
        description="Who waits, who is stuck and why, and what can be done. It needs no internet.",
    )
    page = operation(
        tag,
        "The first page",
        None,
        {"200": content("The page", {"text/html": STRING}), **_UNCHANGED},
        description="The operator's view; the playground where it runs as `actor-queue dev`.",
    )
    return {
        "/openapi.json": {"get": description},
        "/docs": {"get": docs},
        "/operate": {"get": operate},
        "/": {"get": page},
    }


def _about_itself(settings: Settings) -> Scope | None:
    """What a key must have for what the service says of itself."""
    return "read" if settings.key_for_metrics else None
