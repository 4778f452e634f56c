"""What `openapi.json` says of `/api/routes`."""

from __future__ import annotations

from typing import Any, Final

from actor_queue.core.conversation import ROUTE_CHARACTERS_MAX
from actor_queue.http import models
from actor_queue.http.openapi_parts import json_of, operation, small_body
from actor_queue.http.schemas import ref

ROUTE_OPERATIONS: Final = {
    ("/api/routes", "get"): "listRoutes",
    ("/api/routes/{route}/pause", "post"): "pauseRoute",
    ("/api/routes/{route}/resume", "post"): "resumeRoute",
    ("/api/routes/{route}/test", "post"): "testRoute",
}
_NAME: Final = {
    "name": "route",
    "in": "path",
    "required": True,
    "description": "The name of a route.",
    "schema": {"type": "string", "pattern": f"^[A-Za-z0-9_.-]{{1,{ROUTE_CHARACTERS_MAX}}}$"},
}


def receivers() -> dict[str, Any]:
    listing = operation(
        "Routes",
        "How each receiver is",
        "read",
        {"200": json_of("All routes", ref(models.Routes))},
        "503",
        description="Attempts and answer times are those of the last minute, of all replicas, as "
        "far as AQ_HISTORY remembers them, at most 1,000. Of those who wait, of all routes, at "
        "most 50,000 are counted; `complete` says whether that is everybody.",
    )
    return {
        "/api/routes": {"get": listing},
        "/api/routes/{route}/pause": {
            "parameters": [_NAME],
            "post": _verb(
                "Attempt nothing on a route",
                "In all replicas, until it is resumed. The reason is shown with the route until "
                "then, and is not kept with what was done by hand.",
            ),
        },
        "/api/routes/{route}/resume": {
            "parameters": [_NAME],
            "post": _verb(
                "Make attempts again",
                "It ends a pause. Where the receiver was failing, one attempt goes now. "
                "The reason is not kept.",
            ),
        },
        "/api/routes/{route}/test": {"parameters": [_NAME], "post": _test()},
    }


def _test() -> dict[str, Any]:
    return operation(
        "Routes",
        "Send a test batch to a receiver",
        "admin",
        {"200": json_of("What the receiver did", ref(models.Trial))},
        "404",
        "422",
        "503",
        description="One signed batch in the route's own shape, of the user actor-queue-doctor, "
        'with `"test": true` in it. It goes whatever the state of the route, is stored nowhere and '
        "not tried again. The answer comes when the receiver has answered, after 30 s at most; "
        "one test goes at a time in a replica.",
        body=small_body(models.Because),
    )


def _verb(summary: str, description: str) -> dict[str, Any]:
    return operation(
        "Routes",
        summary,
        "admin",
        {"200": json_of("The route as it is now", ref(models.Routes))},
        "404",
        "422",
        "503",
        description=description,
        body=small_body(models.Because),
    )
