"""When a batch goes: at the exact time, never early."""

from __future__ import annotations

import pytest
import trio

from actor_queue.core.message import Message
from actor_queue.runtime import recoverer
from actor_queue.runtime.lanes import BACKLOG_MAX
from actor_queue.runtime.recoverer import BURST
from tests.runtime.harness import (
    FAILED,
    after,
    in_turn,
    message,
    run,
    stage,
    users_of_shards,
)


def test_the_messages_of_a_quiet_period_go_as_one_batch_exactly_when_it_ends() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            start = trio.current_time()
            for text in ("oi", "tudo bem?", "queria um pedido"):
                await a.post("ana", text, ttl_s=15)
            await trio.sleep(14.999)
            assert s.seen == []
            await trio.sleep(60)
            assert s.texts() == [["oi", "tudo bem?", "queria um pedido"]]
            assert s.times(start) == [15]
            assert s.seen[0].batch.reason == "quiet"

    run(main)


def test_each_message_resets_the_timer() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            start = trio.current_time()
            for number in range(6):
                await a.post("ana", str(number), ttl_s=15)
                await trio.sleep(14.9)
            await trio.sleep(30)
            assert s.texts() == [["0", "1", "2", "3", "4", "5"]]
            assert s.times(start) == [round(5 * 14.9 + 15, 6)]

    run(main)


def test_the_last_message_decides_how_long_is_quiet_be_it_shorter_or_longer() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            start = trio.current_time()
            await a.post("ana", "long", ttl_s=60)
            await a.post("ana", "short", ttl_s=0.5)
            await a.post("bea", "short", ttl_s=0.5)
            await a.post("bea", "long", ttl_s=60)
            await trio.sleep(100)
            assert s.texts() == [["long", "short"], ["short", "long"]]
            assert s.times(start) == [0.5, 60]

    run(main)


def test_a_ttl_of_zero_goes_at_once() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            start = trio.current_time()
            await a.post("ana", "oi", ttl_s=0)
            await trio.sleep(0.001)
            assert s.times(start) == [0]

    run(main)


def test_somebody_who_never_pauses_is_heard_at_the_maximum_wait() -> None:
    async def main() -> None:
        async with stage(max_wait_ms=20_000) as s:
            a = await s.start("ra")
            start = trio.current_time()
            for number in range(10):
                await a.post("ana", str(number), ttl_s=15)
                await trio.sleep(4.5)
            await trio.sleep(60)
            assert s.texts() == [["0", "1", "2", "3", "4"], ["5", "6", "7", "8", "9"]]
            assert s.times(start) == [20, 42.5]
            assert [sent.batch.reason for sent in s.seen] == ["max_wait", "max_wait"]

    run(main)


def test_a_full_batch_goes_at_once() -> None:
    async def main() -> None:
        async with stage(max_messages=3) as s:
            a = await s.start("ra")
            start = trio.current_time()
            for number in range(4):
                await a.post("ana", str(number), ttl_s=10)
            await trio.sleep(20)
            assert s.texts() == [["0", "1", "2"], ["3"]]
            assert s.times(start) == [0, 10]

    run(main)


def test_posts_that_race_fire_by_the_stores_order_whatever_order_their_answers_come_in() -> None:
    quiet_s = (15.0, 0.2, 7.0, 0.0)

    async def main(seed: int) -> None:
        async with stage() as s:
            a = await s.start("ra")
            start = trio.current_time()
            async with trio.open_nursery() as nursery:
                for number, ttl_s in enumerate(quiet_s):
                    nursery.start_soon(a.post, "ana", str(number), ttl_s)
            await trio.sleep(20)
            assert sorted(text for sent in s.seen for text in sent.texts) == ["0", "1", "2", "3"]
            last = s.seen[-1]
            late_s = last.at - start - quiet_s[int(last.texts[-1])]
            assert late_s == pytest.approx(0, abs=0.001)

    for seed in range(5):
        run(lambda seed=seed: main(seed), seed)  # type: ignore[misc]


def test_a_virtual_hour_of_200_users_is_exact_to_the_millisecond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The sweep every second would cost most; here it is only a net that nobody falls into.
    monkeypatch.setattr(recoverer, "SWEEP_S", 3_600.0)

    async def main() -> None:
        async with stage(lease_ttl_ms=600_000, shards=4) as s:
            a = await s.start("ra")
            expected: dict[str, list[float]] = {}

            async def one(number: int) -> None:
                user = f"user-{number}"
                for turn in range(1):
                    await trio.sleep(16.3 * number + 11 * turn)
                    await a.post(user, f"{turn}a", ttl_s=60)
                    await trio.sleep(10 + number / 10)
                    await a.post(user, f"{turn}b", ttl_s=15 + turn)
                    expected.setdefault(user, []).append(trio.current_time() + 15 + turn)

            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(one, number)
            await trio.sleep(3_600 - trio.current_time())
            for user, times in expected.items():
                assert s.texts(user) == [["0a", "0b"]]
                assert [sent.at for sent in s.of(user)] == pytest.approx(times, abs=0.001)
            assert a.engine.actors == 0

    run(main)


def test_nobody_waits_in_memory_beyond_the_horizon_and_all_the_same_goes_in_time() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            start = trio.current_time()
            await a.post("ana", "later", ttl_s=300)
            await a.post("bea", "sooner", ttl_s=100)
            await trio.sleep(1)
            await a.engine.hold("bea", 249_000)
            await a.post("caio", "soon", ttl_s=99)
            await trio.sleep(50)
            assert a.engine.actors == 1
            await trio.sleep(150)
            assert a.engine.actors == 0
            await trio.sleep(150)
            assert s.texts() == [["soon"], ["sooner"], ["later"]]
            assert s.times(start) == [100, 250, 300]

    run(main)


def test_a_retry_beyond_the_horizon_is_not_waited_for_in_memory() -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(200_000,)) as s:
            a = await s.start("ra")
            s.answer = in_turn(FAILED)
            await a.post("ana", "oi", ttl_s=0)
            await trio.sleep(10)
            assert a.engine.actors == 0
            await trio.sleep(240)
            assert s.texts() == [["oi"], ["oi"]]
            assert 160 <= s.seen[1].at - s.seen[0].at <= 240

    run(main)


def test_the_sweep_finds_who_was_appended_behind_the_engines_back() -> None:
    async def main() -> None:
        async with stage(shards=4) as s:
            a = await s.start("ra")
            users = users_of_shards(4)
            start = trio.current_time()
            # Straight into the store and under the owner's name, so nobody tells the engine.
            await a.store.append([message(user, "oi", 5) for user in users])
            await trio.sleep(10)
            assert {sent.user for sent in s.seen} == set(users)
            assert s.times(start) == [5, 5, 5, 5]

    run(main)


def test_5000_overdue_users_are_brought_in_as_fast_as_they_go_out_and_no_faster() -> None:
    async def main() -> None:
        async with stage(shards=8, max_deliveries=100) as s:
            messages: list[Message] = [message(f"user-{n}", "oi", n / 5_000) for n in range(5_000)]
            idle = await s.start("rz")
            await idle.crash()
            await idle.store.append(messages)
            await trio.sleep(6)
            s.answer = after(0.5)
            a = await s.start("ra")
            start = trio.current_time()
            awake = []
            while len(s.seen) < 300:
                awake.append(a.engine._registry.awake)
                await trio.sleep(0.01)
            # An actor counts as awake a turn after it started, so two bursts may be on their way.
            assert BACKLOG_MAX / 2 < max(awake) <= BACKLOG_MAX + 2 * BURST
            # Every slot stays busy, in the order of who waits longest.
            assert trio.current_time() - start <= 300 / 100 * 0.5
            places = [int(sent.user.removeprefix("user-")) for sent in s.seen]
            assert len(set(places)) == len(places)
            assert max(places) <= len(places) + BACKLOG_MAX + 2 * BURST

    run(main)
