"""What the HTTP layer asks of the engine behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from actor_queue.core.headroom import Memory
from actor_queue.core.message import Appended, Message
from actor_queue.core.settings import Settings
from actor_queue.core.upkeep import Sizes
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.events import EventBus
from actor_queue.store.api import (
    DeadLetter,
    DeadPage,
    Dropped,
    LeaseInfo,
    Replica,
    UserPage,
    UserState,
    UserView,
)


class Backend(Protocol):
    """The verbs of `runtime.engine.Engine` that HTTP uses; guarantees and results are there
    and in `store.api.Store`. All that is awaited may raise `StoreUnavailable`."""

    @property
    def settings(self) -> Settings: ...

    @property
    def events(self) -> EventBus: ...

    @property
    def counters(self) -> Counters: ...

    @property
    def replica_id(self) -> str: ...

    @property
    def actors(self) -> int: ...

    @property
    def horizon_s(self) -> float: ...

    @property
    def redis_memory(self) -> Memory | None: ...

    @property
    def sizes(self) -> Sizes: ...

    @property
    def shards_owned(self) -> int: ...

    def new_id(self) -> str: ...

    def logged_as(self, user: str) -> str: ...

    def unready(self) -> str | None: ...

    async def push(self, messages: Sequence[Message]) -> list[Appended]: ...

    async def describe(self, user: str) -> UserView: ...

    async def users(self, state: UserState | None, limit: int, cursor: str | None) -> UserPage: ...

    async def flush(self, user: str) -> UserView | Literal["held"]: ...

    async def typing(self, user: str, ttl_ms: int | None) -> tuple[bool, UserView]: ...

    async def hold(self, user: str, for_ms: int) -> UserView: ...

    async def unhold(self, user: str) -> UserView: ...

    async def drop(self, user: str) -> Dropped: ...

    async def dead(self, limit: int, cursor: str | None) -> DeadPage: ...

    async def dead_letter(self, batch_id: str) -> DeadLetter | None: ...

    async def dead_drop(self, batch_id: str) -> bool: ...

    async def dead_replay(self, batch_id: str) -> DeadLetter | None: ...

    async def leases(self) -> list[LeaseInfo]: ...

    async def replicas(self) -> list[Replica]: ...
