"""Evolution API v2: WhatsApp's own messages, as Baileys names their parts.

A user is `{instance}:{address of the chat}`: the phone's address where the event has it, else the
`@lid`, which leads to the phone once an event has told both. Nothing is signed: a key opens the
door, or the token of `jwt_key`. Every event carries the instance's `apikey`, which nothing here
looks at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from actor_queue.core.doors import Door
from actor_queue.doors import jids, whatsapp
from actor_queue.doors.platform import Request, is_old
from actor_queue.doors.reading import Node, some
from actor_queue.doors.signatures import token_signed
from actor_queue.doors.vocabulary import (
    Action,
    Content,
    Edit,
    Hold,
    Ignore,
    Push,
    Reason,
    Revoke,
    Sender,
    Typing,
)

COMPOSING: Final = frozenset({"composing", "recording"})
EDIT_TYPES: Final = frozenset({"14", "MESSAGE_EDIT"})
REVOKE_TYPES: Final = frozenset({"0", "REVOKE"})
OF_A_PROGRAM: Final = "BAE5"
"""Older Baileys begin the ids of what a program sends like this; no phone does."""

NO_MESSAGE: Final[dict[str, Reason]] = {
    "send.message": "own",
    "messages.update": "status",
    "messages.set": "old",
    "connection.update": "status",
    "qrcode.updated": "status",
    "application.startup": "status",
    "logout.instance": "status",
    "call": "call",
}


def verify(request: Request, door: Door, now_s: float) -> bool | None:
    """The token that Evolution makes of `jwt_key`, in `Authorization`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or token.count(".") != 2:
        return None
    return token_signed(token.strip(), door.secrets, now_s)


def read(event: Node, door: Door, now_s: float) -> Iterator[Action]:
    name = event["event"].text.lower().replace("_", ".").replace("-", ".")
    instance = event["instance"].id
    if name in NO_MESSAGE:
        yield Ignore(NO_MESSAGE[name])
        return
    for data in event["data"].each:
        if name == "messages.upsert":
            yield _message(data, instance, door, now_s)
        elif name in ("messages.edited", "messages.delete"):
            yield _change(data, instance, door, revoked=name == "messages.delete")
        elif name == "presence.update":
            yield _presence(data, instance, door)


class _Chat:
    """Where a message belongs, by its key."""

    def __init__(self, key: Node, instance: str) -> None:
        remote = jids.bare(key["remoteJid"].id)
        self.own = key["fromMe"].true
        self.id = key["id"].id
        self.group = remote if jids.is_group(remote) else ""
        # The name of the sender's phone is the chat's only where the other one wrote.
        phones = [key["remoteJidAlt"].id, "" if self.own else key["senderPn"].id]
        if self.group:
            phones, remote = (
                [key["participantAlt"].id, key["participantPn"].id, key["senderPn"].id],
                jids.bare(key["participant"].id),
            )
        self.person, self.alt = jids.of_person(*filter(jids.is_phone, phones), remote)
        self.nobodys = jids.nobodys(self.group or self.person)
        if self.nobodys is None and not (instance and self.id):
            self.nobodys = Ignore("unnamed")
        self.instance = instance

    def user(self, door: Door) -> str:
        return whatsapp.user(self.instance, self.person, self.group, door)

    def alias(self, door: Door) -> str:
        return whatsapp.alias(self.instance, self.person, self.alt, self.group, door)

    def named(self, id: str) -> str:
        return f"{self.instance}:{id}"


def _message(data: Node, instance: str, door: Door, now_s: float) -> Action:
    chat = _Chat(data["key"], instance)
    if chat.nobodys:
        return chat.nobodys
    if chat.group and door.groups == "ignore":
        return Ignore("group")
    message = whatsapp.unwrapped(data["message"])
    if message["protocolMessage"]:
        return _change(message["protocolMessage"], instance, door, revoked=False, chat=chat)
    content = whatsapp.content(message, data, chat.id)
    if isinstance(content, Ignore):
        return content
    sent_at = data["messageTimestamp"].unix_s
    if is_old(sent_at, door, now_s):
        return Ignore("old")
    if chat.own:
        return _own(chat, door)
    if chat.group and not chat.person:
        return Ignore("unnamed")
    return _push(data, message, chat, content, sent_at, door)


def _push(
    data: Node, message: Node, chat: _Chat, content: Content, sent_at: int | None, door: Door
) -> Push:
    replied = whatsapp.replied(message) or data.get("contextInfo", "stanzaId").id
    return Push(
        user=chat.user(door),
        alias=chat.alias(door),
        message_id=chat.named(chat.id),
        content=content,
        provider="evolution",
        instance=chat.instance,
        sender=Sender(id=chat.person, alt=some(chat.alt), name=some(data["pushName"].text.strip())),
        group=some(chat.group),
        reply_to=chat.named(replied) if replied else None,
        sent_at=sent_at,
    )


def _own(chat: _Chat, door: Door) -> Action:
    """A message from the bot's number. In a group it does not take anybody's conversation over."""
    by_hand = not chat.id.startswith(OF_A_PROGRAM) and not chat.group
    return (
        Hold(chat.user(door), chat.alias(door), chat.id)
        if by_hand and door.own_messages == "hold"
        else Ignore("own")
    )


def _change(
    data: Node, instance: str, door: Door, *, revoked: bool, chat: _Chat | None = None
) -> Action:
    """`data` is a protocol message, or the key of what was deleted. `messages.edited` is sent for
    every protocol message, so what it is stands in `type` only."""
    key = data["key"] if data["key"] else data
    original = key["id"].id
    if chat is None:
        chat = _Chat(key, instance)
    if chat.nobodys:
        return chat.nobodys
    if not original:
        return Ignore("unnamed")
    if chat.group and door.groups == "ignore":
        return Ignore("group")
    if chat.own:
        return Ignore("own")
    edited = whatsapp.unwrapped(data["editedMessage"])
    type_ = data["type"].id
    if revoked or type_ in REVOKE_TYPES:
        return Revoke(chat.user(door), chat.named(original), chat.alias(door))
    if type_ in EDIT_TYPES or (not type_ and edited):
        content = whatsapp.content(edited, data, original)
        if isinstance(content, Ignore):
            return content
        return Edit(chat.user(door), chat.named(original), content.text, chat.alias(door))
    return Ignore("status")


def _presence(data: Node, instance: str, door: Door) -> Action:
    chat = jids.bare(data["id"].id)
    if refused := jids.nobodys(chat):
        return refused
    group = chat if jids.is_group(chat) else ""
    if group and door.groups == "ignore":
        return Ignore("group")
    presences = data["presences"]
    for name in presences.names:
        if presences[name]["lastKnownPresence"].text in COMPOSING and instance:
            person = jids.bare(Node(name).id)
            writer = person if group else chat
            return Typing(
                whatsapp.user(instance, writer, group, door),
                whatsapp.alias(instance, writer, "", group, door),
            )
    return Ignore("presence")
