"""Every verb of `ActorQueue`: what it gives, and what it says when it is used wrongly."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import trio

from actor_queue import (
    ActorQueue,
    Batch,
    OnHold,
    QueueFull,
    Refused,
    Settings,
    SettingsError,
    StoreUnavailable,
)
from actor_queue.testing import MemoryQueue, MemoryServer, run

Main = Callable[[MemoryQueue, list[Batch]], Awaitable[None]]


def played(main: Main, **settings: Any) -> list[Batch]:
    """The batches that came while `main` used a queue that fails no attempt."""
    seen: list[Batch] = []

    async def deliver(batch: Batch) -> None:
        seen.append(batch)

    async def story() -> None:
        async with MemoryQueue(Settings(shards=1, **settings), deliver=deliver) as queue:
            await main(queue, seen)

    run(story)
    return seen


async def ignore(batch: Batch) -> None:
    del batch


def test_a_batch_has_its_messages_with_their_ids_times_and_fields() -> None:
    async def main(queue: MemoryQueue, seen: list[Batch]) -> None:
        first = await queue.push("ana", "Oi", ttl=5, agent=1, note=None)
        await queue.advance(1)
        second = await queue.push("ana", "?", message_id="wamid.2", chat={"id": 9})
        again = await queue.push("ana", "?", message_id="wamid.2")
        assert (first.pending, second.pending, again.duplicate) == (1, 2, True)
        assert second.due_in_ms == 15_000
        await queue.advance(15)
        (batch,) = seen
        one, two = batch.items
        assert (one.message_id, two.message_id) == (first.message_id, "wamid.2")
        assert (two.received_at - one.received_at).total_seconds() == 1
        assert one.received_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
        assert one.fields == {"agent": 1, "note": None}
        assert batch.fields == {"agent": 1, "note": None, "chat": {"id": 9}}

    played(main)


def test_flush_sends_now_and_a_hold_keeps_back_until_its_release() -> None:
    async def main(queue: MemoryQueue, seen: list[Batch]) -> None:
        await queue.push(42, "Oi", ttl=60)
        assert (await queue.flush("42")).pending == 1
        await queue.advance(1)
        assert [batch.reason for batch in seen] == ["flush"]
        view = await queue.hold(42, seconds=30)
        assert (view.state, view.held_for_ms) == ("held", 30_000)
        await queue.push("42", "more", ttl=0)
        with pytest.raises(OnHold):
            await queue.flush(42)
        await queue.advance(10)
        assert len(seen) == 1
        assert (await queue.release(42)).held_for_ms is None
        await queue.advance(0)
        assert [batch.messages for batch in seen] == [["Oi"], ["more"]]

    played(main)


def test_typing_makes_the_window_longer_and_says_whether_there_was_one() -> None:
    async def main(queue: MemoryQueue, seen: list[Batch]) -> None:
        assert not (await queue.typing("ana")).extended
        await queue.push("ana", "Oi", ttl=5)
        await queue.advance(4)
        typed = await queue.typing("ana", ttl=20)
        assert (typed.extended, typed.user.due_in_ms) == (True, 20_000)
        await queue.advance(19.9)
        assert seen == []
        await queue.advance(0.1)
        assert len(seen) == 1

    played(main)


def test_drop_gives_back_what_it_dropped_and_users_are_listed_soonest_first() -> None:
    async def main(queue: MemoryQueue, seen: list[Batch]) -> None:
        for number in 3, 1, 2:
            await queue.push(f"u{number}", "Oi", ttl=10 * number)
        page = await queue.users(limit=2)
        assert [view.user for view in page.users] == ["u1", "u2"]
        rest = await queue.users(limit=2, cursor=page.cursor)
        assert [view.user for view in rest.users] == ["u3"]
        assert (await queue.users(state="held")).users == ()
        dropped = await queue.drop("u1")
        assert (dropped.messages, [item.message for item in dropped.items]) == (1, ["Oi"])
        assert (await queue.user("u1")).state == "idle"
        await queue.advance(60)
        assert [batch.user for batch in seen] == ["u2", "u3"]

    played(main)


def test_a_dead_letter_is_listed_read_replayed_under_its_id_and_dropped() -> None:
    seen: list[Batch] = []

    async def deliver(batch: Batch) -> None:
        seen.append(batch)
        if len(seen) != 3:
            raise ConnectionError("no way")

    async def main() -> None:
        settings = Settings(shards=1, retry_schedule_ms=(1_000,))
        async with MemoryQueue(settings, deliver=deliver) as queue:
            await queue.push("ana", "Oi", ttl=0)
            await queue.advance(5)
            (letter,) = (await queue.dead()).letters
            assert (letter.user, letter.attempts, letter.batch) == ("ana", 2, None)
            assert letter.reason.startswith("raised ConnectionError at test_library_verbs.py:")
            whole = await queue.dead_letter(letter.id)
            assert whole is not None
            assert whole.batch is not None
            assert whole.batch.messages == ["Oi"]
            assert await queue.replay(letter.id) is not None
            await queue.advance(5)
            assert [batch.id for batch in seen] == [letter.id] * 3
            assert (await queue.dead()).letters == ()
            assert await queue.replay(letter.id) is None
            await queue.push("bea", "Oi", ttl=0)
            await queue.advance(5)
            (letter,) = (await queue.dead()).letters
            assert await queue.drop_dead(letter.id)
            assert not await queue.drop_dead(letter.id)
            assert await queue.dead_letter("no such") is None

    run(main)


def test_what_cannot_be_kept_is_refused_with_the_name_of_the_field_and_never_its_value() -> None:
    loop: list[Any] = []
    loop.append(loop)
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("user", {"user": None}),
        ("user", {"user": True}),
        ("user", {"user": b"hunter2"}),
        ("user", {"user": ["hunter2"]}),
        ("user", {"user": ""}),
        ("ttl", {"ttl": -1}),
        ("ttl", {"ttl": math.inf}),
        ("ttl", {"ttl": True}),
        ("message_id", {"message_id": 1.5}),
        ("at", {"at": datetime(2025, 1, 1, tzinfo=UTC)}),
        ("tags", {"tags": {"hunter2"}}),
        ("loop", {"loop": loop}),
        ("score", {"score": math.nan}),
    ]

    async def main(queue: MemoryQueue, seen: list[Batch]) -> None:
        for field, values in wrong:
            with pytest.raises(Refused) as caught:
                await queue.push(**({"user": "ana", "message": "Oi"} | values))
            assert caught.value.field == field
            assert "hunter2" not in caught.value.detail
        verbs: list[tuple[str, Awaitable[object]]] = [
            ("user", queue.flush(None)),  # type: ignore[arg-type]
            ("user", queue.hold(1.5)),  # type: ignore[arg-type]
            ("seconds", queue.hold("ana", seconds=0)),
            ("ttl", queue.typing("ana", ttl=-1)),
            ("limit", queue.users(limit=0)),
            ("state", queue.users(state="asleep")),  # type: ignore[arg-type]
            ("cursor", queue.users(cursor="not ours")),
            ("cursor", queue.dead(cursor="not ours")),
        ]
        for field, called in verbs:
            with pytest.raises(Refused) as caught:
                await called
            assert caught.value.field == field
        assert (await queue.users()).users == ()

    played(main)


def test_half_an_emoji_is_treated_as_in_a_request_and_a_full_user_is_said() -> None:
    async def main(queue: MemoryQueue, seen: list[Batch]) -> None:
        with pytest.raises(Refused):
            await queue.push("ana", "x" * 300_000)
        await queue.push("ana", "1")
        with pytest.raises(QueueFull) as caught:
            await queue.push("ana", "2")
        assert caught.value.pending == 1

    played(main, max_pending=1)


def test_before_it_is_open_and_after_it_is_closed_the_verbs_say_what_to_do() -> None:
    async def main() -> None:
        queue = MemoryQueue(deliver=ignore)
        with pytest.raises(RuntimeError, match="async with"):
            await queue.push("ana", "Oi")
        async with queue:
            with pytest.raises(RuntimeError, match="open already"):
                await queue.__aenter__()
            await queue.push("ana", "Oi")
        for verb in (queue.push("ana", "Oi"), queue.flush("ana"), queue.users(), queue.dead()):
            with pytest.raises(RuntimeError, match="closed"):
                await verb
        with pytest.raises(RuntimeError, match="closed already: make a new"):
            await queue.__aenter__()

    run(main)


def test_two_queues_of_one_process_share_the_users_and_each_batch_comes_to_one() -> None:
    seen: list[str] = []

    async def deliver(batch: Batch) -> None:
        seen.append(batch.user)

    async def main() -> None:
        server, settings = MemoryServer(), Settings(shards=4)
        async with (
            MemoryQueue(settings, deliver=deliver, server=server) as one,
            MemoryQueue(settings, deliver=deliver, server=server) as other,
        ):
            await one.advance(10)
            assert min(one.engine.shards_owned, other.engine.shards_owned) > 0
            for number in range(8):
                await (one, other)[number % 2].push(f"u{number}", "Oi", ttl=1)
            await one.advance(5)
        assert sorted(seen) == [f"u{number}" for number in range(8)]

    run(main)


def test_a_queue_that_could_never_work_is_refused_when_it_is_made() -> None:
    with pytest.raises(SettingsError, match="redis_url is not set"):
        ActorQueue(Settings(), deliver=ignore)
    for seconds in (0, -1, math.nan):
        with pytest.raises(ValueError, match="start_timeout_s"):
            ActorQueue(Settings(redis_url="redis://h"), deliver=ignore, start_timeout_s=seconds)


def test_without_redis_opening_ends_after_the_time_that_was_set_and_says_why() -> None:
    async def main() -> None:
        settings = Settings(redis_url="redis://127.0.0.1:9")
        async with ActorQueue(settings, deliver=ignore, start_timeout_s=0.3):
            raise AssertionError("it opened")

    with pytest.raises(
        StoreUnavailable, match=r"no Redis at redis://127\.0\.0\.1:9 after 0\.3 s: "
    ):
        trio.run(main)


def test_on_asyncio_it_is_said_where_the_right_class_is() -> None:
    import asyncio

    async def main() -> None:
        async with ActorQueue(Settings(redis_url="redis://h"), deliver=ignore):
            pass

    with pytest.raises(RuntimeError, match=r"actor_queue\.aio\.ActorQueue"):
        asyncio.run(main())
