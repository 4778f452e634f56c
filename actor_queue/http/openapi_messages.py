"""What `openapi.json` says of editing a message that waits, and of taking it back."""

from __future__ import annotations

from typing import Any, Final

from actor_queue.http import models
from actor_queue.http.openapi_parts import JSON, body_of, json_of, of_user, query_of
from actor_queue.http.schemas import ref

PATH: Final = "/api/users/{user}/messages/{message_id}"
MESSAGE_OPERATIONS: Final = {
    (PATH, "patch"): "editMessage",
    (PATH, "delete"): "revokeMessage",
}
_FOUND: Final = (
    "A message is found by looking through what waits for the user, the newest first, a thousand a "
    "call to Redis; it may wait in a batch that is closed and not yet claimed."
)


def messages_that_wait() -> dict[str, Any]:
    changed = ref(models.ChangedMessage)
    edit = of_user(
        "Edit a message that waits",
        "admin",
        json_of("It has the new text", changed),
        "409",
        "429",
        description="Its place, its id and its other fields stay. An open window waits as after a "
        "typing signal. 409: it has been claimed. 413: the message, or its batch, would be too "
        f"large. {_FOUND}",
        body=body_of({JSON: ref(models.NewText)}),
    )
    revoke = of_user(
        "Take back a message that waits",
        "admin",
        json_of("It is gone", changed),
        "409",
        "422",
        description="No timer moves; a batch without messages is never sent. Its id stays "
        "remembered, so that a message that comes again is a duplicate. 409: it has been claimed. "
        f"{_FOUND}",
        parameters=query_of(models.Because),
    )
    parameters = [
        {"$ref": "#/components/parameters/User"},
        {"$ref": "#/components/parameters/MessageId"},
        {"$ref": "#/components/parameters/Route"},
    ]
    return {PATH: {"parameters": parameters, "patch": edit, "delete": revoke}}
