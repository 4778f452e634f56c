"""What a conversation is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.conversation import (
    DEFAULT_ROUTE,
    Conversation,
    conversation_of,
    is_route_name,
    key_from_bytes,
    key_to_bytes,
)

USERS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
ROUTES = st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True)


@given(ROUTES, USERS)
def test_a_key_names_its_route_and_user_also_after_a_stay_in_redis(route: str, user: str) -> None:
    key = Conversation(route, user).key
    assert conversation_of(key) == (route, user)
    assert key_from_bytes(key_to_bytes(key)) == key


@given(ROUTES, USERS, ROUTES, USERS)
def test_two_conversations_never_share_a_key(one: str, ana: str, other: str, bia: str) -> None:
    same = Conversation(one, ana) == Conversation(other, bia)
    keys = [Conversation(one, ana).key, Conversation(other, bia).key]
    assert (keys[0] == keys[1]) == same
    assert (key_to_bytes(keys[0]) == key_to_bytes(keys[1])) == same


@given(USERS)
def test_a_conversation_of_the_default_route_is_called_as_its_user(user: str) -> None:
    assert Conversation(DEFAULT_ROUTE, user).key == user
    assert key_to_bytes(user) == user.encode()


@given(USERS, ROUTES)
def test_a_release_without_routes_cannot_take_another_routes_key_for_a_user(
    user: str, route: str
) -> None:
    if route != DEFAULT_ROUTE:
        with pytest.raises(UnicodeDecodeError):
            key_to_bytes(Conversation(route, user).key).decode()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"\xffvendas",
        b"\xff\xffana",
        b"\xffdefault\xffana",
        b"\xffv v\xffana",
        b"\xfeana",
        b"\xffvendas\xff\xc3",
        b"\xff\xc3\xa1\xffana",
        b"ana\xff",
        b"\xffvendas\xffana\xff",
    ],
)
def test_bytes_that_name_no_conversation_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"codec|no key"):
        key_from_bytes(data)


@pytest.mark.parametrize("name", ["", "a b", "vendas\n", "á", "x" * 65, "a/b", "\udcff"])
def test_what_cannot_stand_in_a_key_is_no_route_name(name: str) -> None:
    assert not is_route_name(name)
