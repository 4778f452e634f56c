"""Messages as senders write them, and what admission says of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import strategies as st

from actor_queue.core.admission import AdmissionPolicy, Refused, admit
from actor_queue.core.message import USER_BYTES_MAX, Message

POLICY = AdmissionPolicy(default_ttl_ms=15_000, max_ttl_ms=86_400_000, max_body_bytes=262_144)

texts = st.text(st.characters(exclude_categories=["Cs"]))
users = texts.filter(lambda text: 1 <= len(text.encode()) <= USER_BYTES_MAX)


def admitted(
    body: bytes | str, key: str | None = None, policy: AdmissionPolicy = POLICY
) -> Message:
    raw = body.encode() if isinstance(body, str) else body
    return admit(raw, policy, new_id=lambda: "made-here", idempotency_key=key)


def refused(body: bytes | str, key: str | None = None, policy: AdmissionPolicy = POLICY) -> Refused:
    with pytest.raises(Refused) as caught:
        admitted(body, key, policy)
    return caught.value


def message(**fields: Any) -> str:
    return json.dumps({"user": "u", "message": "m"} | fields)


def raw(fields: str) -> str:
    """A valid message with one more piece of JSON text in it."""
    return '{"user": "u", "message": "m", ' + fields + "}"
