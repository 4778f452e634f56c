"""What a chat platform is answered."""

from __future__ import annotations

from typing import Annotated, get_args

from msgspec import UNSET, UnsetType

from actor_queue.doors.vocabulary import Reason
from actor_queue.http.models.kinds import Count, Model, about


class DoorAnswer(Model, frozen=True, kw_only=True):
    """What was done with an event, in numbers."""

    accepted: Annotated[Count, about("Messages that were taken.")]
    typing: Annotated[Count, about("Signals that a user is typing.")]
    held: Annotated[Count, about("Conversations that a person has taken over.")]
    edited: Annotated[Count, about("Messages that were changed or removed while they waited.")]
    ignored: Annotated[Count, about("All else.")]
    reasons: Annotated[
        dict[str, int],
        about(
            "Why, and how many times.",
            propertyNames={"enum": list(get_args(Reason))},
            examples=[{"status": 1}],
        ),
    ]
    released: Annotated[
        int | UnsetType, about("Conversations that are the bot's again, if any.", minimum=1)
    ] = UNSET
