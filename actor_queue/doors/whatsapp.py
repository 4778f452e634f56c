"""WhatsApp's message as Baileys writes it, which Evolution sends and WAHA has in `_data`."""

from __future__ import annotations

from typing import Final

from actor_queue.core.doors import Door
from actor_queue.doors import jids
from actor_queue.doors.reading import Node, some
from actor_queue.doors.vocabulary import (
    Content,
    Ignore,
    Kind,
    Media,
    Reason,
    choice_content,
    contact_content,
    file_content,
    place_content,
    text_content,
)

WRAPPERS: Final = (
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
    "editedMessage",
    "deviceSentMessage",
)
_WRAPPERS: Final = frozenset(WRAPPERS)
WRAPPERS_MAX: Final = 5
CARD_CHARACTERS_MAX: Final = 20_000
"""A card may have a picture, which stands behind the names."""

FILES: Final[dict[str, Kind]] = {
    "imageMessage": "image",
    "videoMessage": "video",
    "ptvMessage": "video",
    "audioMessage": "audio",
    "documentMessage": "document",
    "stickerMessage": "sticker",
    "lottieStickerMessage": "sticker",
}
CHOICES: Final = (
    "buttonsResponseMessage",
    "listResponseMessage",
    "templateButtonReplyMessage",
    "interactiveResponseMessage",
)
NOT_TO_READ: Final[dict[str, Reason]] = {
    "reactionMessage": "reaction",
    "encReactionMessage": "reaction",
    "pollCreationMessage": "poll",
    "pollCreationMessageV2": "poll",
    "pollCreationMessageV3": "poll",
    "pollUpdateMessage": "poll",
    "call": "call",
    "protocolMessage": "status",
    "senderKeyDistributionMessage": "status",
}


def user(instance: str, person: str, group: str, door: Door) -> str:
    """The key of a conversation."""
    if not group:
        return f"{instance}:{person}"
    return f"{instance}:{group}" + (f":{person}" if door.groups == "sender" else "")


def alias(instance: str, person: str, alt: str, group: str, door: Door) -> str:
    """The same by the `@lid`, if the event has one and it is a part of the key."""
    if group and door.groups != "sender":
        return ""
    hidden = next(filter(jids.hides_the_phone, (alt, person)), "")
    return hidden and user(instance, hidden, group, door)


def unwrapped(message: Node) -> Node:
    """The message inside of those that only carry one."""
    for _ in range(WRAPPERS_MAX):
        if _WRAPPERS.isdisjoint(message.names):
            break
        inner = next((message[name]["message"] for name in WRAPPERS if message[name]), None)
        if not inner:
            break
        message = inner
    return message


def replied(message: Node) -> str:
    """The id of the message that this one answers."""
    for name in message.names:
        if id := message.get(name, "contextInfo", "stanzaId").id:
            return id
    return ""


def content(message: Node, around: Node, id: str) -> Content | Ignore:
    """What an unwrapped message says. `around` may have the address of its file."""
    text = message["conversation"].text or message.get("extendedTextMessage", "text").text
    if text:
        return text_content(text)
    for name, kind in FILES.items():
        if type(message[name].value) is dict:
            return _file(kind, message, message[name], around, id)
    for name in ("locationMessage", "liveLocationMessage"):
        if place := message[name]:
            return place_content(
                place["degreesLatitude"].number,
                place["degreesLongitude"].number,
                place["name"].text or place["address"].text,
            )
    if contact := message["contactMessage"]:
        return contact_content([_contact(contact)])
    if contacts := message["contactsArrayMessage"]:
        return contact_content(_contact(each) for each in contacts["contacts"])
    for name in CHOICES:
        if message[name]:
            return _choice(name, message[name])
    for name, reason in NOT_TO_READ.items():
        if message[name]:
            return Ignore(reason)
    return Ignore("unsupported" if message else "empty")


def _contact(about: Node) -> tuple[str, str]:
    name, phone = on_card(about["vcard"].text)
    return about["displayName"].text or name, phone


def on_card(card: str) -> tuple[str, str]:
    """The name and the first phone on a vCard (RFC 6350, sections 6.2.1 and 6.4.1)."""
    found = {"FN": "", "TEL": ""}
    for line in card[:CARD_CHARACTERS_MAX].splitlines():
        field, _, value = line.partition(":")
        # Apple puts a group in front: `item1.TEL;type=CELL:+55 11 …`.
        name = field.partition(";")[0].rpartition(".")[2].upper()
        if found.get(name) == "":
            found[name] = value.strip()
    return found["FN"], found["TEL"]


def _file(kind: Kind, message: Node, about: Node, around: Node, id: str) -> Content:
    # The `url` inside is of an encrypted file, so it is of no use to a receiver. A platform that
    # keeps files gives their address beside the message; else it gives them out by the id.
    name = about["fileName"].text or about["title"].text
    media = Media(
        url=message["mediaUrl"].url or around["mediaUrl"].url,
        id=some(id),
        mime=some(about["mimetype"].text),
        name=some(name),
        size=about["fileLength"].size,
        seconds=about["seconds"].size,
        voice=about["ptt"].true or None,
    )
    return file_content(kind, about["caption"].text, media)


def _choice(name: str, about: Node) -> Content | Ignore:
    match name:
        case "buttonsResponseMessage":
            title, id = about["selectedDisplayText"].text, about["selectedButtonId"].id
        case "listResponseMessage":
            row = about.get("singleSelectReply", "selectedRowId").id
            return choice_content("list", about["title"].text, row)
        case "templateButtonReplyMessage":
            title, id = about["selectedDisplayText"].text, about["selectedId"].id
        case _:
            title = about.get("body", "text").text
            id = about.get("nativeFlowResponseMessage", "name").id
    return choice_content("button", title, id)
