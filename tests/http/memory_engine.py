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
from typing import Literal

import trio

from actor_queue.core.batch import Batch
from actor_queue.core.message import Accepted, Appended, Full, Message
from actor_queue.core.settings import Settings
from actor_queue.core.upkeep import Sizes
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.events import EventBus
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
from actor_queue.store.replay_api import ReplayJob

NOW_MS = 1_738_199_985_120  # 2025-01-30T01:19:45.120Z


@dataclass
class MemoryEngine:
    settings: Settings = field(default_factory=Settings)
    replica_id: str = "r-test"
    actors: int = 0
    horizon_s: float = 120.0
    redis_memory: None = None
    sizes: Sizes = field(default_factory=Sizes)
    entries_set_aside: int = 0
    shards_owned: int = 64

    def __post_init__(self) -> None:
        self.events = EventBus()
        self.counters = Counters()
        self.reason: str | None = None
        self.away: str | None = None
        self.away_after_pushes: int | None = None
        self.broken: Exception | None = None
        self.pause: trio.Event | None = None
        self.pushes: list[list[Message]] = []
        self.messages: defaultdict[str, list[Message]] = defaultdict(list)
        self.held_ms: dict[str, int] = {}
        self.full: set[str] = set()
        self.letters: dict[str, DeadLetter] = {}
        self.replayed: list[str] = []
        self.job: ReplayJob | None = None
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
        )

    async def users(self, state: UserState | None, limit: int, cursor: str | None) -> UserPage:
        await self._reach()
        start = int(cursor or 0)  # ValueError for a cursor that is not ours
        names = sorted(self.messages)
        views = [await self.describe(name) for name in names[start : start + limit]]
        more = str(start + limit) if start + limit < len(names) else None
        return UserPage(tuple(v for v in views if state in (None, v.state)), more)

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

    async def drop(self, user: str) -> Dropped:
        await self._reach()
        dropped = self.messages.pop(user, [])
        items = [
            json.dumps([seq, NOW_MS, message.message_id, json.loads(message.body)]).encode()
            for seq, message in enumerate(dropped, 1)
        ]
        return Dropped(len(dropped), "b-7" if user == "with-batch" else None, tuple(items))

    # Dead letters

    def bury(self, batch_id: str, user: str = "ana", texts: Sequence[str] = ("oi",)) -> None:
        items = tuple(
            json.dumps([seq, NOW_MS, f"m{seq}", {"user": user, "message": text}]).encode()
            for seq, text in enumerate(texts, 1)
        )
        batch = Batch(
            batch_id, user, 1, "quiet", "classic", NOW_MS, NOW_MS, NOW_MS, NOW_MS, items
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

    async def dead(self, limit: int, cursor: str | None) -> DeadPage:
        await self._reach()
        start = int(cursor or 0)
        newest_first = list(reversed(self.letters.values()))
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

    async def replay_all(self) -> ReplayJob:
        await self._reach()
        waiting = [name for name, letter in self.letters.items() if not letter.queued]
        for name in waiting:
            await self.dead_replay(name)
        self.job = ReplayJob("replay-1", "done", len(waiting), len(waiting), 0)
        return self.job

    async def replay_job(self) -> ReplayJob | None:
        await self._reach()
        return self.job

    async def replay_stop(self) -> ReplayJob | None:
        if self.job is not None:
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
        await trio.lowlevel.checkpoint()
        if self.broken is not None:
            raise self.broken
        if self.away is not None:
            raise StoreUnavailable(self.away)
