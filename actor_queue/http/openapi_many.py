"""What `openapi.json` says of the verbs for many users and many dead letters."""

from __future__ import annotations

from typing import Any

from actor_queue.http import models
from actor_queue.http.openapi_parts import JSON, Operation, body_of, json_of, operation
from actor_queue.http.schemas import ref
from actor_queue.runtime.many import ACTED_ON_MAX, COUNTED, ROUNDS_MAX, TOGETHER

_PIECE = (
    f"One request does it with {ACTED_ON_MAX:,} at most, {TOGETHER} at a time with a pause "
    f"between, or looks at {ROUNDS_MAX * COUNTED:,} at most, and its answer has a cursor where "
    "there are more. One such request goes on at a time in a replica, and the next one waits. "
    "After a 503 a part may be done; sending it again is safe. An empty object means everybody, "
    "and no body at all is refused."
)
_USERS = {
    "flush": ("Send now what many users have waiting", "As for one user; a user on hold stays it."),
    "hold": (
        "Collect but do not send for many users",
        "As for one user, for all that wait now. Who writes only afterwards is not on hold.",
    ),
    "release": ("End the holds of many users", "As for one user."),
    "drop": (
        "Drop what many users have waiting",
        "As for one user; it is gone for ever, and the answer has none of it.",
    ),
}


def many_users() -> dict[str, Any]:
    return {
        f"/api/users/{verb}": {
            "post": _many(
                "Users", summary, what, models.HoldMany if verb == "hold" else models.ManyUsers
            )
        }
        for verb, (summary, what) in _USERS.items()
    }


def many_dead() -> dict[str, Any]:
    tag = "Dead letters"
    drop = _many(tag, "Drop many dead letters", "They are gone for ever.", models.ManyDead)
    return {"/api/dead/drop": {"post": drop}, "/api/dead/replay": _replays(tag)}


def _many(tag: str, summary: str, what: str, model: type[models.Parameters]) -> Operation:
    answers = {"oneOf": [ref(models.Done), ref(models.Would)]}
    return operation(
        tag,
        summary,
        "admin",
        {"200": json_of("With how many it was done, or would be", answers)},
        "503",
        description=f"{what} {_PIECE}",
        body=body_of({JSON: ref(model)}),
    )


def _replays(tag: str) -> dict[str, Any]:
    job = ref(models.ReplayJob)
    begin = operation(
        tag,
        "Send many dead letters again",
        "admin",
        {
            "200": json_of("Of a dry run: how many it would be", ref(models.Would)),
            "202": json_of("The job that does it, as it is after at most a second", job),
        },
        "409",
        "503",
        description="A job of its own, the oldest first, at most `per_second` a second and 100,000 "
        "in all; while the same one goes on, that one, and while another one goes on, 409. A dry "
        f"run looks at {ROUNDS_MAX * COUNTED:,} at most; a cursor says that there are more.",
        body=body_of({JSON: ref(models.ReplayMany)}, required=False),
    )
    look = operation(
        tag,
        "How far sending many dead letters again is",
        "read",
        {"200": json_of("The job that goes on, or was the last within an hour", job)},
        "404",
        "503",
    )
    stop = operation(
        tag,
        "Stop sending many dead letters again",
        "admin",
        {"202": json_of("It ends with the page that it is at", job)},
        "404",
        "503",
    )
    return {"get": look, "post": begin, "delete": stop}
