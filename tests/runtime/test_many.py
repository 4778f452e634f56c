"""Verbs for many at an engine: who is sent, what is dropped, and which dead letters come again."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from actor_queue.core.message import Message
from actor_queue.core.settings import Settings
from actor_queue.runtime import many
from actor_queue.runtime.many import Piece
from actor_queue.store.lists_api import DeadFilter, UserFilter
from actor_queue.testing.memory import memory_store
from tests.runtime.harness import GONE, Replica, Stage, in_turn, run, stage


async def bury(s: Stage, a: Replica, *users: str) -> None:
    s.answer = in_turn(*[GONE] * len(users))
    for user in users:
        await a.post(user, "x", ttl_s=0)
        await trio.sleep(0.1)
    await trio.sleep(5)


async def dead_users(a: Replica) -> list[str]:
    return sorted(letter.user for letter in (await a.engine.dead(100, None)).letters)


def test_a_flush_of_those_a_filter_names_sends_theirs_and_nobody_else_s() -> None:
    async def main() -> None:
        async with stage(shards=4) as s:
            a, b = await s.start("ra"), await s.start("rb", shards=2)
            for user in ("ana", "ana-2", "ana-3", "bia"):
                await a.post(user, "x", ttl_s=600)
            await b.engine.hold("ana-3", 60_000)
            wanted = UserFilter(user="ana")
            dry = await a.engine.do_for_many("flush", wanted, Piece(dry_run=True), 0)
            assert (dry.matched, dry.messages, dry.passed_over) == (2, 2, 1)
            await trio.sleep(5)
            assert s.texts() == []
            # Whichever replica owns the shards, the one that was asked brings it about.
            done = await a.engine.do_for_many("flush", wanted, Piece(dry_run=False), 0)
            assert (done.matched, done.messages, done.passed_over, done.cursor) == (2, 2, 1, None)
            await trio.sleep(5)
            assert sorted(sent.user for sent in s.seen) == ["ana", "ana-2"]

    run(main)


def test_dead_letters_are_dropped_by_filter_and_a_dry_run_drops_none() -> None:
    async def main() -> None:
        async with stage(shards=4) as s:
            a = await s.start("ra")
            await bury(s, a, "ana", "ana-2", "bia")
            wanted = DeadFilter(user="ana", status=410)
            dry = await a.engine.drop_many_dead(wanted, Piece(dry_run=True))
            assert (dry.matched, dry.messages) == (2, 2)
            assert await dead_users(a) == ["ana", "ana-2", "bia"]
            assert (await a.engine.drop_many_dead(wanted, Piece(dry_run=False))).matched == 2
            assert await dead_users(a) == ["bia"]
            first = await a.engine.drop_many_dead(wanted, Piece(dry_run=False))
            assert (first.matched, first.cursor) == (0, None)

    run(main)


def test_a_piece_ends_at_its_limit_and_the_next_one_goes_on_there() -> None:
    async def main() -> None:
        async with stage(shards=4) as s:
            a = await s.start("ra")
            await bury(s, a, "ana", "bia", "caio")
            some = Piece(dry_run=False, limit=2)
            first = await a.engine.drop_many_dead(DeadFilter(), some)
            assert first.matched == 2
            rest = Piece(dry_run=False, limit=2, cursor=first.cursor)
            last = await a.engine.drop_many_dead(DeadFilter(), rest)
            assert (last.matched, last.cursor) == (1, None)

    run(main)


def test_a_replay_sends_those_a_filter_names_and_whoever_takes_it_up_keeps_to_that() -> None:
    async def main() -> None:
        async with stage(shards=4) as s:
            a = await s.start("ra")
            await bury(s, a, *[f"ana-{i}" for i in range(4)], "bia")
            wanted = DeadFilter(user="ana")
            count = await a.engine.replay_count(wanted, None)
            assert (count.matched, count.messages, count.cursor) == (4, 4, None)
            sent_before = len(s.seen)
            job = await a.engine.replay_all(wanted, 1)
            assert (job.wanted, job.per_second, job.state) == (wanted, 1, "running")
            other = await a.engine.replay_all(DeadFilter(user="bia"), 500)
            assert other.wanted == wanted, "another one is not begun beside it"
            await a.crash()
            b = await s.start("rb")
            await trio.sleep(60)
            known = await b.engine.replay_job()
            assert known is not None
            assert (known.state, known.wanted) == ("done", wanted)
            again = {sent.user for sent in s.seen[sent_before:]}
            assert again == {f"ana-{i}" for i in range(4)}
            assert await dead_users(b) == ["bia"]

    run(main)


def test_a_replay_keeps_to_its_pace() -> None:
    async def main() -> None:
        async with stage(shards=4) as s:
            a = await s.start("ra")
            await bury(s, a, *[f"u{i}" for i in range(6)])
            sent_before, began = len(s.seen), trio.current_time()
            await a.engine.replay_all(DeadFilter(), 2)
            await trio.sleep(20)
            sent = s.seen[sent_before:]
            assert len(sent) == 6
            assert sent[-1].at - began > 2.4

    run(main)


def test_verbs_for_many_pause_between_pages(autojump_clock: trio.testing.MockClock) -> None:
    async def main() -> None:
        settings = Settings(shards=2)
        store = memory_store(settings, clock=lambda: 1_000 + int(trio.current_time() * 1_000))
        users = [f"u{i}" for i in range(2 * many.TOGETHER + 1)]
        await store.append([Message(user, b"{}", 600_000, user, False) for user in users])
        began = trio.current_time()
        done = await many.many_users(store, store, "hold", UserFilter(), Piece(False), 9_000)
        assert done.matched == len(users)
        assert trio.current_time() - began >= 2 * many.PAUSE_S

    trio.run(main, clock=autojump_clock)


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0)
