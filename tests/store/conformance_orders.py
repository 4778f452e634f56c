"""What every store must do, by example: orders about a user, dead letters, leases, lists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actor_queue.core.shard import shard_of
from actor_queue.store.api import (
    DeadLetter,
    Fenced,
    Gone,
    Lease,
    LeaseHeld,
    NotDue,
    Nothing,
    Settled,
    UserView,
)
from actor_queue.store.lists_api import UserFilter
from tests.store.stage import ATTEMPT_MS, Stage, scenario, texts


class OrderConformance:
    """Typing, hold, flush, drop, describe, dead letters."""

    @scenario(max_ttl_ms=10_000, default_ttl_ms=1_000)
    async def test_typing_extends_the_window_and_never_past_its_cap(self, s: Stage) -> None:
        await s.send("a", ttl_ms=4_000)
        s.now.ms += 3_000
        extended, view = await s.store.typing("ana", None)
        assert (extended, view.due_in_ms) == (True, 4_000)
        extended, view = await s.store.typing("ana", 10_000)
        assert (extended, view.due_in_ms) == (True, 7_000)

    @scenario(max_wait_ms=5_000)
    async def test_typing_never_passes_the_maximum_wait(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=1_000)
        _, view = await s.store.typing("ana", 60_000)
        assert view.due_in_ms == 5_000
        s.now.ms += 5_000
        assert (await s.attempt(lease)).batch.reason == "max_wait"

    @scenario(max_ttl_ms=5_000, default_ttl_ms=1_000)
    async def test_typing_never_makes_a_batch_go_sooner(self, s: Stage) -> None:
        await s.send("a", ttl_ms=5_000)
        s.now.ms += 3_000
        await s.send("b", ttl_ms=5_000)
        for ttl_ms in (0, 100, None):
            _, view = await s.store.typing("ana", ttl_ms)
            assert view.due_in_ms == 5_000

    @scenario()
    async def test_an_attempt_that_does_not_count_leaves_its_number_to_the_next_one(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        first = await s.attempt(lease)
        await s.store.retry(lease, first, 0, 503, "answered 503")
        for _ in range(3):
            attempt = await s.attempt(lease)
            assert (attempt.number, attempt.batch) == (2, first.batch)
            verdict = (lease, attempt, 0, 503, "answered 503")
            assert await s.store.retry(*verdict, spent=False) == Settled(0)
        assert (await s.attempt(lease)).number == 2

    @scenario()
    async def test_typing_is_ignored_without_a_window_and_while_a_batch_is_in_flight(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        assert (await s.changes_nothing("typing", "ana", 1_000))[0] is False
        await s.send("a", ttl_ms=0)
        await s.attempt(lease)
        await s.send("b", ttl_ms=0)
        assert (await s.changes_nothing("typing", "ana", 1_000))[0] is False

    @scenario()
    async def test_a_hold_buffers_until_it_ends(self, s: Stage) -> None:
        lease = await s.own()
        view = await s.store.hold("ana", 9_000)
        assert (view.state, view.held_for_ms, view.due_in_ms) == ("held", 9_000, None)
        assert (await s.accepted("a", ttl_ms=0)).due_in_ms == 9_000
        assert await s.claim(lease) == NotDue(9_000)
        s.now.ms += 9_000
        assert texts(await s.attempt(lease)) == ["a"]

    @scenario()
    async def test_a_hold_delays_a_retry_but_not_an_attempt_under_way(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        attempt = await s.attempt(lease)
        assert (await s.store.hold("ana", 9_000)).state == "delivering"
        assert await s.store.retry(lease, attempt, 10, None, "timed out") == Settled(9_000)
        s.now.ms += 10
        assert await s.claim(lease) == NotDue(8_990)

    @scenario()
    async def test_a_batch_whose_attempt_never_ended_waits_for_the_hold(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        await s.attempt(lease)
        await s.store.hold("ana", 9_000)
        s.now.ms += ATTEMPT_MS
        assert await s.claim(lease) == NotDue(9_000 - ATTEMPT_MS)

    @scenario()
    async def test_a_release_lets_go_at_once(self, s: Stage) -> None:
        lease = await s.own()
        await s.store.hold("ana", 9_000)
        await s.send("a", ttl_ms=0)
        view = await s.store.unhold("ana")
        assert (view.state, view.due_in_ms, view.held_for_ms) == ("collecting", 0, None)
        assert texts(await s.attempt(lease)) == ["a"]

    @scenario()
    async def test_a_flush_sends_the_window_now(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=60_000)
        view = await s.store.flush("ana")
        assert isinstance(view, UserView)
        assert view.due_in_ms == 0
        attempt = await s.attempt(lease)
        assert (attempt.batch.reason, texts(attempt)) == ("flush", ["a"])

    @scenario()
    async def test_a_flush_while_a_batch_is_in_flight_makes_the_next_batch(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        first = await s.attempt(lease)
        await s.send("b", ttl_ms=60_000)
        await s.store.flush("ana")
        assert await s.claim(lease) == NotDue(ATTEMPT_MS)
        await s.send("c", ttl_ms=60_000)
        assert await s.store.ack(first, 200) == Settled(0)
        assert texts(await s.attempt(lease)) == ["b"]

    @scenario()
    async def test_a_flush_lets_a_retry_go_at_once(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        first = await s.attempt(lease)
        await s.store.retry(lease, first, 60_000, None, "timed out")
        await s.store.flush("ana")
        assert (await s.attempt(lease)).batch == first.batch

    @scenario()
    async def test_a_flush_of_nothing_changes_nothing_and_a_hold_is_stronger(
        self, s: Stage
    ) -> None:
        await s.changes_nothing("flush", "ana")
        await s.store.hold("ana", 1_000)
        await s.send("a", ttl_ms=0)
        assert await s.changes_nothing("flush", "ana") == "held"

    @scenario(max_messages=2)
    async def test_a_drop_takes_all_that_waits_and_says_what(self, s: Stage) -> None:
        lease = await s.own()
        await s.store.append([s.message(text, message_id=text) for text in "abcde"])
        attempt = await s.attempt(lease)
        await s.store.retry(lease, attempt, 1_000, None, "timed out")
        dropped = await s.store.drop("ana")
        assert (dropped.messages, dropped.batch_id) == (5, attempt.batch.id)
        assert texts(dropped.stored) == list("abcde")
        assert (await s.store.describe("ana")).state == "idle"
        assert await s.claim(lease) == Nothing()
        assert (await s.accepted("a", message_id="a")).duplicate, "what was dropped stays known"

    @scenario()
    async def test_a_drop_leaves_an_attempt_under_way(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        attempt = await s.attempt(lease)
        await s.send("b")
        dropped = await s.store.drop("ana")
        assert (texts(dropped.stored), dropped.batch_id) == (["b"], None)
        assert await s.store.ack(attempt, 200) == Settled(None)

    @scenario(max_pending=100_000, max_messages=10_000)
    async def test_a_drop_of_many_small_messages_answers_with_them_all(self, s: Stage) -> None:
        await s.store.append([s.message("x") for _ in range(3_000)])
        dropped = await s.store.drop("ana")
        assert dropped.messages == len(dropped.stored) == 3_000
        assert dropped.complete

    @scenario(max_batch_bytes=67_108_864)
    async def test_a_drop_answers_with_a_mebibyte_at_most_and_counts_all(self, s: Stage) -> None:
        await s.store.append([s.message("x" * 300_000) for _ in range(6)])
        dropped = await s.store.drop("ana")
        assert (dropped.messages, len(dropped.stored), dropped.complete) == (6, 3, False)

    @scenario()
    async def test_a_user_s_state_is_told(self, s: Stage) -> None:
        lease = await s.own()
        seen = [(await s.store.describe("ana")).state]
        await s.send("a", ttl_ms=0)
        seen.append((await s.store.describe("ana")).state)
        attempt = await s.attempt(lease)
        seen.append((await s.store.describe("ana")).state)
        await s.store.retry(lease, attempt, 5_000, 503, "answered 503")
        view = await s.store.describe("ana")
        seen.append(view.state)
        assert view.batch is not None
        assert (view.batch.id, view.batch.attempts) == (attempt.batch.id, 1)
        assert (view.batch.retry_in_ms, view.batch.messages, view.pending) == (5_000, 1, 0)
        seen.append((await s.store.hold("ana", 1_000)).state)
        assert seen == ["idle", "collecting", "delivering", "retrying", "held"]

    @scenario()
    async def test_a_dead_letter_is_kept_whole(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        attempt = await s.attempt(lease)
        verdict = (lease, attempt, 410, "answered 410")
        assert await s.store.bury(*verdict) == Settled(None)
        assert await s.changes_nothing("bury", *verdict) == Gone()
        assert await s.changes_nothing("ack", attempt, 200) == Gone()
        letter = await s.store.dead_letter(attempt.batch.id)
        assert letter is not None
        assert (letter.batch, letter.attempts) == (attempt.batch, 1)
        assert (letter.user, letter.reason, letter.queued) == ("ana", "answered 410", False)
        assert (letter.died_at_ms, letter.messages) == (s.now.ms, 1)

    @scenario()
    async def test_a_replay_goes_first_with_the_same_id_and_counts_from_one(self, s: Stage) -> None:
        lease = await s.own()
        first, second = await s.bury_one(lease), await s.bury_one(lease)
        before = await s.store.dead_letter(first)
        await s.send("new", ttl_ms=0)
        await s.store.flush("ana")
        for name in (first, second):
            letter = await s.store.dead_replay(name)
            assert letter is not None
            assert letter.queued
        await s.changes_nothing("dead_replay", first)
        assert len((await s.store.dead(10, None)).letters) == 2, "dead until it is claimed"
        order = []
        for _ in range(3):
            attempt = await s.attempt(lease)
            order.append((attempt.batch.id, attempt.number))
            if attempt.batch.id == first:
                assert before is not None
                assert attempt.batch == before.batch
            await s.store.ack(attempt, 200)
        assert [name for name, _ in order[:2]] == [first, second]
        assert [number for _, number in order] == [1, 1, 1]
        assert (await s.store.dead(10, None)).letters == ()

    @scenario()
    async def test_a_replay_that_fails_for_good_is_a_dead_letter_again(self, s: Stage) -> None:
        lease = await s.own()
        name = await s.bury_one(lease)
        await s.store.dead_replay(name)
        attempt = await s.attempt(lease)
        assert await s.store.dead_letter(name) is None
        await s.store.bury(lease, attempt, None, "again")
        letter = await s.store.dead_letter(name)
        assert letter is not None
        assert (letter.batch, letter.reason, letter.queued) == (attempt.batch, "again", False)

    @scenario()
    async def test_a_drop_takes_a_queued_replay_out_of_the_line(self, s: Stage) -> None:
        lease = await s.own()
        name = await s.bury_one(lease)
        await s.store.dead_replay(name)
        assert (await s.store.drop("ana")).messages == 0
        letter = await s.store.dead_letter(name)
        assert letter is not None
        assert not letter.queued
        assert await s.claim(lease) == Nothing()

    @scenario()
    async def test_a_deleted_dead_letter_leaves_nothing(self, s: Stage) -> None:
        lease = await s.own()
        name = await s.bury_one(lease)
        await s.store.dead_replay(name)
        assert await s.store.dead_drop(name) is True
        assert await s.changes_nothing("dead_drop", name) is False
        assert await s.changes_nothing("dead_replay", name) is None
        assert await s.store.dead_letter(name) is None
        assert (await s.store.describe("ana")).state == "idle"
        assert await s.claim(lease) == Nothing()

    @scenario()
    async def test_ids_that_are_none_of_ours_are_no_dead_letters(self, s: Stage) -> None:
        for name in ("", "x", "b0000", "b" + "f" * 24, "b0000" + "0" * 20, "b000/" + "0" * 20):
            assert await s.changes_nothing("dead_letter", name) is None
            assert await s.changes_nothing("dead_replay", name) is None
            assert await s.changes_nothing("dead_drop", name) is False


class LeaseConformance:
    """Who may act: leases, fences, heartbeats; and the lists."""

    @pytest.mark.parametrize("verb", ["claim", "retry", "bury"])
    @pytest.mark.parametrize("wrong", ["epoch + 1", "epoch - 1", "nonce", "expired", "taken over"])
    def test_a_caller_without_the_lease_changes_nothing(
        self, verb: str, wrong: str, opens: Any
    ) -> None:
        @scenario()
        async def fenced(self: object, s: Stage) -> None:
            lease = await s.own("r1", ttl_ms=1_000)
            await s.send("a", ttl_ms=0)
            attempt = await s.attempt(lease) if verb != "claim" else None
            if wrong in ("expired", "taken over"):
                s.now.ms += 1_000
            if wrong == "taken over":
                await s.own("r2")
            bad = {
                "epoch + 1": replace(lease, epoch=lease.epoch + 1),
                "epoch - 1": replace(lease, epoch=lease.epoch - 1),
                "nonce": replace(lease, nonce="another"),
            }.get(wrong, lease)
            arguments: dict[str, tuple[Any, ...]] = {
                "claim": (bad, "ana", "t", "b0000" + "7" * 20),
                "retry": (bad, attempt, 10, None, "x"),
                "bury": (bad, attempt, None, "x"),
            }
            assert await s.changes_nothing(verb, *arguments[verb]) == Fenced()

        fenced(self, opens)

    @scenario()
    async def test_a_live_lease_is_never_taken(self, s: Stage) -> None:
        lease = await s.own("r1", ttl_ms=1_000)
        (held,) = await s.changes_nothing("acquire", [lease.shard], "r2", "other", 1_000)
        assert held == LeaseHeld(lease.shard, "r1", 1_000)
        s.now.ms += 1_000
        taken = await s.own("r2")
        assert taken.epoch > lease.epoch
        assert taken.epoch >= s.now.ms

    @scenario()
    async def test_the_same_nonce_keeps_its_lease_and_epoch(self, s: Stage) -> None:
        lease = await s.own("r1", ttl_ms=1_000)
        s.now.ms += 900
        assert await s.own("r1", ttl_ms=1_000) == lease
        s.now.ms += 5_000
        assert await s.own("r1") == lease, "nobody took it in between"

    @scenario()
    async def test_a_renewal_works_until_somebody_else_took_over(self, s: Stage) -> None:
        lease = await s.own("r1", ttl_ms=1_000)
        s.now.ms += 2_000
        assert await s.store.renew([lease], 1_000) == [True], "late is fine"
        await s.send("a", ttl_ms=0)
        await s.attempt(lease)
        s.now.ms += 1_000
        await s.own("r2")
        assert await s.changes_nothing("renew", [lease], 1_000) == [False]

    @scenario()
    async def test_a_lease_given_back_is_free_at_once_and_cannot_be_revived(self, s: Stage) -> None:
        lease = await s.own("r1")
        await s.store.release([lease])
        assert await s.changes_nothing("renew", [lease], 1_000) == [False]
        await s.send("a", ttl_ms=0)
        assert await s.claim(lease) == Fenced()
        successor = await s.own("r2")
        assert successor.epoch > lease.epoch
        await s.changes_nothing("release", [lease])

    @scenario()
    async def test_attempts_under_way_are_settled_after_the_lease_was_given_back(
        self, s: Stage
    ) -> None:
        lease = await s.own("r1")
        await s.send("a", ttl_ms=0)
        attempt = await s.attempt(lease)
        await s.store.release([lease])
        successor = await s.own("r2")
        assert await s.claim(successor) == NotDue(ATTEMPT_MS)
        assert await s.store.retry(lease, attempt, 10, None, "timed out") == Settled(10)
        s.now.ms += 10
        await s.attempt(successor)
        verdict = (lease, attempt, 10, None, "timed out")
        assert await s.changes_nothing("retry", *verdict) == Gone()

    @scenario(shards=4)
    async def test_leases_of_many_shards_at_once(self, s: Stage) -> None:
        await s.store.acquire([1], "r2", "n2", 1_000)
        answers = await s.store.acquire([0, 1, 2], "r1", "n1", 1_000)
        assert [type(one) for one in answers] == [Lease, LeaseHeld, Lease]
        mine = [one for one in answers if isinstance(one, Lease)]
        assert await s.store.renew([*mine, Lease(1, 1, "n1")], 1_000) == [True, True, False]
        infos = await s.store.leases()
        assert [info.owner for info in infos] == ["r1", "r2", "r1", None]
        assert [info.shard for info in infos] == [0, 1, 2, 3]
        s.now.ms += 1_000
        assert [info.owner for info in await s.store.leases()] == [None] * 4

    @scenario()
    async def test_silent_replicas_are_forgotten(self, s: Stage) -> None:
        await s.store.heartbeat("r1", 1_000)
        s.now.ms += 600
        seen = await s.store.heartbeat("r2", 1_000)
        assert {one.id: one.seen_ms_ago for one in seen} == {"r1": 600, "r2": 0}
        s.now.ms += 600
        assert [one.id for one in await s.store.heartbeat("r2", 1_000)] == ["r2"]
        await s.store.leave("r2")
        assert [one.id for one in await s.store.heartbeat("r3", 1_000)] == ["r3"]

    # Lists

    @scenario(shards=1)
    async def test_due_users_come_soonest_first(self, s: Stage) -> None:
        for user, ttl_ms in (("caio", 3_000), ("ana", 1_000), ("bia", 2_000)):
            await s.send("x", user=user, ttl_ms=ttl_ms)
        s.now.ms += 1_500
        (due,) = await s.store.due([0], 600, 10)
        assert [(one.user, one.remaining_ms) for one in due] == [("ana", -500), ("bia", 500)]
        (first,) = await s.store.due([0], 600, 1)
        assert [one.user for one in first] == ["ana"]

    @pytest.mark.parametrize("limit", [1, 7, 10, 100])
    @pytest.mark.parametrize("shards", [1, 3])
    def test_pages_of_users_have_everybody_once(self, limit: int, shards: int, opens: Any) -> None:
        @scenario(shards=shards)
        async def paging(self: object, s: Stage) -> None:
            people = {f"u{i}": 1_000 if i % 3 else 2_000 + i for i in range(30)}
            await s.store.append(
                [s.message("x", user=user, ttl_ms=ttl) for user, ttl in people.items()]
            )
            seen: list[UserView] = []
            cursor = None
            while True:
                page = await s.store.users(None, limit, cursor)
                assert len(page.users) <= limit
                seen += page.users
                cursor = page.cursor
                if cursor is None:
                    break
            assert sorted(view.user for view in seen) == sorted(people)
            assert [view.due_in_ms for view in seen] == sorted(people.values())

        paging(self, opens)

    @scenario()
    async def test_pages_of_users_in_one_state(self, s: Stage) -> None:
        await s.store.append([s.message("x", user=f"u{i}", ttl_ms=i) for i in range(30)])
        for i in range(0, 30, 10):
            await s.store.hold(f"u{i}", 50_000)
        held, cursor = [], None
        while True:
            page = await s.store.users(UserFilter(state="held"), 2, cursor)
            held += [view.user for view in page.users]
            cursor = page.cursor
            if cursor is None:
                break
        assert sorted(held) == ["u0", "u10", "u20"]

    @scenario()
    async def test_a_cursor_that_is_not_ours_is_refused(self, s: Stage) -> None:
        for cursor in (
            "x",
            "é",
            "W10",
            "bnVsbA",
            "WzEsMiwzXQ",
            "A" * 10_000,
            "=",
            "W251bGwsMSwieCJd",
        ):
            with pytest.raises(ValueError):
                await s.store.users(None, 10, cursor)
            with pytest.raises(ValueError):
                await s.store.dead(10, cursor)

    @pytest.mark.parametrize("limit", [1, 3, 100])
    def test_pages_of_dead_letters_come_newest_first(self, limit: int, opens: Any) -> None:
        @scenario()
        async def paging(self: object, s: Stage) -> None:
            people = ("ana", "bia", "caio")
            for user in people:
                assert shard_of(user, 2) in (0, 1)
            leases = {user: await s.own(user=user) for user in people}
            names = []
            for i in range(9):
                names.append(await s.bury_one(leases[people[i % 3]], user=people[i % 3]))
                s.now.ms += i % 2
            seen: list[DeadLetter] = []
            cursor = None
            while True:
                page = await s.store.dead(limit, cursor)
                assert all(letter.batch is None for letter in page.letters)
                seen += page.letters
                cursor = page.cursor
                if cursor is None:
                    break
            assert sorted(letter.id for letter in seen) == sorted(names)
            died = [letter.died_at_ms for letter in seen]
            assert died == sorted(died, reverse=True)

        paging(self, opens)
