"""`edit` and `revoke` of a queue in a program, on Trio and on asyncio."""

from __future__ import annotations

import asyncio

import pytest

from actor_queue import Batch, NotChanged, Refused, Settings
from actor_queue.testing import AsyncioMemoryQueue, MemoryQueue, run


def test_what_waits_is_edited_and_taken_back_and_what_has_gone_is_not() -> None:
    seen: list[Batch] = []

    async def deliver(batch: Batch) -> None:
        seen.append(batch)

    async def story() -> None:
        async with MemoryQueue(Settings(shards=1), deliver=deliver) as queue:
            await queue.push("ana", "Oi", ttl=5, message_id=7, agent=1)
            made = (await queue.push("ana", "erro", ttl=5)).message_id
            await queue.advance(3)
            changed = await queue.edit("ana", 7, "Olá \ud83d\ude00")
            assert (changed.pending, changed.due_in_ms) == (2, 5_000)
            assert (await queue.revoke("ana", made)).pending == 1
            await queue.advance(4)
            assert seen == []
            await queue.advance(1)
            (batch,) = seen
            assert (batch.messages, batch.fields) == (["Olá 😀"], {"agent": 1})
            for why, message_id in (("claimed", "7"), ("revoked", made), ("unknown", "x")):
                for change in (queue.edit("ana", message_id, "?"), queue.revoke("ana", message_id)):
                    with pytest.raises(NotChanged) as refused:
                        await change
                    assert refused.value.why == why
            with pytest.raises(Refused):
                await queue.revoke("ana", "")
            with pytest.raises(Refused):
                await queue.edit("ana", "7", {})  # type: ignore[arg-type]

    run(story)


def test_a_batch_is_in_the_order_of_sending_where_that_is_wanted() -> None:
    seen: list[Batch] = []

    async def deliver(batch: Batch) -> None:
        seen.append(batch)

    async def story() -> None:
        async with MemoryQueue(Settings(shards=1, order="sent"), deliver=deliver) as queue:
            for text, sent_at in (("c", 1764000003), ("?", None), ("a", 1764000001000)):
                await queue.push("ana", text, ttl=5, sent_at=sent_at)
            await queue.push("ana", "b", ttl=5, sent_at="2025-11-24T16:00:02Z")
            await queue.advance(5)
            assert [batch.messages for batch in seen] == [["a", "?", "b", "c"]]

    run(story)


def test_both_are_there_under_asyncio() -> None:
    seen: list[Batch] = []

    async def deliver(batch: Batch) -> None:
        seen.append(batch)

    async def story() -> None:
        async with AsyncioMemoryQueue(Settings(shards=1), deliver=deliver) as queue:
            for name in ("a", "b"):
                await queue.push("ana", name, ttl=5, message_id=name)
            await queue.edit("ana", "a", "A")
            await queue.revoke("ana", "b")
            await queue.advance(5)
            assert [batch.messages for batch in seen] == [["A"]]

    asyncio.run(story())
