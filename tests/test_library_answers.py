"""A program whose `deliver` answers 202, and says later what came of the batch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from actor_queue import Batch, Delivered, Refused, Settings, TooLate
from actor_queue.testing import AsyncioMemoryQueue, MemoryQueue, run

LATER = Settings(shards=1, answer="later", answer_within_ms=60_000, retry_schedule_ms=(1_000,))

Main = Callable[[MemoryQueue, list[Batch]], Awaitable[None]]


def played(main: Main, settings: Settings = LATER) -> None:
    seen: list[Batch] = []

    async def deliver(batch: Batch) -> Delivered:
        seen.append(batch)
        return Delivered(202)

    async def story() -> None:
        async with MemoryQueue(settings, deliver=deliver) as queue:
            await queue.push("ana", "a", ttl=0)
            await queue.advance(1)
            await main(queue, seen)

    run(story)


def test_a_batch_is_done_when_the_program_says_so_and_newer_messages_wait_meanwhile() -> None:
    async def main(queue: MemoryQueue, seen: list[Batch]) -> None:
        assert (await queue.user("ana")).state == "answering"
        await queue.push("ana", "b", ttl=0)
        await queue.advance(5)
        assert (await queue.newer(seen[0], wait=30)).newer == 1
        assert len(seen) == 1
        for _ in range(2):
            done = await queue.done(seen[0])
            assert (done.state, done.newer) == ("done", 1)
        await queue.advance(1)
        assert seen[1].messages == ["b"]
        with pytest.raises(TooLate):
            await queue.fail(seen[0])

    played(main)


def test_a_batch_is_taken_back_where_only_the_latest_may_be_done() -> None:
    async def main(queue: MemoryQueue, seen: list[Batch]) -> None:
        await queue.push("ana", "b", ttl=2)
        assert (await queue.done(seen[0], if_latest=True)).state == "taken_back"
        await queue.advance(3)
        assert seen[1].messages == ["a", "b"]
        assert (await queue.done(seen[1], if_latest=True)).state == "done"

    played(main)


def test_a_program_gets_more_time_and_says_that_it_failed() -> None:
    async def main(queue: MemoryQueue, seen: list[Batch]) -> None:
        await queue.extend(seen[0], 300)
        await queue.advance(200)
        assert len(seen) == 1
        assert (await queue.fail(seen[0], "no model")).state == "failed"
        await queue.advance(3)
        assert [batch.id for batch in seen] == [seen[0].id] * 2
        await queue.fail(seen[1], retry=False)
        (letter,) = (await queue.dead()).letters
        assert letter.attempts == 2
        with pytest.raises(Refused, match="over 0"):
            await queue.extend(seen[1], 0)

    played(main)


def test_a_word_that_comes_after_the_time_is_too_late() -> None:
    async def main(queue: MemoryQueue, seen: list[Batch]) -> None:
        await queue.advance(61)
        with pytest.raises(TooLate):
            await queue.done(seen[0])

    played(main)


def test_nothing_can_be_said_of_a_batch_that_was_done_at_once() -> None:
    async def main(queue: MemoryQueue, seen: list[Batch]) -> None:
        with pytest.raises(ValueError, match="answer='later'"):
            await queue.done(seen[0])

    played(main, Settings(shards=1))


def test_on_asyncio_it_is_the_same() -> None:
    seen: list[Batch] = []

    async def deliver(batch: Batch) -> Delivered:
        seen.append(batch)
        return Delivered(202)

    async def main() -> None:
        async with AsyncioMemoryQueue(LATER, deliver=deliver) as queue:
            await queue.push("ana", "oi", ttl=0)
            await queue.advance(1)
            assert (await queue.done(seen[0])).state == "done"
            assert (await queue.user("ana")).state == "idle"

    asyncio.run(main())
