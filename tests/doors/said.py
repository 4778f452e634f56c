"""Actions as JSON, in the words of the fixtures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import asdict

from actor_queue.doors.vocabulary import Action, Edit, Hold, Ignore, Push, Release, Typing


def said(actions: Iterable[Action]) -> list[dict[str, Any]]:
    return [_one(action) for action in actions]


def _one(action: Action) -> dict[str, Any]:
    match action:
        case Push():
            named = {"user": action.user, "message_id": action.message_id}
            return {"push": named | {"message": action.content.text} | action.fields()}
        case Ignore(reason):
            return {"ignore": reason}
        case Typing() | Hold() | Release():
            return {type(action).__name__.lower(): action.user}
        case _:
            fields = asdict(action)
            del fields["alias"]
            return {"edit" if isinstance(action, Edit) else "revoke": fields}
