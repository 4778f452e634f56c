"""The verbs of a queue, the same on Trio and on asyncio.

Owns what a program may give and what it gets. How a call reaches the engine is up to the subclass.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from actor_queue.core.admission import AdmissionPolicy, Refused, admit, user_of
from actor_queue.core.message import Accepted, Appended, Full, Message
from actor_queue.core.settings import Settings
from actor_queue.http import inputs
from actor_queue.runtime.engine import Engine
from actor_queue.store.api import (
    DeadLetter,
    DeadPage,
    Dropped,
    UserPage,
    UserState,
    UserView,
)

P = TypeVar("P", UserPage, DeadPage)
T = TypeVar("T")


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
        **fields: object,
    ) -> Accepted:
        """Keep `message` durably and reset the user's quiet timer to `ttl` seconds.

        Without `ttl` it is `default_ttl_ms`; 0 sends at once. `fields` travel with the message and
        may be whatever JSON has. With a `message_id`, a repeated push adds nothing and moves no
        timer, and its answer has `duplicate`.

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
        result = await self._append(admit(as_json(body), self._policy, new_id=self._new_id))
        if isinstance(result, Full):
            raise QueueFull(result)
        return result

    # One user

    async def flush(self, user: str | int) -> UserView:
        """Send now what waits. Raises `OnHold`.

        A batch that waits for its retry gets its next attempt now, and that attempt counts.
        """
        name = _user(user)
        view = await self._ask(lambda engine: engine.flush(name))
        if view == "held":
            raise OnHold("this user is on hold: release it first")
        return view

    async def typing(self, user: str | int, *, ttl: float | None = None) -> Typing:
        """The user is typing: the open window ends no sooner than `ttl` seconds from now.

        Without `ttl` it is that of the user's last message. The window never ends later than
        `max_wait_ms` after its first message.
        """
        wanted = inputs.typing_ttl_ms(_only_given(ttl=ttl), self.settings.max_ttl_ms)
        name = _user(user)
        return Typing(*await self._ask(lambda engine: engine.typing(name, wanted)))

    async def hold(self, user: str | int, *, seconds: float = inputs.HOLD_DEFAULT_S) -> UserView:
        """Keep the user's messages but send none for `seconds` (at most a week)."""
        for_ms = inputs.hold_ms(_only_given(seconds=seconds))
        name = _user(user)
        return await self._ask(lambda engine: engine.hold(name, for_ms))

    async def release(self, user: str | int) -> UserView:
        """End a hold: what became due meanwhile goes at once."""
        name = _user(user)
        return await self._ask(lambda engine: engine.unhold(name))

    async def drop(self, user: str | int) -> Dropped:
        """Forget what waits for this user, and a batch whose retry waits; says what it was."""
        name = _user(user)
        return await self._ask(lambda engine: engine.drop(name))

    async def user(self, user: str | int) -> UserView:
        """The user's state, timer, batch under way and recent attempts."""
        name = _user(user)
        return await self._ask(lambda engine: engine.describe(name))

    async def users(
        self,
        *,
        state: UserState | None = None,
        limit: int = inputs.LIMIT_DEFAULT,
        cursor: str | None = None,
    ) -> UserPage:
        """Who waits, soonest first: at most `limit` (1 to 1000) users, only those in `state`.

        `cursor` is that of the page before.
        """
        wanted = inputs.state({"state": state or ""})
        most = _limit(limit)
        return await self._ask(lambda engine: _page(engine.users(wanted, most, cursor)))

    # Dead letters

    async def dead(
        self, *, limit: int = inputs.LIMIT_DEFAULT, cursor: str | None = None
    ) -> DeadPage:
        """Batches that were given up, newest first, without their messages."""
        most = _limit(limit)
        return await self._ask(lambda engine: _page(engine.dead(most, cursor)))

    async def dead_letter(self, batch_id: str) -> DeadLetter | None:
        """One of them with its `batch`; None if there is none with this id."""
        return await self._ask(lambda engine: engine.dead_letter(batch_id))

    async def replay(self, batch_id: str) -> DeadLetter | None:
        """Send a dead letter again, under the same id, before the user's other batches.

        None if there is none with this id. It stays a dead letter, `queued`, until its turn comes.
        """
        return await self._ask(lambda engine: engine.dead_replay(batch_id))

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


def _user(user: str | int) -> str:
    return user_of(json.loads(as_json({"user": user}))["user"])


def _limit(limit: int) -> int:
    return inputs.limit({"limit": str(limit)})


def _only_given(**values: object) -> bytes:
    return as_json({name: value for name, value in values.items() if value is not None})


async def _page(asked: Awaitable[P]) -> P:
    try:
        return await asked
    except ValueError:
        inputs.refuse_cursor()


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
