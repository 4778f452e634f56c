"""An engine that keeps everything in memory: the shape of `runtime.engine.Engine`, no timers.

For tests of what HTTP makes of requests and results. It accepts, counts and describes; nothing
fires. `away` makes every verb raise and `away_after_pushes` one push; `pause` lets a test stand
inside a push.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import anyio
import trio

from actor_queue.core.answers import Ticket
from actor_queue.core.batch import Batch
from actor_queue.core.conversation import conversation_of
from actor_queue.core.history import AttemptFilter, PastAttempt
from actor_queue.core.message import Accepted, Appended, Full, Message
from actor_queue.core.routes import Route, RouteTable
from actor_queue.core.settings import Settings
from actor_queue.core.upkeep import Sizes
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.events import EventBus
from actor_queue.runtime.many import Many, ManyVerb, Piece, affected
from actor_queue.runtime.receivers import Blocked, Receivers, RouteReport
from actor_queue.store.aliases_api import Sighting, Whereabouts
from actor_queue.store.api import (
    AttemptRecord,
    BatchSummary,
    DeadLetter,
    DeadPage,
    Dropped,
    LeaseInfo,
    Replica,
    StoreUnavailable,
    UserPage,
    UserState,
    UserView,
)
from actor_queue.store.changes_api import Changed, Unchanged, WhyUnchanged
from actor_queue.store.deeds_api import Deed
from actor_queue.store.erase_api import Erased
from actor_queue.store.history_api import AttemptPage
from actor_queue.store.lists_api import DeadFilter, UserFilter
from actor_queue.store.replay_api import ReplayJob
from actor_queue.store.waiting_api import Waiting

NOW_MS = 1_738_199_985_120  # 2025-01-30T01:19:45.120Z


class OneName:
    """Nobody has two names here that are not told together."""

    async def whereabouts(self, sightings: Sequence[Sighting]) -> list[Whereabouts]:
        return [
            Whereabouts(each.target or each.alias, each.target, False, 0, each.target is not None)
            for each in sightings
        ]

    async def own_message(self, user: str, message_id: str, for_ms: int) -> bool:
        return True

    async def sent_messages(self, user: str, message_ids: Sequence[str]) -> bool:
        return False


class NoAnswers:
    """No receiver answers later here."""

    def ticket(self, text: str) -> None:
        return None

    async def look(self, ticket: Ticket) -> None: ...

    async def wait(self, ticket: Ticket, seconds: float) -> None: ...

    async def done(self, ticket: Ticket, *, only_latest: bool) -> None: ...

    async def sent(self, ticket: Ticket, message_ids: Sequence[str]) -> None: ...

    async def extend(self, ticket: Ticket, for_ms: int) -> None: ...

    async def fail(
        self, ticket: Ticket, said: str | None, retry_after_s: float | None, *, retry: bool
    ) -> None: ...


class MemoryGates:
    """Routes that somebody pauses, and no breaker."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self.paused: dict[str, tuple[str | None, str | None]] = {}

    def blocked(self, route: str) -> Blocked | None:
        if route not in self._engine.routes:
            return "missing"
        return "paused" if route in self.paused else None

    def is_open(self, route: str) -> bool:
        return False

    def is_paused(self, route: str) -> bool:
        return route in self.paused

    async def receivers(self, only: str | None) -> Receivers:
        await self._engine._reach()
        reports = [
            RouteReport(name, "paused", NOW_MS, why, by)
            if (by, why) != (None, None) or name in self.paused
            else RouteReport(name, "closed", attempts=2, failed=1, took_ms=(3, 40), waiting=1)
            for name in sorted(route.name for route in self._engine.routes)
            if only in (None, name)
            for by, why in [self.paused.get(name, (None, None))]
        ]
        return Receivers(tuple(reports), complete=True)

    async def pause(self, route: str, by: str | None, why: str | None) -> bool:
        await self._engine._reach()
        return self.paused.setdefault(route, (by, why)) == (by, why)

    async def resume(self, route: str) -> tuple[bool, bool]:
        await self._engine._reach()
        return self.paused.pop(route, None) is not None, False


@dataclass
class MemoryEngine:
    settings: Settings = field(default_factory=Settings)
    routes: RouteTable = field(init=False)
    replica_id: str = "r-test"
    actors: int = 0
    horizon_s: float = 120.0
    redis_memory: None = None
    sizes: Sizes = field(default_factory=Sizes)
    entries_set_aside: int = 0
    shards_owned: int = 64
    oldest_due_s: float = 0.0
    waiting_by_route: dict[str, int] | None = None

    def __post_init__(self) -> None:
        routes = [Route.default(self.settings)]
        if hasattr(self, "routes"):  # whoever looks in the table goes on to do so
            self.routes.replace(routes)
        else:
            self.routes = RouteTable(routes)
        self.events = EventBus()
        self.counters = Counters()
        self.answers = NoAnswers()
        self.store = OneName()
        self.gates = MemoryGates(self)
        self.reason: str | None = None
        self.away: str | None = None
        self.away_after_pushes: int | None = None
        self.broken: Exception | None = None
        self.pause: trio.Event | None = None
        self.pushes: list[list[Message]] = []
        self.messages: defaultdict[str, list[Message]] = defaultdict(list)
        self.held_ms: dict[str, int] = {}
        self.full: set[str] = set()
        self.unchangeable = ""
        """Why no message can be edited or taken back."""
        self.letters: dict[str, DeadLetter] = {}
        self.replayed: list[str] = []
        self.job: ReplayJob | None = None
        self.noted: list[tuple[str | None, Deed]] = []
        """Newest first."""
        self.for_many: list[tuple[ManyVerb, UserFilter, Piece, int]] = []
        self.past: list[PastAttempt] = []
        """Newest first."""
        self._ids = itertools.count(1)

    def new_id(self) -> str:
        return f"m-{next(self._ids)}"

    def logged_as(self, user: str) -> str:
        return f"u-{len(user)}"

    def unready(self) -> str | None:
        return self.reason

    async def push(self, messages: Sequence[Message]) -> list[Appended]:
        await self._reach()
        if self.pause is not None:
            await self.pause.wait()
        if self.away_after_pushes is not None and len(self.pushes) >= self.away_after_pushes:
            self.away_after_pushes = None
            raise StoreUnavailable("the store is away", executed=False)
        self.pushes.append(list(messages))
        return [self._append(message) for message in messages]

    async def push_each(self, messages: Sequence[Message]) -> list[Appended | StoreUnavailable]:
        outcomes: list[Appended | StoreUnavailable] = []
        for message in messages:
            try:
                outcomes += await self.push([message])
            except StoreUnavailable as error:
                outcomes.append(error)
        return outcomes

    def _append(self, message: Message) -> Appended:
        waiting = self.messages[message.user]
        if message.user in self.full:
            return Full(message.user, message.message_id, 10_000, 2_500)
        if message.remembered and any(m.message_id == message.message_id for m in waiting):
            return self._accepted(message, duplicate=True)
        waiting.append(message)
        self.counters.accepted += 1
        self.events.publish("accepted", user=message.user, message_id=message.message_id)
        return self._accepted(message, duplicate=False)

    def _accepted(self, message: Message, *, duplicate: bool) -> Accepted:
        pending = len(self.messages[message.user])
        return Accepted(
            user=message.user,
            message_id=message.message_id,
            pending=pending,
            due_in_ms=message.ttl_ms,
            duplicate=duplicate,
            next_in_ms=message.ttl_ms,
        )

    # Users

    async def describe(self, user: str) -> UserView:
        await self._reach()
        waiting = self.messages.get(user, [])
        held = self.held_ms.get(user)
        state: UserState = "held" if held else "collecting" if waiting else "idle"
        batch = None
        if user == "with-batch":
            state = "retrying"
            batch = BatchSummary("b-1", 3, "quiet", 2, 1, NOW_MS, 4_500)
        record = AttemptRecord(
            "b-0", 2, NOW_MS, "retry", 3, 503, "answered 503", "try later", "r-1", 12
        )
        return UserView(
            user=user,
            state=state,
            pending=len(waiting),
            due_in_ms=waiting[-1].ttl_ms if waiting else None,
            held_for_ms=held,
            batch=batch,
            recent=(record,) if batch else (),
            waiting_since_ms=NOW_MS if waiting or batch else None,
        )

    async def waiting(self, user: str) -> Waiting:
        stored = tuple(
            json.dumps([n, NOW_MS, message.message_id, json.loads(message.body)]).encode()
            for n, message in enumerate(self.messages[user], 1)
        )
        return Waiting(0, len(stored), stored)

    async def users(self, wanted: UserFilter | None, limit: int, cursor: str | None) -> UserPage:
        await self._reach()
        start = int(cursor or 0)  # ValueError for a cursor that is not ours
        names = sorted(self.messages)
        views = [await self.describe(name) for name in names[start : start + limit]]
        more = str(start + limit) if start + limit < len(names) else None
        return UserPage(tuple(v for v in views if wanted is None or wanted.fits(v)), more)

    async def flush(self, user: str) -> UserView | Literal["held"]:
        if user in self.held_ms:
            return "held"
        self.messages.pop(user, None)
        return await self.describe(user)

    async def typing(self, user: str, ttl_ms: int | None) -> tuple[bool, UserView]:
        waiting = self.messages.get(user, [])
        if waiting and ttl_ms is not None:
            waiting[-1] = waiting[-1]._replace(ttl_ms=ttl_ms)
        return bool(waiting), await self.describe(user)

    async def hold(self, user: str, for_ms: int) -> UserView:
        self.held_ms[user] = for_ms
        return await self.describe(user)

    async def unhold(self, user: str) -> UserView:
        self.held_ms.pop(user, None)
        return await self.describe(user)

    async def edit(self, user: str, message_id: str, text: str) -> Changed | Unchanged:
        return await self._change(user, message_id, text)

    async def revoke(self, user: str, message_id: str) -> Changed | Unchanged:
        return await self._change(user, message_id, None)

    async def _change(self, user: str, message_id: str, text: str | None) -> Changed | Unchanged:
        """A message of the user `claimed` has been claimed, and so on."""
        await self._reach()
        why = self.unchangeable or user
        if why in get_args(WhyUnchanged):
            return Unchanged(why)  # type: ignore[arg-type]
        waiting = self.messages.get(user, [])
        for place, message in enumerate(waiting):
            if message.message_id == message_id:
                body = json.dumps({**json.loads(message.body), "message": text}).encode()
                waiting[place : place + 1] = [] if text is None else [message._replace(body=body)]
                view = await self.describe(user)
                return Changed(user, message_id, view.pending, view.due_in_ms)
        return Unchanged("unknown")

    async def drop(self, user: str) -> Dropped:
        await self._reach()
        dropped = self.messages.pop(user, [])
        items = [
            json.dumps([seq, NOW_MS, message.message_id, json.loads(message.body)]).encode()
            for seq, message in enumerate(dropped, 1)
        ]
        return Dropped(len(dropped), "b-7" if user == "with-batch" else None, tuple(items))

    async def erase(self, user: str, cursor: str | None) -> Erased:
        """A user called `much` takes three calls."""
        await self._reach()
        calls = int(cursor or 0) + 1  # ValueError for a cursor that is not ours
        more = str(calls) if user == "much" and calls < 3 else None
        dropped = len(self.messages.pop(user, []))
        letters = [name for name, letter in self.letters.items() if letter.user == user]
        for name in letters:
            del self.letters[name]
        under_way = "b-7" if user == "with-batch" else None
        return Erased(dropped, None, len(letters), 4, 1, under_way, more)

    async def note_deed_to(self, deed: Deed, users: Sequence[str]) -> None:
        for user in users:
            await self.note_deed(deed, user)

    async def note_deed(self, deed: Deed, user: str | None) -> None:
        self.noted.insert(0, (user, replace(deed, at_ms=NOW_MS)))

    async def note_with_user(self, deed: Deed, user: str) -> None:
        await self.note_deed(deed, user)

    async def deeds(self, user: str | None, limit: int) -> list[Deed]:
        return [deed for name, deed in self.noted if user in (None, name)][:limit]

    async def remembers(self, user: str, message_id: str) -> bool:
        return any(message.message_id == message_id for message in self.messages.get(user, []))

    async def attempts(self, wanted: AttemptFilter, limit: int, cursor: str | None) -> AttemptPage:
        await self._reach()
        start = int(cursor or 0)  # ValueError for a cursor that is not ours
        found = [each for each in self.past if wanted.fits(each)]
        more = str(start + limit) if start + limit < len(found) else None
        return AttemptPage(tuple(found[start : start + limit]), more)

    # Dead letters

    def bury(self, batch_id: str, user: str = "ana", texts: Sequence[str] = ("oi",)) -> None:
        items = tuple(
            json.dumps([seq, NOW_MS, f"m{seq}", {"user": user, "message": text}]).encode()
            for seq, text in enumerate(texts, 1)
        )
        route, name = conversation_of(user)
        batch = Batch(
            batch_id, name, 1, "quiet", "classic", NOW_MS, NOW_MS, NOW_MS, NOW_MS, items, route
        )  # fmt: skip
        self.letters[batch_id] = DeadLetter(
            batch_id,
            user,
            NOW_MS,
            6,
            "answered 500",
            len(items),
            False,
            500,
            "no such flow",
            "r-1",
            34,
            batch,
        )

    async def dead(
        self, limit: int, cursor: str | None, wanted: DeadFilter | None = None
    ) -> DeadPage:
        await self._reach()
        start = int(cursor or 0)
        newest_first = [
            letter
            for letter in reversed(self.letters.values())
            if wanted is None or wanted.fits(letter)
        ]
        page = tuple(replace(letter, batch=None) for letter in newest_first[start : start + limit])
        more = str(start + limit) if start + limit < len(newest_first) else None
        return DeadPage(page, more)

    async def dead_letter(self, batch_id: str) -> DeadLetter | None:
        await self._reach()
        return self.letters.get(batch_id)

    async def dead_drop(self, batch_id: str) -> bool:
        return self.letters.pop(batch_id, None) is not None

    async def dead_replay(self, batch_id: str) -> DeadLetter | None:
        letter = self.letters.get(batch_id)
        if letter is None:
            return None
        self.replayed.append(batch_id)
        self.letters[batch_id] = replace(letter, queued=True)
        return self.letters[batch_id]

    async def replay_all(self, wanted: DeadFilter, per_second: int) -> ReplayJob:
        await self._reach()
        if self.job is not None and self.job.state == "running":
            return self.job
        letters = [each for each in self.letters.values() if wanted.fits(each) and not each.queued]
        for letter in letters:
            await self.dead_replay(letter.id)
        count = len(letters)
        self.job = ReplayJob("replay-1", "done", count, count, 0, wanted, per_second)
        return self.job

    async def replay_count(self, wanted: DeadFilter, cursor: str | None) -> Many:
        page = await self.dead(1_000, cursor, wanted)
        waiting = [letter for letter in page.letters if not letter.queued]
        queued = len(page.letters) - len(waiting)
        return Many(len(waiting), sum(each.messages for each in waiting), queued, page.cursor)

    async def drop_many_dead(self, wanted: DeadFilter, piece: Piece) -> Many:
        page = await self.dead(piece.limit, piece.cursor, wanted)
        if not piece.dry_run:
            for letter in page.letters:
                await self.dead_drop(letter.id)
        messages = sum(letter.messages for letter in page.letters)
        users = () if piece.dry_run else tuple(letter.user for letter in page.letters)
        return Many(len(page.letters), messages, 0, page.cursor, users)

    async def do_for_many(
        self, verb: ManyVerb, wanted: UserFilter, piece: Piece, for_ms: int
    ) -> Many:
        page = await self.users(wanted, piece.limit, piece.cursor)
        counts = {view.user: affected(verb, view) for view in page.users}
        there = {user: count for user, count in counts.items() if count is not None}
        self.for_many.append((verb, wanted, piece, for_ms))
        users = () if piece.dry_run else tuple(there)
        rest = len(counts) - len(there)
        return Many(len(there), sum(there.values()), rest, page.cursor, users)

    async def replay_job(self) -> ReplayJob | None:
        await self._reach()
        return self.job

    async def replay_stop(self, job_id: str = "") -> ReplayJob | None:
        if self.job is not None and job_id in ("", self.job.id):
            self.job = replace(self.job, state="stopping")
        return self.job

    async def leases(self) -> list[LeaseInfo]:
        await self._reach()
        return [
            LeaseInfo(0, self.replica_id, 17, NOW_MS, 4_200, 2),
            LeaseInfo(1, None, 0, None, 0, 0),
        ]

    async def replicas(self) -> list[Replica]:
        return [Replica(self.replica_id, 900)]

    async def _reach(self) -> None:
        await anyio.lowlevel.checkpoint()
        if self.broken is not None:
            raise self.broken
        if self.away is not None:
            raise StoreUnavailable(self.away)
