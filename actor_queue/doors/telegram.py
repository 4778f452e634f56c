"""Telegram Bot API: updates, one a request, in parallel and repeated for a day.

A user is `{door}:{chat}`, because an update does not say which bot it is for. A topic of a group
and a business connection are conversations of their own. A message's id is unique in its chat only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from actor_queue.core.doors import Door
from actor_queue.doors.platform import Request, is_old
from actor_queue.doors.reading import Node, some
from actor_queue.doors.signatures import same
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
    choice_content,
    contact_content,
    file_content,
    place_content,
    text_content,
)

GROUPS: Final = frozenset({"group", "supergroup"})
FILES: Final[dict[str, Kind]] = {
    "photo": "image",
    "voice": "audio",
    "audio": "audio",
    "video": "video",
    "video_note": "video",
    "animation": "video",  # Telegram repeats it as a document, so it stands before that
    "document": "document",
    "sticker": "sticker",
}
NO_MESSAGE: Final[dict[str, Reason]] = {
    "channel_post": "broadcast",
    "edited_channel_post": "broadcast",
    "message_reaction": "reaction",
    "message_reaction_count": "reaction",
    "poll": "poll",
    "poll_answer": "poll",
    "my_chat_member": "status",
    "chat_member": "status",
    "chat_join_request": "status",
    "business_connection": "status",
}


def verify(request: Request, door: Door, now_s: float) -> bool | None:
    """`X-Telegram-Bot-Api-Secret-Token`: the `secret_token` of `setWebhook`, as it is."""
    shown = request.headers.get("x-telegram-bot-api-secret-token")
    return None if shown is None else same(shown, door.secrets)


def read(event: Node, door: Door, now_s: float) -> Iterator[Action]:
    for name in ("message", "business_message"):
        if message := event[name]:
            yield _message(message, door, now_s)
            return
    for name in ("edited_message", "edited_business_message"):
        if message := event[name]:
            yield _edited(message, door, now_s)
            return
    if event["callback_query"]:
        yield _pressed(event["callback_query"], door)
    elif event["deleted_business_messages"]:
        yield from _deleted(event["deleted_business_messages"], door)
    else:
        yield from (Ignore(reason) for name, reason in NO_MESSAGE.items() if event[name])


class _Chat:
    """Where a message belongs."""

    def __init__(self, message: Node, door: Door, sender: str) -> None:
        chat = message["chat"]
        self.id = chat["id"].id
        self.in_group = chat["type"].text in GROUPS
        parts = [door.name, message["business_connection_id"].id, self.id]
        if message["is_topic_message"].true:
            parts.append(message["message_thread_id"].id)
        if self.in_group and door.groups == "sender":
            parts.append(sender)
        self.user = ":".join(filter(None, parts))
        self._door = door

    def refused(self) -> Ignore | None:
        if not self.id:
            return Ignore("unnamed")
        return Ignore("group") if self.in_group and self._door.groups == "ignore" else None

    def named(self, id: str) -> str:
        return f"{self._door.name}:{self.id}:{id}"


def _message(message: Node, door: Door, now_s: float) -> Action:
    writer = message["from"]
    chat = _Chat(message, door, writer["id"].id)
    if refused := chat.refused():
        return refused
    id = message["message_id"].id
    if not (id and writer["id"].id):
        return Ignore("unnamed")
    if is_old(message["date"].unix_s, door, now_s):
        return Ignore("old")
    if message["sender_business_bot"] or writer["is_bot"].true:
        return Ignore("own")
    if message["business_connection_id"] and writer["id"].id != chat.id:
        # A private chat has the customer's id, so somebody else in it is the account's owner.
        return Hold(chat.user, message_id=id) if door.own_messages == "hold" else Ignore("own")
    content = _content(message)
    if isinstance(content, Ignore):
        return content
    replied = message.get("reply_to_message", "message_id").id
    return Push(
        user=chat.user,
        message_id=chat.named(id),
        content=content,
        provider="telegram",
        instance=door.name,
        sender=_sender(writer),
        group=chat.id if chat.in_group else None,
        reply_to=chat.named(replied) if replied else None,
        sent_at=message["date"].unix_s,
    )


def _sender(writer: Node) -> Sender:
    name = f"{writer['first_name'].text} {writer['last_name'].text}".strip()
    return Sender(id=writer["id"].id, alt=some(writer["username"].text), name=some(name))


def _content(message: Node) -> Content | Ignore:
    if text := message["text"].text:
        return text_content(text)
    for name, kind in FILES.items():
        about = message[name].last if name == "photo" else message[name]  # the largest is last
        if about:
            return _file(name, kind, about, message["caption"].text)
    if venue := message["venue"]:
        place, name = venue["location"], venue["title"].text
        return place_content(place["latitude"].number, place["longitude"].number, name)
    if place := message["location"]:
        return place_content(place["latitude"].number, place["longitude"].number, "")
    if contact := message["contact"]:
        name = f"{contact['first_name'].text} {contact['last_name'].text}".strip()
        return contact_content([(name, contact["phone_number"].text)])
    return Ignore("poll" if message["poll"] else "unsupported")


def _file(name: str, kind: Kind, about: Node, caption: str) -> Content:
    media = Media(
        id=some(about["file_id"].id),
        mime=some(about["mime_type"].text),
        name=some(about["file_name"].text),
        size=about["file_size"].size,
        seconds=about["duration"].size,
        voice=True if name == "voice" else None,
    )
    return file_content(kind, caption, media)


def _edited(message: Node, door: Door, now_s: float) -> Action:
    """It may come for changes that nobody sees; then the text is the same."""
    pushed = _message(message, door, now_s)
    if isinstance(pushed, Push):
        return Edit(pushed.user, pushed.message_id, pushed.content.text)
    return Ignore("own") if isinstance(pushed, Hold) else pushed


def _pressed(query: Node, door: Door) -> Action:
    """A button under a message of the bot. What stands on it is in the message that has it."""
    message, writer, id = query["message"], query["from"], query["id"].id
    chat = _Chat(message, door, writer["id"].id)
    if refused := chat.refused():
        return refused
    if not (id and writer["id"].id):
        return Ignore("unnamed")
    data = query["data"].text
    content = choice_content("button", _written_on(message, data), data)
    if isinstance(content, Ignore):
        return content
    return Push(
        user=chat.user,
        message_id=f"{door.name}:callback:{id}",
        content=content,
        provider="telegram",
        instance=door.name,
        sender=_sender(writer),
        group=chat.id if chat.in_group else None,
    )


def _written_on(message: Node, data: str) -> str:
    for row in message.get("reply_markup", "inline_keyboard"):
        for button in row:
            if data and button["callback_data"].text == data:
                return button["text"].text
    return ""


def _deleted(event: Node, door: Door) -> Iterator[Action]:
    chat = _Chat(event, door, "")
    for id in event["message_ids"]:
        yield Revoke(chat.user, chat.named(id.id)) if chat.id and id.id else Ignore("unnamed")
