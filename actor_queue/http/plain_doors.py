"""Plain webhooks of platforms: most events bring one message, or mean nothing to us.

Such an event is judged where plain messages are (`ingest.PlainIngest`), and its message goes to the
store with those that came together with it. So a door costs little more than `POST /api/message`.
What asks for more (a typing signal, a hold, a change, a person whose names are not known) is
carried out by `Doors` in a task of its own. Every answer is the one that `Doors` gives.

What a head shows decides whether its body is read here: who shows neither a key nor a signature
goes to the general lane, which refuses strangers in their turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Final, NamedTuple, cast

import msgspec

from actor_queue.core.doors import Door
from actor_queue.core.message import Accepted, Appended, Message
from actor_queue.doors import Request as Webhook
from actor_queue.doors import verified
from actor_queue.doors.vocabulary import Action, Ignore, Push
from actor_queue.http import models
from actor_queue.http.doors import DOOR_IN_SCOPE, PREFIX, ROUTE, Done, Doors, is_named, texts
from actor_queue.http.plain import Answer, PlainHead, Request, Route, Written
from actor_queue.http.problem import Problem, unavailable
from actor_queue.http.request import Head
from actor_queue.http.traffic import Traffic
from actor_queue.store.api import StoreUnavailable

ACTIONS_MAX: Final = 8
"""An event that asks for more is carried out piece by piece."""


ONE_ACCEPTED: Final = msgspec.json.encode(Done(accepted=1).answer())


class DoorHead(NamedTuple):
    """What the head of a webhook says."""

    scope: Mapping[str, Any]
    headers: Mapping[str, str]
    door: Door
    version: int
    """Of the doors, when this one was found."""
    keyed: bool
    """Whether it shows a key that opens the door."""
    signed: bool
    """Whether it shows a signature, so that no other request has the same head."""


@dataclass(slots=True)
class Event:
    """A webhook that may come in."""

    door: Door
    arrived_ns: int
    done: Done
    messages: list[Message] = field(default_factory=list)
    """All that it asks for, unless there are `actions`."""
    actions: Iterator[Action] | None = None


class PlainDoors:
    """See `ingest.PlainIngest`."""

    def __init__(self, doors: Doors, traffic: Traffic, prefix: bytes) -> None:
        self._doors = doors
        self._answers = traffic.answers
        self._written = Written()
        self._starts = tuple({PREFIX, prefix + PREFIX})

    def route(self, parts: PlainHead) -> Route | None:
        """See `plain.Handler`. None also for a stranger."""
        path, _, query = parts.path.partition(b"?")
        start = next(filter(path.startswith, self._starts), None)
        if parts.method != "POST" or start is None or b"%" in path:
            return None
        shown = _Guest()
        scope: dict[str, Any] = {
            "method": "POST",
            "headers": parts.fields,
            "query_string": query,
            "state": {"guest": shown},
            DOOR_IN_SCOPE: path[len(start) :].rstrip(b"/"),
        }
        found = self._head(scope)
        if found is None or not (found.keyed or found.signed):
            return None
        return Route(parts.length, None, shown.known, found)

    def _head(self, scope: Mapping[str, Any]) -> DoorHead | None:
        door = self._doors.door_of(cast(Any, scope))
        if door is None:
            return None
        keyed = self._doors.opened_by_key(cast(Any, scope), Head.of(scope["headers"]), door)
        headers = texts(scope["headers"])
        signed = verified(Webhook(headers, b""), door, self._doors.clock()) is not None
        return DoorHead(scope, headers, door, self._doors.table.version, keyed, signed)

    def judge(self, request: Request, reason: str | None) -> Event | Answer:
        """What an event asks for, or what it is answered without. `reason`: why nothing is
        accepted."""
        head = cast(DoorHead, request.route.key)
        if self._doors.table.version != head.version and (
            self._doors.door_of(cast(Any, head.scope)) is not head.door
        ):
            # The doors were replaced since this head was remembered.
            again = self._head(head.scope)
            if again is None:
                return self._answer(unavailable("the doors were changed: send this event again"))
            head = again
        if reason is not None and not request.under_way:
            return self._answer(unavailable(reason))
        webhook = Webhook(head.headers, request.body)
        actions = self._doors.asked_by(webhook, head.door, keyed=head.keyed)
        if isinstance(actions, Problem):
            return self._answer(actions)
        return self._event(actions, head.door, request.arrived_ns)

    def _event(self, actions: Iterator[Action], door: Door, arrived_ns: int) -> Event:
        first = list(islice(actions, ACTIONS_MAX + 1))
        event = Event(door, arrived_ns, Done())
        for action in first if len(first) <= ACTIONS_MAX else ():
            if isinstance(action, Ignore):
                event.done.ignored[action.reason] += 1
                continue
            user = None
            if isinstance(action, Push) and is_named(action):
                user = self._doors.aliases.at_once(action, door)
            if user is None:
                break
            assert isinstance(action, Push)
            message = self._doors.message_of(action, user, door, event.done, arrived_ns)
            if message is not None:
                event.messages.append(message)
        else:
            if len(first) <= ACTIONS_MAX:
                return event
        return Event(door, arrived_ns, Done(), [], chain(first, actions))

    async def carry_out(self, event: Event) -> Answer:
        """What is no message, or has to be asked for."""
        assert event.actions is not None
        try:
            answer = await self._doors.perform(event.actions, event.door, event.arrived_ns)
        except StoreUnavailable as trouble:
            answer = unavailable(trouble.detail)
        return self._answer(answer)

    def settled(self, event: Event, outcomes: list[Appended | StoreUnavailable]) -> Answer:
        """The answer to an event whose messages came to this."""
        if len(outcomes) == 1 and not event.done.ignored:
            (only,) = outcomes
            if isinstance(only, Accepted) and not only.duplicate:  # nearly always
                self._answers[ROUTE, 200] += 1
                return Answer(self._written.ok(200, ONE_ACCEPTED))
        for outcome in outcomes:
            if isinstance(outcome, StoreUnavailable):
                return self._answer(unavailable(outcome.detail))
            event.done.count(outcome)
        return self._answer(event.done.answer())

    def _answer(self, answer: models.DoorAnswer | Problem) -> Answer:
        if isinstance(answer, Problem):
            self._answers[ROUTE, answer.status] += 1
            return Answer(self._written.problem(answer))
        self._answers[ROUTE, 200] += 1
        return Answer(self._written.ok(200, msgspec.json.encode(answer)))


class _Guest:
    """Whether a head shows a key that there is."""

    known = False
