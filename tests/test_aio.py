"""`actor_queue.aio.ActorQueue`: the queue in a program on asyncio, over a real server."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import trio

from actor_queue import Batch, OnHold, Refused, Settings, StoreUnavailable
from actor_queue.aio import ActorQueue
from tests.servers import Server

PATIENCE_S = 30


@pytest.fixture
def settings(valkey_server: Server, namespace: str) -> Settings:
    return Settings(
        redis_url=valkey_server.url, namespace=namespace, shards=4, retry_schedule_ms=(50,)
    )


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await main()

    asyncio.run(patiently())
    assert not [thread for thread in threading.enumerate() if thread.name == "actor-queue"]


async def ignore(batch: Batch) -> None:
    del batch


def test_a_burst_is_one_call_on_the_callers_loop_and_an_exception_is_a_retry(
    settings: Settings,
) -> None:
    seen: list[Batch] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        done = asyncio.Event()

        async def deliver(batch: Batch) -> None:
            loops.append(asyncio.get_running_loop())
            await asyncio.sleep(0.01)
            seen.append(batch)
            if len(seen) == 1:
                raise RuntimeError("not yet")
            done.set()

        async with ActorQueue(settings, deliver=deliver) as queue:
            for text in "Oi", "tudo bem?", "ainda aí?":
                accepted = await queue.push("joao.silva", text, ttl=2, agente=1)
            assert accepted.pending == 3
            await done.wait()
            loops.append(asyncio.get_running_loop())

    run(main)
    assert [each.messages for each in seen] == [["Oi", "tudo bem?", "ainda aí?"]] * 2
    assert seen[0].id == seen[1].id
    assert len(set(loops)) == 1


def test_what_is_pushed_at_once_is_kept_in_the_order_of_the_calls(settings: Settings) -> None:
    texts: list[str] = []

    async def main() -> None:
        done = asyncio.Event()

        async def deliver(batch: Batch) -> None:
            texts.extend(batch.messages)
            done.set()

        async with ActorQueue(settings, deliver=deliver) as queue:
            await asyncio.gather(*(queue.push("ana", str(n), ttl=3600) for n in range(300)))
            await queue.flush("ana")
            await done.wait()

    run(main)
    assert texts == [str(n) for n in range(300)]


def test_every_verb_answers_and_refuses_as_on_trio(settings: Settings) -> None:
    async def main() -> None:
        async with ActorQueue(settings, deliver=ignore) as queue:
            await queue.push(42, "Oi", ttl=60)
            assert (await queue.typing(42, ttl=100)).extended
            assert (await queue.hold(42)).state == "held"
            with pytest.raises(OnHold):
                await queue.flush(42)
            assert (await queue.release(42)).state == "collecting"
            assert [view.user for view in (await queue.users()).users] == ["42"]
            assert (await queue.user("42")).pending == 1
            assert [item.message for item in (await queue.drop(42)).items] == ["Oi"]
            assert (await queue.dead()).letters == ()
            assert await queue.replay("no such") is None
            with pytest.raises(Refused):
                await queue.push("", "Oi")
            with pytest.raises(Refused):
                await queue.users(cursor="not ours")

    run(main)


def test_a_deliver_that_never_returns_is_cancelled_when_its_time_is_over(
    settings: Settings,
) -> None:
    from dataclasses import replace

    async def main() -> None:
        cancelled = asyncio.Event()

        async def deliver(batch: Batch) -> None:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        brief = replace(settings, webhook_timeout_ms=200)
        async with ActorQueue(brief, deliver=deliver) as queue:
            await queue.push("ana", "Oi", ttl=0)
            await cancelled.wait()

    run(main)


def test_closing_waits_for_the_attempt_under_way_which_may_use_the_queue(
    settings: Settings,
) -> None:
    ended: list[str] = []

    async def main() -> None:
        begun = asyncio.Event()

        async def deliver(batch: Batch) -> None:
            begun.set()
            await asyncio.sleep(0.3)
            await queue.push("bea", "from within", ttl=3600)
            ended.append(batch.user)

        async with ActorQueue(settings, deliver=deliver) as queue:
            await queue.push("ana", "Oi", ttl=0)
            await begun.wait()
        async with ActorQueue(settings, deliver=ignore) as later:
            assert (await later.user("bea")).pending == 1
            assert (await later.user("ana")).state == "idle"

    run(main)
    assert ended == ["ana"]


def test_cancelled_while_it_closes_it_cancels_the_attempts_whose_batches_come_again(
    settings: Settings,
) -> None:
    async def main() -> None:
        begun, again = asyncio.Event(), asyncio.Event()

        async def forever(batch: Batch) -> None:
            begun.set()
            await asyncio.sleep(3600)

        async def deliver(batch: Batch) -> None:
            again.set()

        async def first() -> None:
            async with ActorQueue(settings, deliver=forever) as queue:
                await queue.push("ana", "Oi", ttl=0)
                await begun.wait()

        task = asyncio.create_task(first())
        await begun.wait()
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with ActorQueue(settings, deliver=deliver):
            await again.wait()

    run(main)


def test_a_loop_that_a_handler_blocks_does_not_cost_the_leases(settings: Settings) -> None:
    from dataclasses import replace

    async def main() -> None:
        done = asyncio.Event()

        async def deliver(batch: Batch) -> None:
            done.set()

        async with ActorQueue(replace(settings, lease_ttl_ms=1_000), deliver=deliver) as queue:
            await queue.push("ana", "Oi", ttl=2)
            engine = queue._queue.engine
            while engine.shards_owned < 4:
                await asyncio.sleep(0.01)
            time.sleep(3)  # noqa: ASYNC251  # as a handler does that uses `requests`
            assert engine.shards_owned == 4
            assert engine.counters.fenced == 0
            await done.wait()

    run(main)


def test_calls_from_another_loop_are_answered_there(settings: Settings) -> None:
    async def main() -> None:
        async with ActorQueue(settings, deliver=ignore) as queue:

            def elsewhere() -> int:
                return asyncio.run(pushed())

            async def pushed() -> int:
                return (await queue.push("ana", "Oi")).pending

            assert await asyncio.to_thread(elsewhere) == 1

    run(main)


def test_an_engine_that_fails_ends_the_block_with_its_error(settings: Settings) -> None:
    went_on: list[bool] = []

    async def main() -> None:
        async with ActorQueue(settings, deliver=ignore) as queue:

            async def broken(*_: object) -> Any:
                raise ZeroDivisionError

            queue._queue.engine.store.due = broken  # type: ignore[method-assign]
            await asyncio.sleep(15)
            went_on.append(True)

    with pytest.raises(ZeroDivisionError):
        run(main)
    assert not went_on


def test_an_exception_in_the_block_comes_out_as_it_is(settings: Settings) -> None:
    async def main() -> None:
        async with ActorQueue(settings, deliver=ignore):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(main)


def test_without_redis_opening_ends_with_the_reason_and_can_be_cancelled_before() -> None:
    nowhere = Settings(redis_url="redis://127.0.0.1:9")

    async def waits() -> None:
        async with ActorQueue(nowhere, deliver=ignore, start_timeout_s=0.3):
            raise AssertionError("it opened")

    with pytest.raises(StoreUnavailable, match=r"no Redis at redis://127\.0\.0\.1:9"):
        run(waits)

    async def gives_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), ActorQueue(nowhere, deliver=ignore):
                raise AssertionError("it opened")

    run(gives_up)


def test_a_cancelled_push_ends_at_once_and_the_queue_goes_on(settings: Settings) -> None:
    async def main() -> None:
        async with ActorQueue(settings, deliver=ignore) as queue:
            task = asyncio.create_task(queue.push("ana", "never mind", ttl=60))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await queue.push("bea", "Oi", ttl=60)).pending == 1

    run(main)


def test_what_was_asked_before_it_closed_is_answered(settings: Settings) -> None:
    async def main() -> None:
        async with ActorQueue(settings, deliver=ignore) as queue:
            calls = [queue.push(f"u{n}", "Oi", ttl=3600) for n in range(2_500)]
            tasks = [asyncio.create_task(call) for call in calls]
            await asyncio.sleep(0)
        assert [each.pending for each in await asyncio.gather(*tasks)] == [1] * 2_500

    run(main)


def test_a_call_while_it_closes_is_carried_out_or_refused_and_never_forgotten(
    settings: Settings,
) -> None:
    async def main() -> None:
        for _ in range(5):
            kept = 0

            async def pushes(queue: ActorQueue) -> None:
                nonlocal kept
                try:
                    while True:
                        await queue.push("ana", "Oi", ttl=3600)
                        kept += 1
                except (RuntimeError, StoreUnavailable):
                    pass

            # A fast machine takes more than a batch has by default, and a full batch goes at once.
            roomy = replace(settings, max_messages=10_000)
            async with ActorQueue(roomy, deliver=ignore) as queue:
                tasks = [asyncio.create_task(pushes(queue)) for _ in range(10)]
                await asyncio.sleep(0.05)
            await asyncio.gather(*tasks)
            async with ActorQueue(roomy, deliver=ignore) as queue:
                assert (await queue.drop("ana")).messages >= kept > 0

    run(main)


@pytest.mark.parametrize("front", ["actor_queue", "actor_queue.aio"])
def test_an_interrupt_closes_the_queue_and_ends_the_program(front: str, settings: Settings) -> None:
    runs = "asyncio" if front.endswith("aio") else "trio"
    code = f"""
import signal
import {runs}
from actor_queue import Settings
from {front} import ActorQueue
signal.signal(signal.SIGINT, signal.default_int_handler)  # who started us may ignore it
async def ignore(batch): pass
async def main():
    settings = Settings(redis_url={settings.redis_url!r}, namespace={settings.namespace!r})
    async with ActorQueue(settings, deliver=ignore):
        print("open", flush=True)
        await {runs}.sleep(3600)
try:
    {runs}.run(main{"()" if runs == "asyncio" else ""})
except KeyboardInterrupt:
    print("interrupted")
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert said == ("interrupted\n", "")
    assert process.returncode == 0


def test_before_it_is_open_and_after_it_is_closed_it_says_what_to_do(settings: Settings) -> None:
    async def main() -> None:
        queue = ActorQueue(settings, deliver=ignore)
        with pytest.raises(RuntimeError, match="async with"):
            await queue.push("ana", "Oi")
        async with queue:
            with pytest.raises(RuntimeError, match="open already"):
                await queue.__aenter__()
        with pytest.raises(RuntimeError, match="closed"):
            await queue.push("ana", "Oi")

    run(main)
    with pytest.raises(TypeError, match="not an async function"):
        ActorQueue(settings, deliver=print)  # type: ignore[arg-type]


def test_a_loop_that_ends_without_closing_ends_the_thread_and_loses_nothing(
    settings: Settings,
) -> None:
    texts: list[str] = []

    async def forgets() -> ActorQueue:
        queue = ActorQueue(settings, deliver=ignore)
        await queue.__aenter__()
        await queue.push("ana", "Oi", ttl=0.3)
        return queue

    asyncio.run(forgets())
    deadline = time.monotonic() + PATIENCE_S
    while any(thread.name == "actor-queue" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)

    async def main() -> None:
        done = asyncio.Event()

        async def deliver(batch: Batch) -> None:
            texts.extend(batch.messages)
            done.set()

        async with ActorQueue(settings, deliver=deliver):
            await done.wait()

    run(main)
    assert texts == ["Oi"]


def test_under_trio_the_queue_for_trio_is_named() -> None:
    async def main() -> None:
        async with ActorQueue(Settings(redis_url="redis://127.0.0.1:1"), deliver=ignore):
            pass

    async def ignore(batch: Batch) -> None:
        del batch

    with pytest.raises(RuntimeError, match=r"under Trio use actor_queue\.ActorQueue"):
        trio.run(main)
