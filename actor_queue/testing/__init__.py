"""For tests of programs that use the library: a queue without a server, and a clock to move.

    from actor_queue.testing import MemoryQueue, run

    def test_a_burst_gets_one_answer() -> None:
        answered = []

        async def answer(batch):
            answered.append(batch.messages)

        async def main():
            async with MemoryQueue(deliver=answer) as queue:
                await queue.push("ana", "Oi")
                await queue.advance(14.9)
                assert answered == []
                await queue.advance(0.1)
                assert answered == [["Oi"]]

        run(main)

The scripts that decide when a batch goes are the real ones, on an in-process Redis (fakeredis, from
the extra `testing`). `MemoryQueue` is for Trio; `AsyncioMemoryQueue` has the same methods on
asyncio.
"""

from __future__ import annotations

from actor_queue.testing.clock import advance, run
from actor_queue.testing.queues import AsyncioMemoryQueue, MemoryQueue, MemoryServer

__all__ = ["AsyncioMemoryQueue", "MemoryQueue", "MemoryServer", "advance", "run"]
