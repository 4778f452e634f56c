"""Answers that come later: how long a receiver may take, and the address under which it says so.

An address holds a ticket: which attempt at which batch it is good for, and until when. It is sealed
with a key that all replicas share, so any of them knows its own tickets and keeps none. Whoever has
an address can end that one batch, so it stands in no log of ours; proxies write addresses into
theirs, so nobody can read in one whose batch it is about.

A ticket is sealed as SIV modes do it (RFC 5297), with HMAC-SHA-256 as the one primitive, because
the standard library has no cipher: the tag over the plain text is what the key stream is drawn
from, and what the text is checked against when it has been read.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal

from actor_queue.core.conversation import key_from_bytes, key_to_bytes
from actor_queue.core.settings import Settings

ANSWER_MAX_MS: Final = 900_000
"""The most that a receiver can have after its 202, however often it asks for more."""
TAKEN_BACK_MAX: Final = 2
"""How often in a row a batch is taken back. Then it is done, or a steady writer would never be
answered."""
ACCEPTED: Final = 202
"""The status by which a receiver says that it has the batch and is not done."""
UNANSWERED: Final = "the receiver did not say within its time that it is done"
"""The reason of an attempt whose time is over."""

PATH: Final = "/api/answers/"
TICKET_CHARACTERS_MAX: Final = 2_000
"""A conversation has at most 578 bytes and the rest of a ticket fewer than 600."""

_LEGIBLE: Final = 1
"""The form of addresses that an older release gives out and opens, which anybody can read."""
_SEALED: Final = 2
_TAG_BYTES: Final = 24
_BLOCK_BYTES: Final = 32

AnswerState = Literal["answering", "done", "taken_back", "failed"]
"""How it stands with a batch that a receiver has answered 202 to."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What an address for answers is good for."""

    conversation: str
    """Its key, see `core/conversation.py`."""
    batch_id: str
    token: str
    """Of the claim that started the attempt."""
    expires_at_ms: int
    """By the store's clock; later than any time for this answer can be over."""

    @property
    def replica(self) -> str | None:
        """Who made the attempt."""
        return self.token.rpartition("/")[0] or None


def answer_base(settings: Settings) -> str | None:
    """How receivers reach this service: AQ_PUBLIC_URL, or where it listens, as long as that is
    this machine alone. None where nobody can know."""
    if settings.public_url is not None:
        return settings.public_url.rstrip("/")
    if not settings.loopback_only or settings.port == 0:
        return None
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}{settings.root_path.rstrip('/')}"


def answer_keys(secrets: Sequence[str], drawn: bytes) -> tuple[bytes, ...]:
    """The key that seals, and those that are still good for what they have sealed. `drawn` is the
    one that replicas without AQ_ANSWER_SECRET share through Redis: while a fleet is given a secret
    some of its addresses are sealed with that. It is empty while it is not known, and then no key:
    everybody could seal with it."""
    derived = (hmac.digest(each.encode(), b"actor-queue answers", sha256) for each in secrets)
    return (*derived, drawn) if drawn else tuple(derived)


def sealed(ticket: Ticket, key: bytes) -> str:
    """The ticket as one segment of a path: letters, digits, `-` and `_`."""
    facts = [_SEALED, ticket.batch_id, ticket.token, ticket.expires_at_ms]
    plain = json.dumps(facts).encode() + b"\n" + key_to_bytes(ticket.conversation)
    tag = _tag(b"sealed answer\0", plain, key)
    return urlsafe_b64encode(tag + _masked(plain, tag, key)).rstrip(b"=").decode()


def legible(ticket: Ticket, key: bytes) -> str:
    """As `sealed`, in the form that an older release can open. Whoever has it can read it."""
    facts = [_LEGIBLE, ticket.batch_id, ticket.token, ticket.expires_at_ms]
    plain = json.dumps(facts).encode() + b"\n" + key_to_bytes(ticket.conversation)
    return urlsafe_b64encode(_tag(b"answer\0", plain, key) + plain).rstrip(b"=").decode()


def opened(text: str, keys: Iterable[bytes]) -> Ticket | None:
    """None for what was not sealed with one of `keys`."""
    if len(text) > TICKET_CHARACTERS_MAX or not text.isascii():
        return None
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Error, ValueError):
        return None
    if urlsafe_b64encode(data).rstrip(b"=") != text.encode():
        return None
    tag, rest = data[:_TAG_BYTES], data[_TAG_BYTES:]
    for key in keys:
        plain = _masked(rest, tag, key)
        if hmac.compare_digest(tag, _tag(b"sealed answer\0", plain, key)):
            return _read(plain, _SEALED)
        if hmac.compare_digest(tag, _tag(b"answer\0", rest, key)):
            return _read(rest, _LEGIBLE)
    return None


def _read(plain: bytes, form: int) -> Ticket | None:
    facts, _, conversation = plain.partition(b"\n")
    said, batch_id, token, expires_at_ms = json.loads(facts)
    if said != form:
        return None
    return Ticket(key_from_bytes(conversation), batch_id, token, expires_at_ms)


def _tag(domain: bytes, plain: bytes, key: bytes) -> bytes:
    return hmac.digest(key, domain + plain, sha256)[:_TAG_BYTES]


def _masked(text: bytes, tag: bytes, key: bytes) -> bytes:
    """Twice is once back."""
    blocks = range(-(-len(text) // _BLOCK_BYTES))
    stream = b"".join(
        hmac.digest(key, b"answer stream\0" + tag + each.to_bytes(4, "big"), sha256)
        for each in blocks
    )[: len(text)]
    masked = int.from_bytes(text, "big") ^ int.from_bytes(stream, "big")
    return masked.to_bytes(len(text), "big")
