"""Failures: the schedule, what waits behind, the dead letters, the limit on attempts at once."""

from __future__ import annotations

import itertools

import pytest
import trio

from actor_queue.core.outcome import Delivered, Failed, Outcome
from tests.runtime.harness import FAILED, GONE, Sent, after, in_turn, now_ms, run, stage


def test_retries_keep_the_schedule_within_its_jitter_with_the_same_id_and_the_same_bytes() -> None:
    schedule_s = (1, 5, 15, 60)

    async def main() -> None:
        async with stage(retry_schedule_ms=tuple(1_000 * each for each in schedule_s)) as s:
            a = await s.start("ra")
            s.answer = in_turn(*[FAILED] * 4, takes_s=2)
            await a.post("ana", "oi", ttl_s=1)
            await trio.sleep(150)
            assert len(s.seen) == 5
            for (earlier, later), planned_s in zip(
                itertools.pairwise(s.seen), schedule_s, strict=True
            ):
                assert earlier.until is not None
                pause_s = later.at - earlier.until
                assert 0.8 * planned_s <= pause_s <= 1.2 * planned_s + 0.001
            assert len({(sent.batch.id, sent.body) for sent in s.seen}) == 1

    run(main)


def test_a_receiver_that_asks_for_more_time_gets_it() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            s.answer = in_turn(Failed("answered 429", status=429, retry_after_s=30))
            start = trio.current_time()
            await a.post("ana", "oi", ttl_s=0)
            await trio.sleep(60)
            assert s.times(start) == [0, 30]

    run(main)


def test_an_attempt_without_an_answer_ends_at_its_time_limit_and_is_tried_again() -> None:
    async def main() -> None:
        async with stage(webhook_timeout_ms=3_000, retry_schedule_ms=(1_000,)) as s:
            a = await s.start("ra")
            s.answer = in_turn(None)
            await a.post("ana", "oi", ttl_s=0)
            await trio.sleep(10)
            first, second = s.seen
            assert first.until == pytest.approx(first.at + 3)
            assert 3.8 <= second.at - first.at <= 4.201
            s.check({"ana": ["oi"]})

    run(main)


def test_newer_messages_collect_behind_a_failing_batch_and_keep_their_order() -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(2_000, 2_000, 2_000)) as s:
            a = await s.start("ra")
            s.answer = in_turn(FAILED, FAILED, FAILED, takes_s=0.5)
            texts = [str(number) for number in range(12)]
            for text in texts:
                await a.post("ana", text, ttl_s=0.3)
                await trio.sleep(0.5)
            await trio.sleep(20)
            s.check({"ana": texts})
            assert s.texts()[:4] == [["0"]] * 4
            # All that came meanwhile is one batch, and goes as soon as the way is free.
            assert s.texts()[4][0] == "1"
            assert len(s.texts()[4]) >= 10
            assert s.seen[4].at == pytest.approx(s.seen[3].until)

    run(main)


@pytest.mark.parametrize("final", ["schedule over", "receiver says gone"])
def test_a_final_failure_is_a_dead_letter_and_the_next_batch_goes(final: str) -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(1_000,)) as s:
            a = await s.start("ra")
            outcomes = [GONE] if final == "receiver says gone" else [FAILED, FAILED]
            s.answer = in_turn(*outcomes, takes_s=1)
            await a.post("ana", "bad", ttl_s=0)
            await trio.sleep(0.5)
            await a.post("ana", "good", ttl_s=0.1)
            await trio.sleep(20)
            assert s.texts() == [["bad"]] * len(outcomes) + [["good"]]
            assert s.seen[-1].at == pytest.approx(s.seen[-2].until)
            (letter,) = (await a.engine.dead(10, None)).letters
            assert (letter.id, letter.attempts) == (s.seen[0].batch.id, len(outcomes))
            assert a.engine.counters.dead == 1

    run(main)


def test_a_dead_letter_that_is_replayed_goes_at_once_with_its_old_id_and_bytes() -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(1_000,)) as s:
            a = await s.start("ra")
            s.answer = in_turn(GONE)
            await a.post("ana", "bad", ttl_s=0)
            await trio.sleep(1)
            await a.post("ana", "waits", ttl_s=30)
            asked = trio.current_time()
            assert await a.engine.dead_replay(s.seen[0].batch.id) is not None
            await trio.sleep(60)
            assert s.times(asked)[1:] == [0, 30]
            assert s.texts() == [["bad"], ["bad"], ["waits"]]
            assert s.seen[1].batch.id == s.seen[0].batch.id
            assert s.seen[1].body == s.seen[0].body
            assert (await a.engine.dead(10, None)).letters == ()

    run(main)


def test_never_more_attempts_at_once_than_allowed_and_none_loses_time_in_the_queue() -> None:
    async def main() -> None:
        async with stage(max_deliveries=4, webhook_timeout_ms=5_000, shards=2) as s:
            a = await s.start("ra")
            under_way = most = 0

            async def answer(sent: Sent) -> Outcome:
                nonlocal under_way, most
                under_way += 1
                most = max(most, under_way)
                await trio.sleep(2)
                under_way -= 1
                return Delivered(200)

            s.answer = answer
            for number in range(22):
                await a.post(f"user-{number}", "oi", ttl_s=1)
            await trio.sleep(20)
            assert (len(s.seen), most) == (22, 4)
            # The slot comes before the claim: an attempt's time never passes in a queue.
            assert all(sent.batch.closed_at_ms == now_ms(sent.at) for sent in s.seen)
            assert [sent.deadline_s for sent in s.seen] == pytest.approx([5] * 22)

    run(main)


def test_a_user_who_hangs_does_not_keep_others_waiting_while_slots_are_free() -> None:
    async def main() -> None:
        async with stage(max_deliveries=3) as s:
            a = await s.start("ra")

            async def answer(sent: Sent) -> Outcome:
                if sent.user.startswith("hang"):
                    await trio.sleep_forever()
                return Delivered(200)

            s.answer = answer
            await a.post("hang-1", "x", ttl_s=0)
            await a.post("hang-2", "x", ttl_s=0)
            await trio.sleep(1)
            for number in range(8):
                await a.post(f"user-{number}", "oi", ttl_s=1)
            start = trio.current_time()
            await trio.sleep(2)
            assert s.times(start)[2:] == [1] * 8

    run(main)


def test_the_time_of_a_repeated_claim_counts_from_the_first() -> None:
    async def main() -> None:
        async with stage(webhook_timeout_ms=3_000) as s:
            a = await s.start("ra")
            s.answer = after(100)
            fired = False

            def lose(name: str) -> None:
                nonlocal fired
                if name == "claim_v4" and not fired:
                    fired = True
                    a.runner.lose_answers(1)

            a.runner.before = lose
            start = trio.current_time()
            await a.post("ana", "oi", ttl_s=0)
            await trio.sleep(3.5)
            (sent,) = s.seen
            assert sent.at > start
            assert sent.until == pytest.approx(start + 3, abs=0.002)

    run(main)


def test_a_receiver_that_finds_a_batch_too_large_gets_it_in_parts_and_in_order() -> None:
    async def at_most_two(sent: Sent) -> Outcome:
        if "far too long" in sent.texts or len(sent.texts) > 2:
            return Failed("answered 413", status=413)
        return Delivered(200)

    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            s.answer = at_most_two
            texts = ["a", "b", "c", "far too long", "d", "e"]
            for text in texts:
                await a.post("ana", text, ttl_s=1)
            with a.engine.events.listen() as events:
                await trio.sleep(5)
                told = [events.receive_nowait().name for _ in range(18)]
            taken = [sent.texts for sent in s.seen if isinstance(sent.outcome, Delivered)]
            assert taken == [["a", "b"], ["c"], ["d"], ["e"]]
            assert len({sent.batch.id for sent in s.seen}) == len(s.seen)
            (letter,) = (await a.engine.dead(10, None)).letters
            assert (letter.messages, letter.reason) == (1, "answered 413")
            assert (a.engine.counters.divided, a.engine.counters.dead) == (4, 1)
            assert told.count("divided") == 4
            assert a.engine.counters.lateness_s.counts[-1] == 0

    run(main)


def test_a_division_whose_answer_is_lost_is_not_made_twice() -> None:
    async def at_most_one(sent: Sent) -> Outcome:
        return Failed("answered 413", status=413) if len(sent.texts) > 1 else Delivered(200)

    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            s.answer = at_most_one

            def lose(name: str) -> None:
                if name == "divide_v1" and len(s.calls(name)) == 1:
                    a.runner.lose_answers(1)

            a.runner.before = lose
            for text in "ab":
                await a.post("ana", text, ttl_s=1)
            await trio.sleep(5)
            assert [sent.texts for sent in s.seen] == [["a", "b"], ["a"], ["b"]]
            assert len(s.calls("divide_v1")) == 2

    run(main)


def test_an_attempt_whose_replica_was_killed_is_in_the_history_with_its_name() -> None:
    async def main() -> None:
        async with stage(webhook_timeout_ms=3_000, lease_ttl_ms=1_000) as s:
            a = await s.start("ra")
            s.answer = in_turn(None)
            await a.post("ana", "oi", ttl_s=0)
            await trio.sleep(1)
            await a.crash()
            b = await s.start("rb")
            await trio.sleep(10)
            delivered, killed = (await b.engine.describe("ana")).recent
            assert (killed.number, killed.outcome, killed.replica) == (1, "unknown", "ra")
            assert (delivered.number, delivered.outcome) == (2, "delivered")
            assert (delivered.replica, delivered.took_ms) == ("rb", 0)

    run(main)
