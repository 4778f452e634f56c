"""What is known of one id, a batch's or a message's: whose it is, where it is, and every attempt.

Put together from what the API shows elsewhere. Nothing keeps an index of ids, so what this costs
is bounded, and the answer says when the bound was reached.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from actor_queue.core.batch import shard_of_batch
from actor_queue.core.conversation import (
    DEFAULT_ROUTE,
    Conversation,
    conversation_of,
    route_of,
)
from actor_queue.core.history import AttemptFilter, PastAttempt, mark_of
from actor_queue.http.backend import Backend
from actor_queue.http.models.history import Matched, Where
from actor_queue.store.api import AttemptRecord, UserState, UserView
from actor_queue.store.lists_api import UserFilter

ATTEMPT_PAGES_MAX: Final = 10
"""Of 2,000 attempts each."""
WITH_A_RECEIVER: Final[tuple[UserState, ...]] = ("delivering", "answering")
USER_PAGES_MAX: Final = 5
"""Of users with an attempt under way, whose first attempt is in no history yet."""
PAGE: Final = 1_000
FOUND_MAX: Final = 20
"""Batches in one answer. Two that fit one id are an accident of its checksum."""


@dataclass(slots=True)
class Found:
    """One batch, or a message that is in none yet."""

    user: str
    """By its key."""
    batch_id: str | None
    matched: Matched
    where: Where = "gone"
    attempts: list[PastAttempt | AttemptRecord] = field(default_factory=list)
    """Oldest first."""


@dataclass(frozen=True, slots=True)
class Known:
    found: tuple[Found, ...]
    remembered: bool | None
    """Whether the user's message of this id was accepted within AQ_DEDUP_WINDOW; None where the id
    is a batch's, or no user was given."""
    complete: bool
    """False: there is more than one look-up reads."""


async def look_up(backend: Backend, name: str, user: str | None, route: str | None = None) -> Known:
    """`user` narrows the search, and finds messages that wait: on `route`, or else on the default
    one. Without a user, `route` leaves out what is found on others. Raises `StoreUnavailable`."""
    if user is not None:
        user = Conversation(route or DEFAULT_ROUTE, user).key
    is_batch = shard_of_batch(name) is not None
    past, complete = await _past(backend, name, user, route)
    found = {
        (_key(each), each.batch_id): Found(
            _key(each), each.batch_id, "webhook_id" if each.batch_id == name else "message_id"
        )
        for each in past
    }
    if is_batch:
        for holder in [user] if user is not None else await _holders(backend, name, found, route):
            view = await backend.describe(holder)
            known = view.batch is not None and view.batch.id == name
            if known or any(each.batch_id == name for each in view.recent):
                found.setdefault((holder, name), Found(holder, name, "webhook_id"))
    elif user is not None:
        for batch_id in await _waiting(backend, name, user):
            found.setdefault((user, batch_id or ""), Found(user, batch_id, "message_id"))
    within = [each for each in found.values() if route in (None, route_of(each.user))]
    listed = within[:FOUND_MAX]
    for each in listed:
        await _complete(backend, each, past)
    remembered = None if is_batch or user is None else await backend.remembers(user, name)
    return Known(tuple(listed), remembered, complete and len(within) <= FOUND_MAX)


def _key(attempt: PastAttempt) -> str:
    return Conversation(attempt.route, attempt.user).key


async def _past(
    backend: Backend, name: str, user: str | None, route: str | None
) -> tuple[list[PastAttempt], bool]:
    """From the history of all users: attempts at this batch, or at one that has this message. What
    is of other routes than `route` uses up none of the pages."""
    route, named = (route, "") if user is None else conversation_of(user)
    wanted = AttemptFilter(named, route=route, about=(name, mark_of(name)))
    found: list[PastAttempt] = []
    cursor = None
    for _ in range(ATTEMPT_PAGES_MAX):
        page = await backend.attempts(wanted, PAGE, cursor)
        found += [each for each in page.attempts if user in (None, _key(each))]
        cursor = page.cursor
        if cursor is None or len(found) >= PAGE:
            break
    return found, cursor is None


async def _holders(
    backend: Backend, name: str, found: dict[tuple[str, str], Found], route: str | None
) -> Sequence[str]:
    """Who may have this batch, where the history does not say it."""
    if any(batch_id == name for _, batch_id in found):
        return []
    letter = await backend.dead_letter(name)
    if letter is not None:
        found[letter.user, name] = Found(letter.user, name, "webhook_id")
        return []
    for state in WITH_A_RECEIVER:
        cursor = None
        for _ in range(USER_PAGES_MAX):
            page = await backend.users(UserFilter(state=state, route=route), PAGE, cursor)
            for view in page.users:
                if view.batch is not None and view.batch.id == name:
                    return [view.user]
            cursor = page.cursor
            if cursor is None:
                break
    return []


async def _waiting(backend: Backend, name: str, user: str) -> list[str | None]:
    """The batch under way, or None for a batch that is yet to be closed, that has the message."""
    kept = await backend.waiting(user)
    places = [n for n, item in enumerate(kept.stored) if json.loads(item)[2] == name]
    if not places:
        return []
    view = await backend.describe(user)
    under_way = None if view.batch is None else view.batch.id
    return [under_way if place < kept.under_way else None for place in places[:1]]


async def _complete(backend: Backend, found: Found, past: Sequence[PastAttempt]) -> None:
    """Where it is, and its attempts: those that the user's own history has, because they have the
    receiver's answer, and older ones from the history of all."""
    view = await backend.describe(found.user)
    if found.batch_id is None:
        found.where = "waiting"
        return
    own = [each for each in view.recent if each.batch_id == found.batch_id]
    told = {(each.number, each.replica) for each in own}
    others = [
        each
        for each in past
        if (_key(each), each.batch_id) == (found.user, found.batch_id)
        and (each.number, each.replica) not in told
    ]
    found.attempts = sorted([*own, *others], key=lambda each: each.at_ms)
    found.where = await _where(backend, found.batch_id, view, found.attempts)


async def _where(
    backend: Backend,
    batch_id: str,
    view: UserView,
    attempts: Sequence[PastAttempt | AttemptRecord],
) -> Where:
    if view.batch is not None and view.batch.id == batch_id:
        return "delivering" if view.batch.retry_in_ms is None else "retrying"
    letter = await backend.dead_letter(batch_id)
    if letter is not None:
        return "queued" if letter.queued else "dead"
    outcomes = {each.outcome for each in attempts}
    if "delivered" in outcomes:
        return "delivered"
    return "divided" if "divided" in outcomes else "gone"
