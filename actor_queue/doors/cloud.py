"""WhatsApp Cloud API: Meta's webhook, which brings many users' messages in one request.

A user is `{phone_number_id}:{user_id}`, or the phone where Meta gives no user id. With user names,
the phone may be missing. Where both were told, the phone leads to the user id from then on.
"""

from __future__ import annotations

from collections.abc import Iterator

from actor_queue.core.doors import Door
from actor_queue.doors.platform import Request, is_old
from actor_queue.doors.reading import NOTHING, Node, some
from actor_queue.doors.signatures import signed
from actor_queue.doors.vocabulary import (
    NAME_CHARACTERS_MAX,
    Action,
    Content,
    Edit,
    Hold,
    Ignore,
    Kind,
    Media,
    Push,
    Revoke,
    Sender,
    choice_content,
    contact_content,
    file_content,
    label,
    place_content,
    text_content,
)

FILES: dict[str, Kind] = {
    "image": "image",
    "video": "video",
    "audio": "audio",
    "document": "document",
    "sticker": "sticker",
}


def verify(request: Request, door: Door, now_s: float) -> bool | None:
    """`X-Hub-Signature-256`: HMAC-SHA256 of the raw body, with the app's secret."""
    shown = request.headers.get("x-hub-signature-256")
    if shown is None:
        return None
    return signed(shown.removeprefix("sha256="), request.body, door.secrets, "sha256")


def read(event: Node, door: Door, now_s: float) -> Iterator[Action]:
    for entry in event["entry"]:
        for change in entry["changes"]:
            yield from _change(change["value"], door, now_s)


def _change(value: Node, door: Door, now_s: float) -> Iterator[Action]:
    instance = value.get("metadata", "phone_number_id").id
    contacts = _Contacts(value["contacts"])
    for message in value["messages"]:
        yield _message(message, contacts, instance, door, now_s)
    for echo in value["message_echoes"]:
        yield _echo(echo, contacts, instance, door, now_s)
    for name in ("statuses", "errors"):
        for _ in value[name]:
            yield Ignore("status")


class _Contacts:
    """The people of an event, by phone and by user id.

    Every message looks for its writer. A search through all contacts for each of them would take
    hours for an event that is made of both.
    """

    def __init__(self, contacts: Node) -> None:
        self._all = list(contacts)
        self._by_phone: dict[str, int] = {}
        self._by_user_id: dict[str, int] = {}
        self._user_ids: dict[str, str] = {}
        for place, each in enumerate(self._all):
            phone, user_id = each["wa_id"].id, each["user_id"].id
            self._by_phone.setdefault(phone, place)
            self._by_user_id.setdefault(user_id, place)
            if user_id:
                self._user_ids.setdefault(phone, user_id)

    def of(self, phone: str, user_id: str) -> Node:
        """The first contact that has either; nothing where no contact has."""
        places = (
            self._by_phone.get(phone) if phone else None,
            self._by_user_id.get(user_id) if user_id else None,
        )
        first = min((place for place in places if place is not None), default=None)
        if first is not None:
            return self._all[first]
        # Where a message says only a phone or only a user id, the only contact is its writer.
        return self._all[0] if len(self._all) == 1 and not (phone and user_id) else NOTHING

    def user_id_of(self, phone: str) -> str:
        """The user id of the first contact that has this phone and one; empty where none has."""
        return self._user_ids.get(phone, "")


def _message(message: Node, contacts: _Contacts, instance: str, door: Door, now_s: float) -> Action:
    sender, phone = _sender(message, contacts)
    group = message["group_id"].id
    id = message["id"].id
    if not (instance and sender.id and id):
        return Ignore("unnamed")
    if group and door.groups == "ignore":
        return Ignore("group")
    sent_at = message["timestamp"].unix_s
    if is_old(sent_at, door, now_s):
        return Ignore("old")
    user = _user(instance, sender.id, group, door)
    alias = _alias(instance, phone, group, door)
    type_ = message["type"].text
    if type_ in ("edit", "revoke"):
        original = message.get(type_, "original_message_id").id
        if not original:
            return Ignore("unnamed")
        if type_ == "revoke":
            return Revoke(user, f"{instance}:{original}", alias)
        content = _content(message.get("edit", "message"))
        if isinstance(content, Ignore):
            return content
        return Edit(user, f"{instance}:{original}", content.text, alias)
    content = _content(message)
    if isinstance(content, Ignore):
        return content
    replied = message.get("context", "id").id
    return Push(
        user=user,
        alias=alias,
        message_id=f"{instance}:{id}",
        content=content,
        provider="cloud",
        instance=instance,
        sender=sender,
        group=some(group),
        reply_to=f"{instance}:{replied}" if replied else None,
        sent_at=sent_at,
    )


def _user(instance: str, sender: str, group: str, door: Door) -> str:
    if not group:
        return f"{instance}:{sender}"
    return f"{instance}:{group}" + (f":{sender}" if door.groups == "sender" else "")


def _alias(instance: str, phone: str, group: str, door: Door) -> str:
    """The key by the phone, which leads to the one by the user id."""
    if not phone or (group and door.groups != "sender"):
        return ""
    return _user(instance, phone, group, door)


def _sender(message: Node, contacts: _Contacts) -> tuple[Sender, str]:
    """The writer, with what `contacts` knows of it, and the phone."""
    phone = message["from"].id
    own = message["from_user_id"].id or message["user_id"].id
    contact = contacts.of(phone, own)
    own = own or contact["user_id"].id
    phone = phone or contact["wa_id"].id
    name = contact.get("profile", "name").text or contact.get("profile", "username").text
    # The one contact of an event may be the writer of thousands of its messages.
    name = name[:NAME_CHARACTERS_MAX]
    return Sender(id=own or phone, alt=some(phone if own else ""), name=some(name)), phone


def _echo(echo: Node, contacts: _Contacts, instance: str, door: Door, now_s: float) -> Action:
    """What a person typed in the Business app, to the user in `to`."""
    phone = echo["to"].id
    user = echo["to_user_id"].id or contacts.user_id_of(phone) or phone
    if not (instance and user):
        return Ignore("unnamed")
    if is_old(echo["timestamp"].unix_s, door, now_s):
        return Ignore("old")
    if door.own_messages != "hold":
        return Ignore("own")
    alias = phone and f"{instance}:{phone}"
    return Hold(f"{instance}:{user}", alias, echo["id"].id)


def _content(message: Node) -> Content | Ignore:
    type_ = message["type"].text
    about = message[type_]
    if type_ in FILES:
        media = Media(
            url=about["url"].url,
            id=some(about["id"].id),
            mime=some(about["mime_type"].text),
            name=some(about["filename"].text),
            voice=about["voice"].true or None,
        )
        return file_content(FILES[type_], about["caption"].text, media)
    match type_:
        case "text":
            return text_content(about["body"].text)
        case "location":
            name = about["name"].text or about["address"].text
            return place_content(about["latitude"].number, about["longitude"].number, name)
        case "contacts":
            return contact_content(
                (each.get("name", "formatted_name").text, each["phones"].last["phone"].text)
                for each in about
            )
        case "button":
            return choice_content("button", about["text"].text, about["payload"].text)
        case "interactive":
            return _interactive(about)
        case "order":
            return Content(kind="order", text=about["text"].text.strip() or label("order"))
        case "unsupported":
            # The first message on a number that the Business app shares may come like this: a
            # person wrote, and a bot can ask again.
            return Content(kind="unsupported", text=label("unsupported"))
        case "reaction":
            return Ignore("reaction")
        case "system":
            return Ignore("status")
        case _:
            return Ignore("unsupported")


def _interactive(about: Node) -> Content | Ignore:
    if about["list_reply"]:
        reply = about["list_reply"]
        return choice_content("list", reply["title"].text, reply["id"].id)
    if about["button_reply"]:
        reply = about["button_reply"]
        return choice_content("button", reply["title"].text, reply["id"].id)
    reply = about["nfm_reply"]
    return choice_content("button", reply["body"].text or reply["name"].text, reply["name"].text)
