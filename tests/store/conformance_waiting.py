"""What every store must do, by example: tell which messages it keeps for a user, texts and all, who
tells operators, and which sessions were signed out."""

from __future__ import annotations

from actor_queue.core.sessions import SESSION_S
from actor_queue.store.signed_out import CLOCKS_DIFFER_S
from actor_queue.store.signed_out_api import SIGNED_OUT_KEPT_MAX
from actor_queue.store.waiting_api import Waiting
from tests.store.stage import Stage, scenario, texts


class WaitingConformance:
    """The verbs `waiting`, `alert_turn`, `sign_out` and `signed_out`."""

    @scenario()
    async def test_what_is_kept_of_a_user_is_told_oldest_first_and_changes_nothing(
        self, s: Stage
    ) -> None:
        assert await s.store.waiting("ana") == Waiting(0, 0, ())
        lease = await s.own()
        await s.send("a")
        await s.send("b")
        await s.send("of another", user="rui")
        s.now.ms += 1_000
        await s.attempt(lease)
        await s.send("c")
        before = s.dump()
        kept = await s.store.waiting("ana")
        assert (kept.under_way, kept.waiting, kept.complete) == (2, 1, True)
        assert texts(kept.stored) == ["a", "b", "c"]
        assert kept.batch is not None
        assert texts(kept.batch.stored) == ["a", "b"]
        assert s.dump() == before

    @scenario()
    async def test_the_batch_under_way_is_told_as_it_was_claimed_until_it_was_delivered(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        attempt = await s.attempt(lease)
        await s.send("later")
        assert (await s.store.waiting("ana")).batch == attempt.batch
        await s.store.retry(lease, attempt, 100, 500, "answered 500", None, 1)
        assert (await s.store.waiting("ana")).batch == attempt.batch
        s.now.ms += 100
        again = await s.attempt(lease)
        await s.store.ack(again, 200)
        assert (await s.store.waiting("ana")).batch is None

    @scenario()
    async def test_no_more_than_a_mebibyte_of_messages_is_told_at_once(self, s: Stage) -> None:
        long = "x" * 300_000
        for _ in range(4):
            await s.send(long)
        kept = await s.store.waiting("ana")
        assert (kept.waiting, len(kept.stored), kept.complete) == (4, 3, False)

    @scenario()
    async def test_of_each_kind_of_trouble_one_replica_tells_within_the_time(
        self, s: Stage
    ) -> None:
        assert await s.store.alert_turn("dead_letter", 60_000)
        assert not await s.store.alert_turn("dead_letter", 60_000)
        assert await s.store.alert_turn("receiver_failing", 60_000)

    @scenario()
    async def test_a_session_that_was_signed_out_is_remembered_until_it_would_have_ended(
        self, s: Stage
    ) -> None:
        assert await s.store.signed_out() == {}
        now_s = s.now.ms // 1_000
        await s.store.sign_out("a" * 16, now_s + SESSION_S)
        await s.store.sign_out("b" * 16, now_s + 60)
        await s.store.sign_out("a" * 16, now_s + SESSION_S)
        both = {"a" * 16: now_s + SESSION_S, "b" * 16: now_s + 60}
        assert await s.store.signed_out() == both
        s.now.ms += (CLOCKS_DIFFER_S + 61) * 1_000
        await s.store.sign_out("c" * 16, now_s + SESSION_S)
        assert set(await s.store.signed_out()) == {"a" * 16, "c" * 16}

    @scenario()
    async def test_of_too_many_sessions_that_were_signed_out_those_go_that_end_first(
        self, s: Stage
    ) -> None:
        now_s = s.now.ms // 1_000
        for number in range(SIGNED_OUT_KEPT_MAX + 2):
            await s.store.sign_out(f"{number:016x}", now_s + 60 + number)
        kept = await s.store.signed_out()
        assert len(kept) == SIGNED_OUT_KEPT_MAX
        assert min(kept.values()) == now_s + 62
