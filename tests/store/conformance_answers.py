"""What every store must do, by example: receivers that answer 202 and are done later."""

from __future__ import annotations

from dataclasses import replace

from actor_queue.core.answers import ANSWER_MAX_MS, Ticket
from actor_queue.core.batch import Attempt, supersedes
from actor_queue.core.outcome import Bury, Retry
from actor_queue.store.answers_api import Answered
from actor_queue.store.api import Gone, Lease, NotDue, Nothing, Settled
from actor_queue.store.changes_api import Changed
from actor_queue.store.lists_api import UserFilter
from tests.store.stage import ATTEMPT_MS, Stage, scenario, texts

WITHIN_MS = 5_000


def ticket(s: Stage, attempt: Attempt) -> Ticket:
    return Ticket(attempt.batch.user, attempt.batch.id, attempt.token, s.now.ms + 10**7)


async def taken(s: Stage, lease: Lease, *words: str) -> Attempt:
    """An attempt at a batch of these messages, whose receiver has answered 202."""
    await s.store.append([s.message(word, ttl_ms=0) for word in words])
    attempt = await s.attempt(lease)
    assert await s.store.answering(attempt, WITHIN_MS) == Settled(WITHIN_MS)
    return attempt


async def done(s: Stage, attempt: Attempt) -> tuple[str, int] | None:
    return _said(await s.store.answer_done(ticket(s, attempt), only_latest=False))


async def done_if_latest(s: Stage, attempt: Attempt) -> tuple[str, int] | None:
    return _said(await s.store.answer_done(ticket(s, attempt), only_latest=True))


def _said(answer: Answered | None) -> tuple[str, int] | None:
    return None if answer is None else (answer.state, answer.newer)


class AnswerConformance:
    """The verbs `answering`, `answer` and `answer_…`."""

    @scenario()
    async def test_a_202_is_an_attempt_whose_limit_is_the_time_for_the_answer(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        attempt = await taken(s, lease, "a")
        assert await s.changes_nothing("answering", attempt, WITHIN_MS) == Settled(WITHIN_MS)
        view = await s.store.describe("ana")
        assert (view.state, view.due_in_ms) == ("answering", WITHIN_MS)
        assert view.batch is not None
        assert (view.batch.answer_in_ms, view.batch.retry_in_ms) == (WITHIN_MS, None)
        await s.send("b", ttl_ms=0)
        assert await s.claim(lease) == NotDue(WITHIN_MS), "newer messages collect behind it"
        assert await done(s, attempt) == ("done", 1)
        assert texts(await s.attempt(lease)) == ["b"]

    @scenario()
    async def test_done_twice_answers_the_same_and_changes_nothing_the_second_time(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        attempt = await taken(s, lease, "a")
        assert await done(s, attempt) == ("done", 0)
        await s.send("b", ttl_ms=0)
        for latest in (False, True):
            again = await s.changes_nothing("answer_done", ticket(s, attempt), only_latest=latest)
            assert (again.state, again.newer, again.again) == ("done", 0, True)
        assert (await s.store.describe("ana")).recent[0].outcome == "delivered"
        assert len((await s.store.describe("ana")).recent) == 1

    @scenario()
    async def test_a_receiver_may_be_done_before_its_202_has_been_recorded(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        attempt = await s.attempt(lease)
        early = await s.store.answer(ticket(s, attempt))
        assert early is not None
        assert early.state == "answering"
        assert await done(s, attempt) == ("done", 0)
        assert await s.store.answering(attempt, WITHIN_MS) == Gone()
        assert await s.claim(lease) == Nothing()
        assert await done(s, attempt) == ("done", 0)

    @scenario()
    async def test_an_extension_before_the_202_has_been_recorded_is_not_taken_back_by_it(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        attempt = await s.attempt(lease)
        assert await s.store.answer_extend(ticket(s, attempt), 60_000) is not None
        assert await s.store.answering(attempt, WITHIN_MS) == Settled(60_000)

    @scenario()
    async def test_done_after_the_time_counts_for_nothing(self, s: Stage) -> None:
        lease = await s.own()
        attempt = await taken(s, lease, "a")
        s.now.ms += WITHIN_MS
        old = ticket(s, attempt)
        assert await s.changes_nothing("answer_done", old, only_latest=False) is None
        assert await s.changes_nothing("answer", old) is None
        second = await s.attempt(lease)
        assert (second.batch, second.number) == (attempt.batch, 2), "a lapse is a failed attempt"
        record = (await s.store.describe("ana")).recent[0]
        assert (record.outcome, record.status, record.number) == ("retry", 202, 1)

    @scenario()
    async def test_done_by_attempt_1_while_attempt_2_runs_counts_for_nothing(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        first = await taken(s, lease, "a")
        s.now.ms += WITHIN_MS
        second = await s.attempt(lease)
        for verb, args in (("answer_extend", (9_000,)), ("answer", ())):
            assert await s.changes_nothing(verb, ticket(s, first), *args) is None
        assert await done(s, first) is None
        await s.store.answering(second, WITHIN_MS)
        assert await done(s, first) is None
        assert await done(s, second) == ("done", 0)

    @scenario()
    async def test_a_message_in_the_same_millisecond_as_done_if_latest_takes_the_batch_back(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        attempt = await taken(s, lease, "a", "b")
        await s.send("c", ttl_ms=1_000)
        assert await done_if_latest(s, attempt) == ("taken_back", 1)
        again = await s.changes_nothing("answer_done", ticket(s, attempt), only_latest=True)
        assert (again.state, again.newer, again.again) == ("taken_back", 1, True)
        view = await s.store.describe("ana")
        assert (view.state, view.pending, view.due_in_ms) == ("collecting", 3, 1_000)
        assert view.recent[0].outcome == "taken_back"
        assert await s.claim(lease) == NotDue(1_000), "after the user's quiet time"
        s.now.ms += 1_000
        joined = await s.attempt(lease)
        assert texts(joined) == ["a", "b", "c"]
        assert supersedes(joined.batch.id) == attempt.batch.id
        assert joined.batch.stored[:2] == attempt.batch.stored, "the messages are unchanged"
        assert joined.batch.first_at_ms == attempt.batch.first_at_ms
        assert (joined.number, joined.batch.seq) == (1, attempt.batch.seq + 1)
        assert await done(s, attempt) == ("taken_back", 1), "the last answer of the old batch"
        await s.store.ack(joined, 200)
        assert await s.claim(lease) == Nothing()

    @scenario()
    async def test_a_message_between_the_last_look_and_the_end_is_not_stranded(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        attempt = await taken(s, lease, "a")
        seen = await s.store.answer(ticket(s, attempt))
        assert seen is not None
        assert (seen.state, seen.newer) == ("answering", 0)
        await s.send("b", ttl_ms=0)
        assert await done(s, attempt) == ("done", 1), "it was not asked whether anything is newer"
        assert texts(await s.attempt(lease)) == ["b"]

    @scenario()
    async def test_a_batch_is_taken_back_twice_in_a_row_and_then_it_is_done(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", ttl_ms=0)
        for word in "bc":
            attempt = await s.attempt(lease)
            await s.store.answering(attempt, WITHIN_MS)
            await s.send(word, ttl_ms=0)
            assert await done_if_latest(s, attempt) == ("taken_back", 1)
        third = await s.attempt(lease)
        assert texts(third) == ["a", "b", "c"]
        await s.store.answering(third, WITHIN_MS)
        await s.send("d", ttl_ms=0)
        assert await done_if_latest(s, third) == ("done", 1)
        fourth = await s.attempt(lease)
        assert (texts(fourth), supersedes(fourth.batch.id)) == (["d"], None)
        await s.store.answering(fourth, WITHIN_MS)
        await s.send("e", ttl_ms=0)
        assert await done_if_latest(s, fourth) == ("taken_back", 1), "the row begins anew"

    @scenario(max_messages=2)
    async def test_what_was_taken_back_is_one_batch_with_the_first_closed_one(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        await s.store.append([s.message(word, ttl_ms=0) for word in "ab"])
        attempt = await s.attempt(lease)
        await s.store.answering(attempt, WITHIN_MS)
        await s.store.append([s.message(word, ttl_ms=9_000) for word in "cdefg"])
        assert await done_if_latest(s, attempt) == ("taken_back", 5)
        seen = []
        for _ in range(2):
            following = await s.attempt(lease)
            seen.append(texts(following))
            await s.store.ack(following, 200)
        assert seen == [["a", "b", "c", "d"], ["e", "f"]]
        assert await s.claim(lease) == NotDue(9_000)

    @scenario()
    async def test_a_half_that_waits_is_not_newer_and_is_not_lost_when_its_other_half_comes_back(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        await s.store.append([s.message(word, ttl_ms=0) for word in "abc"])
        await s.store.divide(lease, await s.attempt(lease), 413, "answered 413")
        half = await s.attempt(lease)
        await s.store.answering(half, WITHIN_MS)
        seen = await s.store.answer(ticket(s, half))
        assert seen is not None
        assert seen.newer == 0
        await s.send("d", ttl_ms=0)
        assert await done_if_latest(s, half) == ("taken_back", 1)
        joined = await s.attempt(lease)
        assert (texts(joined), supersedes(joined.batch.id)) == (["a", "b", "c"], half.batch.id)
        await s.store.ack(joined, 200)
        assert texts(await s.attempt(lease)) == ["d"]

    @scenario()
    async def test_a_server_that_forgot_what_came_again_gives_its_id_to_nothing_else(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        attempt = await taken(s, lease, "a")
        await s.send("b", ttl_ms=0)
        assert await done_if_latest(s, attempt) == ("taken_back", 1)
        s.now.ms += 17
        joined = await s.attempt(lease)
        assert joined.batch.id == f"{attempt.batch.id}z2t{s.now.ms}"

    @scenario()
    async def test_a_replay_that_is_queued_goes_before_what_was_taken_back(self, s: Stage) -> None:
        lease = await s.own()
        letter = await s.bury_one(lease)
        attempt = await taken(s, lease, "a")
        await s.send("b", ttl_ms=0)
        await s.store.dead_replay(letter)
        assert await done_if_latest(s, attempt) == ("taken_back", 1)
        replayed = await s.attempt(lease)
        assert texts(replayed) == ["bad"]
        await s.store.ack(replayed, 200)
        joined = await s.attempt(lease)
        assert (texts(joined), supersedes(joined.batch.id)) == (["a", "b"], attempt.batch.id)

    @scenario(max_wait_ms=2_000)
    async def test_the_maximum_wait_counts_from_the_newer_messages(self, s: Stage) -> None:
        lease = await s.own()
        attempt = await taken(s, lease, "a")
        s.now.ms += 1_500
        await s.send("b", ttl_ms=9_000)
        assert await done_if_latest(s, attempt) == ("taken_back", 1)
        assert await s.claim(lease) == NotDue(2_000)

    @scenario(max_pending_bytes=130)
    async def test_what_was_taken_back_counts_among_the_bytes_that_wait(self, s: Stage) -> None:
        lease = await s.own()
        attempt = await taken(s, lease, "a" * 40)
        await s.accepted("b", ttl_ms=0)
        await done_if_latest(s, attempt)
        (full,) = await s.changes_nothing("append", [s.message("c")])
        assert (full.pending, full.of) == (2, "bytes")

    @scenario(max_messages=5_000, max_pending=10_000)
    async def test_thousands_of_messages_are_taken_back_in_order(self, s: Stage) -> None:
        lease = await s.own()
        words = [str(number) for number in range(2_999)]
        attempt = await taken(s, lease, *words)
        await s.send("new", ttl_ms=0)
        assert await done_if_latest(s, attempt) == ("taken_back", 1)
        assert texts(await s.attempt(lease)) == [*words, "new"]

    @scenario()
    async def test_an_extension_gives_time_and_never_takes_any_and_has_an_end(
        self, s: Stage
    ) -> None:
        lease = await s.own(ttl_ms=10**7)
        attempt, began = await taken(s, lease, "a"), s.now.ms
        for for_ms, until in ((1_000, WITHIN_MS), (60_000, 60_000), (10**9, ANSWER_MAX_MS)):
            answer = await s.store.answer_extend(ticket(s, attempt), for_ms)
            assert answer is not None
            assert answer.until_ms == began + until
            assert await s.claim(lease) == NotDue(until)
        s.now.ms += ANSWER_MAX_MS - 1
        answer = await s.store.answer_extend(ticket(s, attempt), 60_000)
        assert answer is not None
        assert answer.until_ms == began + ANSWER_MAX_MS
        s.now.ms += 1
        assert await s.changes_nothing("answer_extend", ticket(s, attempt), 60_000) is None
        assert (await s.attempt(lease)).number == 2

    @scenario()
    async def test_more_time_that_was_asked_for_before_the_202_takes_nothing_from_what_that_gives(
        self, s: Stage
    ) -> None:
        for asked_ms, until_ms in ((1_000, WITHIN_MS), (3 * WITHIN_MS, 3 * WITHIN_MS)):
            lease = await s.own(ttl_ms=10**7)
            await s.send("a", ttl_ms=0)
            attempt, began = await s.attempt(lease), s.now.ms
            await s.store.answer_extend(ticket(s, attempt), asked_ms)
            s.now.ms += 100
            assert await s.store.answering(attempt, WITHIN_MS) == Settled(until_ms - 100)
            s.now.ms += 100
            again = await s.changes_nothing("answering", attempt, WITHIN_MS)
            assert again == Settled(until_ms - 200), "the 202 is told again"
            seen = await s.store.answer(ticket(s, attempt))
            assert seen is not None
            assert seen.until_ms == began + until_ms
            assert await done(s, attempt) == ("done", 0)
            await s.store.release([lease])

    @scenario()
    async def test_a_receiver_that_fails_is_called_again_or_never(self, s: Stage) -> None:
        lease = await s.own()
        attempt = await taken(s, lease, "a")
        was = Answered("answering", 0, attempt=1, messages=1)
        failed = (ticket(s, attempt), was, Retry(700, "the receiver said that it failed"), "oh")
        answer = await s.store.answer_fail(*failed)
        assert answer is not None
        assert (answer.state, answer.next_in_ms) == ("failed", 700)
        again = await s.changes_nothing("answer_fail", *failed)
        assert (again.state, again.again) == ("failed", True)
        record = (await s.store.describe("ana")).recent[0]
        assert (record.outcome, record.status, record.answer) == ("retry", 202, "oh")
        s.now.ms += 700
        second = await s.attempt(lease)
        assert (second.batch, second.number) == (attempt.batch, 2)
        await s.store.answering(second, WITHIN_MS)
        verdict = Bury("the receiver said that it failed")
        await s.store.answer_fail(ticket(s, second), replace(was, attempt=2), verdict, "no")
        letter = await s.store.dead_letter(attempt.batch.id)
        assert letter is not None
        assert (letter.attempts, letter.status, letter.answer) == (2, 202, "no")
        assert letter.batch == attempt.batch
        assert await s.claim(lease) == Nothing()

    @scenario(retry_schedule_ms=(500,))
    async def test_a_batch_that_is_never_answered_is_claimed_once_more_to_be_buried(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        await taken(s, lease, "a")
        s.now.ms += WITHIN_MS
        second = await s.attempt(lease)
        await s.store.answering(second, WITHIN_MS)
        s.now.ms += WITHIN_MS
        last = await s.claim(lease, token="last")
        assert isinstance(last, Attempt)
        assert (last.number, last.unanswered) == (2, True)
        again = await s.claim(lease, token="last")
        assert again == last, "a repetition of the claim is not an attempt to be made"
        await s.store.bury(lease, last, 202, "no word")
        assert await s.store.dead_letter(last.batch.id) is not None

    @scenario(retry_schedule_ms=(500,))
    async def test_a_hold_gives_a_batch_that_is_never_answered_no_attempt_more(
        self, s: Stage
    ) -> None:
        lease = await s.own(ttl_ms=10**7)
        await taken(s, lease, "a")
        s.now.ms += WITHIN_MS
        await s.store.answering(await s.attempt(lease), WITHIN_MS)
        await s.store.hold("ana", 60_000)
        s.now.ms += WITHIN_MS
        assert await s.claim(lease) == NotDue(60_000 - WITHIN_MS)
        await s.store.unhold("ana")
        last = await s.claim(lease, token="last")
        assert isinstance(last, Attempt)
        assert (last.number, last.unanswered) == (2, True)

    @scenario()
    async def test_a_batch_that_was_taken_back_is_still_named_when_its_first_message_is_revoked(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        messages = [s.message(word, ttl_ms=0, message_id=word) for word in ("a", "b")]
        await s.store.append(messages)
        attempt = await s.attempt(lease)
        await s.store.answering(attempt, WITHIN_MS)
        await s.send("c", ttl_ms=0)
        assert await done_if_latest(s, attempt) == ("taken_back", 1)
        assert isinstance(await s.store.revoke("ana", "a"), Changed)
        again = await s.attempt(lease)
        assert texts(again) == ["b", "c"]
        assert supersedes(again.batch.id) == attempt.batch.id

    @scenario()
    async def test_a_hold_a_flush_a_typing_signal_and_a_drop_leave_the_answer_alone(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        attempt = await taken(s, lease, "a")
        await s.send("b", ttl_ms=9_000)
        assert (await s.store.typing("ana", 60_000))[0] is False
        await s.store.flush("ana")
        await s.store.hold("ana", 60_000)
        assert (await s.store.describe("ana")).state == "answering"
        dropped = await s.store.drop("ana")
        assert (dropped.messages, dropped.batch_id) == (1, None)
        assert await done_if_latest(s, attempt) == ("done", 0)
        assert (await s.store.describe("ana")).state == "held"

    @scenario()
    async def test_a_lapse_under_a_hold_waits_for_the_release(self, s: Stage) -> None:
        lease = await s.own()
        attempt = await taken(s, lease, "a")
        await s.store.hold("ana", 60_000)
        s.now.ms += WITHIN_MS
        assert await s.claim(lease) == NotDue(60_000 - WITHIN_MS)
        assert await done(s, attempt) is None
        await s.store.unhold("ana")
        assert (await s.attempt(lease)).number == 2

    @scenario()
    async def test_another_owner_counts_the_time_of_a_replica_that_died(self, s: Stage) -> None:
        old = await s.own("r1", ttl_ms=100)
        await s.send("a", ttl_ms=0)
        attempt = await s.attempt(old)
        await s.store.answering(attempt, WITHIN_MS)
        s.now.ms += 100
        heir = await s.own("r2")
        ((due,),) = await s.store.due([heir.shard], 60_000, 10)
        assert (due.user, due.remaining_ms) == ("ana", WITHIN_MS - 100)
        assert await s.claim(heir) == NotDue(WITHIN_MS - 100)
        assert await done(s, attempt) == ("done", 0), "whoever owns the shard"
        assert await s.claim(heir) == Nothing()

    @scenario()
    async def test_a_202_that_comes_after_the_lease_is_lost_counts_while_nobody_else_tries(
        self, s: Stage
    ) -> None:
        _, first, second = await s.overtaken()
        assert await s.changes_nothing("answering", first, WITHIN_MS) == Gone()
        assert await s.store.answering(second, WITHIN_MS) == Settled(WITHIN_MS)

    @scenario()
    async def test_a_late_ack_makes_the_answer_the_end_of_the_turn(self, s: Stage) -> None:
        heir, first, second = await s.overtaken()
        await s.store.answering(second, WITHIN_MS)
        assert await s.store.ack(first, 200) == Settled(WITHIN_MS)
        answer = await s.store.answer_done(ticket(s, second), only_latest=True)
        assert answer is not None
        assert (answer.state, answer.newer, answer.known) == ("done", 1, True)
        assert texts(await s.attempt(heir)) == ["b"]

    @scenario()
    async def test_a_clock_that_steps_loses_nothing(self, s: Stage) -> None:
        lease = await s.own(ttl_ms=10**7)
        attempt = await taken(s, lease, "a")
        s.now.ms -= 60_000
        await s.send("b", ttl_ms=0)
        assert await done_if_latest(s, attempt) == ("taken_back", 1)
        s.now.ms += 120_000
        assert texts(await s.attempt(lease)) == ["a", "b"]

    @scenario()
    async def test_an_address_that_has_expired_is_good_for_nothing(self, s: Stage) -> None:
        lease = await s.own()
        attempt = await taken(s, lease, "a")
        expired = replace(ticket(s, attempt), expires_at_ms=s.now.ms)
        assert await s.changes_nothing("answer_done", expired, only_latest=False) is None

    @scenario()
    async def test_who_answers_is_found_by_state(self, s: Stage) -> None:
        lease = await s.own()
        await taken(s, lease, "a")
        page = await s.store.users(UserFilter(state="answering"), 10, None)
        assert [view.user for view in page.users] == ["ana"]
        page = await s.store.users(UserFilter(state="delivering"), 10, None)
        assert page.users == ()

    @scenario()
    async def test_an_erased_user_is_gone_once_the_answer_has_come(self, s: Stage) -> None:
        lease = await s.own()
        attempt = await taken(s, lease, "a")
        await s.send("b", ttl_ms=0)
        await s.store.erase("ana", None)
        assert await done_if_latest(s, attempt) == ("done", 0)
        assert await s.claim(lease) == Nothing()


assert ATTEMPT_MS < WITHIN_MS, "the time for an answer is not the limit of an attempt"
