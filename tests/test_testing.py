"""`actor_queue.testing`, as a program's own tests use it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

import pytest
import trio
import trio.testing

from actor_queue import Batch, Settings, StoreUnavailable
from actor_queue.testing import AsyncioMemoryQueue, MemoryQueue, MemoryServer, run

Main = Callable[[], Coroutine[Any, Any, None]]

HANGS_S = 60.0
"""Longer than anything here takes on a busy machine."""


def by_hand(main: Main) -> None:
    """With a clock that nothing moves but `advance`."""
    trio.run(main, clock=trio.testing.MockClock())


@pytest.mark.parametrize("started", [run, by_hand])
def test_a_window_of_15_seconds_fires_when_the_clock_gets_there_and_not_before(
    started: Callable[[Main], None],
) -> None:
    seen: list[list[str]] = []

    async def answer(batch: Batch) -> None:
        seen.append(batch.messages)

    async def main() -> None:
        async with MemoryQueue(deliver=answer) as queue:
            await queue.push("ana", "Oi")
            await queue.advance(10)
            await queue.push("ana", "tudo bem?")
            await queue.advance(14.99)
            assert seen == []
            await queue.advance(0.01)
            assert seen == [["Oi", "tudo bem?"]]
            await queue.advance(60)
            assert len(seen) == 1

    started(main)


@pytest.mark.parametrize("started", [run, by_hand])
def test_what_is_due_on_the_way_happens_at_its_time_also_retries_and_sleeps_of_deliver(
    started: Callable[[Main], None],
) -> None:
    times: list[float] = []

    async def answer(batch: Batch) -> None:
        times.append(trio.current_time())
        await trio.sleep(3)
        if len(times) < 3:
            raise ConnectionError

    async def main() -> None:
        settings = Settings(shards=1, retry_schedule_ms=(10_000, 100_000))
        async with MemoryQueue(settings, deliver=answer) as queue:
            start = trio.current_time()
            await queue.push("ana", "Oi", ttl=5)
            await queue.advance(200)
            first, second, third = (at - start for at in times)
            assert first == pytest.approx(5, abs=0.01)
            assert 8 <= second - first - 3 <= 12
            assert 80 <= third - second - 3 <= 120
            assert (await queue.user("ana")).state == "idle"

    started(main)


def test_the_next_queue_on_a_server_finds_what_was_left_there() -> None:
    seen: list[str] = []

    async def answer(batch: Batch) -> None:
        seen.extend(batch.messages)

    async def main() -> None:
        server = MemoryServer()
        async with MemoryQueue(deliver=answer, server=server) as queue:
            await queue.push("ana", "até já", ttl=60)
        async with MemoryQueue(deliver=answer, server=server) as queue:
            await queue.advance(60)
            assert seen == ["até já"]

    run(main)


def test_a_program_can_see_what_it_does_while_redis_is_away() -> None:
    seen: list[str] = []

    async def answer(batch: Batch) -> None:
        seen.extend(batch.messages)

    async def main() -> None:
        async with MemoryQueue(deliver=answer) as queue:
            queue.redis.go_down()
            with pytest.raises(StoreUnavailable) as caught:
                await queue.push("ana", "lost?", message_id="1")
            assert caught.value.executed is False
            queue.redis.come_back()
            queue.redis.lose_answers(1, "append")
            with pytest.raises(StoreUnavailable) as caught:
                await queue.push("ana", "once", message_id="1")
            assert caught.value.executed is None
            assert (await queue.push("ana", "once", message_id="1")).duplicate
            await queue.advance(30)
            assert seen == ["once"]

    run(main)


def test_in_real_time_the_clock_cannot_be_moved_and_it_is_said_how_it_could() -> None:
    async def answer(batch: Batch) -> None:
        del batch

    async def main() -> None:
        async with MemoryQueue(deliver=answer) as queue:
            with pytest.raises(RuntimeError, match=r"actor_queue\.testing\.run"):
                await queue.advance(1)

    trio.run(main)


def test_on_asyncio_the_clock_is_moved_in_the_same_way() -> None:
    seen: list[list[str]] = []

    async def answer(batch: Batch) -> None:
        await asyncio.sleep(0.01)
        seen.append(batch.messages)
        if len(seen) == 1:
            raise ConnectionError

    async def main() -> None:
        settings = Settings(shards=1, retry_schedule_ms=(10_000,))
        server = MemoryServer()
        async with AsyncioMemoryQueue(settings, deliver=answer, server=server) as queue:
            await queue.push("ana", "Oi")
            await queue.advance(10)
            await queue.push("ana", "tudo bem?")
            await queue.advance(14.9)
            assert seen == []
            await queue.advance(0.1)
            assert seen == [["Oi", "tudo bem?"]]
            await queue.advance(7)
            assert len(seen) == 1
            await queue.advance(5)
            assert len(seen) == 2
            queue.redis.go_down()
            with pytest.raises(StoreUnavailable):
                await queue.push("ana", "lost?")
            queue.redis.come_back()
            await queue.push("ana", "left", ttl=600)
        # To close and to open takes real time, and the clock goes on meanwhile.
        async with AsyncioMemoryQueue(settings, deliver=answer, server=server) as queue:
            await queue.advance(500)
            assert len(seen) == 2
            await queue.advance(100)
            assert seen[2] == ["left"]

    asyncio.run(main())


def test_on_asyncio_a_loop_that_is_slow_to_begin_a_deliver_is_waited_for() -> None:
    seen: list[list[str]] = []

    async def answer(batch: Batch) -> None:
        seen.append(batch.messages)

    async def main() -> None:
        async with AsyncioMemoryQueue(deliver=answer) as queue:
            begin = queue._schedule

            def begin_late(what: Callable[[], object]) -> bool:
                threading.Timer(0.05, begin, (what,)).start()
                return True

            queue._schedule = begin_late  # type: ignore[method-assign]
            await queue.push("ana", "Oi", ttl=1)
            await queue.advance(1)
            assert seen == [["Oi"]]

    asyncio.run(main())


def test_on_asyncio_a_deliver_that_hangs_does_not_stop_the_clock() -> None:
    async def main() -> None:
        cancelled = asyncio.Event()

        async def hang(batch: Batch) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                cancelled.set()

        # A second attempt that hangs too would be waited for at the end.
        settings = Settings(shards=1, retry_schedule_ms=(600_000,))
        async with AsyncioMemoryQueue(settings, deliver=hang) as queue:
            await queue.push("ana", "Oi", ttl=0)
            await queue.advance(31)
            assert cancelled.is_set()

    asyncio.run(main())


def test_on_asyncio_closing_waits_for_a_deliver_that_advance_did_not_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actor_queue.testing.queues.DELIVER_PATIENCE_S", 0.0)
    seen: list[list[str]] = []

    async def slow(batch: Batch) -> None:
        await closing.wait()
        await asyncio.sleep(0.05)
        seen.append(batch.messages)

    async def fail_meanwhile(server: MemoryServer) -> None:
        async with AsyncioMemoryQueue(deliver=slow, server=server) as queue:
            await queue.push("ana", "Oi", ttl=0)
            await queue.advance(0)
            assert seen == []
            closing.set()
            raise AssertionError("of the program's test")

    async def main() -> None:
        server = MemoryServer()
        with pytest.raises(AssertionError, match="of the program's test"):
            await fail_meanwhile(server)
        assert seen == [["Oi"]]
        async with AsyncioMemoryQueue(deliver=slow, server=server) as queue:
            await queue.advance(100)
        assert seen == [["Oi"]], "the end of the attempt was stored"

    closing = asyncio.Event()
    ends(main)


def test_on_asyncio_closing_ends_an_advance_that_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actor_queue.testing.queues.DELIVER_PATIENCE_S", 0.2)

    async def main() -> None:
        began = asyncio.Event()

        async def slow(batch: Batch) -> None:
            began.set()
            await asyncio.sleep(0.05)

        async with AsyncioMemoryQueue(deliver=slow) as queue:
            await queue.push("ana", "Oi", ttl=0)
            advancing = asyncio.create_task(queue.advance(0))
            await began.wait()
        await advancing

    ends(main)


def test_on_asyncio_a_queue_opens_and_closes_while_redis_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actor_queue.runtime.owner.LEAVE_MAX_S", 0.1)

    async def answer(batch: Batch) -> None: ...

    async def main() -> None:
        queue = AsyncioMemoryQueue(deliver=answer)
        queue.redis.go_down()
        opening = asyncio.create_task(queue.__aenter__())
        await asyncio.sleep(0.05)
        assert not opening.done()
        queue.redis.come_back()
        await opening
        queue.redis.go_down()
        await queue.__aexit__(None, None, None)

    ends(main)


def ends(main: Main) -> None:
    """Run on asyncio in a thread that can be left behind: `async with` may hang for ever."""
    done: Future[None] = Future()

    def in_thread() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001  # it is the test's
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=in_thread, daemon=True).start()
    done.result(HANGS_S)


def test_on_trio_a_clock_that_only_advance_moves_goes_on_while_the_queue_closes() -> None:
    delivered = []

    async def slow(batch: Batch) -> None:
        await trio.to_thread.run_sync(closing.wait)
        await trio.sleep(0.02)
        delivered.append(batch.messages)

    async def main() -> None:
        server = MemoryServer()
        async with MemoryQueue(deliver=slow, server=server) as queue:
            await queue.push("ana", "Oi", ttl=0)
            await queue.advance(0)
            assert delivered == []
            closing.set()
        assert delivered == [["Oi"]]
        assert trio.lowlevel.current_clock().rate == 0  # type: ignore[attr-defined]
        before = trio.current_time()
        async with MemoryQueue(deliver=slow, server=server) as queue:
            await queue.user("ana")
        assert trio.current_time() == before, "a close that waits for nothing takes no time"

    closing = threading.Event()
    by_hand(main)


@pytest.mark.parametrize("missing", ["fakeredis", "lupa"])
def test_without_the_extra_one_sentence_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import actor_queue.testing"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "pip install '/path/to/clone[testing]'" in done.stderr.splitlines()[-1]
