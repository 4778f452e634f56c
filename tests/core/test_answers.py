"""Addresses for answers: which tickets are ours, and where receivers reach the service."""

from __future__ import annotations

import hmac
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.answers import (
    TICKET_CHARACTERS_MAX,
    Ticket,
    answer_base,
    answer_keys,
    legible,
    opened,
    sealed,
)
from actor_queue.core.batch import divided_from, supersedes
from actor_queue.core.conversation import Conversation
from actor_queue.core.settings import Settings

KEY = b"k" * 64
TICKET = Ticket(
    "joão", "b0001" + "f" * 20 + "1t1700000000000", "r-1/" + "a" * 20, 1_700_000_900_000
)


@given(
    user=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128),
    route=st.sampled_from(["default", "vendas", "x" * 64]),
)
def test_a_ticket_comes_back_as_it_was_in_one_segment_of_a_path(user: str, route: str) -> None:
    ticket = Ticket(Conversation(route, user).key, TICKET.batch_id, TICKET.token, 1)
    text = sealed(ticket, KEY)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", text)
    assert len(text) <= TICKET_CHARACTERS_MAX
    assert opened(text, [KEY]) == ticket
    assert opened(text, [b"another"]) is None


def test_a_ticket_that_was_changed_anywhere_is_none() -> None:
    text = sealed(TICKET, KEY)
    for place in range(len(text)):
        other = "A" if text[place] != "A" else "B"
        assert opened(text[:place] + other + text[place + 1 :], [KEY]) is None, place


@pytest.mark.parametrize("text", ["", "x", "é", "a" * 5_000, "AAAA" * 20, "a b", "====", "%00"])
def test_what_nobody_sealed_is_no_ticket(text: str) -> None:
    assert opened(text, [KEY]) is None


def test_a_ticket_is_spelled_in_one_way_only() -> None:
    text = sealed(TICKET, KEY)
    padded = urlsafe_b64encode(urlsafe_b64decode(text + "=" * (-len(text) % 4))).decode()
    for other in (padded if padded != text else text + "=", text + "\n", " " + text):
        assert opened(other, [KEY]) is None


def test_an_address_says_to_nobody_whose_batch_it_is_about() -> None:
    text = sealed(TICKET, KEY)
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    for known in ("joão".encode(), b"r-1", TICKET.batch_id.encode(), b"17000"):
        assert known not in data
    other = sealed(replace(TICKET, conversation="maria"), KEY)
    same = sum(one == two for one, two in zip(text, other, strict=False))
    assert same < len(text) / 4, "nothing shows that two addresses have nearly all in common"


def test_an_address_of_an_older_release_is_still_good_and_a_forged_one_is_not() -> None:
    assert opened(legible(TICKET, KEY), [b"new", KEY]) == TICKET
    assert opened(legible(TICKET, b"another"), [b"new", KEY]) is None
    text = legible(TICKET, KEY)
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert hmac.digest(KEY, b"answer\0" + data[24:], "sha256")[:24] == data[:24], "as it was"
    facts, _, conversation = data[24:].partition(b"\n")
    assert json.loads(facts) == [1, TICKET.batch_id, TICKET.token, TICKET.expires_at_ms]
    assert conversation.decode() == TICKET.conversation


def test_a_secret_is_rotated_and_what_redis_has_drawn_stays_good() -> None:
    drawn, old, new = b"d" * 64, "o" * 32, "n" * 32
    before, while_rotating, after = (
        answer_keys(secrets, drawn) for secrets in ((old,), (new, old), (new,))
    )
    assert answer_keys((), drawn) == (drawn,)
    assert answer_keys((), b"") == (), "an empty key is everybody's"
    assert opened(sealed(TICKET, before[0]), while_rotating) == TICKET
    assert opened(sealed(TICKET, while_rotating[0]), before) is None
    assert opened(sealed(TICKET, while_rotating[0]), after) == TICKET
    assert opened(sealed(TICKET, before[0]), after) is None
    assert opened(sealed(TICKET, drawn), after) == TICKET
    assert all(secret.encode() not in before for secret in (old, new)), "derived, not used as is"


@pytest.mark.parametrize(
    ("settings", "base"),
    [
        (Settings(public_url="https://queue.example/aq"), "https://queue.example/aq"),
        (Settings(bind="127.0.0.1:8000"), "http://127.0.0.1:8000"),
        (Settings(bind="[::1]:8000", root_path="/aq"), "http://[::1]:8000/aq"),
        (Settings(bind="0.0.0.0:8000"), None),
        (Settings(bind="127.0.0.1:0"), None),
    ],
)
def test_receivers_reach_the_public_url_or_this_machine(
    settings: Settings, base: str | None
) -> None:
    assert answer_base(settings) == base


def test_the_id_of_a_batch_says_what_it_supersedes() -> None:
    assert supersedes("b0001abc1t5") is None
    assert supersedes("b0001abc1t5z2") == "b0001abc1t5"
    assert supersedes("b0001abc1t5z2z3") == "b0001abc1t5z2"
    assert supersedes("b0001abc1t5z2t6") == "b0001abc1t5"
    assert supersedes("b0001abc1t5z2t6z3t7") == "b0001abc1t5z2t6"
    assert supersedes("b0001abc1t5z2x3") is None
    assert supersedes("b0001abc1t5z2t6y3") is None
    assert divided_from("b0001abc1t5z2t6y3") == "b0001abc1t5z2t6"
    assert divided_from("b0001abc1t5z2x3") == "b0001abc1t5z2"
    assert divided_from("b0001abc1t5x2z3") is None
