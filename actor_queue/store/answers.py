"""The verbs of receivers that answer later: for any replica, each fenced by its ticket."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import cast, get_args

from actor_queue.core.answers import ACCEPTED, ANSWER_MAX_MS, TAKEN_BACK_MAX, AnswerState, Ticket
from actor_queue.core.batch import Attempt
from actor_queue.core.conversation import conversation_of
from actor_queue.core.outcome import Bury, Retry
from actor_queue.core.payload import counted_bytes
from actor_queue.store.answers_api import Answered
from actor_queue.store.api import SettleResult
from actor_queue.store.base import StoreBase
from actor_queue.store.history_lines import Told, history_line
from actor_queue.store.verdicts import settled
from actor_queue.transport.reading import READING, Unreadable, expect, listed, number, text
from actor_queue.transport.runner import Watch, Word


class Answers(StoreBase):
    """See `AnswerStore`."""

    async def answering(
        self, attempt: Attempt, within_ms: int, took_ms: int | None = None
    ) -> SettleResult:
        """See `AnswerStore.answering`."""
        batch = attempt.batch
        shard, mine = self._user_keys(batch.key)
        told: Told = {"by": self.replica, "ms": took_ms}
        told = {name: value for name, value in told.items() if value}
        return settled(
            await self._call(
                "answering_v2",
                (shard.lease, shard.due, mine.state, mine.flight, mine.history),
                self._now,
                mine.user,
                batch.id,
                attempt.token,
                within_ms,
                history_line(
                    (batch.id, attempt.number, "delivered", len(batch.stored), ACCEPTED), None, told
                ),
                *self._caller(shard),
            )
        )

    async def answer(self, ticket: Ticket) -> Answered | None:
        """See `AnswerStore.answer`."""
        _, mine = self._user_keys(ticket.conversation)
        keys = (mine.state, mine.pending, mine.line)
        reply = await self._call("answer_v1", keys, self._now, *_shown(ticket))
        with READING:
            match listed(reply):
                case [b"over"]:
                    return None
                case [b"answering", newer, until, count, messages]:
                    return Answered(
                        "answering",
                        number(newer),
                        number(until),
                        attempt=number(count),
                        messages=number(messages),
                    )
                case [what, newer]:
                    return Answered(_state(what), number(newer), again=True)
        raise Unreadable

    def watch(
        self, conversation: str, changed: Callable[[], None]
    ) -> AbstractContextManager[Watch]:
        """See `AnswerStore.watch`."""
        _, mine = self._user_keys(conversation)
        return self._runner.watch(mine.state, changed)

    async def answer_done(self, ticket: Ticket, *, only_latest: bool) -> Answered | None:
        """See `AnswerStore.answer_done`."""
        shard, mine = self._user_keys(ticket.conversation)
        _, times, each = counted_bytes(
            self._route(conversation_of(ticket.conversation).route).payload
        )
        told: Told = {"by": ticket.replica} if ticket.replica else {}
        reply = await self._call(
            "done_v1",
            (
                shard.lease,
                shard.due,
                mine.state,
                mine.pending,
                mine.line,
                mine.flight,
                mine.history,
            ),
            self._now,
            mine.user,
            *_shown(ticket),
            int(only_latest),
            json.dumps(f"\n{json.dumps(told)}" if told else None),
            *self._caller(shard),
            times,
            each,
            TAKEN_BACK_MAX,
        )
        with READING:
            match listed(reply):
                case [b"over"] | [b"again", _, _] as said:
                    return _repeated(said)
                case [what, newer, left, count, messages, known, waited]:
                    return Answered(
                        _state(what),
                        number(newer),
                        next_in_ms=_left(left),
                        attempt=number(count),
                        messages=number(messages),
                        known=known == 1,
                        waited_ms=number(waited),
                    )
        raise Unreadable

    async def answer_extend(self, ticket: Ticket, for_ms: int) -> Answered | None:
        """See `AnswerStore.answer_extend`."""
        shard, mine = self._user_keys(ticket.conversation)
        reply = await self._call(
            "extend_v1",
            (shard.due, mine.state, mine.pending, mine.line),
            self._now,
            mine.user,
            *_shown(ticket),
            for_ms,
            ANSWER_MAX_MS,
        )
        with READING:
            match listed(reply):
                case [b"over"]:
                    return None
                case [b"answering", newer, until]:
                    return Answered("answering", number(newer), number(until))
                case [what, newer]:
                    return Answered(_state(what), number(newer), again=True)
        raise Unreadable

    async def answer_fail(
        self, ticket: Ticket, was: Answered, verdict: Retry | Bury, said: str | None = None
    ) -> Answered | None:
        """See `AnswerStore.answer_fail`."""
        shard, mine = self._user_keys(ticket.conversation)
        words = {"answer": said, "by": ticket.replica}
        told: Told = {name: value for name, value in words.items() if value}
        after: Word = verdict.after_ms if isinstance(verdict, Retry) else ""
        what = "retry" if isinstance(verdict, Retry) else "dead"
        lines = [
            history_line(
                (ticket.batch_id, was.attempt, each, was.messages, ACCEPTED), verdict.reason, told
            )
            for each in (what, "failed")
        ]
        reply = await self._call(
            "answer_fail_v1",
            (
                shard.lease,
                shard.due,
                mine.state,
                mine.pending,
                mine.line,
                mine.flight,
                mine.history,
                shard.dead,
                *shard.letter(ticket.batch_id),
            ),
            self._now,
            mine.user,
            *_shown(ticket),
            after,
            verdict.reason,
            lines[0],
            *self._caller(shard),
            lines[1],
            json.dumps({"status": ACCEPTED, **told}),
        )
        with READING:
            match listed(reply):
                case [b"over"] | [b"again", _, _] as same:
                    return _repeated(same)
                case [b"failed", newer, left, known]:
                    return Answered(
                        "failed",
                        number(newer),
                        next_in_ms=_left(left),
                        known=known == 1,
                        attempt=was.attempt,
                        messages=was.messages,
                    )
        raise Unreadable


def _shown(ticket: Ticket) -> tuple[Word, Word, Word]:
    """The batch, the attempt, and until when the address is good."""
    return ticket.batch_id, ticket.token, ticket.expires_at_ms


def _state(what: object) -> AnswerState:
    state = text(what)
    expect(state in get_args(AnswerState))
    return cast("AnswerState", state)


def _left(ms: object) -> int | None:
    left = number(ms)
    return None if left < 0 else left


def _repeated(said: list[object]) -> Answered | None:
    if said == [b"over"]:
        return None
    return Answered(_state(said[1]), number(said[2]), again=True)
