"""What every store must do, by example: lists with filters, and how little one page looks at."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from actor_queue.core.shard import shard_of
from actor_queue.store.api import DeadLetter, UserView
from actor_queue.store.lists_api import LOOKED_AT_MAX, DeadFilter, UserFilter
from actor_queue.transport.runner import Call
from tests.store.stage import Stage, scenario

SHARDS = 16


async def everybody(s: Stage, wanted: UserFilter | None = None, limit: int = 7) -> list[UserView]:
    found: list[UserView] = []
    cursor = None
    while True:
        page = await s.store.users(wanted, limit, cursor)
        assert len(page.users) <= limit
        found += page.users
        cursor = page.cursor
        if cursor is None:
            return found


async def every_letter(s: Stage, wanted: DeadFilter, limit: int = 2) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    cursor = None
    while True:
        page = await s.store.dead(limit, cursor, wanted)
        assert len(page.letters) <= limit
        found += page.letters
        cursor = page.cursor
        if cursor is None:
            return found


class ListConformance:
    """The verbs `users` and `dead`, with filters."""

    @pytest.mark.parametrize("shards", [1, 3, SHARDS])
    @pytest.mark.parametrize("limit", [1, 5, 1_000])
    def test_a_list_has_everybody_once_soonest_first_however_uneven_the_shards(
        self, shards: int, limit: int, opens: Any
    ) -> None:
        @scenario(shards=shards)
        async def paging(self: object, s: Stage) -> None:
            # Half of them are due in the same millisecond.
            ttl_of = {f"u{i}": 1_000 + i // 2 * (i % 3) for i in range(60)}
            await s.store.append([s.message("x", user=u, ttl_ms=t) for u, t in ttl_of.items()])
            found = await everybody(s, limit=limit)
            assert sorted(view.user for view in found) == sorted(ttl_of)
            assert [view.due_in_ms for view in found] == sorted(ttl_of.values())

        paging(self, opens)

    @scenario(shards=SHARDS)
    async def test_a_shard_that_has_all_the_soonest_users_comes_before_the_others(
        self, s: Stage
    ) -> None:
        names = [f"u{i}" for i in range(1_200)]
        soonest = [name for name in names if shard_of(name, SHARDS) == 5][:60]
        others = [name for name in names if shard_of(name, SHARDS) != 5][:40]
        order = soonest + others
        messages = [s.message("x", user=u, ttl_ms=1_000 + i) for i, u in enumerate(order)]
        await s.store.append(messages)
        # Each shard is asked for fewer than a page has.
        assert [view.user for view in await everybody(s, limit=50)] == order
        backwards: list[str] = []
        cursor = None
        while True:
            page = await s.store.users(None, 50, cursor, latest_first=True)
            backwards += [view.user for view in page.users]
            cursor = page.cursor
            if cursor is None:
                break
        assert backwards == order[::-1]

    @scenario(shards=SHARDS)
    async def test_a_user_is_found_by_what_its_name_begins_with(self, s: Stage) -> None:
        names = ["ana", "ana-2", "anabel", "bia", "an", "\u00e1na", "5511", "5512"]
        await s.store.append([s.message("x", user=name, ttl_ms=9) for name in names])
        for prefix in ("ana", "a", "\u00e1", "55", "x"):
            found = [view.user for view in await everybody(s, UserFilter(user=prefix), 2)]
            assert sorted(found) == sorted(name for name in names if name.startswith(prefix))

    @scenario(shards=SHARDS)
    async def test_filters_are_taken_together(self, s: Stage) -> None:
        await s.store.append([s.message("x", user=f"a{i}", ttl_ms=9_000) for i in range(6)])
        s.now.ms += 1_000
        since_ms = s.now.ms
        await s.store.append([s.message("x", user=f"b{i}", ttl_ms=9_000) for i in range(6)])
        for user in ("a1", "b1", "b2"):
            await s.store.hold(user, 5_000)

        async def names(**wanted: Any) -> list[str]:
            return sorted(view.user for view in await everybody(s, UserFilter(**wanted), 2))

        assert await names(state="held") == ["a1", "b1", "b2"]
        assert await names(state="held", user="b") == ["b1", "b2"]
        assert await names(since_ms=since_ms) == [f"b{i}" for i in range(6)]
        assert await names(since_ms=since_ms, state="held", user="b2") == ["b2"]
        assert await names(since_ms=since_ms + 1) == []

    @scenario()
    async def test_a_user_waits_since_its_oldest_message_that_is_not_settled(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        first_ms = s.now.ms

        async def since() -> int | None:
            return (await s.store.describe("ana")).waiting_since_ms

        assert await since() is None
        await s.send("a", ttl_ms=1_000)
        s.now.ms += 500
        await s.send("b", ttl_ms=1_000)
        assert await since() == first_ms, "the open window"
        await s.store.flush("ana")
        s.now.ms += 500
        await s.send("c", ttl_ms=0)
        assert await since() == first_ms, "a closed batch in the line"
        attempt = await s.attempt(lease)
        assert await since() == first_ms, "the batch in flight"
        await s.store.retry(lease, attempt, 1_000, 503, "answered 503")
        assert await since() == first_ms
        await s.store.ack(attempt, 200)
        assert await since() == first_ms + 1_000, "what came behind it"

    @scenario(shards=SHARDS)
    async def test_one_page_looks_at_a_bounded_number_of_entries(self, s: Stage) -> None:
        many = 2 * LOOKED_AT_MAX + 150
        for start in range(0, many, 400):
            batch = [s.message("x", user=f"u{i:05}", ttl_ms=i) for i in range(start, start + 400)]
            await s.store.append(batch[: many - start])
        asked: Counter[str] = Counter()
        run = s.store._runner.run

        async def counted(calls: list[Call]) -> list[object]:
            asked.update(call.script.name for call in calls)
            replies = await run(calls)
            entries = [
                len(reply) // 2
                for call, reply in zip(calls, replies, strict=True)
                if call.script.name == "page_v1" and isinstance(reply, list)
            ]
            asked["entries"] += sum(entries)
            return replies

        s.store._runner.run = counted
        page = await s.store.users(UserFilter(user="nobody"), 10, None)
        assert page.users == ()
        assert page.cursor is not None
        assert asked["describe_v3"] == 0, "nobody is read whose name does not fit"
        assert asked["entries"] <= 4 * LOOKED_AT_MAX
        asked.clear()
        page = await s.store.users(UserFilter(state="idle"), 10, None)
        assert (page.users, asked["describe_v3"]) == ((), LOOKED_AT_MAX)
        asked.clear()
        page = await s.store.users(UserFilter(state="held"), 10, None)
        assert page.cursor is not None
        assert asked["describe_v3"] == 0, "nobody is described who cannot be in that state"
        asked.clear()
        await s.store.users(None, 10, None)
        assert asked["describe_v3"] == 10
        assert asked["entries"] <= SHARDS * 10
        s.store._runner.run = run
        last = await everybody(s, UserFilter(user=f"u{many - 1:05}"), 10)
        assert [view.user for view in last] == [f"u{many - 1:05}"]

    @scenario()
    async def test_dead_letters_are_found_by_user_reason_status_and_time(self, s: Stage) -> None:
        names: dict[str, str] = {}
        reasons = [
            ("ana", 410, "answered 410"),
            ("ana-2", 503, "answered 503"),
            ("bia", 503, "answered 503"),
            ("caio", None, "connection refused"),
        ]
        times = []
        for user, status, reason in reasons:
            lease = await s.own(user=user)
            await s.send("x", user=user, ttl_ms=0)
            attempt = await s.attempt(lease, user=user)
            await s.store.bury(lease, attempt, status, reason)
            names[attempt.batch.id] = user
            times.append(s.now.ms)
            s.now.ms += 10

        async def users(**wanted: Any) -> list[str]:
            return [names[each.id] for each in await every_letter(s, DeadFilter(**wanted))]

        assert await users() == ["caio", "bia", "ana-2", "ana"]
        assert await users(user="ana") == ["ana-2", "ana"]
        assert await users(reason="answered") == ["bia", "ana-2", "ana"]
        assert await users(reason="answered 503") == ["bia", "ana-2"]
        assert await users(status=503, user="b") == ["bia"]
        assert await users(status=404) == []
        assert await users(since_ms=times[2]) == ["caio", "bia"]
        assert await users(since_ms=times[3] + 1) == []
