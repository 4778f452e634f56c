"""What a program's own `deliver` may be, and what becomes of each thing it can do."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import AsyncMock

import pytest
import trio

from actor_queue import ActorQueue, Batch, Delivered, Failed, Settings
from actor_queue.testing import MemoryQueue, run

SETTINGS = Settings(redis_url="redis://h", shards=1, retry_schedule_ms=(1_000,))
SECRET = "hunter2"


def played(deliver: Callable[[Batch], Awaitable[object]], seconds: float = 10) -> MemoryQueue:
    """One message, and `seconds` more."""
    made: list[MemoryQueue] = []

    async def main() -> None:
        async with MemoryQueue(SETTINGS, deliver=deliver) as queue:
            made.append(queue)
            await queue.push("ana", SECRET, ttl=0)
            await queue.advance(seconds)

    run(main)
    return made[0]


def told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged about `deliver` itself, beside the events that the service logs too."""
    return [record for record in caplog.records if record.name == "actor_queue.app.deliver"]


class Bot:
    async def __call__(self, batch: Batch) -> None: ...

    async def answer(self, batch: Batch, tone: str = "kind") -> None: ...

    def plain(self, batch: Batch) -> None: ...


async def two(batch: Batch, more: object) -> None: ...


async def one_by_one(batch: Batch) -> Any:
    yield batch


class Reading:
    async def deliver(self, batch: Batch, deadline_s: float) -> Delivered:
        return Delivered(200)


@pytest.mark.parametrize(
    "deliver",
    [Bot(), Bot().answer, functools.partial(two, more=1), AsyncMock(), Reading()],
    ids=["object", "method", "partial", "mock", "receiver"],
)
def test_whatever_can_be_awaited_with_one_batch_is_taken(deliver: Any) -> None:
    assert ActorQueue(SETTINGS, deliver=deliver)


@pytest.mark.parametrize(
    ("deliver", "said"),
    [
        (Bot().plain, "Bot.plain, which is not an async function: define it with `async def`"),
        (print, "not an async function"),
        (lambda batch: two(batch, 1), "<lambda>, which is not an async function"),
        (one_by_one, "not an async function"),
        (Bot, "is the class Bot: give an instance"),
        (Reading, "is the class Reading: give an instance"),
        (None, "must be an `async def`"),
        ("answer", "must be an `async def`"),
        (two, "called with one argument, the batch; two takes (batch"),
    ],
)
def test_anything_else_is_refused_when_the_queue_is_made(deliver: Any, said: str) -> None:
    with pytest.raises(TypeError) as caught:
        ActorQueue(SETTINGS, deliver=deliver)
    assert said in str(caught.value)


def test_an_exception_is_logged_with_its_type_and_where_and_never_with_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def inner(text: str) -> None:
        try:
            {}[text]
        except KeyError as error:
            raise ValueError(f"cannot answer {text!r}") from error

    async def answer(batch: Batch) -> None:
        inner(batch.messages[0])

    played(answer)
    (record,) = told(caplog)
    logged = record.getMessage()
    line = inner.__code__.co_firstlineno + 4
    assert logged.startswith(f"deliver raised ValueError at test_library_deliver.py:{line} in")
    assert f"{__file__}:{line} in" in logged
    assert "answer" in logged
    assert "KeyError" in logged
    assert "actor_queue/app/deliver.py" not in logged
    assert record.levelno == logging.WARNING
    assert SECRET not in caplog.text
    assert SECRET not in repr(vars(record))


def test_the_same_failure_is_logged_once_a_minute_and_then_how_often_it_came(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("actor_queue.app.deliver.time.monotonic", lambda: now[0])
    calls = 0

    async def answer(batch: Batch) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            now[0] = 61.0
        raise OSError(batch.messages[0])

    async def main() -> None:
        async with MemoryQueue(SETTINGS, deliver=answer) as queue:
            for user in "abc":
                await queue.push(user, SECRET, ttl=0)
            await queue.advance(10)

    run(main)
    first, second = (record.getMessage() for record in told(caplog))
    assert "times more" not in first
    assert "4 times more" in second
    assert SECRET not in first + second


def test_a_group_of_exceptions_is_a_failure_and_its_members_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise LookupError(SECRET)

    async def answer(batch: Batch) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)

    queue = played(answer)
    assert queue.engine.counters.dead == 1
    assert "LookupError" in caplog.text
    assert SECRET not in caplog.text


def test_one_that_never_returns_is_cancelled_after_its_time_and_comes_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ends: list[bool] = []

    async def answer(batch: Batch) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ends.append(True)

    queue = played(answer, seconds=70)
    assert len(ends) == 2
    assert queue.engine.counters.dead == 1
    assert "deliver had not returned after 30 s" in caplog.text


@pytest.mark.parametrize("returned", [None, True, False, {"ok": True}, "sent", Delivered(204)])
def test_whatever_it_returns_but_a_failed_is_delivered(returned: object) -> None:
    async def answer(batch: Batch) -> object:
        return returned

    counters = played(answer).engine.counters
    assert (counters.delivered, counters.failed) == (1, 0)


def test_a_failed_comes_again_and_a_final_one_is_dead_at_once() -> None:
    async def busy(batch: Batch) -> Failed:
        return Failed("busy")

    async def blocked(batch: Batch) -> Failed:
        return Failed("blocked by the user", final=True)

    counters = played(busy).engine.counters
    assert (counters.failed, counters.dead) == (2, 1)
    counters = played(blocked).engine.counters
    assert (counters.failed, counters.dead) == (1, 1)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_ends_it_also_from_within_deliver(kind: type[BaseException]) -> None:
    async def answer(batch: Batch) -> None:
        raise kind

    with pytest.raises(BaseException) as caught:
        played(answer)
    assert (
        caught.group_contains(kind)
        if isinstance(caught.value, BaseExceptionGroup)
        else isinstance(caught.value, kind)
    )


def test_a_group_raised_in_the_block_comes_out_as_it_is() -> None:
    group = ExceptionGroup("mine", [KeyError("a")])

    async def main() -> None:
        async with MemoryQueue(SETTINGS, deliver=Bot()):
            raise group

    with pytest.raises(ExceptionGroup) as caught:
        run(main)
    assert caught.value is group
