"""What an event of a chat platform asks for: one vocabulary and one form for all platforms.

Every action names a user, and the alias under which the platform may name the same person
(`Push.alias`). `Push.fields` is the form: the fields of a message beside `user`, `message` and
`message_id`. They pass through to the webhook, so receivers are written against them, and
docs/doors.md shows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

Kind = Literal[
    "text",
    "image",
    "video",
    "audio",
    "document",
    "sticker",
    "location",
    "contact",
    "button",
    "list",
    "order",
    "media",
    "unsupported",
]
"""`media` is a file of which the platform does not say what it is, `unsupported` a message that the
platform announces and cannot show, `button` and `list` a choice that was offered and taken."""

Reason = Literal[
    "agent",  # an agent of the platform types
    "broadcast",  # a status post, or a message to everybody
    "call",
    "claimed",  # a message was taken back that is on its way already
    "duplicate",  # the message was taken before
    "empty",  # a message without text, file or anything else that has a name
    "group",  # the door ignores groups
    "malformed",  # no JSON object
    "newsletter",
    "old",  # older than the door's max_age
    "own",  # sent by the bot, or by a person where the door ignores that
    "poll",
    "presence",  # somebody is online, or no longer typing
    "private",  # a note among agents
    "reaction",
    "status",  # of a delivery, a connection, a conversation
    "too_large",  # more text than AQ_MAX_BODY
    "unknown_event",
    "unknown_message",  # a change of a message that was never taken, or was taken back before
    "unnamed",  # without a chat or an id
    "unsupported",  # a kind of message that has no name here
]
"""Why nothing was done. There are no others, so each may be a label of a metric."""

NAME_CHARACTERS_MAX: Final = 200
"""Of a file's or a person's name inside a label, and of a name that many messages may share."""
_BLANKS: Final = re.compile(r"\s+")


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """A file. It has a `url` to fetch, or the `id` under which the platform gives it out."""

    url: str | None = None
    id: str | None = None
    mime: str | None = None
    name: str | None = None
    size: int | None = None
    """Bytes."""
    seconds: int | None = None
    voice: bool | None = None
    """True for a voice message; None for everything else."""


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """Who wrote. `alt` is the same person's other id, where the platform gave two."""

    id: str
    alt: str | None = None
    name: str | None = None


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A place, in degrees."""

    latitude: float
    longitude: float
    name: str | None = None


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a message says."""

    kind: Kind
    text: str
    """What a person or a language model can read. Never empty."""
    media: Media | None = None
    location: Location | None = None
    choice: str | None = None
    """The id of the button or row that was chosen; `text` is what stood on it."""


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """A person wrote something."""

    user: str
    message_id: str
    content: Content
    provider: str
    instance: str
    """Which account of the platform received it."""
    sender: Sender
    group: str | None = None
    """The group's id; None outside of groups."""
    reply_to: str | None = None
    """The `message_id` of the message that this one answers."""
    sent_at: int | None = None
    """Unix seconds, by the platform's clock."""
    alias: str = ""
    """The user under the name that hides the other one, where the platform has two names for a
    person: `user` itself where the event has only that name. Empty where there is no such name."""

    def fields(self) -> dict[str, Any]:
        """The fields as the webhook has them. What is not known is left out."""
        content = self.content
        found: dict[str, Any] = {"kind": content.kind}
        if content.media is not None:
            found["media"] = _known(content.media)
        if content.location is not None:
            found["location"] = _known(content.location)
        if content.choice is not None:
            found["choice"] = content.choice
        found["sender"] = _known(self.sender)
        if self.group is not None:
            found["group"] = {"id": self.group, "participant": self.sender.id}
        if self.reply_to is not None:
            found["reply_to"] = self.reply_to
        found["channel"] = {"provider": self.provider, "instance": self.instance}
        if self.sent_at is not None:
            found["sent_at"] = self.sent_at
        return found


class Typing(msgspec.Struct, frozen=True):
    """The user is writing."""

    user: str
    alias: str = ""


class Hold(msgspec.Struct, frozen=True):
    """A person answers this user in the bot's place."""

    user: str
    alias: str = ""
    message_id: str = ""
    """Of the account's message that says so, as the platform gave it to whoever sent it. The
    receiver may have sent it. Empty where an agent took the conversation over."""


class Release(msgspec.Struct, frozen=True):
    """The conversation is the bot's again."""

    user: str
    alias: str = ""


class Edit(msgspec.Struct, frozen=True):
    """The user changed a message."""

    user: str
    message_id: str
    text: str
    alias: str = ""


class Revoke(msgspec.Struct, frozen=True):
    """The user took a message back."""

    user: str
    message_id: str
    alias: str = ""


class Ignore(msgspec.Struct, frozen=True):
    """The event means nothing to us, and why."""

    reason: Reason


Action = Push | Typing | Hold | Release | Edit | Revoke | Ignore


def label(kind: str, about: str = "") -> str:
    """What stands for a message without text: `[image]`, `[document: offer.pdf]`."""
    about = _BLANKS.sub(" ", about).strip()[:NAME_CHARACTERS_MAX]
    return f"[{kind}: {about}]" if about else f"[{kind}]"


def text_content(text: str) -> Content | Ignore:
    return Content(kind="text", text=text) if text.strip() else Ignore("empty")


def file_content(kind: Kind, caption: str, media: Media) -> Content:
    """A file with what was written under it, or else with a label."""
    name = media.name if kind == "document" else None
    text = caption if caption.strip() else label(kind, name or "")
    return Content(kind=kind, text=text, media=media)


def place_content(latitude: float | None, longitude: float | None, name: str) -> Content | Ignore:
    if latitude is None or longitude is None:
        return Ignore("empty")
    place = Location(latitude=latitude, longitude=longitude, name=name or None)
    text = label("location", f"{latitude:.10g},{longitude:.10g}")
    return Content(kind="location", text=text, location=place)


def contact_content(contacts: Iterable[tuple[str, str]]) -> Content:
    """Contacts by name and phone, of which either may be empty."""
    shown = (" ".join(filter(None, each)) for each in contacts)
    return Content(kind="contact", text=label("contact", ", ".join(filter(None, shown))))


def choice_content(kind: Literal["button", "list"], title: str, id: str) -> Content | Ignore:
    text = title if title.strip() else id
    return Content(kind=kind, text=text, choice=id or None) if text.strip() else Ignore("empty")


def _known(value: Media | Sender | Location) -> dict[str, Any]:
    names = value.__struct_fields__
    return {name: given for name in names if (given := getattr(value, name)) is not None}
