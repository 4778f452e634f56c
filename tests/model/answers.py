"""The oracle's part for receivers that answer later, and what it remembers of attempts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from actor_queue.core.answers import ANSWER_MAX_MS, TAKEN_BACK_MAX, AnswerState, Ticket
from actor_queue.core.batch import Attempt
from actor_queue.core.outcome import Bury, Retry
from actor_queue.core.payload import counted_bytes
from actor_queue.core.settings import Settings
from actor_queue.store.answers_api import Answered
from actor_queue.store.api import AttemptOutcome, AttemptRecord, Gone, Settled, SettleResult
from tests.model.state import Buried, Flight, Item, Line, Sealed

RECENT_MAX = 20


class Answers:
    """See `actor_queue/store/answers_api.py`."""

    settings: Settings
    buried: dict[str, Buried]
    line: Callable[[str], Line]
    _over: Callable[[Line, Flight, int], Settled]

    def answering(
        self, now_ms: int, attempt: Attempt, within_ms: int, took_ms: int | None = None
    ) -> SettleResult:
        line = self.line(attempt.batch.user)
        flight = line.flight
        if flight is None or flight.retry_at_ms is not None:
            return Gone()
        if (flight.batch.id, flight.token) != (attempt.batch.id, attempt.token):
            return Gone()
        if flight.delivered:
            self._record(line, now_ms, attempt, "delivered", 202, None, None, took_ms)
            return self._over(line, flight, now_ms)
        if flight.answering_since_ms is None:
            flight.answering_since_ms, flight.limit_at_ms = now_ms, now_ms + within_ms
        given_until_ms = flight.answering_since_ms + within_ms
        flight.limit_at_ms = max(flight.limit_at_ms, given_until_ms)
        return self._settled(line, now_ms)

    def answer(self, now_ms: int, ticket: Ticket) -> Answered | None:
        line = self.line(ticket.conversation)
        flight = self._open(line, ticket, now_ms)
        if flight is None:
            return self._given(line, ticket, now_ms)
        return Answered(
            "answering",
            self._newer(line),
            flight.limit_at_ms,
            attempt=flight.number,
            messages=len(flight.batch.stored),
        )

    def answer_done(self, now_ms: int, ticket: Ticket, *, only_latest: bool) -> Answered | None:
        line = self.line(ticket.conversation)
        flight = self._open(line, ticket, now_ms)
        if flight is None:
            return self._given(line, ticket, now_ms)
        newer, batch = self._newer(line), flight.batch
        back = (
            only_latest
            and newer > 0
            and not flight.delivered
            and batch.id.count("z") < TAKEN_BACK_MAX
        )
        what: AnswerState = "taken_back" if back else "done"
        line.last_answer = (batch.id, flight.token, what, newer)
        self._note(line, now_ms, flight, "taken_back" if back else "delivered", None)
        if back:
            self._take_back(line, flight)
        line.flight = None
        since = flight.answering_since_ms
        return Answered(
            what,
            newer,
            next_in_ms=self._settled(line, now_ms).next_in_ms,
            known=flight.delivered,
            attempt=flight.number,
            messages=len(batch.stored),
            waited_ms=0 if since is None else now_ms - since,
        )

    def _take_back(self, line: Line, flight: Flight) -> None:
        """In front of what waits, and one batch with the first of that."""
        batch = flight.batch
        items = [Item.decoded(stored) for stored in batch.stored]
        if line.sealed:
            first = line.sealed[0]
            line.sealed[0] = Sealed((*items, *first.items), first.reason, first.due_at_ms)
        else:
            assert line.open
            _, times, each = counted_bytes(self.settings.payload)
            line.open.items[:0] = items
            line.open.bytes += sum(times * len(stored) + each for stored in batch.stored)
            line.open.first_at_ms = batch.first_at_ms
        line.former = (items[0].seq, batch.id)

    def _former(self, line: Line, first: Item) -> str | None:
        """The id of the batch that was taken back, if its messages begin with `first`."""
        former, line.former = line.former, None
        return former[1] if former and former[0] == first.seq else None

    def answer_extend(self, now_ms: int, ticket: Ticket, for_ms: int) -> Answered | None:
        line = self.line(ticket.conversation)
        flight = self._open(line, ticket, now_ms)
        if flight is None:
            return self._given(line, ticket, now_ms)
        if flight.answering_since_ms is None:
            flight.answering_since_ms = now_ms
        most = flight.answering_since_ms + ANSWER_MAX_MS
        flight.limit_at_ms = max(flight.limit_at_ms, min(now_ms + for_ms, most))
        return Answered("answering", self._newer(line), flight.limit_at_ms)

    def answer_fail(
        self, now_ms: int, ticket: Ticket, was: Answered, verdict: Retry | Bury
    ) -> Answered | None:
        line = self.line(ticket.conversation)
        flight = self._open(line, ticket, now_ms)
        if flight is None:
            return self._given(line, ticket, now_ms)
        newer, reason = self._newer(line), verdict.reason
        line.last_answer = (flight.batch.id, flight.token, "failed", newer)
        if flight.delivered:
            self._note(line, now_ms, flight, "failed", reason)
            line.flight = None
        elif isinstance(verdict, Bury):
            self._note(line, now_ms, flight, "dead", reason)
            self.buried[flight.batch.id] = Buried(
                flight.batch, now_ms, flight.number, reason, 202, replica=ticket.replica
            )
            line.flight = None
        else:
            self._note(line, now_ms, flight, "retry", reason)
            flight.retry_at_ms = now_ms + verdict.after_ms
        return Answered(
            "failed",
            newer,
            next_in_ms=self._settled(line, now_ms).next_in_ms,
            known=flight.delivered,
            attempt=was.attempt,
            messages=was.messages,
        )

    def _open(self, line: Line, ticket: Ticket, now_ms: int) -> Flight | None:
        """Its receiver may speak before its 202 is known: nobody else has the address."""
        flight = line.flight
        if flight is None or not flight.under_way(now_ms):
            return None
        same = (flight.batch.id, flight.token) == (ticket.batch_id, ticket.token)
        return flight if same and now_ms < ticket.expires_at_ms else None

    def _given(self, line: Line, ticket: Ticket, now_ms: int) -> Answered | None:
        last = line.last_answer
        if last and last[:2] == (ticket.batch_id, ticket.token) and now_ms < ticket.expires_at_ms:
            return Answered(last[2], last[3], again=True)
        return None

    def _newer(self, line: Line) -> int:
        halves = 0
        for sealed in line.sealed:
            if not sealed.whole:
                break
            halves += len(sealed.items)
        return line.pending() - halves

    def _unanswered(self, flight: Flight) -> bool:
        """Its time for an answer is over, and it was the batch's last attempt."""
        return (
            flight.retry_at_ms is None
            and flight.answering_since_ms is not None
            and flight.number > len(self.settings.retry_schedule_ms)
        )

    # What is remembered of attempts

    def _note(
        self,
        line: Line,
        now_ms: int,
        flight: Flight,
        outcome: AttemptOutcome,
        reason: str | None,
    ) -> None:
        attempt = Attempt(flight.batch, flight.number, 0, flight.token)
        self._record(line, now_ms, attempt, outcome, 202, reason, None, None)
        by = flight.token.rpartition("/")[0] or None
        line.recent[0] = replace(line.recent[0], replica=by)

    def _record(
        self,
        line: Line,
        now_ms: int,
        attempt: Attempt,
        outcome: AttemptOutcome,
        status: int | None,
        reason: str | None,
        answer: str | None,
        took_ms: int | None,
    ) -> None:
        batch = attempt.batch
        record = AttemptRecord(
            batch.id,
            attempt.number,
            now_ms,
            outcome,
            len(batch.stored),
            status,
            reason,
            answer,
            None,
            took_ms,
        )
        line.recent = [record, *line.recent][:RECENT_MAX]

    def _silent(self, line: Line, flight: Flight) -> None:
        """Nobody said what came of the attempt, and its limit has passed: that it was is told."""
        what: AttemptOutcome = "unknown"
        status, why = None, "the replica did not report within the limit"
        if flight.answering_since_ms is not None:
            what = "failed" if flight.delivered else "retry"
            status, why = 202, "the receiver did not say within its time that it is done"
        record = AttemptRecord(
            flight.batch.id,
            flight.number,
            flight.limit_at_ms,
            what,
            len(flight.batch.stored),
            status,
            why,
            replica=flight.token.rpartition("/")[0] or None,
        )
        line.recent = [record, *line.recent][:RECENT_MAX]

    def _settled(self, line: Line, now_ms: int) -> Settled:
        step = line.next_step_ms()
        return Settled(None if step is None else max(0, step - now_ms))
