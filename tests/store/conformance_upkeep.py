"""What every store must do, by example: dead letters that are old, and how much a shard holds."""

from __future__ import annotations

from actor_queue.core.conversation import Conversation
from actor_queue.core.shard import shard_of
from actor_queue.core.upkeep import Expired, Sizes
from actor_queue.store.api import Lease
from tests.store.stage import Stage, scenario, texts

KEPT_MS = 10_000
PAGE = 100


class UpkeepConformance:
    """The verbs `dead_expire` and `sizes`."""

    async def expire(
        self, s: Stage, lease: Lease, limit: int = PAGE, passed: int = 0
    ) -> Expired | None:
        return await s.store.dead_expire(lease, KEPT_MS, limit, passed)

    @scenario()
    async def test_a_dead_letter_is_kept_for_its_time_and_then_leaves_nothing(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        before = s.dump()
        old = await s.bury_one(lease)
        s.now.ms += KEPT_MS - 1
        young = await s.bury_one(lease)
        assert await s.changes_nothing("dead_expire", lease, KEPT_MS, PAGE, 0) == (0, 0, False)
        s.now.ms += 1
        assert await self.expire(s, lease) == Expired(1, 0, more=False)
        assert await s.store.dead_letter(old) is None
        assert [each.id for each in (await s.store.dead(10, None)).letters] == [young]
        s.now.ms += KEPT_MS
        assert await self.expire(s, lease) == Expired(1, 0, more=False)
        of_user = {key for key in s.dump() if b":u:" in key or b":h:" in key}
        assert s.dump().keys() - of_user == before.keys(), "something of the letters is left"

    @scenario()
    async def test_a_dead_letter_whose_replay_is_queued_is_sent_however_old_it_is(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        name = await s.bury_one(lease)
        await s.store.hold("ana", 3_600_000)
        await s.store.dead_replay(name)
        s.now.ms += 2 * KEPT_MS
        assert await s.changes_nothing("dead_expire", lease, KEPT_MS, PAGE, 0) == (0, 1, False)
        await s.store.unhold("ana")
        assert texts(await s.attempt(lease)) == ["bad"]

    @scenario()
    async def test_a_letter_that_died_again_is_as_old_as_its_last_death(self, s: Stage) -> None:
        lease = await s.own(ttl_ms=10 * KEPT_MS)
        name = await s.bury_one(lease)
        s.now.ms += KEPT_MS - 1
        await s.store.dead_replay(name)
        await s.store.bury(lease, await s.attempt(lease), None, "again")
        s.now.ms += KEPT_MS - 1
        assert await s.changes_nothing("dead_expire", lease, KEPT_MS, PAGE, 0) == (0, 0, False)
        s.now.ms += 1
        assert await self.expire(s, lease) == Expired(1, 0, more=False)

    @scenario()
    async def test_who_lost_the_lease_deletes_nothing(self, s: Stage) -> None:
        lease = await s.own("r1", ttl_ms=100)
        name = await s.bury_one(lease)
        s.now.ms += 2 * KEPT_MS
        await s.own("r2")
        assert await s.changes_nothing("dead_expire", lease, KEPT_MS, PAGE, 0) is None
        assert await s.store.dead_letter(name) is not None

    @scenario()
    async def test_pages_go_on_behind_what_is_kept(self, s: Stage) -> None:
        lease = await s.own()
        (user,) = _neighbours("ana", 1)
        kept = await s.bury_one(lease, user=user)
        await s.store.hold(user, 3_600_000)
        await s.store.dead_replay(kept)
        names = []
        for _ in range(5):
            s.now.ms += 1
            names.append(await s.bury_one(lease))
        s.now.ms += KEPT_MS
        pages, passed = [], 0
        while True:
            page = await self.expire(s, lease, limit=2, passed=passed)
            assert page is not None
            pages.append((page.dropped, page.kept))
            passed += page.kept
            if not page.more:
                break
        assert pages == [(1, 1), (2, 0), (2, 0), (0, 0)][: len(pages)]
        assert sum(dropped for dropped, _ in pages) == 5
        assert [each.id for each in (await s.store.dead(10, None)).letters] == [kept]

    @scenario()
    async def test_a_shard_says_how_many_wait_how_many_of_them_soon_and_how_many_are_dead(
        self, s: Stage
    ) -> None:
        shard = shard_of("ana", 2)
        assert await s.changes_nothing("sizes", [0, 1], 1_000) == [Sizes(), Sizes()]
        lease = await s.own()
        await s.bury_one(lease)
        await s.bury_one(lease)
        for user, ttl_ms in zip(_neighbours("ana", 3), (0, 1_000, 1_001), strict=True):
            await s.send("a", user=user, ttl_ms=ttl_ms)
        (sizes,) = await s.changes_nothing("sizes", [shard], 1_000)
        assert sizes == Sizes(waiting=3, due_soon=2, dead=2)

    @scenario()
    async def test_a_shard_says_how_many_of_which_route_stand_at_some_places_of_its_index(
        self, s: Stage
    ) -> None:
        shard = shard_of("ana", 2)
        both = await s.changes_nothing("waiting_by_route", [0, 1], [0, 7], 10)
        assert both == [(0, {}), (0, {})]
        sold = (Conversation("vendas", f"u{n}").key for n in range(100))
        first, second = [key for key in sold if shard_of(key, 2) == shard][:2]
        for ttl_ms, user in enumerate([*_neighbours("ana", 3), first, second]):
            await s.send("a", user=user, ttl_ms=1_000 + ttl_ms)
        for begin, count, found in (
            (0, 10, (5, {"default": 3, "vendas": 2})),
            (0, 4, (4, {"default": 3, "vendas": 1})),
            (4, 4, (1, {"vendas": 1})),
            (5, 4, (0, {})),
        ):
            said = await s.changes_nothing("waiting_by_route", [shard], [begin], count)
            assert said == [found]


def _neighbours(user: str, count: int) -> list[str]:
    """Others of the user's shard, where there are two."""
    names = [name for name in map(str, range(100)) if shard_of(name, 2) == shard_of(user, 2)]
    return names[:count]
