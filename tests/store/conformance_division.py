"""What every store must do, by example: batches that are too large for their receiver."""

from __future__ import annotations

from actor_queue.core.batch import Attempt, divided_from
from actor_queue.store.api import Gone, NotDue, Nothing, Settled
from tests.store.stage import ATTEMPT_MS, Stage, scenario, texts

TOO_LARGE = (413, "answered 413")


class DivisionConformance:
    """The verb `divide`."""

    async def flying(self, s: Stage, words: str, **more: object) -> Attempt:
        """An attempt at a batch of these messages."""
        lease = await s.own()
        await s.store.append([s.message(word, ttl_ms=0) for word in words])
        return await s.attempt(lease)

    @scenario(payload="detailed")
    async def test_two_halves_carry_what_the_whole_carried_in_order(self, s: Stage) -> None:
        lease = await s.own()
        for word in "abcde":
            await s.send(word, ttl_ms=1_000)
            s.now.ms += 10
        s.now.ms += 1_000
        whole = await s.attempt(lease)
        await s.send("new", ttl_ms=0)
        s.now.ms += 500
        verdict = (lease, whole, *TOO_LARGE)
        assert await s.store.divide(*verdict) == Settled(0)
        assert await s.changes_nothing("divide", *verdict) == Gone()
        view = await s.store.describe("ana")
        assert (view.state, view.pending) == ("retrying", 3)
        assert view.batch is not None
        assert (view.batch.messages, view.batch.attempts, view.batch.retry_in_ms) == (3, 0, 0)
        assert (view.recent[0].outcome, view.recent[0].status) == ("divided", 413)
        first = await s.attempt(lease)
        assert await s.claim(lease) == NotDue(ATTEMPT_MS), "the second half waits behind the first"
        assert await s.store.ack(first, 200) == Settled(0)
        second = await s.attempt(lease)
        assert [texts(first), texts(second)] == [["a", "b", "c"], ["d", "e"]]
        assert first.batch.stored + second.batch.stored == whole.batch.stored
        assert len({each.batch.id for each in (whole, first, second)}) == 3
        assert [each.batch.seq for each in (whole, first, second)] == [1, 2, 3]
        for half in (first.batch, second.batch):
            assert divided_from(half.id) == whole.batch.id
            assert half.closed_at_ms == whole.batch.closed_at_ms
            assert (half.reason, half.mode, half.due_at_ms) == (
                whole.batch.reason,
                "detailed_v2",
                whole.batch.due_at_ms,
            )
        assert (first.batch.first_at_ms, first.batch.last_at_ms) == (
            whole.batch.first_at_ms,
            whole.batch.first_at_ms + 20,
        )
        assert second.batch.last_at_ms == whole.batch.last_at_ms
        assert await s.store.ack(second, 200) == Settled(0)
        assert texts(await s.attempt(lease)) == ["new"]

    @scenario()
    async def test_each_half_has_attempts_of_its_own(self, s: Stage) -> None:
        whole = await self.flying(s, "ab")
        lease = await s.own()
        await s.store.retry(lease, whole, 0, 503, "answered 503")
        again = await s.attempt(lease)
        assert again.number == 2
        await s.store.divide(lease, again, *TOO_LARGE)
        half = await s.attempt(lease)
        assert half.number == 1
        await s.store.retry(lease, half, 700, 503, "answered 503")
        assert await s.claim(lease) == NotDue(700)
        s.now.ms += 700
        second_try = await s.attempt(lease)
        assert (second_try.batch, second_try.number) == (half.batch, 2)

    @scenario()
    async def test_halves_of_halves_come_in_order(self, s: Stage) -> None:
        attempt = await self.flying(s, "abcdefg")
        lease, seen = await s.own(), []
        for _ in range(20):
            if len(attempt.batch.stored) > 1:
                assert await s.store.divide(lease, attempt, *TOO_LARGE) == Settled(0)
            else:
                seen += texts(attempt)
                await s.store.ack(attempt, 200)
            claim = await s.claim(lease)
            if claim == Nothing():
                break
            assert isinstance(claim, Attempt)
            attempt = claim
        assert seen == list("abcdefg")

    @scenario(max_messages=2)
    async def test_closed_batches_behind_it_stay_behind_it(self, s: Stage) -> None:
        lease = await s.own()
        await s.store.append([s.message(word, ttl_ms=60_000) for word in "abcde"])
        await s.store.divide(lease, await s.attempt(lease), *TOO_LARGE)
        seen = []
        for _ in range(3):
            attempt = await s.attempt(lease)
            seen.append(texts(attempt))
            await s.store.ack(attempt, 200)
        assert seen == [["a"], ["b"], ["c", "d"]]
        assert await s.claim(lease) == NotDue(60_000)

    @scenario()
    async def test_a_replay_is_divided_too_and_other_replays_come_before_its_second_half(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        letter = await self.flying(s, "abc")
        await s.store.bury(lease, letter, 410, "answered 410")
        other = await s.bury_one(lease)
        await s.send("new", ttl_ms=0)
        await s.store.dead_replay(letter.batch.id)
        replayed = await s.attempt(lease)
        await s.store.dead_replay(other)
        await s.store.divide(lease, replayed, *TOO_LARGE)
        assert await s.store.dead_letter(letter.batch.id) is None
        seen = []
        for _ in range(4):
            attempt = await s.attempt(lease)
            seen.append(texts(attempt))
            await s.store.ack(attempt, 200)
        assert seen == [["a", "b"], ["bad"], ["c"], ["new"]]

    @scenario()
    async def test_a_half_that_dies_and_is_replayed_is_the_same_batch(self, s: Stage) -> None:
        lease = await s.own()
        await s.store.divide(lease, await self.flying(s, "ab"), *TOO_LARGE)
        half = await s.attempt(lease)
        await s.store.bury(lease, half, *TOO_LARGE)
        second = await s.attempt(lease)
        assert texts(second) == ["b"]
        await s.store.ack(second, 200)
        await s.store.dead_replay(half.batch.id)
        assert (await s.attempt(lease)).batch == half.batch

    @scenario()
    async def test_a_hold_and_a_drop_take_both_halves(self, s: Stage) -> None:
        lease = await s.own()
        attempt = await self.flying(s, "abc")
        await s.send("d", ttl_ms=0)
        await s.store.hold("ana", 9_000)
        assert await s.store.divide(lease, attempt, *TOO_LARGE) == Settled(9_000)
        assert await s.claim(lease) == NotDue(9_000)
        dropped = await s.store.drop("ana")
        assert (dropped.messages, texts(dropped.stored)) == (4, ["a", "b", "c", "d"])
        assert divided_from(dropped.batch_id or "") == attempt.batch.id
        assert await s.claim(lease) == Nothing()

    @scenario()
    async def test_what_a_drop_left_behind_makes_no_later_batch_a_half(self, s: Stage) -> None:
        lease = await s.own()
        await s.store.divide(lease, await self.flying(s, "ab"), *TOO_LARGE)
        await s.store.drop("ana")
        whole = await self.flying(s, "cd")
        assert divided_from(whole.batch.id) is None
        await s.store.divide(lease, whole, *TOO_LARGE)
        for word in "cd":
            half = await s.attempt(lease)
            assert (texts(half), divided_from(half.batch.id)) == ([word], whole.batch.id)
            await s.store.ack(half, 200)

    @scenario()
    async def test_a_late_ack_keeps_the_next_attempt_from_dividing(self, s: Stage) -> None:
        first = await self.flying(s, "ab")
        s.now.ms += ATTEMPT_MS
        lease = await s.own()
        second = await s.attempt(lease)
        await s.store.ack(first, 200)
        assert await s.store.divide(lease, second, *TOO_LARGE) == Settled(None, known=True)
        assert await s.claim(lease) == Nothing()

    @scenario(max_messages=2, max_pending_bytes=600)
    async def test_a_user_with_too_many_bytes_is_refused_until_some_have_gone(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        await s.store.append([s.message(letter * 200, ttl_ms=0) for letter in "ab"])
        (full,) = await s.changes_nothing("append", [s.message("c" * 200, message_id="x")])
        assert (full.pending, full.of) == (2, "bytes")
        whole = await s.attempt(lease)
        # What is in flight does not wait, and what comes back from there does.
        assert (await s.accepted("c" * 200, ttl_ms=0)).pending == 1
        await s.store.divide(lease, whole, *TOO_LARGE)
        (full,) = await s.changes_nothing("append", [s.message("d" * 200)])
        assert (full.pending, full.of) == (2, "bytes")
        await s.store.ack(await s.attempt(lease), 200)
        await s.attempt(lease)
        assert (await s.accepted("d" * 200)).pending == 2

    @scenario(max_pending_bytes=100)
    async def test_a_single_message_is_never_too_many_bytes(self, s: Stage) -> None:
        assert (await s.accepted("a" * 200)).pending == 1
        (full,) = await s.changes_nothing("append", [s.message("")])
        assert (full.pending, full.of) == (1, "bytes")

    @scenario(max_messages=5_000, max_pending=10_000)
    async def test_thousands_of_messages_are_divided_in_order(self, s: Stage) -> None:
        lease = await s.own()
        words = [str(number) for number in range(4_999)]
        await s.store.append([s.message(word, ttl_ms=0) for word in words])
        await s.store.divide(lease, await s.attempt(lease), *TOO_LARGE)
        first = await s.attempt(lease)
        await s.store.ack(first, 200)
        assert texts(first) + texts(await s.attempt(lease)) == words
