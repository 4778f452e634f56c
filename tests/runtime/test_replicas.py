"""Several replicas: crashes, leaving, joining, news, leases that are not ours any more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from actor_queue.core.horizon import HORIZON_S
from actor_queue.core.outcome import Delivered, Outcome
from actor_queue.core.ring import assign
from actor_queue.runtime.owner import EXPIRED_S
from actor_queue.runtime.recoverer import SWEEP_S, WITHIN_S
from actor_queue.store.base import ATTEMPT_MARGIN_MS
from actor_queue.store.keys import Keys
from tests.runtime.harness import (
    FAILED,
    GONE,
    Replica,
    Sent,
    Stage,
    after,
    in_turn,
    now_ms,
    run,
    stage,
    until,
    users_of_shards,
)

LEASE_S = 5.0
ROUNDS_S = 12.0
"""Two replicas have parted the shards after this long."""


async def two(s: Stage) -> tuple[Replica, Replica]:
    """Two replicas that have parted the shards."""
    a = await s.start("ra")
    b = await s.start("rb", shards=0)
    await trio.sleep(ROUNDS_S)
    assert a.engine.shards_owned + b.engine.shards_owned == s.settings.shards
    assert min(a.engine.shards_owned, b.engine.shards_owned) >= 1
    return a, b


def test_after_a_crash_another_takes_over_when_the_lease_has_run_out_and_not_before() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            await trio.sleep(7)
            await a.post("ana", "oi", ttl_s=1)
            await a.post("bea", "later", ttl_s=20)
            await a.crash()
            crashed = trio.current_time()
            renewed = s.calls("renew_v1")[-1].at
            b = await s.start("rb", shards=0)
            await b.post("ana", "more", ttl_s=0)
            await trio.sleep(30)
            s.check({"ana": ["oi", "more"], "bea": ["later"]})
            first, second = s.seen
            assert renewed + LEASE_S <= first.at <= renewed + LEASE_S + 2 * EXPIRED_S
            assert second.at == pytest.approx(crashed + 20, abs=0.001)

    run(main)


def test_an_attempt_cut_short_by_a_crash_is_repeated_with_the_same_id_after_its_limit() -> None:
    async def main() -> None:
        async with stage(webhook_timeout_ms=20_000) as s:
            a = await s.start("ra")
            s.answer = in_turn(None)
            await a.post("ana", "oi", ttl_s=1)
            await a.post("bea", "free", ttl_s=2)
            await trio.sleep(2.5)
            await a.crash()
            b = await s.start("rb", shards=0)
            await b.post("ana", "next", ttl_s=0)
            await trio.sleep(60)
            s.check({"ana": ["oi", "next"], "bea": ["free"]})
            first, again, following = s.of("ana")
            limit = first.at + 20 + ATTEMPT_MARGIN_MS / 1000
            assert again.at == pytest.approx(limit, abs=0.002)
            assert (again.batch.id, again.body) == (first.batch.id, first.body)
            assert following.at == pytest.approx(limit, abs=0.002)

    run(main)


def test_who_leaves_finishes_its_attempts_and_the_other_takes_over_without_delay() -> None:
    async def main() -> None:
        async with stage(shards=8) as s:
            a, b = await two(s)
            users = users_of_shards(8)
            slow = next(user for user in users if user_of(s, user) == "ra")

            async def answer(sent: Sent) -> Outcome:
                await trio.sleep(4 if sent.texts == ["slow"] else 0)
                return Delivered(200)

            s.answer = answer
            await b.post(slow, "slow", ttl_s=0)
            await trio.sleep(0.5)
            start = trio.current_time()
            for user in users:
                await b.post(user, "oi", ttl_s=0.5)
            await a.stop()
            assert trio.current_time() - start == pytest.approx(3.5, abs=0.02)
            await trio.sleep(10)
            s.check({user: ["slow"] * (user == slow) + ["oi"] for user in users})
            rest = [sent for sent in s.seen if sent.texts == ["oi"]]
            assert {sent.replica for sent in rest} == {"rb"}
            due = {user: start + (3.5 if user == slow else 0.5) for user in users}
            for sent in rest:
                assert sent.at == pytest.approx(due[sent.user], abs=0.001)
            assert a.engine.counters.delivered == 1 + sum(sent.replica == "ra" for sent in rest)

    run(main)


def test_nobody_waits_for_the_requests_of_a_replica_that_stops() -> None:
    async def main() -> None:
        async with stage(shards=8) as s:
            a, b = await two(s)
            users = users_of_shards(8)
            start = trio.current_time()
            for user in users:
                await b.post(user, "oi", ttl_s=1)
            await a.engine.hand_over()
            assert trio.current_time() - start < 0.01
            await a.post("late", "of a request that was under way", ttl_s=2)
            await trio.sleep(3)
            for sent in s.seen:
                assert sent.replica == "rb"
                assert sent.at - start == pytest.approx(2 if sent.user == "late" else 1, abs=0.001)
            assert len(s.seen) == 9
            await a.stop()

    run(main)


def test_of_several_that_leave_together_who_stays_takes_everything_at_once() -> None:
    async def main() -> None:
        async with stage(shards=12) as s:
            replicas = [
                await s.start(name, shards=12 if name == "ra" else 0)
                for name in ["ra", "rb", "rc", "rd"]
            ]
            await trio.sleep(2 * ROUNDS_S)
            assert min(replica.engine.shards_owned for replica in replicas) >= 1
            users = users_of_shards(12)
            start = trio.current_time()
            for user in users:
                await replicas[0].post(user, "oi", ttl_s=0.5)
            async with trio.open_nursery() as nursery:
                for replica in replicas[1:]:
                    nursery.start_soon(replica.stop)
            await trio.sleep(0.1)
            assert replicas[0].engine.shards_owned == 12
            await trio.sleep(1)
            assert s.times(start) == pytest.approx([0.5] * 12, abs=0.001)

    run(main)


def test_a_shard_that_one_newcomer_moves_and_the_next_one_moves_back_stays_where_it_is() -> None:
    """Of these four the ring gives shard 0 to the first, and without the fourth to the second."""
    names = ["r9381", "r986", "r9470", "r9756"]
    owners = [assign(names[:count], 5)[0] for count in (2, 3, 4)]
    assert owners == [names[0], names[1], names[0]]

    async def main() -> None:
        async with stage(shards=5) as s:
            first = await s.start(names[0])
            await s.start(names[1], shards=0)
            await trio.sleep(2 * ROUNDS_S)
            user = users_of_shards(5)[0]
            assert user_of(s, user) == names[0]
            await s.start(names[2], shards=0)
            await until(lambda: len(first.engine._owner.members) == 3)
            await trio.sleep(0.5)
            await s.start(names[3], shards=0)
            for _ in range(120):
                await first.post(user, "oi", ttl_s=0.05)
                await trio.sleep(0.1)
            late_ms = [sent.batch.closed_at_ms - sent.batch.due_at_ms for sent in s.seen]
            assert len(late_ms) == 120
            assert max(late_ms) < 20

    run(main)


def user_of(s: Stage, user: str) -> str:
    """Which replica may claim for `user`."""
    shard = users_of_shards(s.settings.shards).index(user)
    (owner,) = [
        replica.name for replica in s.replicas if replica.engine._owner.claimable(shard) is not None
    ]
    return owner


def test_outcomes_of_attempts_under_way_are_recorded_although_the_shard_moved_to_a_newcomer() -> (
    None
):
    async def main() -> None:
        async with stage(shards=12, retry_schedule_ms=(2_000,)) as s:
            a = await s.start("ra")
            users = users_of_shards(12)
            outcomes: list[Outcome] = [Delivered(200), FAILED, GONE]

            async def answer(sent: Sent) -> Outcome:
                if sent.replica == "ra" and len(s.of(sent.user)) == 1:
                    await trio.sleep(20)
                    return outcomes[users.index(sent.user) % 3]
                return Delivered(200)

            s.answer = answer
            for user in users:
                await a.post(user, "first", ttl_s=0)
            await trio.sleep(0.1)
            start = trio.current_time()
            b = await s.start("rb", shards=0)
            await trio.sleep(ROUNDS_S)
            moved = [user for user in users if user_of(s, user) == "rb"]
            assert {users.index(user) % 3 for user in moved} == {0, 1, 2}
            for user in users:
                await b.post(user, "second", ttl_s=1)
            await trio.sleep(40)
            s.check({user: ["first", "second"] for user in users})
            for user in moved:
                first, *_, last = s.of(user)
                assert first.until is not None
                assert first.replica == "ra"
                assert last.replica == "rb"
                failed = users.index(user) % 3 == 1
                assert len(s.of(user)) == 2 + failed
                retry_s = (1.6, 2.401) if failed else (0, 0.001)
                assert first.until == pytest.approx(start - 0.1 + 20, abs=0.01)
                assert retry_s[0] <= s.of(user)[1].at - first.until <= retry_s[1]
            letters = {letter.user for letter in (await b.engine.dead(50, None)).letters}
            assert letters == set(users[2::3])
            assert a.engine.counters.delivered >= 4
            assert a.engine.counters.dead == 4
            assert a.engine.counters.failed == 8
            assert a.engine.counters.fenced == 0

    run(main)


@pytest.mark.parametrize("ttl_s", [0, 1, 5])
def test_a_message_through_the_wrong_replica_goes_in_time_because_the_owner_is_told(
    ttl_s: float,
) -> None:
    async def main() -> None:
        async with stage(shards=6) as s:
            replicas = dict(zip(("ra", "rb"), await two(s), strict=True))
            users = users_of_shards(6)
            start = trio.current_time()
            for user in users:
                wrong = "rb" if user_of(s, user) == "ra" else "ra"
                await replicas[wrong].post(user, "oi", ttl_s=ttl_s)
            await trio.sleep(ttl_s + 3)
            assert s.times(start) == pytest.approx([ttl_s] * 6, abs=0.001)
            assert {sent.replica for sent in s.seen} == {"ra", "rb"}

    run(main)


@pytest.mark.parametrize("ttl_s", [0, 1, 5])
def test_if_the_news_is_lost_the_sweep_makes_up_for_it(ttl_s: float) -> None:
    async def main() -> None:
        async with stage(shards=6) as s:
            replicas = dict(zip(("ra", "rb"), await two(s), strict=True))
            for replica in replicas.values():
                replica.runner.deaf = True
            users = users_of_shards(6)
            start = trio.current_time()
            for user in users:
                wrong = "rb" if user_of(s, user) == "ra" else "ra"
                await replicas[wrong].post(user, "oi", ttl_s=ttl_s)
            await trio.sleep(ttl_s + 5)
            assert len(s.seen) == 6
            # Nobody who was due beyond the sweep's look ahead is late at all.
            allowed_s = 0.001 if ttl_s > WITHIN_S else SWEEP_S + 0.001
            # The server counts whole milliseconds.
            assert all(ttl_s - 0.001 < at <= ttl_s + allowed_s for at in s.times(start))

    run(main)


def test_nobody_is_told_of_a_step_for_which_no_owner_would_set_a_timer() -> None:
    async def main() -> None:
        async with stage(shards=6) as s:
            replicas = dict(zip(("ra", "rb"), await two(s), strict=True))
            user = users_of_shards(6)[0]
            owner = replicas[user_of(s, user)]
            wrong = replicas["rb" if owner.name == "ra" else "ra"]
            owner.runner.heard.clear()
            await wrong.post(user, "oi", ttl_s=HORIZON_S + 0.001)
            await trio.sleep(0.1)
            assert owner.runner.heard == []
            await wrong.post(user, "oi", ttl_s=HORIZON_S - 0.1)
            await trio.sleep(0.05)
            assert len(owner.runner.heard) == owner.engine.actors == 1

    run(main)


def test_a_replica_whose_lease_was_taken_starts_no_attempt_until_it_has_it_again() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            await trio.sleep(0.1)
            await a.post("ana", "oi", ttl_s=0.5)
            seize(a, s, for_s=4)
            seized = trio.current_time()
            await trio.sleep(3.9)
            assert s.seen == []
            assert a.engine.counters.fenced >= 1
            assert len(s.calls("claim_v4")) == 1
            await trio.sleep(5)
            assert s.texts() == [["oi"]]
            assert 4 <= s.seen[0].at - seized <= 4 + 2 * EXPIRED_S

    run(main)


def test_a_retry_of_a_replica_whose_lease_was_taken_is_not_recorded_nor_its_batch_lost() -> None:
    async def main() -> None:
        async with stage(webhook_timeout_ms=10_000, retry_schedule_ms=(1_000,)) as s:
            a = await s.start("ra")
            s.answer = in_turn(FAILED, takes_s=1)
            await a.post("ana", "oi", ttl_s=0)
            await trio.sleep(0.1)
            seize(a, s, for_s=4)
            await trio.sleep(40)
            first, second = s.seen
            assert a.engine.counters.failed == 0
            assert second.at == pytest.approx(first.at + 11, abs=0.01)
            assert second.batch.id == first.batch.id

    run(main)


def seize(a: Replica, s: Stage, for_s: float) -> None:
    """Another replica holds shard 0, whatever `a` believes."""
    a.runner.client.hset(
        Keys(s.settings.namespace, s.settings.shards).shards[0].lease,
        mapping={
            "owner": "r-other",
            "epoch": now_ms(),
            "nonce": "another",
            "until": now_ms() + round(for_s * 1000),
        },
    )


def test_a_replica_that_was_frozen_for_longer_than_its_lease_claims_nothing_before_renewing() -> (
    None
):
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            await trio.sleep(0.1)
            await a.post("ana", "oi", ttl_s=0.5)
            woke = trio.current_time()
            a.skew_s += LEASE_S
            await a.post("bea", "oi", ttl_s=0)
            await trio.sleep(0.05)
            assert s.calls("claim_v4") == s.calls("renew_v1", woke) == []
            await until(lambda: bool(s.calls("renew_v1", woke)))
            await trio.sleep(SWEEP_S)
            renewed = s.calls("renew_v1", woke)[0].at
            assert len(s.seen) == 2
            assert all(claim.at >= renewed for claim in s.calls("claim_v4"))

    run(main)


def frozen_after_claim(a: Replica, then: Callable[[], None] = lambda: None) -> None:
    """The next claim's answer finds a process that was stopped for as long as its lease lasts."""

    def freeze(name: str) -> None:
        if name == "claim_v4":
            a.runner.after = lambda name: None
            a.skew_s += LEASE_S
            then()

    a.runner.after = freeze


def test_a_replica_that_was_frozen_after_its_claim_makes_the_attempt_once_it_has_renewed() -> None:
    async def main() -> None:
        async with stage(webhook_timeout_ms=6_000) as s:
            a = await s.start("ra")
            frozen_after_claim(a)
            await a.post("ana", "oi", ttl_s=0)
            claimed = trio.current_time()
            await until(lambda: bool(s.seen))
            (sent,) = s.seen
            renewed = s.calls("renew_v1", claimed)[0].at
            assert renewed <= sent.at <= renewed + 0.1
            await trio.sleep(20)
            assert len(s.seen) == len(s.calls("claim_v4")) == 1

    run(main)


def test_a_replica_whose_lease_was_taken_after_its_claim_starts_no_attempt() -> None:
    async def main() -> None:
        async with stage(webhook_timeout_ms=6_000) as s:
            a = await s.start("ra")
            frozen_after_claim(a, lambda: seize(a, s, for_s=2))
            await a.post("ana", "oi", ttl_s=0)
            claimed = trio.current_time()
            await trio.sleep(20)
            (sent,) = s.seen
            # The attempt that was granted and never made is over at its limit.
            assert sent.at == pytest.approx(claimed + 7, abs=0.01)

    run(main)


def test_two_crashes_in_a_row_lose_and_double_nothing() -> None:
    async def main() -> None:
        async with stage(shards=4, webhook_timeout_ms=3_000, lease_ttl_ms=2_000) as s:
            users = users_of_shards(4)
            s.answer = after(0.7)
            told: dict[str, list[str]] = {user: [] for user in users}
            for turn, name in enumerate(("ra", "rb", "rc")):
                replica = await s.start(name, shards=0)
                for number in range(4):
                    for user in users:
                        told[user].append(f"{turn}-{number}")
                        await replica.post(user, f"{turn}-{number}", ttl_s=0.4)
                    await trio.sleep(0.9)
                if name != "rc":
                    await replica.crash()
            await trio.sleep(30)
            s.check(told)

    run(main)
