"""Beside replicas of the first release: what their scripts do to a user whose batch a late ack has
delivered while another attempt was under way, which only newer scripts know of.

Whatever they do, no newer message is taken for delivered, and the user's turn comes to an end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from actor_queue.core.answers import Ticket
from actor_queue.core.batch import Attempt, batch_id, divided_from, supersedes
from actor_queue.core.message import Accepted, Appended, Full, Message
from actor_queue.core.settings import Settings
from actor_queue.store.api import Lease, NotDue, Settled
from actor_queue.store.claims import LEFT, LEFT_MS
from tests.store.driver import MemorySubject, Now, finished, memory_subject

ATTEMPT_MS = 3_000


class Mixed:
    """One shard, one lease, scripts of both releases."""

    def __init__(self, subject: MemorySubject, now: Now) -> None:
        self.subject, self.now = subject, now
        self.shard, self.mine = subject.store._user_keys("ana")
        (self.lease,) = subject.call("acquire", [0], "r1", "nonce", 10**6)
        assert isinstance(self.lease, Lease)
        self.serial = 0

    def post(self, text: str) -> Appended:
        self.serial += 1
        body = json.dumps({"message": text}).encode()
        message = Message("ana", body, 0, f"m{self.serial}", remembered=False)
        (answer,) = self.subject.call("append", [message])
        assert isinstance(answer, Accepted | Full)
        return answer

    def claim(self) -> Any:
        self.serial += 1
        name = batch_id(0, f"{self.serial:020x}")
        return self.subject.call("claim", self.lease, "ana", f"t{self.serial}", name)

    def texts(self) -> list[str]:
        claimed = self.claim()
        assert isinstance(claimed, Attempt), claimed
        return claimed.batch.messages

    def delivered_late(self) -> Attempt:
        """The attempt under way at a batch that an earlier one has delivered; "b" waits."""
        self.post("a")
        first = self.claim()
        self.now.ms += ATTEMPT_MS
        second = self.claim()
        self.post("b")
        assert self.subject.call("ack", first, 200) == Settled(ATTEMPT_MS)
        assert isinstance(second, Attempt)
        return second

    # What the first release calls

    def old(self, name: str, keys: tuple[bytes, ...], *args: Any) -> Any:
        call = self.subject.store._call(name, keys, self.now.ms, *args)
        return finished(call)

    def old_post(self, text: str) -> None:
        mine, shard = self.mine, self.shard
        keys = (shard.lease, shard.due, mine.state, mine.pending, mine.line)
        limits = (10_000, 1_000, 500, 1_048_576, 0)
        payload = f'"old",{json.dumps({"message": text})}'
        self.old("append_v1", keys, "r1", "aq:", 0, *limits, 1, "ana", 1, 0, 0, payload)

    def old_claim(self) -> Any:
        mine, shard = self.mine, self.shard
        keys = (shard.lease, shard.due, mine.state, mine.pending, mine.line, mine.flight)
        fence = (self.lease.epoch, self.lease.nonce)
        return self.old(
            "claim_v1", keys, *fence, "ana", "old token", "b0000old", ATTEMPT_MS, "classic"
        )

    def former_claim(self) -> Any:
        """Of the release that knows late acks and halves, and no answers."""
        mine, shard = self.mine, self.shard
        keys = (shard.lease, shard.due, mine.state, mine.pending, mine.line, mine.flight)
        facts = ("ana", "former token", "b0000former", ATTEMPT_MS, "classic")
        fence = (self.lease.epoch, self.lease.nonce)
        return self.old("claim_v2", (*keys, mine.history), *fence, *facts)

    def answers_later(self) -> tuple[Attempt, Ticket]:
        """An attempt that was answered 202."""
        attempt = self.claim()
        assert self.subject.call("answering", attempt, ATTEMPT_MS) == Settled(ATTEMPT_MS)
        return attempt, Ticket("ana", attempt.batch.id, attempt.token, self.now.ms + 10**6)

    def old_verdict(self, name: str, attempt: Attempt, *more: bytes, why: Any = 500) -> Any:
        mine, shard = self.mine, self.shard
        keys = (shard.lease, shard.due, mine.state, *more)
        entry = json.dumps([attempt.batch.id, attempt.number, "dead", 1, None, "x"])[1:-1]
        facts = ("ana", attempt.batch.id, attempt.number, why, entry, "r1", "aq:", 0)
        return self.old(name, keys, self.lease.epoch, self.lease.nonce, *facts)

    def old_ack(self, attempt: Attempt) -> Any:
        mine, shard = self.mine, self.shard
        keys = (shard.lease, shard.due, mine.state, mine.flight, mine.history)
        return self.old("ack_v1", keys, "ana", attempt.batch.id, '"x"', "r1", "aq:", 0)


@pytest.fixture
def mixed() -> Iterator[Mixed]:
    now = Now()
    settings = Settings(shards=1, webhook_timeout_ms=ATTEMPT_MS - 1_000, max_pending_bytes=200)
    with memory_subject(settings, now) as subject:
        yield Mixed(subject, now)


def test_its_claim_at_the_limit_sends_the_same_batch_again_and_the_next_one_follows(
    mixed: Mixed,
) -> None:
    second = mixed.delivered_late()
    mixed.now.ms += ATTEMPT_MS
    reply = mixed.old_claim()
    assert (reply[0], reply[3].decode()) == (b"attempt", second.batch.id)
    mixed.old_ack(second)
    assert mixed.texts() == ["b"]


def test_its_retry_is_not_sent_by_a_newer_replica(mixed: Mixed) -> None:
    second = mixed.delivered_late()
    assert mixed.old_verdict("retry_v1", second, mixed.mine.history)[0] == b"ok"
    mixed.now.ms += 500
    assert mixed.texts() == ["b"]


def test_its_burial_makes_a_dead_letter_whose_replay_is_sent(mixed: Mixed) -> None:
    second = mixed.delivered_late()
    letter, items = mixed.shard.letter(second.batch.id)
    places = (mixed.mine.flight, mixed.mine.history, mixed.shard.dead, letter, items)
    assert mixed.old_verdict("bury_v1", second, *places, why="gone")[0] == b"ok"
    mixed.subject.call("dead_replay", second.batch.id)
    assert mixed.texts() == ["a"]


def test_its_ack_leaves_nothing_that_could_be_taken_for_an_ack_of_the_next_batch(
    mixed: Mixed,
) -> None:
    mixed.old_ack(mixed.delivered_late())
    third = mixed.claim()
    assert third.batch.messages == ["b"]
    mixed.now.ms += ATTEMPT_MS
    fourth = mixed.claim()
    assert (fourth.batch, fourth.number) == (third.batch, 2)
    assert mixed.subject.call("retry", mixed.lease, fourth, 10, 500, "x") == Settled(10)
    mixed.now.ms += 10
    assert mixed.texts() == ["b"]


def test_it_claims_a_half_under_an_id_of_its_own_and_newer_replicas_go_on_from_there(
    mixed: Mixed,
) -> None:
    for text in "abcd":
        mixed.post(text)
    whole = mixed.claim()
    assert mixed.subject.call("divide", mixed.lease, whole, 413, "answered 413") == Settled(0)
    first = mixed.claim()
    assert first.batch.messages == ["a", "b"]
    assert mixed.subject.call("ack", first, 200) == Settled(0)
    reply = mixed.old_claim()
    name = reply[3].decode()
    assert (reply[0], len(reply[-1])) == (b"attempt", 2)
    assert divided_from(name) is None
    mixed.now.ms += ATTEMPT_MS
    again = mixed.claim()
    assert (again.batch.id, again.number, again.batch.messages) == (name, 2, ["c", "d"])
    assert mixed.subject.call("divide", mixed.lease, again, 413, "answered 413") == Settled(0)
    for text in "cd":
        half = mixed.claim()
        assert (half.batch.messages, divided_from(half.batch.id)) == ([text], name)
        mixed.subject.call("ack", half, 200)


def test_it_delivers_and_buries_a_half_that_is_in_flight(mixed: Mixed) -> None:
    for text in "ab":
        mixed.post(text)
    mixed.subject.call("divide", mixed.lease, mixed.claim(), 413, "answered 413")
    reply = mixed.old_claim()
    assert (reply[0], len(reply[-1])) == (b"attempt", 1)
    first = reply[3].decode()
    mixed.now.ms += ATTEMPT_MS
    again = mixed.claim()
    assert again.batch.id == first
    letter, items = mixed.shard.letter(first)
    places = (mixed.mine.flight, mixed.mine.history, mixed.shard.dead, letter, items)
    assert mixed.old_verdict("bury_v1", again, *places, why="gone")[0] == b"ok"
    assert mixed.texts() == ["b"]


def test_its_history_and_dead_letters_are_read_and_it_can_read_ours(mixed: Mixed) -> None:
    mixed.post("a")
    first = mixed.claim()
    facts = json.dumps([first.batch.id, 1, "retry", 1, 503, "answered 503"])[1:-1]
    keys = (mixed.shard.lease, mixed.shard.due, mixed.mine.state, mixed.mine.history)
    fence = (mixed.lease.epoch, mixed.lease.nonce)
    mixed.old("retry_v1", keys, *fence, "ana", first.batch.id, 1, 0, facts, "r1", "aq:", 0)
    second = mixed.claim()
    said = ("answered 503", 'not "now"', 7)
    assert mixed.subject.call("retry", mixed.lease, second, 0, 503, *said) == Settled(0)
    ours, its = mixed.subject.call("describe", "ana").recent
    assert (its.outcome, its.reason, its.answer) == ("retry", "answered 503", None)
    assert (ours.outcome, ours.reason, ours.answer, ours.took_ms) == ("retry", *said)
    for line in mixed.subject.client.lrange(mixed.mine.history, 0, -1):
        _, name, _, outcome, messages, status, reason = json.loads(line)
        assert (name, outcome, messages, status) == (first.batch.id, "retry", 1, 503)
        assert reason.startswith("answered 503")
    third = mixed.claim()
    letter, items = mixed.shard.letter(third.batch.id)
    places = (mixed.mine.flight, mixed.mine.history, mixed.shard.dead, letter, items)
    assert mixed.old_verdict("bury_v1", third, *places, why="gone")[0] == b"ok"
    found = mixed.subject.call("dead_letter", third.batch.id)
    assert (found.reason, found.status, found.answer, found.replica) == ("gone", None, None, None)


def test_bytes_that_a_newer_replica_claimed_do_not_count_beside_what_it_appends(
    mixed: Mixed,
) -> None:
    assert isinstance(mixed.post("a" * 100), Accepted)
    assert mixed.texts() == ["a" * 100]
    mixed.old_post("b" * 100)
    assert isinstance(mixed.post("c" * 100), Accepted)
    assert isinstance(mixed.post("d" * 100), Full)


@pytest.mark.parametrize("claim", ["old_claim", "former_claim"])
def test_its_claim_makes_the_next_attempt_when_the_time_for_an_answer_is_over(
    mixed: Mixed, claim: str
) -> None:
    mixed.post("a")
    attempt, ticket = mixed.answers_later()
    assert getattr(mixed, claim)()[0] == b"wait", "until then it is an attempt under way"
    mixed.now.ms += ATTEMPT_MS
    reply = getattr(mixed, claim)()
    assert (reply[0], reply[1], reply[3].decode()) == (b"attempt", 2, attempt.batch.id)
    assert mixed.subject.call("answer_done", ticket, only_latest=False) is None
    assert mixed.subject.call("describe", "ana").state == "delivering"
    mixed.now.ms += ATTEMPT_MS
    again = mixed.claim()
    assert (again.number, again.unanswered) == (3, False)


def test_its_ack_ends_an_answer_and_the_next_batch_is_not_taken_for_answering(
    mixed: Mixed,
) -> None:
    mixed.post("a")
    attempt, ticket = mixed.answers_later()
    mixed.post("b")
    mixed.old_ack(attempt)
    assert mixed.subject.call("answer", ticket) is None
    following = mixed.former_claim()
    assert following[0] == b"attempt"
    assert mixed.subject.call("describe", "ana").state == "delivering"


@pytest.mark.parametrize("claim", ["old_claim", "former_claim"])
def test_it_sends_what_was_taken_back_under_an_id_of_its_own(mixed: Mixed, claim: str) -> None:
    mixed.post("a")
    attempt, ticket = mixed.answers_later()
    mixed.post("b")
    assert mixed.subject.call("answer_done", ticket, only_latest=True).state == "taken_back"
    reply = getattr(mixed, claim)()
    items = reply[-1]
    assert [json.loads(item)[3]["message"] for item in items] == ["a", "b"]
    assert supersedes(reply[3].decode()) is None
    mixed.old_ack(replace(attempt, batch=replace(attempt.batch, id=reply[3].decode())))
    mixed.post("c")
    third = mixed.claim()
    assert (third.batch.messages, supersedes(third.batch.id)) == (["c"], None)


def test_a_batch_in_a_mode_of_a_newer_release_is_left_to_it_and_spends_no_attempt(
    mixed: Mixed,
) -> None:
    mixed.post("a")
    first = mixed.claim()
    assert mixed.subject.call("retry", mixed.lease, first, 0, 503, "answered 503") == Settled(0)
    mixed.subject.client.hset(mixed.mine.state, "fm", "detailed_v9")
    mixed.post("b")
    for _ in range(3):
        assert mixed.claim() == NotDue(LEFT_MS)
        assert mixed.subject.call("describe", "ana").state == "retrying"
        mixed.now.ms += LEFT_MS
    (left, *_) = mixed.subject.call("describe", "ana").recent
    assert (left.batch_id, left.outcome, left.reason) == (first.batch.id, "retry", LEFT)
    mixed.subject.client.hset(mixed.mine.state, "fm", first.batch.mode)
    second = mixed.claim()
    assert (second.batch, second.number) == (first.batch, 2)
