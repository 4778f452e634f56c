"""WAHA: a session's events, whichever of its engines runs. The engines differ in `_data` only.

A user is `{session}:{address of the chat}`, of a phone (`@c.us`) where the event has it, else of a
`@lid`. `message` and `message.any` bring the same message; its id is taken once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from actor_queue.core.doors import Door
from actor_queue.doors import jids, whatsapp
from actor_queue.doors.platform import Request, is_old
from actor_queue.doors.reading import Node, some
from actor_queue.doors.signatures import signed
from actor_queue.doors.vocabulary import (
    Action,
    Content,
    Edit,
    Hold,
    Ignore,
    Kind,
    Media,
    Push,
    Reason,
    Revoke,
    Sender,
    Typing,
    choice_content,
    contact_content,
    file_content,
    place_content,
    text_content,
)

COMPOSING: Final = frozenset({"typing", "recording", "composing"})

NO_MESSAGE: Final[dict[str, Reason]] = {
    "message.reaction": "reaction",
    "message.ack": "status",
    "message.ack.group": "status",
    "message.waiting": "status",
    "session.status": "status",
    "state.change": "status",
    "engine.event": "status",
    "poll.vote": "poll",
    "poll.vote.failed": "poll",
    "call.received": "call",
    "call.accepted": "call",
    "call.rejected": "call",
}
OF_ENGINE: Final[dict[str, Kind]] = {
    "image": "image",
    "video": "video",
    "ptt": "audio",
    "audio": "audio",
    "document": "document",
    "sticker": "sticker",
}
"""The types of the engine WEBJS."""


def verify(request: Request, door: Door, now_s: float) -> bool | None:
    """`X-Webhook-Hmac`: HMAC-SHA512 of the raw body."""
    shown = request.headers.get("x-webhook-hmac")
    if shown is None:
        return None
    if request.headers.get("x-webhook-hmac-algorithm", "sha512").strip().lower() != "sha512":
        return False
    return signed(shown, request.body, door.secrets, "sha512")


def read(event: Node, door: Door, now_s: float) -> Iterator[Action]:
    name, payload, session = event["event"].text, event["payload"], event["session"].id
    if name in NO_MESSAGE:
        yield Ignore(NO_MESSAGE[name])
    elif name in ("message", "message.any"):
        # How old a message was when it was sent on, and not when a repetition of that came through.
        told_s = event["timestamp"].unix_s
        yield _message(payload, session, door, min(now_s, told_s) if told_s else now_s)
    elif name == "message.edited":
        yield _edited(payload, session, door)
    elif name == "message.revoked":
        yield _revoked(payload, session, door)
    elif name == "presence.update":
        yield _presence(payload, session, door)


class _Chat:
    """Where a payload belongs."""

    def __init__(self, payload: Node, session: str) -> None:
        data = payload["_data"]
        self.own = payload["fromMe"].true
        chat = jids.bare(payload["to" if self.own else "from"].id)
        self.raw = chat
        self.id = payload["id"].id
        self.group = chat if jids.is_group(chat) else ""
        key, info = data["key"], data["Info"]
        phones = [key["remoteJidAlt"].id, info["RecipientAlt" if self.own else "SenderAlt"].id]
        if self.group:
            phones, chat = (
                [key["participantAlt"].id, info["SenderAlt"].id],
                jids.bare(payload["participant"].id or payload["author"].id),
            )
        phones = [each.replace("@s.whatsapp.net", "@c.us") for each in phones if each]
        self.person, self.alt = jids.of_person(*filter(jids.is_phone, phones), chat)
        self.nobodys = jids.nobodys(self.group or self.person)
        if self.nobodys is None and not session:
            self.nobodys = Ignore("unnamed")
        self._session = session

    def user(self, door: Door) -> str:
        return whatsapp.user(self._session, self.person, self.group, door)

    def alias(self, door: Door) -> str:
        return whatsapp.alias(self._session, self.person, self.alt, self.group, door)

    def named(self, id: str) -> str:
        """The id of a message in this chat. Edits and replies name only its last part."""
        if "_" not in id:
            id = f"{'true' if self.own else 'false'}_{self.raw}_{id}"
        return f"{self._session}:{id}"


def _message(payload: Node, session: str, door: Door, now_s: float) -> Action:
    chat = _Chat(payload, session)
    if chat.nobodys:
        return chat.nobodys
    if chat.group and door.groups == "ignore":
        return Ignore("group")
    if not chat.id or (chat.group and not chat.person):
        return Ignore("unnamed")
    content = _content(payload, chat.id)
    if isinstance(content, Ignore):
        return content
    sent_at = payload["timestamp"].unix_s
    if is_old(sent_at, door, now_s):
        return Ignore("old")
    if chat.own:
        by_hand = payload["source"].text != "api" and not chat.group
        return (
            Hold(chat.user(door), chat.alias(door), chat.id)
            if by_hand and door.own_messages == "hold"
            else Ignore("own")
        )
    data = payload["_data"]
    names = (data["notifyName"], data["pushName"], data["Info"]["PushName"])
    replied = payload.get("replyTo", "id").id
    return Push(
        user=chat.user(door),
        alias=chat.alias(door),
        message_id=f"{session}:{chat.id}",
        content=content,
        provider="waha",
        instance=session,
        sender=Sender(
            id=chat.person,
            alt=some(chat.alt),
            name=next((each.text.strip() for each in names if each.text.strip()), None),
        ),
        group=some(chat.group),
        reply_to=chat.named(replied) if replied else None,
        sent_at=sent_at,
    )


def _content(payload: Node, id: str) -> Content | Ignore:
    data = payload["_data"]
    type_ = data["type"].text
    inner = whatsapp.unwrapped(data["message"])
    if place := payload["location"]:  # its body is a small picture of the map
        return place_content(
            place["latitude"].number,
            place["longitude"].number,
            place["description"].text or place["name"].text,
        )
    if cards := payload["vCards"]:
        return contact_content(whatsapp.on_card(card.text) for card in cards)
    body = payload["body"].text
    if type_ in ("buttons_response", "template_button_reply"):
        return choice_content("button", body, data["selectedButtonId"].id)
    if type_ == "list_response":
        return choice_content(
            "list", body, data["listResponse"]["singleSelectReply"]["selectedRowId"].id
        )
    if payload["hasMedia"].true or payload["media"]:
        return _file(payload, type_, inner, body, id)
    if any(inner[name] for name in whatsapp.CHOICES):
        return whatsapp.content(inner, payload, id)
    if not body and inner:
        return whatsapp.content(inner, payload, id)
    return text_content(body)


def _file(payload: Node, type_: str, inner: Node, body: str, id: str) -> Content:
    media = payload["media"]
    mime = media["mimetype"].text
    told = next((kind for name, kind in whatsapp.FILES.items() if inner[name]), None)
    kind = told or OF_ENGINE.get(type_) or _kind_of(mime, named=bool(media["filename"].text))
    about = Media(
        url=media["url"].url,
        id=id,
        mime=some(mime),
        name=some(media["filename"].text),
        voice=type_ == "ptt" or inner.get("audioMessage", "ptt").true or None,
    )
    return file_content(kind, body, about)


def _kind_of(mime: str, *, named: bool) -> Kind:
    """What a file is, by its type. WhatsApp's pictures are JPEG, and its stickers WebP."""
    if mime == "image/webp":
        return "sticker"
    sort = mime.partition("/")[0]
    if not named and sort in OF_ENGINE:
        return OF_ENGINE[sort]
    return "document" if mime else "media"


def _edited(payload: Node, session: str, door: Door) -> Action:
    chat = _Chat(payload, session)
    id = payload["editedMessageId"].id
    if refused := _not_changed(chat, id, door):
        return refused
    text = payload["body"].text
    if not text.strip():
        return Ignore("empty")
    return Edit(chat.user(door), chat.named(id), text, chat.alias(door))


def _revoked(payload: Node, session: str, door: Door) -> Action:
    """`before` is mostly null; `after` is what stands in the message's place."""
    message = payload["after"] if payload["after"] else payload["before"]
    chat = _Chat(message, session)
    id = payload["revokedMessageId"].id
    if refused := _not_changed(chat, id, door):
        return refused
    return Revoke(chat.user(door), chat.named(id), chat.alias(door))


def _not_changed(chat: _Chat, id: str, door: Door) -> Ignore | None:
    if chat.nobodys:
        return chat.nobodys
    if chat.own:
        return Ignore("own")
    if chat.group and door.groups == "ignore":
        return Ignore("group")
    return None if id else Ignore("unnamed")


def _presence(payload: Node, session: str, door: Door) -> Action:
    chat = jids.bare(payload["id"].id)
    if refused := jids.nobodys(chat):
        return refused
    group = chat if jids.is_group(chat) else ""
    if group and door.groups == "ignore":
        return Ignore("group")
    for each in payload["presences"]:
        if each["lastKnownPresence"].text in COMPOSING and session:
            person = jids.bare(each["participant"].id)
            writer = person if group else chat
            return Typing(
                whatsapp.user(session, writer, group, door),
                whatsapp.alias(session, writer, "", group, door),
            )
    return Ignore("presence")
