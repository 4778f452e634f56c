"""Every attempt gets into the history, a moment later, and no attempt waits for it."""

from __future__ import annotations

import trio

from actor_queue.core.history import AttemptFilter, PastAttempt, has_mark, mark_of
from actor_queue.core.outcome import Failed
from actor_queue.core.settings import Settings
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.history import GATHER_S, PARCEL, WAITING_MAX, WAITS_S, History
from actor_queue.store.api import StoreUnavailable
from actor_queue.testing.memory import memory_store
from tests.runtime.harness import FAILED, GONE, Replica, Stage, in_turn, now_ms, run, stage, until

ALL = AttemptFilter()


async def remembered(replica: Replica) -> list[PastAttempt]:
    """Oldest first."""
    page = await replica.store.attempts(ALL, 1_000, None)
    assert page.cursor is None
    return list(page.attempts[::-1])


async def told(s: Stage, calls: int) -> None:
    await until(lambda: len(s.calls("attempts_add_v1")) >= calls)


def test_each_attempt_is_remembered_with_what_came_of_it() -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(1_000,)) as s:
            s.answer = in_turn(Failed("answered 503", 503, answer="try later"), GONE, takes_s=0.5)
            a = await s.start("ra")
            await a.post("ana", "oi", ttl_s=1, message_id="wamid.1")
            await a.post("ana", "oi 2", ttl_s=1)
            await trio.sleep(10)
            await a.post("ana", "tudo bem?", ttl_s=1)
            await trio.sleep(10)
            first, second, third = await remembered(a)
            batches = {sent.batch.id for sent in s.seen}
            assert {first.batch_id, third.batch_id} == batches
            assert [each.outcome for each in (first, second, third)] == [
                "failed", "dead", "delivered",
            ]  # fmt: skip
            assert [each.status for each in (first, second, third)] == [503, 410, 200]
            assert [each.number for each in (first, second, third)] == [1, 2, 1]
            assert (first.reason, third.reason) == ("answered 503", None)
            assert (first.user, first.replica, first.route) == ("ana", "ra", "default")
            assert (first.messages, third.messages, first.took_ms) == (2, 1, 500)
            assert has_mark(first, mark_of("wamid.1"))
            assert not has_mark(third, mark_of("wamid.1"))
            assert abs(first.at_ms - now_ms(s.seen[0].until)) <= 1

    run(main)


def test_many_attempts_are_told_of_together() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            for n in range(3 * PARCEL // 2):
                await a.post(f"u{n}", "oi", ttl_s=1)
            await trio.sleep(10)
            assert len(await remembered(a)) == 3 * PARCEL // 2
            assert len(s.calls("attempts_add_v1")) <= 3

    run(main)


def test_the_last_batch_of_the_schedule_is_dead_also_where_the_store_s_answer_is_lost() -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=()) as s:
            s.answer = in_turn(FAILED)
            a = await s.start("ra")
            a.runner.lose_answers(1, "bury")
            await a.post("ana", "oi", ttl_s=1)
            await trio.sleep(10)
            assert [each.outcome for each in await remembered(a)] == ["dead"]

    run(main)


def test_an_attempt_whose_verdict_nobody_takes_any_more_is_remembered_too() -> None:
    """A replica that was cut off calls the receiver once more: that is why it was called twice."""

    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            s.answer = in_turn(FAILED, takes_s=2)
            await a.post("ana", "oi", ttl_s=1)
            await until(lambda: bool(s.seen))
            a.runner.before = lambda name: take_lease(a) if name.startswith("retry") else None
            await trio.sleep(10)
            assert a.engine.counters.fenced == 1
            (first, *_) = await remembered(a)
            assert (first.outcome, first.number) == ("failed", 1)

    def take_lease(a: Replica) -> None:
        a.runner.before = lambda name: None
        a.runner.client.hset(a.store._keys.shards[0].lease, mapping={"nonce": "another's"})

    run(main)


def test_a_store_that_is_away_delays_the_history_and_loses_none_of_it() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            await a.post("ana", "oi", ttl_s=1)
            await until(lambda: len(s.calls("ack_v2")) == 1)
            s.down = True
            await trio.sleep(20)
            s.down = False
            await trio.sleep(5)
            (only,) = await remembered(a)
            assert abs(only.at_ms - now_ms(s.seen[0].until)) <= 10
            assert a.engine.counters.history_dropped == 0

    run(main)


def test_a_call_that_may_have_been_carried_out_is_not_repeated_but_counted() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            a.runner.lose_answers(1, "attempts_add")
            await a.post("ana", "oi", ttl_s=1)
            await trio.sleep(10)
            assert len(await remembered(a)) == 1
            assert a.engine.counters.history_dropped == 1

    run(main)


def test_a_store_that_stays_away_costs_a_bounded_number_of_attempts_in_memory() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            history = a.engine._history
            s.down = True
            for n in range(WAITING_MAX + 7):
                history.note(PastAttempt("ana", "b", n, "delivered", 200, None, 1, 1, 1, "ra"))
            assert a.engine.counters.history_dropped == 7
            await trio.sleep(WAITS_S + 5)
            s.down = False
            await trio.sleep(5)
            assert a.engine.counters.history_dropped == WAITING_MAX + 7
            assert await remembered(a) == []

    run(main)


def test_without_a_history_nothing_is_told_and_nothing_kept() -> None:
    async def main() -> None:
        async with stage(history=0) as s:
            a = await s.start("ra")
            await a.post("ana", "oi", ttl_s=1)
            await trio.sleep(10)
            assert s.calls("attempts_add_v1") == []
            assert await remembered(a) == []

    run(main)


def test_a_replica_that_stops_tells_of_its_last_attempts_first() -> None:
    async def main() -> None:
        async with stage() as s:
            s.answer = in_turn(takes_s=2)
            a = await s.start("ra")
            await a.post("ana", "oi", ttl_s=1)
            await until(lambda: bool(s.seen))
            await a.stop()
            assert len(await remembered(a)) == 1

    run(main)


def test_a_failing_store_is_asked_again_only_after_a_pause() -> None:
    async def main() -> None:
        store = memory_store(Settings(namespace="h"), now_ms)
        calls = []

        async def fails(attempts: object) -> None:
            calls.append(trio.current_time())
            raise StoreUnavailable("away", executed=False)

        store.attempts_add = fails  # type: ignore[method-assign, assignment]
        history = History(store, 10, Counters())
        history.note(PastAttempt("ana", "b", 1, "delivered", 200, None, 1, 1, 1, "ra"))
        with trio.move_on_after(10):
            await history.run()
        assert 5 <= len(calls) <= 10
        assert calls[0] == GATHER_S

    run(main)
