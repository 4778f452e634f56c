"""What `openapi.json` says of what is remembered, `/api/attempts` and more, and of erasing it."""

from __future__ import annotations

from typing import Any

from actor_queue.http import models
from actor_queue.http.openapi_parts import json_of, of_user, operation, query_of
from actor_queue.http.schemas import ref
from actor_queue.store.history_api import LOOKED_AT_MAX


def attempts() -> dict[str, Any]:
    listing = operation(
        "Attempts",
        "The last attempts of all users, newest first",
        "read",
        {"200": json_of("A page", ref(models.AttemptList))},
        "422",
        "503",
        description="As many as AQ_HISTORY says are remembered. An attempt is here within a second "
        "after it has ended; what a replica had yet to tell when it was killed is not here, and "
        f"neither is what Redis did not take. One request reads at most {LOOKED_AT_MAX:,} attempts "
        "(about 0.4 MB of Redis) whatever it asks for, so a page can be empty and still have a "
        "cursor.",
        parameters=query_of(models.ListAttempts),
    )
    deeds = operation(
        "Attempts",
        "What was done by hand, newest first",
        "read",
        {"200": json_of("The list", ref(models.DeedList))},
        "422",
        "503",
        description="Holds, releases, flushes, drops, edits, revokes, replays and erasures that "
        "were asked for through the API, with the name of the key. Users are not named: "
        "`logged_as` is how the log names them. What one user's were, and why, is in "
        "`/api/users/{user}?deeds=true`.",
        parameters=query_of(models.ListDeeds),
    )
    return {
        "/api/attempts": {"get": listing},
        "/api/deeds": {"get": deeds},
        "/api/find": {"get": _find()},
    }


def _find() -> dict[str, Any]:
    return operation(
        "Attempts",
        "What is known of one id",
        "read",
        {"200": json_of("Where it is, and every attempt", ref(models.LookUp))},
        "404",
        "422",
        "503",
        description="Which batch a webhook-id names, or a message_id is in, where it is, and every "
        "attempt that is remembered, with the replica, the duration and the beginning of the "
        "receiver's answer: why somebody was answered twice. No index of ids is kept. One look-up "
        "reads at most 20,000 attempts of the list of all, 5,000 users with an attempt under way, "
        "and 1 MiB of what waits for `user`.",
        parameters=query_of(models.Find),
    )


def drop_user() -> dict[str, Any]:
    return of_user(
        "Drop what is pending",
        "admin",
        json_of(
            "What was dropped; with `everything=true` how much was erased",
            {"anyOf": [ref(models.Dropped), ref(models.Erased)]},
        ),
        "422",
        description="An attempt that is under way is not stopped. A session that does not ask with "
        "`texts=true` gets no texts. `everything=true` erases the user: what waits, dead letters, "
        "attempts, message ids, a hold. It looks at each dead letter of the user's shard, at the "
        "list of all attempts, and at each key of the user's Redis server, at most 10,000 letters "
        "and 500,000 keys a call; where there are more, `complete` is false, and the next call "
        "goes on at `cursor`.",
        parameters=query_of(models.DropUser),
    )
