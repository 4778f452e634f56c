"""Each event asks for what it says, and nothing that a platform sends makes an adapter fail."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.doors import Door
from actor_queue.doors import PLATFORMS, understand
from actor_queue.doors.platform import Adapter
from actor_queue.doors.reading import Node
from actor_queue.doors.vocabulary import Action, Hold, Ignore, Push, Typing
from tests.doors.fixtures import (
    DOORS,
    MEGABYTE,
    NAMES,
    NOW_S,
    SENT_S,
    as_sent,
    fixture,
    places,
    understood,
)
from tests.doors.said import said

EVERY_PLATFORM = {
    "text",
    "caption_and_image",
    "image",
    "voice",
    "document",
    "location",
    "contact",
    "sticker",
    "button_reply",
    "list_reply",
    "reaction",
    "edit",
    "revoke",
    "from_me",
    "group",
    "status_broadcast",
    "duplicate",
    "old",
    "typing",
    "unknown_event",
    "a_megabyte_of_base64",
}
HAS_NO = {
    "evolution": set[str](),
    "waha": set[str](),
    "cloud": {"typing", "status_broadcast"},
    "chatwoot": {"sticker", "list_reply", "reaction", "group", "status_broadcast"},
    "telegram": {"typing"},
}
"""What a platform does not tell, or tells as something else."""

ANYTHING: tuple[object, ...] = (
    None, True, False, 0, -1, 7, 1e300, 10**400, "", " ", "x", "x" * 3_000, "@", ":", "0", "\ud800",
    [], {}, [[]], [None, 5], {"": None}, {"low": "a"}, {"id": {"id": []}}, "2025-13-45", "http://[",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_event_asks_for_what_its_fixture_says(name: str) -> None:
    found = fixture(name)
    assert said(understood(name.partition("/")[0], found["body"])) == found["actions"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_has_a_fixture_of_every_case(platform: str) -> None:
    cases = {name.partition("/")[2] for name in NAMES if name.startswith(f"{platform}/")}
    assert cases >= EVERY_PLATFORM - HAS_NO[platform]
    assert cases.isdisjoint(HAS_NO[platform])


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("base64")])
def test_whatever_stands_at_any_place_of_an_event_nothing_fails_and_all_that_is_pushed_has_a_name(
    name: str,
) -> None:
    platform = name.partition("/")[0]
    body = fixture(name)["body"]
    adapter, door = PLATFORMS[DOORS[platform].kind], DOORS[platform]
    doors = (door, replace(door, groups="sender", own_messages="ignore"))
    for container, key in list(places(body)):
        kept = container[key]
        for value in ANYTHING:
            container[key] = value
            for each in doors:
                _require_names(_read(adapter, body, each))
        container[key] = kept
    assert said(understand(as_sent(body), door, NOW_S)) == fixture(name)["actions"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_an_event_that_is_cut_off_anywhere_is_malformed_and_no_error(platform: str) -> None:
    whole = as_sent(fixture(f"{platform}/text")["body"])
    for length in range(len(whole)):
        assert list(understand(whole[:length], DOORS[platform], NOW_S)) == [Ignore("malformed")]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"7", b"null", b'"x"', b"\xff", b"[" * 100_000, b'{"a":' * 90_000, b"1" * 9_000],
    ids=["nothing", "array", "number", "null", "text", "bytes", "deep", "deep objects", "digits"],
)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_is_no_object_is_malformed_and_no_error(platform: str, body: bytes) -> None:
    assert list(understand(body, DOORS[platform], NOW_S)) == [Ignore("malformed")]


def _known_names() -> list[str]:
    names = {
        key
        for name in NAMES
        for container, key in places(fixture(name)["body"])
        if isinstance(container, dict) and isinstance(key, str)
    }
    return sorted(names)


# fmt: off
_TEXTS = st.sampled_from((
    "messages.upsert", "message", "message_created", "text", "image", "1@c.us", "2@g.us", "3@lid",
    "incoming", "composing", "1764000000", "-1", "a", "",
))
# fmt: on
_EVENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_known_names()), inner, max_size=6)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("platform", PLATFORMS)
@given(event=st.dictionaries(st.sampled_from(_known_names()), _EVENTS, max_size=8))
def test_any_object_at_all_is_understood_or_ignored(platform: str, event: dict[str, Any]) -> None:
    actions = understood(platform, event)
    _require_names(actions)
    assert actions == understood(platform, event), "it has no memory"
    assert actions


@pytest.mark.parametrize("name", NAMES)
def test_no_credential_of_an_event_is_kept(name: str) -> None:
    found = fixture(name)
    text = json.dumps(said(understood(name.partition("/")[0], found["body"])))
    for secret in ("THE-KEY-OF-THE-INSTANCE", "apikey", "mmg.whatsapp.net", "QUFB", MEGABYTE):
        assert secret not in text


def test_an_address_with_a_password_in_it_is_not_kept() -> None:
    body = fixture("waha/image")["body"]
    body["payload"]["media"]["url"] = "https://ana:hunter2@waha.example/f"
    assert "hunter2" not in json.dumps(said(understood("waha", body)))


# An event of many messages


def _many(platform: str, shared: str, messages: int) -> dict[str, Any]:
    """An event of a platform that tells of many messages at once, which share what they can."""
    if platform == "evolution":
        keyed = {"key": {"remoteJid": "1@c.us", "id": "1"}, "message": {"conversation": "a"}}
        return {"event": "messages.upsert", "instance": shared, "data": [keyed] * messages}
    value = {
        "metadata": {"phone_number_id": "1"},
        "contacts": [{"wa_id": "1", "user_id": "2", "profile": {"name": shared}}],
        "messages": [{"from": "1", "id": "1", "type": "text", "text": {"body": "a"}}] * messages,
    }
    return {"entry": [{"changes": [{"value": value}]}]}


@pytest.mark.parametrize("platform", ["evolution", "cloud"])
def test_what_many_messages_share_is_not_multiplied(platform: str) -> None:
    """Else an event of a few kilobytes could take all of a machine's memory."""
    event = _many(platform, "x" * 50_000, 200)
    asked = json.dumps(said(understood(platform, event)))
    assert len(asked) < 3 * len(as_sent(event))


def test_a_writer_is_found_without_a_search_through_all_contacts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else as many contacts as messages would keep the service from everything else."""
    event, looks = _many("cloud", "Ana", 300), 0
    value = event["entry"][0]["changes"][0]["value"]
    value["contacts"] = [{"wa_id": str(n)} for n in range(1_000, 1_300)]
    look = Node.__getitem__

    def counted(node: Node, name: str) -> Node:
        nonlocal looks
        looks += 1
        return look(node, name)

    monkeypatch.setattr(Node, "__getitem__", counted)
    assert len(understood("cloud", event)) == 300
    assert looks < 300 * 100


@pytest.mark.parametrize("first", ["phone", "user id"])
def test_a_writer_is_the_first_contact_that_has_the_phone_or_the_user_id(first: str) -> None:
    contacts = [
        {"wa_id": "9", "user_id": "2", "profile": {"name": "user id"}},
        {"wa_id": "1", "user_id": "8", "profile": {"name": "phone"}},
    ]
    event = _many("cloud", "", 1)
    value = event["entry"][0]["changes"][0]["value"]
    value["contacts"] = contacts if first == "user id" else contacts[::-1]
    value["messages"][0] |= {"from_user_id": "2"}
    [pushed] = understood("cloud", event)
    assert isinstance(pushed, Push)
    assert (pushed.user, pushed.sender.name) == ("1:2", first)


# What a door's settings change


def _group_event(platform: str) -> tuple[Any, str]:
    users = {
        "evolution": "loja:120363000000000001@g.us",
        "waha": "default:120363000000000001@g.us",
        "cloud": "200000000000001:GROUP0001",
        "telegram": "telegram:-1001000000001",
    }
    return fixture(f"{platform}/group")["body"], users[platform]


@pytest.mark.parametrize("platform", ["evolution", "waha", "cloud", "telegram"])
def test_a_group_is_one_conversation_or_one_of_each_sender(platform: str) -> None:
    body, user = _group_event(platform)
    [one] = understood(platform, body, replace(DOORS[platform], groups="chat"))
    [each] = understood(platform, body, replace(DOORS[platform], groups="sender"))
    assert isinstance(one, Push)
    assert isinstance(each, Push)
    assert one.user == user
    assert each.user == f"{user}:{one.sender.id}"
    assert one.fields()["group"] == {"id": one.group, "participant": one.sender.id}


def test_a_topic_of_a_group_is_a_conversation_of_its_own() -> None:
    door = replace(DOORS["telegram"], groups="chat")
    [pushed] = understood("telegram", fixture("telegram/topic")["body"], door)
    assert isinstance(pushed, Push)
    assert pushed.user == "telegram:-1001000000001:12"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_own_messages_hold_the_conversation_only_where_the_door_says_so(platform: str) -> None:
    body = fixture(f"{platform}/from_me")["body"]
    [held] = understood(platform, body)
    assert isinstance(held, Hold)
    ignoring = replace(DOORS[platform], own_messages="ignore")
    assert understood(platform, body, ignoring) == (Ignore("own"),)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_message_is_old_one_second_after_the_greatest_age(platform: str) -> None:
    body = fixture(f"{platform}/text")["body"]
    if platform == "waha":  # it says itself when it sent the message on
        body["timestamp"] = None
    just = replace(DOORS[platform], max_age_s=NOW_S - SENT_S)
    assert isinstance(understood(platform, body, just)[0], Push)
    older = replace(just, max_age_s=NOW_S - SENT_S - 1)
    assert understood(platform, body, older) == (Ignore("old"),)


def test_a_message_that_waha_repeats_after_an_outage_of_ours_is_not_old() -> None:
    body = as_sent(fixture("waha/text")["body"])
    [pushed] = understand(body, DOORS["waha"], NOW_S + 40_000)
    assert isinstance(pushed, Push)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_message_without_a_time_is_not_old(platform: str) -> None:
    text = json.dumps(fixture(f"{platform}/text")["body"])
    text = text.replace(str(SENT_S), "null").replace('"null"', "null")
    text = text.replace('"2025-11-24T16:00:00.000Z"', "null").replace("null250", "null")
    [pushed] = understand(text.encode(), DOORS[platform], NOW_S)
    assert isinstance(pushed, Push)
    assert pushed.sent_at is None


def test_a_devices_number_is_no_part_of_a_user() -> None:
    body = fixture("evolution/typing")["body"]
    body["data"]["id"] = "5511900000001:7@s.whatsapp.net"
    assert understood("evolution", body) == (Typing("loja:5511900000001@s.whatsapp.net"),)


def test_half_of_a_surrogate_pair_in_the_name_of_who_is_typing_is_replaced() -> None:
    body = fixture("evolution/typing")["body"]
    presence = next(iter(body["data"]["presences"].values()))
    body["data"] |= {"id": "1@g.us", "presences": {"\ud800@lid": presence}}
    door = replace(DOORS["evolution"], groups="sender")
    name = "loja:1@g.us:\ufffd@lid"
    assert understood("evolution", body, door) == (Typing(name, name),)


def test_a_protocol_message_is_an_edit_by_its_type_and_not_by_what_it_carries() -> None:
    """Evolution calls every protocol message `messages.edited`."""
    body = fixture("evolution/edit")["body"]
    body["data"]["type"] = 5
    assert understood("evolution", body) == (Ignore("status"),)


def test_half_of_a_surrogate_pair_is_replaced_and_a_whole_one_is_kept() -> None:
    body = as_sent(fixture("telegram/text")["body"]).replace(b"Oi", b"\\ud83d\\ude00 \\ud83d")
    [pushed] = understand(body, DOORS["telegram"], NOW_S)
    assert isinstance(pushed, Push)
    assert pushed.content.text == "😀 \ufffd, tudo bem?"


# Helpers


def _read(adapter: Adapter, body: Any, door: Door) -> tuple[Action, ...]:
    return tuple(adapter.read(Node(body), door, NOW_S))


def _require_names(actions: tuple[Action, ...]) -> None:
    """All that is pushed can be stored and read, and every action is about somebody with a name."""
    for action in actions:
        if isinstance(action, Ignore):
            continue
        assert action.user.strip(":")
        if isinstance(action, Push):
            assert action.message_id
            assert action.content.text.strip()
            assert action.sender.id
            json.dumps([action.content.text, action.fields()], allow_nan=False)
            "".join([action.user, action.message_id, action.content.text]).encode()
            json.dumps(action.fields(), ensure_ascii=False).encode()
