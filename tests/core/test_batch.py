"""A batch's messages as objects."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from actor_queue.core.batch import Batch, Item


def stored(seq: int, name: str, **original: object) -> bytes:
    return json.dumps([seq, 1_700_000_000_123 + seq, name, original]).encode()


BATCH = Batch(
    "b0000",
    "ana",
    3,
    "quiet",
    "classic",
    1,
    2,
    3,
    4,
    (
        stored(7, "m-1", user="ana", message="Oi", ttl=5, agent=1, chat={"id": 9}),
        stored(8, "wamid.2", user="ana", message="?", message_id="wamid.2", agent=2),
    ),
)


def test_each_message_has_its_number_its_id_its_time_and_its_own_fields() -> None:
    first, second = BATCH.items
    assert (first.seq, first.message_id, first.message) == (7, "m-1", "Oi")
    assert first.received_at == datetime(2023, 11, 14, 22, 13, 20, 130_000, UTC)
    assert first.received_at_ms == 1_700_000_000_130
    assert first.fields == {"agent": 1, "chat": {"id": 9}}
    assert first.original["ttl"] == 5
    assert second == Item(8, "wamid.2", 1_700_000_000_131, second.original)
    assert BATCH.messages == ["Oi", "?"]


def test_a_field_of_the_batch_is_that_of_the_last_message_that_has_it() -> None:
    assert BATCH.fields == {"agent": 2, "chat": {"id": 9}}
