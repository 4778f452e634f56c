"""What every store must do, by example. A store's own test file gives the fixture `opens`."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from actor_queue.core.batch import Attempt, batch_id, claim_token
from actor_queue.core.message import Accepted, Full
from actor_queue.store.api import Gone, NotDue, Nothing, Settled
from tests.store.stage import ATTEMPT_MS, Stage, scenario, texts


class AppendConformance:
    """Messages in: dedup, order, caps, timers."""

    @scenario()
    async def test_a_message_is_answered_with_what_waits_and_when_it_goes(self, s: Stage) -> None:
        first = await s.accepted("a", ttl_ms=5_000)
        s.now.ms += 1_000
        second = await s.accepted("b", ttl_ms=3_000)
        assert (first.pending, first.due_in_ms, first.duplicate) == (1, 5_000, False)
        assert (second.pending, second.due_in_ms, second.next_in_ms) == (2, 3_000, 3_000)

    @scenario()
    async def test_a_repeated_message_id_adds_nothing_and_moves_no_timer(self, s: Stage) -> None:
        await s.send("a", ttl_ms=5_000, message_id="x")
        s.now.ms += 1_000
        again = s.message("a", ttl_ms=9_000, message_id="x")
        (answer,) = await s.changes_nothing("append", [again])
        assert (answer.duplicate, answer.pending, answer.due_in_ms) == (True, 1, 4_000)

    @scenario()
    async def test_a_message_id_is_known_after_its_batch_was_delivered(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0, message_id="x")
        await s.store.ack(await s.attempt(lease), 200)
        assert (await s.accepted("a", message_id="x")).duplicate
        assert await s.claim(lease) == Nothing()

    @scenario()
    async def test_the_same_new_id_twice_in_one_call_is_kept_once(self, s: Stage) -> None:
        twice = [s.message("a", message_id="x"), s.message("a", message_id="x")]
        answers = await s.store.append(twice)
        assert [one.duplicate for one in answers if isinstance(one, Accepted)] == [False, True]

    @scenario()
    async def test_two_users_may_use_the_same_message_id(self, s: Stage) -> None:
        await s.send("a", user="ana", message_id="x")
        assert not (await s.accepted("b", user="bia", message_id="x")).duplicate

    @scenario()
    async def test_messages_without_an_id_of_their_sender_are_never_duplicates(
        self, s: Stage
    ) -> None:
        same = s.message("a")
        await s.store.append([same, same])
        assert (await s.store.describe("ana")).pending == 2

    @scenario()
    async def test_a_user_s_messages_keep_their_order_and_their_bytes(self, s: Stage) -> None:
        lease = await s.own()
        strange = [r'{"n":1.0e+2,"é":"\u00e9"}', '{ "z":"]}[,", "a":[[]] }', '{"a":1,"a":2}']
        sent = [s.message("", ttl_ms=0)._replace(body=body.encode()) for body in strange]
        await s.store.append(sent)
        kept = (await s.attempt(lease)).batch.stored
        assert [item.split(b",", 3)[3] for item in kept] == [one.body + b"]" for one in sent]
        assert [json.loads(item)[:3] for item in kept] == [
            [i + 1, s.now.ms, message.message_id] for i, message in enumerate(sent)
        ]

    @scenario(max_pending=100_000, max_messages=10_000, max_batch_bytes=67_108_864)
    async def test_ten_thousand_messages_of_one_user_in_one_call(self, s: Stage) -> None:
        lease = await s.own()
        answers = await s.store.append([s.message(str(i), ttl_ms=0) for i in range(10_000)])
        assert [one.pending for one in answers] == list(range(1, 10_001))
        assert texts(await s.attempt(lease)) == [str(i) for i in range(10_000)]

    @scenario()
    async def test_many_users_in_one_call_are_answered_in_the_order_asked(self, s: Stage) -> None:
        people = ["ana", "bia", "caio", "ana", "bia", "ana"]
        answers = await s.store.append([s.message("x", user=user) for user in people])
        assert [(one.user, one.pending) for one in answers] == [
            ("ana", 1), ("bia", 1), ("caio", 1), ("ana", 2), ("bia", 2), ("ana", 3),
        ]  # fmt: skip

    @scenario()
    async def test_ttl_zero_goes_at_once(self, s: Stage) -> None:
        lease = await s.own()
        assert (await s.accepted("a", ttl_ms=0)).due_in_ms == 0
        assert texts(await s.attempt(lease)) == ["a"]

    @scenario()
    async def test_a_shorter_ttl_brings_the_whole_window_forward(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=60_000)
        await s.send("b", ttl_ms=10)
        s.now.ms += 10
        assert texts(await s.attempt(lease)) == ["a", "b"]

    @scenario(max_wait_ms=3_000)
    async def test_the_maximum_wait_is_counted_from_the_first_message(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=2_000)
        s.now.ms += 1_500
        assert (await s.accepted("b", ttl_ms=2_000)).due_in_ms == 1_500
        s.now.ms += 1_499
        assert await s.claim(lease) == NotDue(1)
        s.now.ms += 1
        batch = (await s.attempt(lease)).batch
        assert (batch.reason, len(batch.stored)) == ("max_wait", 2)

    @scenario(max_messages=2)
    async def test_a_full_batch_goes_at_once_and_the_next_one_waits_its_time(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        answers = await s.store.append([s.message(text, ttl_ms=9_000) for text in "abc"])
        assert [(one.pending, one.due_in_ms) for one in answers] == [(1, 9_000), (2, 0), (3, 9_000)]
        attempt = await s.attempt(lease)
        assert (attempt.batch.reason, texts(attempt)) == ("max_messages", ["a", "b"])
        assert await s.store.ack(attempt, 200) == Settled(9_000)

    @scenario(max_batch_bytes=100)
    async def test_a_batch_of_many_bytes_goes_at_once(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("x" * 100, ttl_ms=9_000)
        assert (await s.attempt(lease)).batch.reason == "max_bytes"

    @scenario(max_batch_bytes=400)
    async def test_a_message_that_would_make_a_batch_too_large_opens_the_next_one(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        for text in "abc":
            await s.send(text + "x" * 100, ttl_ms=9_000)
        s.now.ms += 1_000
        answer = await s.accepted("d" + "x" * 100, ttl_ms=7_000)
        assert (answer.pending, answer.due_in_ms, answer.next_in_ms) == (4, 7_000, 0)
        attempt = await s.attempt(lease)
        assert (attempt.batch.reason, [text[0] for text in texts(attempt)]) == (
            "max_bytes",
            ["a", "b"],
        )
        assert await s.store.ack(attempt, 200) == Settled(7_000)

    @scenario(max_batch_bytes=400)
    async def test_a_message_that_is_too_large_by_itself_goes_alone_and_at_once(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        many = ["a", "b" * 500, "c", "d"]
        answers = await s.store.append([s.message(text, ttl_ms=9_000) for text in many])
        assert [one.due_in_ms for one in answers] == [9_000, 0, 9_000, 9_000]
        for expected in (["a"], ["b" * 500]):
            attempt = await s.attempt(lease)
            assert (attempt.batch.reason, texts(attempt)) == ("max_bytes", expected)
            await s.store.ack(attempt, 200)
        assert await s.claim(lease) == NotDue(9_000)

    @scenario(max_batch_bytes=400, max_pending=2)
    async def test_a_message_that_is_refused_closes_no_window(self, s: Stage) -> None:
        await s.store.append([s.message("a"), s.message("b")])
        refused = s.message("c" * 400, message_id="x")
        await s.changes_nothing("append", [refused])

    @scenario(max_batch_bytes=400, max_wait_ms=5_000)
    async def test_the_next_window_has_a_maximum_wait_of_its_own(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a" * 200, ttl_ms=4_000)
        s.now.ms += 3_000
        assert (await s.accepted("b" * 200, ttl_ms=9_000)).due_in_ms == 5_000
        await s.store.ack(await s.attempt(lease), 200)
        assert await s.claim(lease) == NotDue(5_000)

    @scenario(max_pending=2)
    async def test_a_full_user_is_refused_and_nothing_of_the_refusal_stays(self, s: Stage) -> None:
        lease = await s.own()
        await s.store.append([s.message("a", ttl_ms=0), s.message("b", ttl_ms=0)])
        refused = s.message("c", message_id="x")
        assert await s.changes_nothing("append", [refused]) == [Full("ana", "x", 2, 0)]
        await s.attempt(lease)
        answer = await s.accepted("c", message_id="x")
        assert (answer.duplicate, answer.pending) == (False, 1)

    @scenario()
    async def test_a_clock_that_steps_back_moves_no_message_before_another(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=1_000)
        s.now.ms -= 10_000
        await s.send("b", ttl_ms=1_000)
        s.now.ms += 10_000 + 1_000
        batch = (await s.attempt(lease)).batch
        assert batch.first_at_ms == batch.last_at_ms == s.now.ms - 1_000


class ClaimConformance:
    """The owner's verbs: claims, verdicts."""

    @scenario()
    async def test_a_claim_before_the_time_says_how_long(self, s: Stage) -> None:
        lease = await s.own()
        assert await s.claim(lease) == Nothing()
        await s.send("a", ttl_ms=1_000)
        assert await s.claim(lease) == NotDue(1_000)
        s.now.ms += 999
        assert await s.claim(lease) == NotDue(1)
        s.now.ms += 1
        batch = (await s.attempt(lease)).batch
        assert (batch.reason, batch.seq) == ("quiet", 1)
        assert (batch.due_at_ms, batch.closed_at_ms) == (s.now.ms, s.now.ms)

    @scenario(payload="detailed")
    async def test_a_batch_keeps_the_payload_mode_it_was_closed_with(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        assert (await s.attempt(lease)).batch.mode == "detailed_v2"

    @scenario()
    async def test_a_claim_repeated_with_its_token_gets_the_same_attempt(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        name = batch_id(lease.shard, "1" * 20)
        first = await s.store.claim(lease, "ana", "token", name)
        assert isinstance(first, Attempt)
        s.now.ms += 100
        again = await s.changes_nothing("claim", lease, "ana", "token", name)
        assert again == replace(first, limit_in_ms=ATTEMPT_MS - 100)

    @scenario(max_messages=1)
    async def test_a_claim_that_arrives_after_its_batch_starts_no_other(self, s: Stage) -> None:
        lease = await s.own()
        await s.store.append([s.message("a"), s.message("b")])
        name = batch_id(lease.shard, "1" * 20)
        first = await s.store.claim(lease, "ana", "token", name)
        assert isinstance(first, Attempt)
        await s.store.ack(first, 200)
        late = await s.store.claim(lease, "ana", "token", name)
        assert not isinstance(late, Attempt)
        next_one = await s.store.claim(lease, "ana", "another token", name)
        assert isinstance(next_one, Attempt)
        assert next_one.batch.id != first.batch.id

    @scenario()
    async def test_nobody_else_gets_an_attempt_while_one_is_under_way(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        await s.attempt(lease)
        await s.send("b", ttl_ms=0)
        assert await s.claim(lease) == NotDue(ATTEMPT_MS)
        s.now.ms += ATTEMPT_MS - 1
        assert await s.claim(lease) == NotDue(1)

    @scenario()
    async def test_after_an_attempt_s_limit_the_same_batch_goes_to_the_next_owner(
        self, s: Stage
    ) -> None:
        old = await s.own("r1", ttl_ms=100)
        await s.send("a", ttl_ms=0)
        first = await s.attempt(old)
        await s.send("b", ttl_ms=0)
        s.now.ms += ATTEMPT_MS
        second = await s.attempt(await s.own("r2"))
        assert (second.batch, second.number) == (first.batch, 2)

    @scenario()
    async def test_under_a_hold_a_batch_whose_attempt_is_over_waits_for_the_hold_s_end(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        first = await s.attempt(lease)
        await s.store.hold("ana", 60_000)
        s.now.ms += ATTEMPT_MS
        assert await s.claim(lease) == NotDue(60_000 - ATTEMPT_MS)
        await s.send("b", ttl_ms=0)
        (due,) = await s.store.due([lease.shard], 100_000, 10)
        assert [one.remaining_ms for one in due] == [60_000 - ATTEMPT_MS], "the limit is past"
        view = await s.store.describe("ana")
        assert (view.state, [one.outcome for one in view.recent]) == ("held", ["unknown"])
        assert await s.changes_nothing("retry", lease, first, 1, None, "late") == Gone()
        dropped = await s.store.drop("ana")
        assert (texts(dropped.stored), dropped.batch_id) == (["a", "b"], first.batch.id)

    @scenario()
    async def test_a_late_ack_counts_for_the_batch_and_ends_no_other_attempt(
        self, s: Stage
    ) -> None:
        heir, first, second = await s.overtaken()
        assert await s.store.ack(first, 200) == Settled(ATTEMPT_MS - 100)
        assert await s.changes_nothing("ack", first, 200) == Gone()
        assert await s.claim(heir) == NotDue(ATTEMPT_MS - 100), "another batch beside an attempt"
        view = await s.store.describe("ana")
        assert (view.state, view.pending, view.batch is not None) == ("delivering", 1, True)
        assert [record.outcome for record in view.recent] == ["delivered", "unknown"]
        assert await s.store.ack(second, 200) == Settled(0, known=True)
        assert texts(await s.attempt(heir)) == ["b"]

    @pytest.mark.parametrize("verdict", ["retry", "bury"])
    def test_a_batch_that_a_late_ack_delivered_is_not_sent_again_when_the_attempt_fails(
        self, verdict: str, opens: object
    ) -> None:
        @scenario()
        async def fails(self: object, s: Stage) -> None:
            heir, first, second = await s.overtaken()
            await s.store.ack(first, 200)
            arguments = (
                (9_000, 503, "answered 503") if verdict == "retry" else (410, "answered 410")
            )
            say = getattr(s.store, verdict)
            assert await say(heir, second, *arguments) == Settled(0, known=True)
            assert await s.changes_nothing(verdict, heir, second, *arguments) == Gone()
            assert (await s.store.dead(10, None)).letters == ()
            recent = (await s.store.describe("ana")).recent
            assert [(one.number, one.outcome) for one in recent] == [
                (2, "failed"),
                (1, "delivered"),
                (1, "unknown"),
            ]
            assert texts(await s.attempt(heir)) == ["b"]

        fails(self, opens)

    @scenario()
    async def test_a_batch_that_a_late_ack_delivered_is_over_at_the_limit_of_the_attempt(
        self, s: Stage
    ) -> None:
        heir, first, _ = await s.overtaken()
        await s.store.ack(first, 200)
        s.now.ms += ATTEMPT_MS - 101
        assert await s.claim(heir) == NotDue(1)
        s.now.ms += 1
        third = await s.attempt(heir)
        assert (texts(third), third.number) == (["b"], 1)
        assert await s.store.ack(third, 200) == Settled(None)

    @scenario()
    async def test_what_may_be_ordered_while_a_delivered_batch_s_attempt_goes_on(
        self, s: Stage
    ) -> None:
        heir, first, _ = await s.overtaken()
        await s.store.ack(first, 200)
        await s.store.flush("ana")
        assert await s.claim(heir) == NotDue(ATTEMPT_MS - 100), "a flush ends no attempt"
        assert (await s.store.typing("ana", 5_000))[0] is False
        await s.store.hold("ana", 60_000)
        dropped = await s.store.drop("ana")
        assert (texts(dropped.stored), dropped.batch_id) == (["b"], None)
        await s.send("c", ttl_ms=0)
        s.now.ms += ATTEMPT_MS
        assert isinstance(await s.claim(heir), NotDue), "held"
        assert (await s.store.describe("ana")).state == "held"
        await s.store.unhold("ana")
        assert texts(await s.attempt(heir)) == ["c"]

    @scenario()
    async def test_a_replay_waits_for_the_attempt_of_a_delivered_batch(self, s: Stage) -> None:
        name = await s.bury_one(await s.own())
        heir, first, _ = await s.overtaken()
        await s.store.ack(first, 200)
        await s.store.dead_replay(name)
        assert await s.claim(heir) == NotDue(ATTEMPT_MS - 100)
        s.now.ms += ATTEMPT_MS - 100
        assert (await s.attempt(heir)).batch.id == name

    @scenario()
    async def test_a_verdict_on_an_attempt_is_none_on_the_replay_s_of_that_number(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        first = await s.attempt(lease)
        s.now.ms += ATTEMPT_MS
        await s.store.bury(lease, await s.attempt(lease), 410, "answered 410")
        await s.store.dead_replay(first.batch.id)
        again = await s.attempt(lease)
        assert (again.batch, again.number) == (first.batch, first.number)
        assert await s.changes_nothing("retry", lease, first, 1, None, "timed out") == Gone()
        assert await s.changes_nothing("bury", lease, first, None, "timed out") == Gone()
        assert await s.store.ack(first, 200) == Settled(ATTEMPT_MS)
        assert await s.claim(lease) == NotDue(ATTEMPT_MS)

    @scenario()
    async def test_an_ack_removes_the_batch_and_says_what_is_next(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        attempt = await s.attempt(lease)
        await s.send("b", ttl_ms=700)
        assert await s.store.ack(attempt, 200) == Settled(700)
        assert await s.changes_nothing("ack", attempt, 200) == Gone()
        s.now.ms += 700
        second = await s.attempt(lease)
        assert (second.batch.seq, texts(second)) == (2, ["b"])
        assert await s.store.ack(second, 200) == Settled(None)

    @scenario()
    async def test_a_retry_waits_its_time_and_newer_messages_wait_behind_it(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        first = await s.attempt(lease)
        await s.send("b", ttl_ms=0)
        verdict = (lease, first, 5_000, 503, "answered 503")
        assert await s.store.retry(*verdict) == Settled(5_000)
        assert await s.changes_nothing("retry", *verdict) == Gone()
        assert await s.claim(lease) == NotDue(5_000)
        s.now.ms += 5_000
        second = await s.attempt(lease)
        assert (second.batch, second.number) == (first.batch, 2)
        assert await s.changes_nothing("retry", *verdict) == Gone(), "of an earlier attempt"

    @scenario()
    async def test_an_ack_counts_while_the_batch_waits_for_its_retry(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        attempt = await s.attempt(lease)
        await s.store.retry(lease, attempt, 5_000, None, "timed out")
        assert await s.store.ack(attempt, 200) == Settled(None)

    @scenario()
    async def test_verdicts_on_unknown_batches_change_nothing(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        attempt = await s.attempt(lease)
        strange = replace(attempt, batch=replace(attempt.batch, id=batch_id(lease.shard, "9" * 20)))
        assert await s.changes_nothing("ack", strange, 200) == Gone()
        assert await s.changes_nothing("retry", lease, strange, 1, None, "x") == Gone()
        assert await s.changes_nothing("bury", lease, strange, None, "x") == Gone()

    @scenario()
    async def test_recent_attempts_are_told_newest_first_and_no_more_than_twenty(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        for number in range(1, 23):
            attempt = await s.attempt(lease)
            await s.store.retry(lease, attempt, 0, 500 + number, "answered 5xx")
        view = await s.store.describe("ana")
        assert [record.number for record in view.recent] == list(range(22, 2, -1))
        newest = view.recent[0]
        assert (newest.outcome, newest.status, newest.at_ms) == ("retry", 522, s.now.ms)

    @scenario()
    async def test_an_attempt_tells_what_was_said_who_made_it_and_how_long_it_took(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        said = 'olá\n{"a": "b"}'
        await s.store.retry(lease, await s.attempt(lease), 0, 503, "answered 503", said, 12)
        attempt = await s.attempt(lease)
        await s.store.bury(lease, attempt, 410, "answered 410", said, 3)
        dead, failed = (await s.store.describe("ana")).recent
        assert (failed.reason, failed.answer, failed.took_ms) == ("answered 503", said, 12)
        assert (dead.reason, dead.answer, dead.took_ms) == ("answered 410", said, 3)
        assert failed.replica == dead.replica == (s.store.replica or None)
        letter = await s.store.dead_letter(attempt.batch.id)
        assert letter is not None
        assert (letter.status, letter.answer, letter.took_ms) == (410, said, 3)
        assert letter.replica == (s.store.replica or None)

    @scenario()
    async def test_an_attempt_whose_replica_said_nothing_is_told_all_the_same(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        await s.claim(lease, token=claim_token("r-gone", "1"))
        s.now.ms += ATTEMPT_MS + 400
        attempt = await s.attempt(lease)
        (silent,) = (await s.store.describe("ana")).recent
        assert (silent.batch_id, silent.number, silent.outcome) == (attempt.batch.id, 1, "unknown")
        assert (silent.status, silent.replica, silent.took_ms) == (None, "r-gone", None)
        assert silent.reason == "the replica did not report within the limit"
        assert silent.at_ms == s.now.ms - 400
        await s.store.ack(attempt, 200)
        assert [one.number for one in (await s.store.describe("ana")).recent] == [2, 1]

    @pytest.mark.parametrize("user", ["}{", "a:b", "\x00", "ü" * 256, "{aq:0}:due", " "])
    def test_any_user_goes_all_the_way(self, user: str, opens: object) -> None:
        @scenario()
        async def all_the_way(self: object, s: Stage) -> None:
            lease = await s.own(user=user)
            await s.send("a", user=user, ttl_ms=0, message_id=user)
            assert (await s.accepted("a", user=user, message_id=user)).duplicate
            attempt = await s.attempt(lease, user=user)
            await s.store.bury(lease, attempt, None, "x")
            letter = await s.store.dead_replay(attempt.batch.id)
            assert letter is not None
            assert letter.user == user
            page = await s.store.users(None, 10, None)
            assert [view.user for view in page.users] == [user]
            assert (await s.attempt(lease, user=user)).batch == attempt.batch

        all_the_way(self, opens)
