"""A message on its way in, and the batch that leaves as a webhook."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from actor_queue.core.conversation import ROUTE_CHARACTERS_MAX
from actor_queue.core.message import MESSAGE_ID_BYTES_MAX, USER_BYTES_MAX
from actor_queue.http.models.kinds import (
    SECONDS_AS_TEXT,
    Count,
    MaybeSeconds,
    Model,
    Open,
    Seconds,
    Success,
    about,
)
from actor_queue.store.deeds_api import REASON_BYTES_MAX


class Message(Open, frozen=True, kw_only=True):
    """Every other field passes through to the webhook."""

    # Read by `core.admission`, which has its own rules for each of these.

    user: Annotated[
        str | int,
        about(
            f"Whose message it is: 1 to {USER_BYTES_MAX} bytes as text.",
            minLength=1,
            maxLength=USER_BYTES_MAX,
            examples=["joao.silva"],
        ),
    ]
    message: Annotated[
        str | float | None,
        about(
            "The text. A number is taken as it is written, null as empty.",
            examples=["queria saber do meu pedido"],
        ),
    ]
    ttl: Annotated[
        float | str | UnsetType | None,
        about(
            "Seconds of quiet before the batch goes, also as text; 0 sends at once, an empty text "
            "is the default.",
            minimum=0,
            pattern=SECONDS_AS_TEXT,
            examples=[30],
        ),
    ] = UNSET
    message_id: Annotated[
        str | int | UnsetType | None,
        about(
            "The platform's own id: a message with a known one is not taken twice. Up to "
            f"{MESSAGE_ID_BYTES_MAX} bytes; an empty one is none.",
            maxLength=MESSAGE_ID_BYTES_MAX,
            examples=["wamid.HBgL"],
        ),
    ] = UNSET
    route: Annotated[
        str | int | UnsetType | None,
        about(
            "The receiver that it is for; none is the route of the key, or else `default`. A "
            "conversation is a user of a route.",
            maxLength=ROUTE_CHARACTERS_MAX,
        ),
    ] = UNSET
    sent_at: Annotated[
        Any,
        about(
            "When it was sent: Unix seconds or milliseconds, or a time of RFC 3339. It passes "
            "through whatever it is, and counts where AQ_ORDER is `sent`.",
            examples=[1738199985],
        ),
    ] = UNSET


class Accepted(Model, frozen=True, kw_only=True):
    # Written by `ingest.accepted_json`, in a tenth of the time.
    success: Success
    user: str
    route: Annotated[str | UnsetType, about("Where it is not the default one.")] = UNSET
    message_id: Annotated[str, about("Yours, or one that was made for the message.")]
    pending: Annotated[Count, about("Messages that wait for their batch to close.")]
    fires_in: Annotated[Seconds, about("Seconds until the batch goes if nothing follows.")]
    duplicate: Annotated[bool, about("True: it was here already, nothing changed.")]


class NewText(Model, frozen=True, kw_only=True):
    # Read by `core.admission.text_of_edit`.
    message: Annotated[
        str | float | None,
        about("The new text. A number is taken as it is written, null as empty."),
    ]
    reason: Annotated[
        str | int | UnsetType | None,
        about("Why, for whoever looks at the user later.", maxLength=REASON_BYTES_MAX),
    ] = UNSET


class ChangedMessage(Model, frozen=True):
    success: Success
    user: str
    route: Annotated[str, about("Whose user it is.")]
    message_id: str
    pending: Annotated[Count, about("Messages that wait now.")]
    fires_in: Annotated[
        MaybeSeconds, about("Seconds until the next thing happens; null when nothing waits.")
    ]


class Problem(Model, frozen=True, kw_only=True):
    """RFC 9457."""

    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    field: Annotated[str | UnsetType, about("The field that is wrong, if one is.")] = UNSET


class Webhook(Open, frozen=True, kw_only=True):
    """Pass-through fields are merged; the last message that has a field wins."""

    # Written by `core.payload.render`.

    user: str
    user_id: str
    messages: list[str]
    processed_at: Annotated[
        str,
        about(
            "The moment the batch was closed, in UTC; its text names no zone.",
            pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$",
            examples=["2025-01-30T01:19:45"],
        ),
    ]
    batch: Annotated[
        dict[str, Any] | UnsetType,
        about(
            "With AQ_PAYLOAD=detailed: id, seq, reason, first_at, last_at and due_at, and in a "
            "half of a batch that was answered 413 divided_from; supersedes, where messages come "
            "again of a batch that was taken back; route, unless a release closed it that knew "
            "none."
        ),
    ] = UNSET
    items: Annotated[
        list[dict[str, Any]] | UnsetType,
        about(
            "With AQ_PAYLOAD=detailed: each original object with seq, message_id and received_at."
        ),
    ] = UNSET
