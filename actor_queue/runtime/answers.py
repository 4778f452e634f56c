"""Receivers that answer 202 and say later that they are done: what they are offered and say.

Owns the tickets and those who wait for news. No rule about batches lives here: the scripts decide.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Protocol

import trio

from actor_queue.core.answers import (
    ACCEPTED,
    ANSWER_MAX_MS,
    PATH,
    Ticket,
    answer_base,
    answer_keys,
    legible,
    opened,
    sealed,
)
from actor_queue.core.batch import AnswerOffer, Attempt, Batch
from actor_queue.core.conversation import conversation_of
from actor_queue.core.delivery import decide_on_word
from actor_queue.core.history import PastAttempt, PastOutcome
from actor_queue.core.outcome import Bury
from actor_queue.core.routes import Route, RouteTable
from actor_queue.core.settings import Settings
from actor_queue.runtime.counters import Counters, RouteCounters
from actor_queue.runtime.events import EventBus, EventName
from actor_queue.runtime.history import History
from actor_queue.runtime.journal import Journal
from actor_queue.store.answers_api import Answered
from actor_queue.store.api import Store, StoreUnavailable
from actor_queue.transport.runner import Watch

TICKET_MARGIN_MS = 60_000
"""A ticket is good for so much longer than any answer can take."""
WAIT_MAX_S = 60.0
"""The longest that one call waits for news."""
WAITING_MAX = 500
"""Calls that wait for news at once, in a replica."""
WAITING_OF_CONVERSATION_MAX = 4
"""So many of them are of one conversation, or one receiver could take the places of all."""
LOOK_AGAIN_S = 1.0
"""How late at most a call hears of what another replica has done or taken, where Redis does not
tell of changes."""
LOOK_ALL_THE_SAME_S = 10.0
"""And where it does: a server that was left for another one tells nothing more."""
PAUSE_S = 0.05
"""From a look that has found no news until the next one, however much happens meanwhile."""

Nudge = Callable[[str, float | None, float, float], None]
"""Tells a conversation's actor, if it is ours, that its next step is in so many milliseconds from
the last of two times on the trio clock; at the first one the store was asked."""


class TooManyWait(Exception):
    """As many calls wait for news as a replica takes, or as it takes of one conversation."""


class AnswerVerbs(Protocol):
    """What HTTP asks. All that is awaited may raise `StoreUnavailable`; None means that the time is
    over, or that the batch has another attempt."""

    def ticket(self, text: str) -> Ticket | None:
        """None where it is none of ours. Raises `StoreUnavailable` where nobody can tell yet."""
        ...

    async def look(self, ticket: Ticket) -> Answered | None: ...

    async def wait(self, ticket: Ticket, seconds: float) -> Answered | None:
        """As `look`, as soon as something newer waits or the batch is closed, at the latest after
        `seconds`, or when the replica drains. Raises `TooManyWait`."""
        ...

    async def done(self, ticket: Ticket, *, only_latest: bool) -> Answered | None: ...

    async def sent(self, ticket: Ticket, message_ids: Sequence[str]) -> None:
        """The receiver sent these messages to the user; they are no human's."""
        ...

    async def extend(self, ticket: Ticket, for_ms: int) -> Answered | None: ...

    async def fail(
        self, ticket: Ticket, said: str | None, retry_after_s: float | None, *, retry: bool
    ) -> Answered | None: ...


class Answers:
    """See `AnswerVerbs`. Where nobody knows how receivers reach the service, none may answer
    later."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        routes: RouteTable,
        nudge: Nudge,
        counters: Counters,
        events: EventBus,
        journal: Journal,
        draw: random.Random,
        history: History,
    ) -> None:
        self._store = store
        self._routes = routes
        self._base = answer_base(settings)
        self._secrets = settings.answer_secrets
        self._schedule_ms = settings.retry_schedule_ms
        self._nudge = nudge
        self._counters = counters
        self._events = events
        self._journal = journal
        self._random = draw
        self._history = history
        self._waiting: dict[str, set[trio.Event]] = {}
        self._waiters = 0
        self._draining = trio.Event()

    # What a receiver is offered

    def offered(self, attempt: Attempt) -> tuple[Batch, int | None]:
        """The batch as its receiver gets it, and how long that may take to answer: None where it is
        done when it answers."""
        batch = attempt.batch
        route = self._routes.get(batch.route)
        if route is None or route.answer != "later" or self._base is None:
            return batch, None
        offer = AnswerOffer(self._url(attempt, route), round(route.answer_within_ms / 1000))
        return replace(batch, offer=offer), route.answer_within_ms

    def _url(self, attempt: Attempt, route: Route) -> str:
        longest_ms = max(route.answer_within_ms, ANSWER_MAX_MS) + attempt.limit_in_ms
        expires_at_ms = attempt.claimed_at_ms + longest_ms + TICKET_MARGIN_MS
        batch = attempt.batch
        ticket = Ticket(batch.key, batch.id, attempt.token, expires_at_ms)
        keys = self._keys
        if self._store.all_open_sealed:
            return f"{self._base}{PATH}{sealed(ticket, keys[0])}"
        # A replica of the release before may be asked, and knows no secret but the drawn one.
        return f"{self._base}{PATH}{legible(ticket, keys[-1])}"

    @property
    def _keys(self) -> tuple[bytes, ...]:
        """The first one seals. The store draws its own while the service starts."""
        return answer_keys(self._secrets, self._store.answer_key)

    # What it says

    def ticket(self, text: str) -> Ticket | None:
        """See `AnswerVerbs.ticket`."""
        ticket = opened(text, self._keys)
        if ticket is None and not self._store.answer_key:
            # A receiver that heard "no such address" here would never say again what it has done.
            raise StoreUnavailable("the service is starting")
        return ticket

    async def look(self, ticket: Ticket) -> Answered | None:
        """See `AnswerVerbs.look`."""
        return await self._store.answer(ticket)

    async def sent(self, ticket: Ticket, message_ids: Sequence[str]) -> None:
        """See `AnswerVerbs.sent`."""
        user = ticket.conversation
        if await self._store.sent_messages(user, message_ids):
            asked = trio.current_time()
            view = await self._store.unhold(user)
            self._nudge(user, view.due_in_ms, asked, trio.current_time())

    async def done(self, ticket: Ticket, *, only_latest: bool) -> Answered | None:
        """See `AnswerVerbs.done`."""
        asked = trio.current_time()
        answer = await self._store.answer_done(ticket, only_latest=only_latest)
        if answer is not None and not answer.again:
            self._closed(ticket, answer, asked)
            counters = self._counters_of(ticket)
            if answer.state == "taken_back":
                counters.taken_back += 1
            elif not answer.known:
                counters.delivered += 1
                counters.delivered_messages += answer.messages
                self._publish("delivered", ticket, answer, status=202)
        return answer

    async def extend(self, ticket: Ticket, for_ms: int) -> Answered | None:
        """See `AnswerVerbs.extend`."""
        return await self._store.answer_extend(ticket, for_ms)

    async def fail(
        self, ticket: Ticket, said: str | None, retry_after_s: float | None, *, retry: bool
    ) -> Answered | None:
        """See `AnswerVerbs.fail`."""
        asked = trio.current_time()
        was = await self._store.answer(ticket)
        if was is None or was.again:
            return was
        route = self._routes.get(conversation_of(ticket.conversation).route)
        # A route that has left the file may come back, and its conversations wait for it.
        schedule_ms = self._schedule_ms if route is None else route.retry_schedule_ms
        verdict = decide_on_word(
            retry_after_s, was.attempt, schedule_ms, self._random.random(), retry=retry
        )
        answer = await self._store.answer_fail(ticket, was, verdict, said)
        if answer is not None and not answer.again:
            self._closed(ticket, answer, asked)
            dead = isinstance(verdict, Bury) and not answer.known
            self._note(ticket, answer, "dead" if dead else "failed", verdict.reason)
            self._counters_of(ticket).failed += 1
            if dead:
                self._counters_of(ticket).dead += 1
                self._publish("dead", ticket, answer, status=202, reason=verdict.reason)
                self._journal.dead_letter(
                    ticket.conversation, ticket.batch_id, answer.attempt, verdict.reason
                )
            elif not isinstance(verdict, Bury) and not answer.known:
                after_s = verdict.after_ms / 1000
                self._publish(
                    "failed", ticket, answer, status=202, reason=verdict.reason, retry_in=after_s
                )
        return answer

    def _note(self, ticket: Ticket, answer: Answered, outcome: PastOutcome, reason: str) -> None:
        """Beside the entry of its 202: that it was taken is true, and so is what came of it."""
        if self._history.wanted:
            route, user = conversation_of(ticket.conversation)
            by, made_by = self._store.replica, ticket.replica
            told = (ticket.batch_id, answer.attempt, outcome, ACCEPTED, reason, None)
            past = PastAttempt(user, *told, answer.messages, 0, made_by or by, route=route)
            self._history.note(past)

    def _counters_of(self, ticket: Ticket) -> RouteCounters:
        return self._counters.of(conversation_of(ticket.conversation).route)

    def _closed(self, ticket: Ticket, answer: Answered, asked: float) -> None:
        self._nudge(ticket.conversation, answer.next_in_ms, asked, asked)
        self.heard_of(ticket.conversation)

    def _publish(self, what: EventName, ticket: Ticket, answer: Answered, **more: object) -> None:
        route, user = conversation_of(ticket.conversation)
        self._events.publish(
            what,
            user=user,
            route=route,
            batch_id=ticket.batch_id,
            attempt=answer.attempt,
            replica=ticket.replica,
            messages=answer.messages,
            **more,
        )

    # Who waits for news

    async def wait(self, ticket: Ticket, seconds: float) -> Answered | None:
        """See `AnswerVerbs.wait`."""
        if seconds <= 0:
            return await self.look(ticket)  # takes no place
        conversation = ticket.conversation
        with self._listening(conversation) as news, self._watch(conversation) as watch:
            ends = trio.current_time() + min(seconds, WAIT_MAX_S)
            while True:
                seen = await self._store.answer(ticket)
                left = ends - trio.current_time()
                if (
                    seen is None
                    or seen.state != "answering"
                    or seen.newer > 0
                    or left <= 0
                    or self._draining.is_set()
                ):
                    return seen
                await trio.sleep(min(PAUSE_S, left))
                again_s = LOOK_ALL_THE_SAME_S if watch.live else LOOK_AGAIN_S
                with trio.move_on_at(min(trio.current_time() + again_s, ends)):
                    await news[0].wait()
                self._expect(conversation, news)

    def _watch(self, conversation: str) -> AbstractContextManager[Watch]:
        return self._store.watch(conversation, lambda: self.heard_of(conversation))

    @contextmanager
    def _listening(self, conversation: str) -> Iterator[list[trio.Event]]:
        """In the list is the event of the next news, which `_expect` puts there anew."""
        of_it = len(self._waiting.get(conversation, ()))
        if self._waiters >= WAITING_MAX or of_it >= WAITING_OF_CONVERSATION_MAX:
            raise TooManyWait
        news = [trio.Event()]
        self._waiters += 1
        self._waiting.setdefault(conversation, set()).add(news[0])
        try:
            yield news
        finally:
            self._waiters -= 1
            self._forget(conversation, news[0])

    def _expect(self, conversation: str, news: list[trio.Event]) -> None:
        if news[0].is_set() and not self._draining.is_set():
            self._forget(conversation, news[0])
            news[0] = trio.Event()
            self._waiting.setdefault(conversation, set()).add(news[0])

    def _forget(self, conversation: str, news: trio.Event) -> None:
        waiting = self._waiting.get(conversation, set())
        waiting.discard(news)
        if not waiting:
            self._waiting.pop(conversation, None)

    def heard_of(self, conversation: str) -> None:
        """Something happened to it here: whoever waits for news looks again."""
        if self._waiting:
            for news in self._waiting.get(conversation, ()):
                news.set()

    def drain(self) -> None:
        """Whoever waits is answered with what is known."""
        self._draining.set()
        for conversation in list(self._waiting):
            self.heard_of(conversation)
