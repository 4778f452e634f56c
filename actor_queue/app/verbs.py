"""The verbs of a queue, the same on Trio and on asyncio.

Owns what a program may give and what it gets. How a call reaches the engine is up to the subclass.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, NamedTuple, TypeVar

from actor_queue.core.admission import (
    AdmissionPolicy,
    Refused,
    admit,
    message_id_of,
    milliseconds,
    text_of_edit,
    user_of,
)
from actor_queue.core.answers import ANSWER_MAX_MS, AnswerState, Ticket
from actor_queue.core.batch import Batch
from actor_queue.core.conversation import Conversation, conversation_of, is_route_name
from actor_queue.core.delivery import ANSWER_BYTES_MAX, printable
from actor_queue.core.json_text import refuse_field
from actor_queue.core.message import Accepted, Appended, Full, Message
from actor_queue.core.settings import Settings
from actor_queue.http import inputs, models
from actor_queue.runtime.answers import AnswerVerbs
from actor_queue.runtime.engine import Engine
from actor_queue.store.answers_api import Answered
from actor_queue.store.api import (
    DeadLetter,
    DeadPage,
    Dropped,
    UserPage,
    UserState,
    UserView,
)
from actor_queue.store.changes_api import Changed, Unchanged, WhyUnchanged

P = TypeVar("P", UserPage, DeadPage)
T = TypeVar("T")
K = TypeVar("K", UserView, DeadLetter)


class QueueFull(Exception):
    """`pending` messages of this user wait already: as many as are kept for one user, or with as
    many bytes."""

    def __init__(self, full: Full) -> None:
        over = "be more than max_pending"
        if full.of == "bytes":
            over = "have more bytes than max_pending_bytes"
        super().__init__(
            f"{full.pending} messages wait for this user already; with this one they would {over}"
            " allows"
        )
        self.pending = full.pending
        self.due_in_s = full.due_in_ms / 1000


class OnHold(Exception):
    """This user is on hold, so nothing is sent until `release` or the end of the hold."""


class TooLate(Exception):
    """The time for this answer is over, or the batch has another attempt, or it was settled in
    another way: what was done for it counts for nothing."""


class NotChanged(Exception):
    """The message stays as it is, and `why`: see `WhyUnchanged`."""

    def __init__(self, why: WhyUnchanged) -> None:
        super().__init__(_NOT_CHANGED[why])
        self.why = why


_NOT_CHANGED: Final[dict[WhyUnchanged, str]] = {
    "claimed": "the message has been claimed for its batch, or has gone: it does not wait any more",
    "revoked": "the message was taken back before",
    "unknown": "no message with this id waits for this user",
    "body": "with this text the message would be larger than max_body_bytes allows",
    "batch": "with this text its batch would be larger than max_batch_bytes allows",
    "pending": "with this text more would wait for this user than max_pending_bytes allows",
}


class Typing(NamedTuple):
    """What came of a typing signal."""

    extended: bool
    """False: there was no open window to extend."""
    user: UserView


class Verbs(ABC):
    """What can be done with an open queue. See `ActorQueue` for what everything here may raise."""

    settings: Settings
    _policy: AdmissionPolicy

    # Messages in

    async def push(
        self,
        user: str | int,
        message: str,
        *,
        ttl: float | None = None,
        message_id: str | None = None,
        route: str | None = None,
        **fields: object,
    ) -> Accepted:
        """Keep `message` durably and reset the user's quiet timer to `ttl` seconds.

        Without `ttl` it is `default_ttl_ms`; 0 sends at once. `fields` travel with the message and
        may be whatever JSON has. With a `message_id`, a repeated push adds nothing and moves no
        timer, and its answer has `duplicate`. `route` is who it is for, as everywhere here: one of
        the queue's routes, `default` where none is named. A user has a conversation on each.

        When this returns, the message is kept. Raises `Refused` for values that cannot be kept,
        `QueueFull`, and `StoreUnavailable`: repeat it then with its `message_id`, or accept that it
        may be kept twice.
        """
        self._require_open()
        body = {**fields, "user": user, "message": message}
        if ttl is not None:
            body["ttl"] = ttl
        if message_id is not None:
            body["message_id"] = message_id
        if route is not None:
            body["route"] = route
        result = await self._append(admit(as_json(body), self._policy, new_id=self._new_id))
        if isinstance(result, Full):
            raise QueueFull(result)
        return result._replace(user=conversation_of(result.user).user)

    # One user

    async def flush(self, user: str | int, *, route: str | None = None) -> UserView:
        """Send now what waits. Raises `OnHold`.

        A batch that waits for its retry gets its next attempt now, and that attempt counts.
        """
        name = _user(user, route)
        view = await self._ask(lambda engine: engine.flush(name))
        if view == "held":
            raise OnHold("this user is on hold: release it first")
        return _plain(view)

    async def typing(
        self, user: str | int, *, ttl: float | None = None, route: str | None = None
    ) -> Typing:
        """The user is typing: the open window ends no sooner than `ttl` seconds from now.

        Without `ttl` it is that of the user's last message. The window never ends later than
        `max_wait_ms` after its first message.
        """
        wanted = inputs.typing_ttl_ms(_only_given(ttl=ttl), self.settings.max_ttl_ms)
        name = _user(user, route)
        extended, view = await self._ask(lambda engine: engine.typing(name, wanted))
        return Typing(extended, _plain(view))

    async def edit(
        self, user: str | int, message_id: str | int, message: str, *, route: str | None = None
    ) -> Changed:
        """Give a message that still waits another text. Raises `NotChanged`.

        Its place and its fields stay. The open window waits as after `typing`.
        """
        name, wanted = _user(user, route), _message_id(message_id)
        text, _ = text_of_edit(as_json({"message": message}))
        return _done(await self._ask(lambda engine: engine.edit(name, wanted, text)))

    async def revoke(
        self, user: str | int, message_id: str | int, *, route: str | None = None
    ) -> Changed:
        """Take back a message that still waits: it is never sent. Raises `NotChanged`.

        No timer moves. Its id stays remembered, so pushing it again adds nothing.
        """
        name, wanted = _user(user, route), _message_id(message_id)
        return _done(await self._ask(lambda engine: engine.revoke(name, wanted)))

    async def hold(
        self,
        user: str | int,
        *,
        seconds: float = models.HOLD_DEFAULT_S,
        route: str | None = None,
    ) -> UserView:
        """Keep the user's messages but send none for `seconds` (at most a week)."""
        for_ms = inputs.hold_ms(_only_given(seconds=seconds))
        name = _user(user, route)
        return _plain(await self._ask(lambda engine: engine.hold(name, for_ms)))

    async def release(self, user: str | int, *, route: str | None = None) -> UserView:
        """End a hold: what became due meanwhile goes at once."""
        name = _user(user, route)
        return _plain(await self._ask(lambda engine: engine.unhold(name)))

    async def drop(self, user: str | int, *, route: str | None = None) -> Dropped:
        """Forget what waits for this user, and a batch whose retry waits; says what it was."""
        name = _user(user, route)
        return await self._ask(lambda engine: engine.drop(name))

    async def user(self, user: str | int, *, route: str | None = None) -> UserView:
        """The user's state, timer, batch under way and recent attempts."""
        name = _user(user, route)
        return _plain(await self._ask(lambda engine: engine.describe(name)))

    async def users(
        self,
        *,
        user: str | None = None,
        route: str | None = None,
        state: UserState | None = None,
        since: float | str | None = None,
        limit: int = models.LIMIT_DEFAULT,
        cursor: str | None = None,
    ) -> UserPage:
        """Who waits, soonest first: at most `limit` (1 to 1000) users, only those in `state`.

        `user` is what their names begin with, `since` when their oldest waiting message came at the
        earliest, as in the API. With one of these a page may be short, or empty, and have a cursor:
        only a cursor of None is the end. `cursor` is that of the page before.
        """
        given = {"user": user, "route": route, "state": state, "since": since, "limit": limit}
        asked = inputs.read(models.ListUsers, given)
        page = await self._ask(
            lambda engine: _page(engine.users(asked.wanted(), asked.limit, cursor))
        )
        return replace(page, users=tuple(map(_plain, page.users)))

    # A batch that `deliver` has answered with `Delivered(202)`, where `settings.answer` is "later"

    async def done(self, batch: Batch, *, if_latest: bool = False) -> Answered:
        """The work for this batch is done: its `state` is `done`. Raises `TooLate`.

        With `if_latest`, only unless something newer waits; then it is `taken_back`, and its
        messages come again in front of the newer ones, as one batch under another id. After that
        happened twice in a row it is done all the same, and `newer` says how many wait.
        """
        answer = await self._say(batch, lambda it, of: it.done(of, only_latest=if_latest))
        return _said(answer, "done", "taken_back")

    async def extend(self, batch: Batch, seconds: float) -> Answered:
        """It takes at least `seconds` more, and in all at most 900. Raises `TooLate`."""
        for_ms = milliseconds("seconds", seconds)
        if for_ms is None or for_ms <= 0:
            refuse_field("seconds", "seconds must be over 0")
        asked_ms = min(for_ms, ANSWER_MAX_MS)
        answer = await self._say(batch, lambda it, of: it.extend(of, asked_ms))
        return _said(answer, "answering")

    async def fail(
        self,
        batch: Batch,
        reason: str | None = None,
        *,
        retry_after: float | None = None,
        retry: bool = True,
    ) -> Answered:
        """The attempt failed: the batch comes again on the schedule, at the earliest after
        `retry_after` seconds, or is a dead letter where `retry` is False. Raises `TooLate`.

        A reason is kept and shown: say nothing in it that a user wrote."""
        said = printable(reason, ANSWER_BYTES_MAX) if reason else None
        answer = await self._say(
            batch, lambda it, of: it.fail(of, said or None, retry_after, retry=retry)
        )
        return _said(answer, "failed")

    async def newer(self, batch: Batch, *, wait: float = 0.0) -> Answered:
        """How it stands: `newer` messages came since. With `wait`, as soon as there are some or the
        batch is closed, at the latest after so many seconds (60 at most). Raises `TooLate`."""
        answer = await self._say(batch, lambda it, of: it.wait(of, wait))
        return _said(answer, "answering", "done", "taken_back", "failed")

    async def _say(
        self, batch: Batch, what: Callable[[AnswerVerbs, Ticket], Awaitable[Answered | None]]
    ) -> Answered | None:
        offer = batch.offer
        if offer is None:
            raise ValueError(
                "this batch was done when `deliver` returned: only with answer='later' in the"
                " settings can something be said of it afterwards"
            )

        async def ask(engine: Engine) -> Answered | None:
            ticket = engine.answers.ticket(offer.url.rpartition("/")[2])
            return None if ticket is None else await what(engine.answers, ticket)

        return await self._ask(ask)

    # Dead letters

    async def dead(
        self,
        *,
        user: str | None = None,
        route: str | None = None,
        reason: str | None = None,
        status: int | None = None,
        since: float | str | None = None,
        limit: int = models.LIMIT_DEFAULT,
        cursor: str | None = None,
    ) -> DeadPage:
        """Batches that were given up, newest first, without their messages.

        `user` and `reason` are what these begin with, `status` is the receiver's last, `since` when
        they died at the earliest. Pages are as those of `users`.
        """
        given = {"user": user, "reason": reason, "status": status, "since": since, "limit": limit}
        given["route"] = route
        asked = inputs.read(models.ListDead, given)
        page = await self._ask(
            lambda engine: _page(engine.dead(asked.limit, cursor, asked.wanted()))
        )
        return replace(page, letters=tuple(map(_plain, page.letters)))

    async def dead_letter(self, batch_id: str) -> DeadLetter | None:
        """One of them with its `batch`; None if there is none with this id."""
        letter = await self._ask(lambda engine: engine.dead_letter(batch_id))
        return None if letter is None else _plain(letter)

    async def replay(self, batch_id: str) -> DeadLetter | None:
        """Send a dead letter again, under the same id, before the user's other batches.

        None if there is none with this id. It stays a dead letter, `queued`, until its turn comes.
        """
        letter = await self._ask(lambda engine: engine.dead_replay(batch_id))
        return None if letter is None else _plain(letter)

    async def drop_dead(self, batch_id: str) -> bool:
        """Forget a dead letter. False if there is none with this id."""
        return await self._ask(lambda engine: engine.dead_drop(batch_id))

    # For subclasses to say

    @abstractmethod
    def _require_open(self) -> None:
        """Raises RuntimeError."""

    @abstractmethod
    def _new_id(self) -> str:
        """An id for a message whose sender gave none."""

    @abstractmethod
    async def _append(self, message: Message) -> Appended:
        """Make it durable. Raises `StoreUnavailable`."""

    @abstractmethod
    async def _ask(self, question: Callable[[Engine], Awaitable[T]]) -> T:
        """What the engine says; the queue must be open."""


# What a program gives, in the form in which the API gets it: then the same rules hold for both.


def _user(user: str | int, route: str | None) -> str:
    """The key of the conversation. A route that is not configured may have some that wait."""
    name = user_of(json.loads(as_json({"user": user}))["user"])
    if route is None:
        return name
    if type(route) is not str or not is_route_name(route):
        refuse_field("route", "`route` must be the name of a route.")
    return Conversation(route, name).key


def _plain(view: K) -> K:
    """With the person's name as user, as the program gave it, and the route beside it."""
    route, user = conversation_of(view.user)
    return replace(view, user=user, route=route)


def _message_id(message_id: str | int) -> str:
    return message_id_of(json.loads(as_json({"message_id": message_id}))["message_id"])


def _said(answer: Answered | None, *states: AnswerState) -> Answered:
    if answer is None or answer.state not in states:
        raise TooLate("the time for this answer is over, or the batch was settled otherwise")
    return answer


def _done(outcome: Changed | Unchanged) -> Changed:
    if isinstance(outcome, Unchanged):
        raise NotChanged(outcome.why)
    return replace(outcome, user=conversation_of(outcome.user).user)


def _only_given(**values: object) -> bytes:
    return as_json({name: value for name, value in values.items() if value is not None})


async def _page(asked: Awaitable[P]) -> P:
    try:
        return await asked
    except ValueError:
        models.refuse_cursor()


def as_json(body: dict[str, object]) -> bytes:
    """The text that a gateway would have sent. Raises `Refused` for a value JSON does not have."""
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise _refusal(body) from None
    # Python's texts may hold halves of surrogate pairs; what finds no other half is replaced.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _refusal(body: dict[str, object]) -> Refused:
    """Names the first field that JSON cannot say, and its type, never its value."""
    for name, value in body.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            what = type(value).__qualname__
            return Refused(
                422,
                "Invalid field",
                f"`{name}` is a value of type {what} that JSON cannot say: give texts, finite"
                " numbers, True, False, None, and lists and dicts of these.",
                name,
            )
    raise AssertionError("the whole cannot be said, but each part can")
