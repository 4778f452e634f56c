"""Chatwoot: a help desk, where agents and a bot share a conversation.

A user is `{account}:{conversation}`, as both are numbered in the address of the page. When an agent
opens a conversation it is on hold, and when it is pending or resolved it is the bot's again. That
an agent was assigned means nothing here, because Chatwoot assigns by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from actor_queue.core.doors import Door
from actor_queue.doors.platform import Request, is_old
from actor_queue.doors.reading import Node, some
from actor_queue.doors.signatures import fresh, signed
from actor_queue.doors.vocabulary import (
    Action,
    Content,
    Edit,
    Hold,
    Ignore,
    Kind,
    Media,
    Push,
    Release,
    Revoke,
    Sender,
    Typing,
    choice_content,
    contact_content,
    file_content,
    place_content,
    text_content,
)

INCOMING: Final = frozenset({"incoming", "0"})
OUTGOING: Final = frozenset({"outgoing", "1"})
"""Words in an event; numbers in what a conversation quotes."""
FILES: Final[dict[str, Kind]] = {
    "image": "image",
    "video": "video",
    "ig_reel": "video",
    "audio": "audio",
    "file": "document",
}
STATUS_EVENTS: Final = frozenset(
    {
        "conversation_created",
        "conversation_updated",
        "contact_created",
        "contact_updated",
        "webwidget_triggered",
        "inbox_created",
        "inbox_updated",
        "conversation_typing_off",
    }
)


def verify(request: Request, door: Door, now_s: float) -> bool | None:
    """`X-Chatwoot-Signature`: HMAC-SHA256 of the time, a dot and the raw body."""
    shown = request.headers.get("x-chatwoot-signature")
    if shown is None:
        return None
    stamp = request.headers.get("x-chatwoot-timestamp", "")
    content = stamp.encode("latin-1", "replace") + b"." + request.body
    genuine = signed(shown.removeprefix("sha256="), content, door.secrets, "sha256")
    return genuine and fresh(Node(stamp).unix_s, now_s)


def read(event: Node, door: Door, now_s: float) -> Iterator[Action]:
    name = event["event"].text
    if name == "message_created":
        yield _message(event, door, now_s)
    elif name == "message_updated":
        yield _updated(event, door, now_s)
    elif name == "conversation_status_changed":
        yield _status(event, door)
    elif name == "conversation_typing_on":
        yield _typing(event)
    elif name in STATUS_EVENTS:
        yield Ignore("status")


def _account(event: Node, conversation: Node) -> str:
    """Not every event says it in the same place."""
    places = (
        event.get("account", "id"),
        event["account_id"],
        conversation["account_id"],
        conversation.get("account", "id"),
        event.get("user", "account", "id"),
        *(each["account_id"] for each in conversation["messages"]),
    )
    return next((each.id for each in places if each.id), "")


def _conversation(event: Node, conversation: Node) -> str:
    """The user; empty where it has no name."""
    account, id = _account(event, conversation), conversation["id"].id
    return f"{account}:{id}" if account and id else ""


def _message(event: Node, door: Door, now_s: float) -> Action:
    conversation = event["conversation"]
    user = _conversation(event, conversation)
    id = event["id"].id
    if not (user and id):
        return Ignore("unnamed")
    if event["private"].true:
        return Ignore("private")
    sent_at = event["created_at"].unix_s
    if is_old(sent_at, door, now_s):
        return Ignore("old")
    way = event["message_type"].id
    if way in OUTGOING:
        by_hand = event.get("sender", "type").text == "user"
        return (
            Hold(user, message_id=id) if by_hand and door.own_messages == "hold" else Ignore("own")
        )
    if way not in INCOMING:
        return Ignore("status" if way in ("activity", "2") else "own")
    content = _content(event)
    if isinstance(content, Ignore):
        return content
    account = user.partition(":")[0]
    sender, contact = event["sender"], conversation.get("contact_inbox", "source_id").id
    replied = event.get("content_attributes", "in_reply_to").id
    return Push(
        user=user,
        message_id=f"{account}:{id}",
        content=content,
        provider="chatwoot",
        instance=account,
        sender=Sender(
            id=sender["id"].id or contact or user,
            alt=some(sender["phone_number"].text or sender["identifier"].id or contact),
            name=some(sender["name"].text),
        ),
        reply_to=f"{account}:{replied}" if replied else None,
        sent_at=sent_at,
    )


def _content(event: Node) -> Content | Ignore:
    text = event["content"].text
    for attachment in event["attachments"]:
        return _attached(attachment, text)
    chosen = event.get("content_attributes", "submitted_values").last
    if chosen and not text:
        return choice_content("button", chosen["title"].text, chosen["value"].id)
    return text_content(text)


def _attached(attachment: Node, text: str) -> Content | Ignore:
    """What the first attachment is: WhatsApp and its kin send one file a message."""
    type_ = attachment["file_type"].text
    if type_ == "location":
        return place_content(
            attachment["coordinates_lat"].number,
            attachment["coordinates_long"].number,
            attachment["fallback_title"].text,
        )
    if type_ == "contact":
        about = attachment["meta"]
        name = f"{about['firstName'].text} {about['lastName'].text}".strip()
        return contact_content([(name, attachment["fallback_title"].text)])
    address = attachment["data_url"].url
    media = Media(
        url=address,
        id=some(attachment["id"].id),
        name=some(address.rpartition("/")[2].partition("?")[0] if address else ""),
        size=attachment["file_size"].size,
    )
    return file_content(FILES.get(type_, "media"), text, media)


def _updated(event: Node, door: Door, now_s: float) -> Action:
    """A message that was changed or deleted, or of which only the delivery is known now."""
    user, id = _conversation(event, event["conversation"]), event["id"].id
    if not (user and id):
        return Ignore("unnamed")
    if event["private"].true:
        return Ignore("private")
    if event["message_type"].id not in INCOMING:
        return Ignore("own")
    message_id = f"{user.partition(':')[0]}:{id}"
    if event.get("content_attributes", "deleted").true:
        return Revoke(user, message_id)
    content = _content(event)
    return content if isinstance(content, Ignore) else Edit(user, message_id, content.text)


def _status(event: Node, door: Door) -> Action:
    """`open` is a person's, unless it is only a new message that has opened it again."""
    user = _conversation(event, event)
    if not user:
        return Ignore("unnamed")
    status = event["status"].text
    if status in ("pending", "resolved"):
        return Release(user)
    before = next((each.get("status", "previous_value").text for each in _changes(event)), "")
    if status == "open" and before not in ("resolved", "snoozed"):
        return Hold(user) if door.own_messages == "hold" else Ignore("own")
    return Ignore("status")


def _changes(event: Node) -> list[Node]:
    return [each for each in event["changed_attributes"].each if each["status"]]


def _typing(event: Node) -> Action:
    user = _conversation(event, event["conversation"])
    if event["is_private"].true or event.get("user", "type").text not in ("contact", "Contact"):
        return Ignore("agent")
    return Typing(user) if user else Ignore("unnamed")
