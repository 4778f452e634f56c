"""`AQ_DEAD_RETENTION` and the numbers of what waits, kept by whoever owns the shards."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import trio

from actor_queue.core.conversation import Conversation
from actor_queue.core.routes import Route
from actor_queue.core.upkeep import DAY_MS, Sizes, old_every_s
from actor_queue.runtime import upkeep, waiting
from actor_queue.runtime.upkeep import LOOK_S, PAGE
from tests.runtime.harness import GONE, in_turn, now_ms, run, stage, taken, until


def test_old_dead_letters_are_looked_for_a_twentieth_of_their_time_and_at_least_each_minute() -> (
    None
):
    assert old_every_s(30 * DAY_MS) == 60
    assert old_every_s(100_000) == 5
    assert old_every_s(1) == 1


def test_dead_letters_go_when_their_days_are_over_also_many_and_after_a_change_of_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upkeep, "PAGE", 10)

    async def main() -> None:
        many = 45
        async with stage(shards=2, dead_retention_days=0.002) as s:
            kept_s = 0.002 * DAY_MS / 1000
            a = await s.start("ra")
            s.answer = in_turn(*[GONE] * many)
            start = trio.current_time()
            for number in range(many):
                await a.post(f"user-{number}", "oi", ttl_s=0)
            await until(lambda: a.engine.counters.dead == many)
            await trio.sleep(2 * LOOK_S)
            assert a.engine.sizes == Sizes(dead=many)
            await a.crash()
            b = await s.start("rb")
            await trio.sleep(kept_s - (trio.current_time() - start) - 1)
            assert b.engine.counters.dead_expired == 0
            assert b.engine.sizes.dead == many
            await trio.sleep(1 + old_every_s(round(kept_s * 1000)) + LOOK_S + 2)
            assert b.engine.counters.dead_expired == many
            assert b.engine.sizes.dead == 0
            assert (await b.engine.dead(10, None)).letters == ()

    run(main)


def test_without_a_retention_dead_letters_stay_for_ever() -> None:
    async def main() -> None:
        async with stage(lease_ttl_ms=60_000) as s:
            a = await s.start("ra")
            s.answer = in_turn(GONE)
            await a.post("ana", "oi", ttl_s=0)
            await trio.sleep(300)
            assert a.engine.sizes.dead == 1
            assert s.calls("dead_old_v1") == []

    run(main)


def test_each_replica_counts_its_own_shards_so_that_the_sum_is_the_whole() -> None:
    async def main() -> None:
        async with stage(shards=8) as s:
            a = await s.start("ra")
            b = await s.start("rb", shards=1)
            s.answer = taken
            for number in range(100):
                await a.post(f"user-{number}", "oi", ttl_s=100 if number < 40 else 1_000)
            await until(lambda: a.engine.shards_owned == 4)
            await trio.sleep(2 * LOOK_S)
            both = [each.engine.sizes for each in (a, b)]
            assert all(sizes.waiting for sizes in both)
            assert sum(sizes.waiting for sizes in both) == 100
            assert sum(sizes.due_soon for sizes in both) == 40

    run(main)


def test_what_stands_in_the_index_without_a_letter_goes_and_what_others_wrote_hides_nothing() -> (
    None
):
    async def main() -> None:
        async with stage(shards=1, dead_retention_days=0.001) as s:
            a = await s.start("ra")
            s.answer = in_turn(*[GONE] * 3)
            for user in ("ana", "bia", "caio"):
                await a.post(user, "oi", ttl_s=0)
            await until(lambda: a.engine.counters.dead == 3)
            client, keys = a.runner.client, a.store._keys.shards[0]
            ghost, broken, _ = [each.id for each in (await a.engine.dead(3, None)).letters]
            client.delete(*keys.letter(ghost))
            client.delete(keys.letter(broken)[0])
            client.set(keys.letter(broken)[0], "no letter")
            foreign = {b"\xff%d" % n: n for n in range(PAGE)} | {b"b0001" + b"0" * 20: 0}
            client.zadd(keys.dead, foreign)  # type: ignore[arg-type]
            await trio.sleep(86.4 + 20)
            left = set(client.zrange(keys.dead, 0, -1))
            assert left == {*foreign, broken.encode()}
            assert a.engine.counters.dead_expired == 2
            assert client.exists(*keys.letter(broken)) == 2, "what cannot be read is not deleted"

    run(main)


def test_a_letter_that_dies_again_between_the_look_and_the_deletion_stays() -> None:
    async def main() -> None:
        async with stage(shards=1, dead_retention_days=0.001) as s:
            a = await s.start("ra")
            s.answer = in_turn(GONE)
            await a.post("ana", "oi", ttl_s=0)
            await until(lambda: a.engine.counters.dead == 1)
            (letter,) = (await a.engine.dead(1, None)).letters
            dead = a.store._keys.shards[0].dead

            def bury_again(script: str) -> None:
                if script == "dead_expire_v1":
                    a.runner.client.zadd(dead, {letter.id: now_ms()})

            a.runner.before = bury_again
            await trio.sleep(100)
            assert s.calls("dead_expire_v1")
            assert [each.id for each in (await a.engine.dead(1, None)).letters] == [letter.id]
            assert a.engine.counters.dead_expired == 0

    run(main)


def test_numbers_are_unknown_and_not_0_until_every_shard_of_ours_was_looked_at() -> None:
    async def main() -> None:
        async with stage(shards=2) as s:
            a = await s.start("ra")
            await a.post("ana", "oi", ttl_s=1_000)
            assert a.engine.sizes is None
            await trio.sleep(1.5)
            assert a.engine.sizes == Sizes(waiting=1)
            # A shard that comes from another replica is looked at soon, and is unknown until then.
            b = await s.start("rb")
            seen = []
            for _ in range(100):
                owners = [each.engine for each in (a, b) if each.engine.shards_owned]
                if all(each.sizes is not None for each in owners):
                    seen.append(sum(each.sizes.waiting for each in owners if each.sizes))
                await trio.sleep(0.1)
            assert set(seen) == {1}
            assert len(seen) > 80
            # While the store is away nobody knows.
            s.down = True
            await trio.sleep(30)
            assert (a.engine.sizes, b.engine.sizes) == (None, None)

    run(main)


def test_who_waits_is_counted_by_route_also_in_pages_and_an_unknown_route_has_no_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "PAGE", 7)
    monkeypatch.setattr(waiting, "PAGES_MAX", 3)

    async def main() -> None:
        async with stage(shards=2) as s:
            default = Route.default(s.settings)
            a = await s.start("ra")
            for number in range(50):
                await a.post(f"user-{number}", "oi", ttl_s=1_000)
            await trio.sleep(2 * LOOK_S)
            assert a.engine.waiting_by_route == {"default": 50}
            assert not s.calls("waiting_by_route_v1"), "with one route nothing is looked at"
            s.routes.replace([default, replace(default, name="vendas")])
            for route, users in (("vendas", 30), ("gone", 3)):
                for number in range(users):
                    key = Conversation(route, f"user-{number}").key
                    await a.post(key, "oi", ttl_s=1_000)
            assert a.engine.waiting_by_route is None, "not looked at yet"
            await trio.sleep(20 * LOOK_S)
            known = {"default": 50, "vendas": 30, "": 3}
            assert a.engine.waiting_by_route == known
            b = await s.start("rb", shards=1)
            await trio.sleep(20 * LOOK_S)
            both = [each.engine.waiting_by_route or {} for each in (a, b)]
            assert sum(map(Counter, both), start=Counter()) == known

    run(main)
