"""What a store does for receivers that answer 202 and say later that they are done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from actor_queue.core.answers import AnswerState, Ticket
from actor_queue.core.batch import Attempt
from actor_queue.core.outcome import Bury, Retry

if TYPE_CHECKING:
    from actor_queue.store.api import SettleResult
    from actor_queue.transport.runner import Watch


@dataclass(frozen=True, slots=True)
class Answered:
    """How it stands with a batch, and what was done to it by the call that gave this."""

    state: AnswerState
    newer: int
    """Messages that came after those of the batch, and wait; of a closed answer, as it was then."""
    until_ms: int | None = None
    """Unix time of the store's clock when the receiver's time is over; None once it is closed."""
    again: bool = False
    """The answer was given before: this call changed nothing."""
    next_in_ms: int | None = None
    """Until the user's next step; None if there is none to come, or nothing was changed."""
    known: bool = False
    """An earlier attempt had delivered the batch, so nothing follows but the end of its turn."""
    attempt: int = 0
    """Its number; 0 where it was not asked for."""
    messages: int = 0
    """Of the batch; 0 where it was not asked for."""
    waited_ms: int | None = None
    """From the 202 until `done`."""


class AnswerStore(Protocol):
    """All may raise `StoreUnavailable`, and may be repeated.

    None: the ticket's time is over, or its batch has another attempt, or was settled.
    """

    async def answering(
        self, attempt: Attempt, within_ms: int, took_ms: int | None = None
    ) -> SettleResult:
        """The receiver answered 202 and has `within_ms` to say that it is done."""
        ...

    async def answer(self, ticket: Ticket) -> Answered | None:
        """How it stands. Changes nothing."""
        ...

    def watch(
        self, conversation: str, changed: Callable[[], None]
    ) -> AbstractContextManager[Watch]:
        """Have `changed` called after a change of a conversation, by whomever, until the context
        ends."""
        ...

    async def answer_done(self, ticket: Ticket, *, only_latest: bool) -> Answered | None:
        """The receiver is done. `only_latest`: unless something newer waits; then the batch is
        taken back, at most `TAKEN_BACK_MAX` times in a row."""
        ...

    async def answer_extend(self, ticket: Ticket, for_ms: int) -> Answered | None:
        """The receiver has at least `for_ms` from now, but in all at most `ANSWER_MAX_MS`."""
        ...

    async def answer_fail(
        self, ticket: Ticket, was: Answered, verdict: Retry | Bury, said: str | None = None
    ) -> Answered | None:
        """The attempt failed. `was` is how it stood when `verdict` was decided; `said` are the
        receiver's own words."""
        ...
