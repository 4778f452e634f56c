"""A session's cookie is believed as long as its key is known, and not a second or a bit longer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.sessions import SignedOut, believed, issue, signer, signers

NONCE = "0123456789abcdef"
KEY = "a-long-key-of-the-admin"
KNOWN = signers([KEY, "another"])


def test_who_knows_the_key_believes_the_cookie_and_nobody_else() -> None:
    token = issue(signer(KEY), 2_000, NONCE)
    session = believed(token, signers([KEY]), 1_999.9)
    assert session is not None
    assert session == (signer(KEY).id, 2_000, NONCE)
    assert believed(token, signers(["another"]), 1_000) is None
    assert believed(token, {}, 1_000) is None


def test_a_session_ends_at_its_second() -> None:
    token = issue(signer(KEY), 2_000, NONCE)
    assert believed(token, KNOWN, 2_000) is None


def test_the_cookie_does_not_tell_the_key() -> None:
    assert KEY not in issue(signer(KEY), 2_000, NONCE)
    assert signer(KEY).id != signer("another").id


def test_a_cookie_that_says_something_else_than_was_signed_is_not_believed() -> None:
    token = issue(signer(KEY), 2_000, NONCE)
    said, _, signature = token.rpartition(".")
    later = said.replace(".2000.", ".9000.")
    other = said.replace(signer(KEY).id, signer("another").id)
    for changed in (later, other, said.replace(NONCE, NONCE[::-1])):
        assert changed != said
        assert believed(f"{changed}.{signature}", KNOWN, 1_000) is None
    assert believed(f"{said}.{signature[:-1]}", KNOWN, 1_000) is None


@given(st.integers(0, 200), st.sampled_from(list("0123456789abcdefv.g \x00\xff")))
def test_no_other_character_anywhere_is_believed(place: int, character: str) -> None:
    token = issue(signer(KEY), 2_000, NONCE)
    at = place % len(token)
    changed = token[:at] + character + token[at + 1 :]
    assert (believed(changed, KNOWN, 1_000) is not None) == (changed == token)


@given(st.text(max_size=200))
def test_any_text_at_all_is_read_without_an_error(text: str) -> None:
    assert believed(text, KNOWN, 1_000) is None


def test_the_memory_of_who_signed_out_is_bounded_and_keeps_the_newest() -> None:
    signed_out = SignedOut(3)
    for number in range(5):
        signed_out.add(str(number), 2_000)
    assert signed_out.all() == [("2", 2_000), ("3", 2_000), ("4", 2_000)]
    assert "4" in signed_out
    assert "0" not in signed_out
