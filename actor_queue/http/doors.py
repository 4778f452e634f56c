"""`/in/{door}`: a chat platform's webhook, as the platform sends it.

What an event asks for is decided in `actor_queue.doors`; here it is carried out, in order, and
answered once all of it is durable. A genuine event is answered 200 whatever it is, because
platforms give up, or stop sending, after other answers; 503 where it has to come again.

A body that a key has opened may be as large as a picture in base64. One that only a signature can
open has to be read before anybody knows whose it is, so it may be as large as Meta's greatest. What
is larger than usual takes one of a few places.

An event of any size is carried out piece by piece, so that it never stands in memory as messages,
and never keeps the replica from everything else for long.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby, islice
from typing import Final, assert_never, cast
from urllib.parse import parse_qsl

import anyio
import msgspec
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope
from msgspec import UNSET

from actor_queue.core.admission import AdmissionPolicy
from actor_queue.core.codings import coded_bytes_max
from actor_queue.core.conversation import conversation_of
from actor_queue.core.doors import REMEMBERED_MS, Door, DoorTable
from actor_queue.core.json_text import Refused
from actor_queue.core.message import MESSAGE_ID_BYTES_MAX, USER_BYTES_MAX, Appended, Full, Message
from actor_queue.doors import Request, understand, verified
from actor_queue.doors.signatures import same
from actor_queue.doors.vocabulary import (
    Action,
    Edit,
    Hold,
    Ignore,
    Push,
    Reason,
    Release,
    Revoke,
    Typing,
)
from actor_queue.http import models
from actor_queue.http.aliases import Aliases
from actor_queue.http.auth import Caller, Keys, few
from actor_queue.http.backend import DoorBackend
from actor_queue.http.problem import (
    JSON_TYPE,
    Problem,
    method_not_allowed,
    not_found,
    problem_of,
    send_body,
    send_problem,
    unavailable,
)
from actor_queue.http.request import Head, arrival_of, read_body, too_large
from actor_queue.http.traffic import Traffic
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.changes_api import Changed, Unchanged
from actor_queue.store.deeds_api import Deed, DeedName

PREFIX: Final = b"/in/"
ROUTE: Final = "/in/{door}"
DOOR_IN_SCOPE: Final = "actor_queue.door"
"""Where the dispatcher leaves what stands behind `/in/`."""

USUAL_BYTES_MAX: Final = 262_144
SIGNED_BYTES_MAX: Final = 3 * 1_048_576
"""Of a body that is known only once it is read. Meta's are at most this large."""
KEYED_BYTES_MAX: Final = 16 * 1_048_576
LARGE_SIGNED_MAX: Final = 8
LARGE_KEYED_MAX: Final = 4
"""Bodies of more than `USUAL_BYTES_MAX` that are in memory at once. One of no stated length may be
that, and so may a compressed one, whose length says little."""
PIECE_ACTIONS_MAX: Final = 500
"""How much of an event is worked out between two turns of the event loop, and stored by one call.
"""
PLACE_S: Final = 10.0
"""How long one of them may wait for its place."""
FULL_RETRY_S: Final = 30

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9._~-]{1,200}")
"""What is echoed to whoever knows the token. Meta's is a number."""

Place = AbstractAsyncContextManager[object]


class Doors:
    """The ASGI handler for all doors. `clock` gives Unix seconds."""

    def __init__(
        self,
        backend: DoorBackend,
        keys: Keys,
        traffic: Traffic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._answers = traffic.answers
        self.clock = clock
        self.table = DoorTable.of(backend.settings)
        """Whoever reads the configuration puts other doors in here."""
        self._policy = AdmissionPolicy.of(backend.settings, backend.routes)
        self._remember_ms = max(backend.settings.dedup_window_ms, REMEMBERED_MS)
        self.aliases = Aliases(backend)
        self._large_signed = anyio.Semaphore(LARGE_SIGNED_MAX)
        self._large_keyed = anyio.Semaphore(LARGE_KEYED_MAX)

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        door = self.door_of(scope)
        if door is None:
            await send_problem(send, not_found("there is no such door"))
        elif scope["method"] in ("GET", "HEAD") and door.kind == "cloud":
            await self._confirm(scope, door, send)
        else:
            answer = await self._answer(scope, receive, door)
            if isinstance(answer, models.DoorAnswer):
                self._answers[ROUTE, 200] += 1
                await send_body(send, 200, JSON_TYPE, msgspec.json.encode(answer))
            elif answer is not None:
                self._answers[ROUTE, answer.status] += 1
                await send_problem(send, answer)

    def door_of(self, scope: HTTPScope) -> Door | None:
        """Evolution can put the name of an event behind its address."""
        path = cast(dict[str, bytes], scope)[DOOR_IN_SCOPE]
        name, _, event = path.decode("latin-1").partition("/")
        door = self.table.get(name)
        if door is None or "/" in event or (event and door.kind != "evolution"):
            return None
        return door

    # Who may come in

    def opened_by_key(self, scope: HTTPScope, head: Head, door: Door) -> bool:
        """Whether a key that is shown opens. Without keys and without a secret the door is open."""
        if not self._keys:
            return not door.secrets
        return any(self._is_key(shown, scope, door) for shown in few(_keys_shown(scope, head)))

    async def _confirm(self, scope: HTTPScope, door: Door, send: ASGISendCallable) -> None:
        """Meta's question whether this address wants its webhooks."""
        asked = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        token = asked.get("hub.verify_token", "")
        challenge = asked.get("hub.challenge", "")
        secrets = tuple(filter(None, (door.verify_token, *door.secrets)))
        known = same(token, secrets) or self._is_key(
            token.encode("latin-1", "replace"), scope, door
        )
        if not (known or not (secrets or self._keys)):
            await self._refuse(send, _REFUSED)
        elif asked.get("hub.mode") != "subscribe" or not _CHALLENGE.fullmatch(challenge):
            await self._refuse(send, _NO_CHALLENGE)
        else:
            self._answers[ROUTE, 200] += 1
            headers = [(b"x-content-type-options", b"nosniff")]
            await send_body(send, 200, b"text/plain", challenge.encode(), headers)

    def _is_key(self, token: bytes, scope: HTTPScope, door: Door) -> bool:
        if not (self._keys and token):
            return False
        caller = self._keys.caller(b"Bearer " + token, scope)
        entry = caller.entry_for("ingest") if isinstance(caller, Caller) else None
        return entry is not None and entry.route in (None, door.route)

    async def _refuse(self, send: ASGISendCallable, problem: Problem) -> None:
        self._answers[ROUTE, problem.status] += 1
        await send_problem(send, problem)

    # What comes in

    async def _answer(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, door: Door
    ) -> models.DoorAnswer | Problem | None:
        """None when nobody is there to be answered."""
        if scope["method"] != "POST":
            return method_not_allowed("GET, POST" if door.kind == "cloud" else "POST")
        head = Head.of(scope["headers"])
        request = Request(texts(scope["headers"]), b"")
        keyed = self.opened_by_key(scope, head, door)
        if not keyed and verified(request, door, self.clock()) is None:
            return _REFUSED  # nothing is shown that a body could prove
        if reason := self._backend.unready():
            return unavailable(reason)
        limit = KEYED_BYTES_MAX if keyed else SIGNED_BYTES_MAX
        try:
            if (head.content_length or 0) > coded_bytes_max(limit):
                return too_large(limit)
            with anyio.move_on_after(PLACE_S) as waiting:
                async with self._place(head, keyed=keyed):
                    waiting.deadline = float("inf")
                    body = await read_body(receive, limit, head.coding)
                    if not isinstance(body, bytes):
                        return body
                    request = Request(request.headers, body)
                    arrived_ns = arrival_of(scope).arrived_ns
                    return await self._take(request, door, arrived_ns, keyed=keyed)
        except Refused as refused:
            return problem_of(refused)
        except StoreUnavailable as trouble:
            return unavailable(trouble.detail)
        return unavailable("many large events are on their way: send this one again")

    def _place(self, head: Head, *, keyed: bool) -> Place:
        stated = head.content_length if head.coding is None else None
        if stated is not None and stated <= USUAL_BYTES_MAX:
            return nullcontext()
        return self._large_keyed if keyed else self._large_signed

    async def _take(
        self, request: Request, door: Door, arrived_ns: int, *, keyed: bool
    ) -> models.DoorAnswer | Problem:
        actions = self.asked_by(request, door, keyed=keyed)
        if isinstance(actions, Problem):
            return actions
        return await self.perform(actions, door, arrived_ns)

    def asked_by(self, request: Request, door: Door, *, keyed: bool) -> Iterator[Action] | Problem:
        """What an event asks for, if it may come in. A signature that is shown has to be right,
        also where a key opens."""
        if self._policy.ttl_of(door.route) is None:
            return unavailable(f"the route {door.route}, to which this door leads, is not there")
        now_s = self.clock()
        genuine = verified(request, door, now_s)
        if genuine is False or not (genuine or keyed):
            return _REFUSED
        return understand(request.body, door, now_s)

    # What is done

    async def perform(
        self, actions: Iterator[Action], door: Door, arrived_ns: int
    ) -> models.DoorAnswer | Problem:
        """All of it, in order. Raises `StoreUnavailable`; what was done before is done again
        without harm when the event comes again."""
        done = Done()
        while piece := list(islice(actions, PIECE_ACTIONS_MAX)):
            for pushes, group in groupby(piece, lambda action: isinstance(action, Push)):
                if pushes:
                    await self._push(cast(Iterable[Push], group), door, done, arrived_ns)
                else:
                    for action in group:
                        await self._act(action, door, done)
            if len(piece) == PIECE_ACTIONS_MAX:  # there may be a million more
                await anyio.lowlevel.checkpoint()
        return done.answer()

    async def _store(self, messages: list[Message], done: Done) -> None:
        for result in await self._backend.push(messages) if messages else ():
            done.count(result)

    async def _act(self, action: Action, door: Door, done: Done) -> None:
        if not isinstance(action, Ignore) and not _fits(action.user, USER_BYTES_MAX):
            action = Ignore("unnamed")
        match action:
            case Typing():
                for user in await self.aliases.of_person(action, door):
                    await self._backend.typing(user, None)
                done.typing += 1
            case Hold():
                await self._hold(action, door, done)
            case Release():
                for user in await self.aliases.of_person(action, door):
                    await self._backend.unhold(user)
                done.released += 1
            case Edit():
                await self._edit(action, door, done)
            case Revoke():
                await self._revoke(action, door, done)
            case Ignore(reason):
                done.ignored[reason] += 1
            case Push():
                raise AssertionError("pushes are stored together")
            case _:
                assert_never(action)

    async def _hold(self, hold: Hold, door: Door, done: Done) -> None:
        """Unless the receiver has said with `done` that it sent the message itself."""
        users = await self.aliases.of_person(hold, door)
        name = hold.message_id
        if _fits(name, MESSAGE_ID_BYTES_MAX):
            for user in users:
                if not await self._backend.store.own_message(user, name, door.hold_ms):
                    done.ignored["own"] += 1
                    return
        for user in users:
            await self._backend.hold(user, door.hold_ms)
        done.held += 1

    async def _edit(self, edit: Edit, door: Door, done: Done) -> None:
        """In its place while it waits; after that the new text is a message of its own."""
        outcome = await self._changed(edit, edit.text, door, done)
        match outcome and outcome.why:
            case "claimed" | "batch":
                await self._push_anew(edit, door, done)
            case "body":
                done.ignored["too_large"] += 1
            case "pending":
                done.full = True
            case "revoked" | "unknown":
                done.ignored["unknown_message"] += 1

    async def _revoke(self, revoke: Revoke, door: Door, done: Done) -> None:
        outcome = await self._changed(revoke, None, door, done)
        if outcome is not None:
            claimed = outcome.why == "claimed"
            done.ignored["claimed" if claimed else "unknown_message"] += 1

    async def _changed(
        self, change: Edit | Revoke, text: str | None, door: Door, done: Done
    ) -> Unchanged | None:
        """Why the message stays as it is; None once it is edited or, without a text, gone."""
        name = change.message_id
        if not _fits(name, MESSAGE_ID_BYTES_MAX):
            return Unchanged("unknown")
        user = await self.aliases.of_change(change, name, door)
        verb: DeedName = "revoke" if text is None else "edit"
        if text is None:
            outcome = await self._backend.revoke(user, name)
        else:
            outcome = await self._backend.edit(user, name, text)
        if not isinstance(outcome, Changed):
            return outcome
        done.edited += 1
        await self._backend.note_with_user(Deed(verb, f"door {door.name}"), user)
        return None

    async def _push_anew(self, edit: Edit, door: Door, done: Done) -> None:
        """The message that an edit becomes. Its id names the text, so that the same event again is
        the same message."""
        digest = blake2b(f"{edit.message_id}\n{edit.text}".encode(), digest_size=8).hexdigest()
        name = f"{edit.message_id}:edited:{digest}"
        if not _fits(name, MESSAGE_ID_BYTES_MAX):
            name = f"edited:{digest}"
        (user,) = await self.aliases.of_messages([(edit, name)], door, self._remember_ms)
        fields = {"message": edit.text, "edited": True, "edit_of": edit.message_id}
        message = self._message(user, name, fields, door, 0)
        if message is None:
            done.ignored["too_large"] += 1
        else:
            await self._store([message], done)

    async def _push(self, pushes: Iterable[Push], door: Door, done: Done, arrived_ns: int) -> None:
        named = []
        for push in pushes:
            if is_named(push):
                named.append((push, push.message_id))
            else:
                done.ignored["unnamed"] += 1
        users = await self.aliases.of_messages(named, door, self._remember_ms)
        found = [
            self.message_of(push, user, door, done, arrived_ns)
            for user, (push, _) in zip(users, named, strict=True)
        ]
        await self._store([message for message in found if message is not None], done)

    def message_of(
        self, push: Push, user: str, door: Door, done: Done, arrived_ns: int
    ) -> Message | None:
        """The message of somebody who has a name, for this conversation; None if it is too large.
        Raises `StoreUnavailable`."""
        fields = {"message": push.content.text, **push.fields()}
        message = self._message(user, push.message_id, fields, door, arrived_ns)
        if message is None:
            done.ignored["too_large"] += 1
        return message

    def _message(
        self,
        user: str,
        name: str,
        fields: Mapping[str, object],
        door: Door,
        arrived_ns: int,
    ) -> Message | None:
        ttl_ms = self._policy.ttl_of(door.route)
        if ttl_ms is None:  # the route has left the file since this event was let in
            raise StoreUnavailable(f"the route {door.route} is not there", executed=False)
        body = _body(conversation_of(user).user, name, fields)
        if len(body) > self._policy.max_body_bytes:
            return None
        return Message(
            user=user,
            body=body,
            ttl_ms=ttl_ms,
            message_id=name,
            remembered=True,
            arrived_ns=arrived_ns,
            remember_ms=self._remember_ms,
        )


def _none_of_each() -> defaultdict[Reason, int]:
    return defaultdict(int)


@dataclass(slots=True)
class Done:
    """What came of one event so far."""

    accepted: int = 0
    typing: int = 0
    held: int = 0
    released: int = 0
    edited: int = 0
    full: bool = False
    """Whether one of the users has no room for more."""
    ignored: defaultdict[Reason, int] = field(default_factory=_none_of_each)

    def count(self, result: Appended) -> None:
        if isinstance(result, Full):
            self.full = True
        elif result.duplicate:
            self.ignored["duplicate"] += 1
        else:
            self.accepted += 1

    def answer(self) -> models.DoorAnswer | Problem:
        """A problem where the event has to come again."""
        if self.full:
            return _FULL
        return models.DoorAnswer(
            accepted=self.accepted,
            typing=self.typing,
            held=self.held,
            released=self.released or UNSET,
            edited=self.edited,
            ignored=sum(self.ignored.values()),
            reasons=dict(sorted(self.ignored.items())),
        )


_REFUSED: Final = Problem(
    401,
    "show the platform's signature, or a key with the scope ingest in Authorization, in x-api-key"
    " or as ?key=",
    headers=((b"www-authenticate", b'Bearer realm="actor-queue"'),),
)
_NO_CHALLENGE: Final = Problem(
    400, "this is no question of Meta's: hub.mode=subscribe and hub.challenge are missing"
)
_FULL: Final = Problem(
    503,
    "so much waits for one of these users that no more is taken: send this event again later",
    headers=((b"retry-after", str(FULL_RETRY_S).encode()),),
)


def _keys_shown(scope: HTTPScope, head: Head) -> Iterator[bytes]:
    """The keys of a request, wherever platforms can put one."""
    scheme, _, key = (head.authorization or b"").partition(b" ")
    yield key.strip() if scheme.lower() == b"bearer" else scheme
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            yield value.strip()
    for name, value in parse_qsl(scope["query_string"]):
        if name == b"key":
            yield value


def texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def is_named(push: Push) -> bool:
    """Whether a message has names that a user and a message can have."""
    return _fits(push.user, USER_BYTES_MAX) and _fits(push.message_id, MESSAGE_ID_BYTES_MAX)


def _fits(text: str, bytes_max: int) -> bool:
    return 1 <= (len(text) if text.isascii() else len(text.encode())) <= bytes_max


def _body(user: str, message_id: str, fields: Mapping[str, object]) -> bytes:
    """The message as a sender of our own API would have written it."""
    return msgspec.json.encode({"user": user, "message_id": message_id, **fields})
