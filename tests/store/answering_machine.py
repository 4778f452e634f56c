"""The adversary's part for receivers that answer 202 and say later that they are done."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from actor_queue.core.answers import Ticket
from actor_queue.core.batch import Attempt
from actor_queue.core.outcome import Bury, Retry
from actor_queue.store.answers_api import Answered
from actor_queue.store.api import Settled
from tests.store.judge import pick
from tests.store.machine import USERS, Machine

WITHIN_MS = 5_000
WORDS = (
    *["202", "202", "202", "202!", "done", "done!", "latest", "latest", "latest!"],
    *["extend", "extend!", "fail", "fail!", "fail for good", "look", "old done", "old latest"],
    *["fire", "fire", "send 1000", "send 0", "send 1000", "flush", "hold 2000", "hold 0", "drop"],
    *["time 1000", "time 5000", "ack", "retry", "divide", "late ack", "replay", "bury"],
    *["typing 5000", "r1 takes over", "fire!", "late claim"],
)
conversations = st.lists(st.sampled_from(WORDS), min_size=2, max_size=8)
STARTS = (
    ("send 0", "send 0", "fire", "202"),
    ("send 0", "fire", "202", "send 1000", "latest"),
    ("send 0", "fire", "202", "time 5000", "fire", "202", "time 5000", "fire"),
    ("send 0", "send 0", "send 0", "fire", "divide", "fire", "202", "send 1000"),
    ("send 0", "fire", "bury", "send 1000", "replay", "fire", "202", "latest"),
    ("send 0", "send 0", "fire", "202", "time 5000", "fire", "done", "202"),
    ("send 0", "fire", "send 1000", "extend", "202", "latest", "202"),
    (),
)


class AnsweringMachine(Machine):
    """Rules and words about answers, beside all the others."""

    @rule(
        user=st.sampled_from(USERS[:1]),
        start=st.sampled_from(STARTS),
        events=conversations,
    )
    def a_receiver_answers_later(
        self, user: str, start: tuple[str, ...], events: list[str]
    ) -> None:
        for event in (*start, *events):
            self.happen(event, user)
            self.what_is_kept_is_what_must_be()

    def happen(self, event: str, user: str) -> None:
        if not self.answers(event.rstrip("!"), user, again=event.endswith("!")):
            super().happen(event, user)

    def answers(self, event: str, user: str, *, again: bool) -> bool:
        """Whether the word is one about answers; then it has happened."""
        match event:
            case "202":
                self.answer_later(self.an_attempt(0), again=again)
            case "done" | "latest":
                self.say_done(self.an_attempt(0), latest=event == "latest", again=again)
            case "old done" | "old latest":
                self.say_done(self.an_attempt(1), latest=event == "old latest", again=again)
            case "extend":
                self.extend(self.an_attempt(0), again=again)
            case "fail" | "fail for good":
                self.fail(self.an_attempt(0), final=event == "fail for good", again=again)
            case "look":
                self.ask("answer", self.ticket(pick(self.attempts, 0)))
            case _:
                return False
        return True

    def ticket(self, attempt: Attempt) -> Ticket:
        return Ticket(attempt.batch.user, attempt.batch.id, attempt.token, self.now.ms + 10**6)

    def answer_later(self, attempt: Attempt, *, again: bool) -> None:
        answer = self.ask("answering", attempt, WITHIN_MS, 7, lost=again)
        if isinstance(answer, Settled) and answer.known:
            self.ledger.turn_over(attempt)
        elif isinstance(answer, Settled):
            assert answer.next_in_ms is not None
            self.ledger.answering(attempt.batch.user, self.now.ms + answer.next_in_ms)

    def say_done(self, attempt: Attempt, *, latest: bool, again: bool) -> None:
        answer = self.ask_of(attempt, "answer_done", lost=again, only_latest=latest)
        if answer is None or answer.again:
            return
        if answer.known:
            self.ledger.turn_over(attempt)
        elif answer.state == "taken_back":
            assert answer.newer > 0, "taken back although nothing newer waits"
            self.ledger.taken_back(attempt)
        else:
            self.ledger.delivered(attempt, self.now.ms)

    def extend(self, attempt: Attempt, *, again: bool) -> None:
        answer = self.ask_of(attempt, "answer_extend", 3_000, lost=again)
        if answer is not None and answer.until_ms is not None:
            self.ledger.answering(attempt.batch.user, answer.until_ms)

    def fail(self, attempt: Attempt, *, final: bool, again: bool) -> None:
        user = attempt.batch.user
        was = Answered("answering", 0, attempt=attempt.number, messages=len(attempt.batch.stored))
        verdict = Bury("no") if final else Retry(500, "no")
        answer = self.ask_of(attempt, "answer_fail", was, verdict, lost=again)
        if answer is None or answer.again:
            return
        if answer.known:
            self.ledger.turn_over(attempt)
        elif final:
            self.ledger.buried(user, attempt.batch.id)
            self.letters.append(attempt.batch.id)
        else:
            self.ledger.waits(user)

    def ask_of(self, attempt: Attempt, verb: str, *args: object, **more: Any) -> Answered | None:
        """A repetition answers the same, but for what only the first call can say."""
        lost = more.pop("lost")
        ticket = self.ticket(attempt)
        answer: Answered | None = self.ask(verb, ticket, *args, **more)
        if lost:
            before = self.subject.dump()
            second = self.ask(verb, ticket, *args, **more)
            assert self.subject.dump() == before, f"{verb} repeated changes something"
            if answer is not None:
                assert second is not None
                assert (second.state, second.newer) == (answer.state, answer.newer)
        return answer
