"""What the HTTP layer asks of the engine behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from actor_queue.core.headroom import Memory
from actor_queue.core.history import AttemptFilter
from actor_queue.core.message import Appended, Message
from actor_queue.core.routes import RouteTable
from actor_queue.core.settings import Settings
from actor_queue.core.upkeep import Sizes
from actor_queue.runtime.many import Many, ManyVerb, Piece
from actor_queue.runtime.receivers import Blocked, Receivers
from actor_queue.store.aliases_api import AliasStore
from actor_queue.store.api import (
    DeadLetter,
    DeadPage,
    Dropped,
    LeaseInfo,
    Replica,
    StoreUnavailable,
    UserPage,
    UserView,
)
from actor_queue.store.changes_api import Changed, Unchanged
from actor_queue.store.deeds_api import Deed
from actor_queue.store.erase_api import Erased
from actor_queue.store.history_api import AttemptPage
from actor_queue.store.lists_api import DeadFilter, UserFilter
from actor_queue.store.own_api import OwnMessageStore
from actor_queue.store.replay_api import ReplayJob
from actor_queue.store.waiting_api import Waiting

if TYPE_CHECKING:
    from actor_queue.http import models
    from actor_queue.runtime.answers import AnswerVerbs
    from actor_queue.runtime.counters import Counters
    from actor_queue.runtime.events import EventBus

Examine = Callable[[], Awaitable["models.Checkup"]]
"""Looks at Redis and the webhook, as `actor-queue doctor` does."""

SendTest = Callable[[str], Awaitable["models.Trial | None"]]
"""Posts a test batch to the receiver of a route; None where there is none."""


class Acceptor(Protocol):
    """What taking messages needs, and nothing that has to do with timers. It runs on any event
    loop. All that is awaited may raise `StoreUnavailable`."""

    @property
    def settings(self) -> Settings: ...

    @property
    def routes(self) -> RouteTable: ...

    @property
    def counters(self) -> Counters: ...

    @property
    def redis_memory(self) -> Memory | None: ...

    def new_id(self) -> str: ...

    def unready(self) -> str | None: ...

    async def push(self, messages: Sequence[Message]) -> list[Appended]: ...

    async def push_each(self, messages: Sequence[Message]) -> list[Appended | StoreUnavailable]: ...


class Names(AliasStore, OwnMessageStore, Protocol):
    """What is kept of who people are, and of who answers them."""


class DoorBackend(Acceptor, Protocol):
    """What a chat platform's events need besides: what they say of a user who writes nothing, and
    of one who has two names."""

    @property
    def store(self) -> Names: ...

    async def describe(self, user: str) -> UserView: ...

    async def typing(self, user: str, ttl_ms: int | None) -> tuple[bool, UserView]: ...

    async def hold(self, user: str, for_ms: int) -> UserView: ...

    async def unhold(self, user: str) -> UserView: ...

    async def edit(self, user: str, message_id: str, text: str) -> Changed | Unchanged: ...

    async def revoke(self, user: str, message_id: str) -> Changed | Unchanged: ...

    async def note_with_user(self, deed: Deed, user: str) -> None: ...


class ReceiverVerbs(Protocol):
    """What can be asked and done about routes; see `runtime.routes.Gates`."""

    def blocked(self, route: str) -> Blocked | None: ...

    def is_open(self, route: str) -> bool: ...

    def is_paused(self, route: str) -> bool: ...

    async def receivers(self, only: str | None) -> Receivers: ...

    async def pause(self, route: str, by: str | None, why: str | None) -> bool: ...

    async def resume(self, route: str) -> tuple[bool, bool]: ...


class Backend(DoorBackend, Protocol):
    """The verbs of `runtime.engine.Engine` that HTTP uses; guarantees and results are there
    and in `store.api.Store`. All that is awaited may raise `StoreUnavailable`."""

    @property
    def events(self) -> EventBus: ...

    @property
    def replica_id(self) -> str: ...

    @property
    def answers(self) -> AnswerVerbs: ...

    @property
    def actors(self) -> int: ...

    @property
    def horizon_s(self) -> float: ...

    @property
    def entries_set_aside(self) -> int: ...

    @property
    def sizes(self) -> Sizes | None: ...

    @property
    def routes(self) -> RouteTable: ...

    @property
    def waiting_by_route(self) -> Mapping[str, int] | None: ...

    @property
    def oldest_due_s(self) -> float: ...

    @property
    def shards_owned(self) -> int: ...

    def logged_as(self, user: str) -> str: ...

    async def waiting(self, user: str) -> Waiting: ...

    async def users(
        self, wanted: UserFilter | None, limit: int, cursor: str | None
    ) -> UserPage: ...

    async def flush(self, user: str) -> UserView | Literal["held"]: ...

    async def drop(self, user: str) -> Dropped: ...

    async def erase(self, user: str, cursor: str | None) -> Erased: ...

    async def note_deed_to(self, deed: Deed, users: Sequence[str]) -> None: ...

    async def note_deed(self, deed: Deed, user: str | None) -> None: ...

    async def deeds(self, user: str | None, limit: int) -> list[Deed]: ...

    async def remembers(self, user: str, message_id: str) -> bool: ...

    async def attempts(
        self, wanted: AttemptFilter, limit: int, cursor: str | None
    ) -> AttemptPage: ...

    async def do_for_many(
        self, verb: ManyVerb, wanted: UserFilter, piece: Piece, for_ms: int
    ) -> Many: ...

    async def dead(
        self, limit: int, cursor: str | None, wanted: DeadFilter | None = None
    ) -> DeadPage: ...

    async def dead_letter(self, batch_id: str) -> DeadLetter | None: ...

    async def dead_drop(self, batch_id: str) -> bool: ...

    async def dead_replay(self, batch_id: str) -> DeadLetter | None: ...

    async def replay_all(self, wanted: DeadFilter, per_second: int) -> ReplayJob: ...

    async def replay_count(self, wanted: DeadFilter, cursor: str | None) -> Many: ...

    async def drop_many_dead(self, wanted: DeadFilter, piece: Piece) -> Many: ...

    async def replay_job(self) -> ReplayJob | None: ...

    async def replay_stop(self, job_id: str = "") -> ReplayJob | None: ...

    @property
    def gates(self) -> ReceiverVerbs: ...

    async def leases(self) -> list[LeaseInfo]: ...

    async def replicas(self) -> list[Replica]: ...
