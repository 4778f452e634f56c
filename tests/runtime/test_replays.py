"""Sending all dead letters again: a job of one replica, watched and stopped from any."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from actor_queue.runtime.replays import LOOK_S
from actor_queue.store.api import DeadLetter, StoreUnavailable
from actor_queue.store.base import Spoilt
from actor_queue.store.lists_api import EVERY_LETTER
from actor_queue.store.replay import SILENT_MS
from actor_queue.store.replay_api import ReplayJob
from tests.runtime.harness import GONE, Replica, Sent, Stage, in_turn, run, stage

PAGE = 10
MANY = 8 * PAGE + 2
FEW = 2 * PAGE + 2
SETTLED_S = 12


@pytest.fixture(autouse=True)
def small_pages() -> Iterator[None]:
    """So that a job of not so many letters lasts longer than its beginner waits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actor_queue.runtime.replays.PAGE", PAGE)
        yield


async def letters(replica: Replica) -> list[str]:
    """The ids of all dead letters, oldest first."""
    ids: list[str] = []
    cursor: str | None = None
    while True:
        page = await replica.engine.dead(100, cursor)
        ids += [letter.id for letter in page.letters]
        cursor = page.cursor
        if cursor is None:
            return ids[::-1]


async def bury(s: Stage, a: Replica, count: int) -> list[str]:
    """As many dead letters, oldest first."""
    s.answer = in_turn(*[GONE] * count)
    for number in range(count):
        await a.post(f"user-{number % 20}", f"{number}", ttl_s=0)
        await trio.sleep(0.05)
    await trio.sleep(SETTLED_S)
    ids = await letters(a)
    assert len(ids) == count
    return ids


async def some_replayed(replica: Replica) -> None:
    """Until the job has queued something."""
    while not ((job := await replica.engine.replay_job()) and job.replayed):
        await trio.sleep(0.05)


def sent_after(seen: list[Sent], at: float) -> list[str]:
    return [sent.batch.id for sent in seen if sent.at >= at]


def test_a_small_job_is_over_when_it_is_answered_and_takes_the_oldest_first() -> None:
    async def main() -> None:
        async with stage(shards=2) as s:
            a = await s.start("ra")
            ids = await bury(s, a, 7)
            await a.engine.hold("user-2", 3_600_000)
            await a.engine.dead_replay(ids[2])  # it stays queued as long as the hold lasts
            asked = trio.current_time()
            taken: list[str] = []
            real = a.engine.store.dead_queue

            async def heard(letter: DeadLetter) -> bool:
                taken.append(letter.id)
                return await real(letter)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(a.engine.store, "dead_queue", heard)
                job = await a.engine.replay_all()
            others = [each for each in ids if each != ids[2]]
            assert taken == others
            assert (job.state, job.total, job.replayed, job.passed_over) == ("done", 6, 6, 0)
            await trio.sleep(1)
            assert sorted(sent_after(s.seen, asked)) == sorted(others)
            assert await letters(a) == [ids[2]]
            assert await a.engine.replay_job() == job
            again = await a.engine.replay_all()
            assert (again.state, again.total) == ("done", 0)
            assert again.id != job.id

    run(main)


def test_a_long_job_is_answered_at_once_and_watched_and_joined_at_any_replica() -> None:
    async def main() -> None:
        async with stage(shards=2) as s:
            a, b = await s.start("ra"), await s.start("rb")
            await trio.sleep(20)
            ids = await bury(s, a, MANY)
            asked = trio.current_time()

            seen: list[ReplayJob] = []

            async def watch() -> None:
                while True:
                    await trio.sleep(0.2)
                    job = await b.engine.replay_job()
                    if job is not None:
                        seen.append(job)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                job = await a.engine.replay_all()
                joined = await b.engine.replay_all()
                assert joined.id == job.id
                await trio.sleep(SETTLED_S)
                nursery.cancel_scope.cancel()
            assert [each.replayed for each in seen] == sorted(each.replayed for each in seen)
            assert {each.state for each in seen} == {"running", "done"}
            assert any(0 < each.replayed < MANY for each in seen)
            assert (seen[-1].total, seen[-1].replayed) == (MANY, MANY)
            assert sorted(sent_after(s.seen, asked)) == sorted(ids)

    run(main)


def test_a_job_that_is_stopped_leaves_the_rest_where_it_is() -> None:
    async def main() -> None:
        async with stage(shards=2) as s:
            a, b = await s.start("ra"), await s.start("rb")
            await trio.sleep(20)
            ids = await bury(s, a, MANY)

            async def stop() -> None:
                await some_replayed(b)
                stopped = await b.engine.replay_stop()
                assert stopped is not None
                assert stopped.state == "stopping"

            async with trio.open_nursery() as nursery:
                nursery.start_soon(stop)
                await a.engine.replay_all()
            await trio.sleep(SETTLED_S)
            job = await b.engine.replay_job()
            assert job is not None
            assert job.state == "stopped"
            assert 0 < job.replayed < MANY
            assert len(await letters(a)) == len(ids) - job.replayed

    run(main)


async def crashed_in_the_middle(a: Replica, b: Replica) -> ReplayJob:
    """What `b` knows of a job of `a`, which died doing it."""

    async def crash() -> None:
        await some_replayed(b)
        await a.crash()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(crash)
        await trio.sleep(0.01)
        nursery.start_soon(a.engine.replay_all)
        await trio.sleep(SILENT_MS / 1000 / 2)
        nursery.cancel_scope.cancel()
    job = await b.engine.replay_job()
    assert job is not None
    assert 0 < job.replayed < FEW
    return job


def test_a_job_whose_replica_died_is_taken_up_by_another_one_and_goes_on_counting() -> None:
    async def main() -> None:
        async with stage(shards=2) as s:
            a, b = await s.start("ra"), await s.start("rb")
            await trio.sleep(20)
            ids = await bury(s, a, FEW)
            asked = trio.current_time()
            job = await crashed_in_the_middle(a, b)
            assert job.state == "running"
            seen = [job]
            for _ in range(int(SILENT_MS / 1000 + 2 * LOOK_S) * 2):
                await trio.sleep(0.5)
                seen.append(await b.engine.replay_job() or job)
            assert set(ids) == set(sent_after(s.seen, asked))
            ids_seen = list(dict.fromkeys(each.id for each in seen))
            assert len(ids_seen) == 2, "one replica takes it up"
            assert {each.state for each in seen} == {"running", "abandoned", "done"}
            numbers = [each.replayed for each in seen]
            assert numbers == sorted(numbers)
            assert (seen[-1].state, seen[-1].replayed) == ("done", seen[-1].total)
            assert await letters(b) == []

    run(main)


def test_a_job_that_was_asked_to_stop_is_stopped_when_its_replica_dies_and_not_taken_up() -> None:
    async def main() -> None:
        async with stage(shards=2) as s:
            a, b = await s.start("ra"), await s.start("rb")
            await trio.sleep(20)
            await bury(s, a, FEW)
            job = await crashed_in_the_middle(a, b)
            assert await b.engine.replay_stop() is not None
            await trio.sleep(SILENT_MS / 1000 + 2 * LOOK_S)
            stopped = await b.engine.replay_job()
            assert stopped is not None
            assert (stopped.id, stopped.state) == (job.id, "stopped")
            assert len(await letters(b)) > 0

    run(main)


def test_a_replica_that_was_frozen_hears_that_its_job_is_another_s_and_queues_no_more() -> None:
    async def main() -> None:
        async with stage(shards=2) as s:
            a, b = await s.start("ra"), await s.start("rb")
            await trio.sleep(20)
            ids = await bury(s, a, FEW)
            asked_by_a: list[str] = []
            real = a.engine.store.dead_queue

            async def frozen(letter: DeadLetter) -> bool:
                asked_by_a.append(letter.id)
                await trio.sleep(SILENT_MS / 1000 + 2 * LOOK_S)
                return await real(letter)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(a.engine.store, "dead_queue", frozen)
                job = await a.engine.replay_all(EVERY_LETTER, 1)
                # One letter a second: the other replica is not half done when this one goes on.
                await trio.sleep(SILENT_MS / 1000 + 2 * LOOK_S + FEW)
            assert asked_by_a == ids[:1]
            known = await b.engine.replay_job()
            assert known is not None
            assert known.id != job.id
            assert (known.state, known.replayed) == ("done", FEW)
            assert await letters(b) == []

    run(main)


def test_a_job_waits_for_a_store_that_is_away_and_goes_on() -> None:
    async def main() -> None:
        async with stage(shards=2) as s:
            a = await s.start("ra")
            await bury(s, a, 5)
            fail = iter([True, True, False])
            real = a.engine.store.dead_queue

            async def sometimes(letter: DeadLetter) -> bool:
                if next(fail, False):
                    raise StoreUnavailable("away")
                return await real(letter)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(a.engine.store, "dead_queue", sometimes)
                await a.engine.replay_all()
                await trio.sleep(SETTLED_S)
            job = await a.engine.replay_job()
            assert job is not None
            assert (job.state, job.replayed) == ("done", 5)

    run(main)


def test_a_letter_that_cannot_be_queued_is_passed_over_and_stops_nobodys() -> None:
    async def main() -> None:
        async with stage(shards=2) as s:
            a = await s.start("ra")
            ids = await bury(s, a, 5)
            real = a.engine.store.dead_queue

            async def but_one(letter: DeadLetter) -> bool:
                if letter.id == ids[1]:
                    raise Spoilt("another kind of value")
                return await real(letter)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(a.engine.store, "dead_queue", but_one)
                job = await a.engine.replay_all()
            assert (job.state, job.replayed, job.passed_over) == ("done", 4, 1)
            await trio.sleep(SETTLED_S)
            assert await letters(a) == [ids[1]]

    run(main)


def test_a_job_that_stalled_too_long_gives_way_to_the_next_one_of_the_same_replica() -> None:
    async def main() -> None:
        async with stage(shards=2) as s:
            a = await s.start("ra")
            await bury(s, a, 5)
            real = a.engine.store.dead_queue
            away_until = trio.current_time() + SILENT_MS / 1000 + 5

            async def later(letter: DeadLetter) -> bool:
                if trio.current_time() < away_until:
                    raise StoreUnavailable("away")
                return await real(letter)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(a.engine.store, "dead_queue", later)
                first = await a.engine.replay_all()
                await trio.sleep(SILENT_MS / 1000)
                second = await a.engine.replay_all()
                assert second.id != first.id
                await trio.sleep(SETTLED_S)
            job = await a.engine.replay_job()
            assert job is not None
            assert (job.id, job.state) == (second.id, "done")
            assert await letters(a) == []

    run(main)
