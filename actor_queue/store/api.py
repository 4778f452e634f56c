"""What the service asks of its store: one protocol, and the values that come back.

Times are milliseconds of the store's clock (Redis `TIME`) unless a name says otherwise.
`remaining` values are durations on that clock, so a caller can use them on its own.

Every method may raise `StoreUnavailable`: nothing can be said about whether it was carried
out unless the exception's `executed` says so. Every method may be repeated after that
without harm, except `append` of messages that the sender did not name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from actor_queue.core.batch import Attempt, Batch, Item, Reason, items_of
from actor_queue.core.conversation import DEFAULT_ROUTE
from actor_queue.core.headroom import Memory
from actor_queue.core.message import Appended, Message
from actor_queue.core.upkeep import Expired, Sizes
from actor_queue.store.aliases_api import AliasStore
from actor_queue.store.answers_api import AnswerStore
from actor_queue.store.attempt_records import AttemptOutcome as AttemptOutcome
from actor_queue.store.attempt_records import AttemptRecord as AttemptRecord
from actor_queue.store.deeds_api import DeedStore
from actor_queue.store.erase_api import EraseStore
from actor_queue.store.history_api import HistoryStore
from actor_queue.store.lists_api import ListStore
from actor_queue.store.news import News
from actor_queue.store.own_api import OwnMessageStore
from actor_queue.store.passed_over import SetAside
from actor_queue.store.replay_api import ReplayStore
from actor_queue.store.routes_api import RouteStore
from actor_queue.store.signed_out_api import SignOutStore
from actor_queue.store.waiting_api import WaitingStore
from actor_queue.transport.errors import StoreMisconfigured as StoreMisconfigured
from actor_queue.transport.errors import StoreUnavailable as StoreUnavailable
from actor_queue.transport.runner import StoreInfo as StoreInfo

CURSOR_CHARACTERS_MAX = 1_000
"""A cursor names an entry by at most 512 bytes and two numbers, in base64: 750 characters."""
DROPPED_BYTES_MAX = 1_048_576
"""Of the messages that a DELETE answers with."""

UserState = Literal["idle", "collecting", "delivering", "answering", "retrying", "held"]
Taken = tuple[Literal["unowned", "handed_over", "lease_ended"], str | None]
"""Why a shard was free, and the replica that had it before."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to claim in one shard. Compared for equality, never for order."""

    shard: int
    epoch: int
    nonce: str
    taken: Taken = field(default=("unowned", None), compare=False)
    """Why the shard was free when it was acquired, and whose it was before."""


@dataclass(frozen=True, slots=True)
class LeaseHeld:
    """Somebody else holds the shard."""

    shard: int
    owner: str
    remaining_ms: int


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """A shard's lease as anybody sees it."""

    shard: int
    owner: str | None
    epoch: int
    since_ms: int | None
    remaining_ms: int
    waiting: int
    """Users with a next step in this shard."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica that sent a heartbeat."""

    id: str
    seen_ms_ago: int


# Claims


@dataclass(frozen=True, slots=True)
class NotDue:
    """The user's next step is `remaining_ms` away."""

    remaining_ms: int


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing waits for this user."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """The caller does not hold the shard any more. Nothing was changed."""


Claim = Attempt | NotDue | Nothing | Fenced


@dataclass(frozen=True, slots=True)
class Settled:
    """The verdict was recorded. `next_in_ms` is until the user's next step, None if there is none
    to come."""

    next_in_ms: int | None
    known: bool = False
    """An earlier attempt's ack came while this attempt was under way. The batch was delivered then,
    and all that follows from this verdict is that the user's turn is over."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The batch was settled before, or dropped. Nothing was changed."""


SettleResult = Settled | Gone | Fenced


# What an operator sees


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """The batch under way, without its messages."""

    id: str
    seq: int
    reason: Reason
    messages: int
    attempts: int
    closed_at_ms: int
    retry_in_ms: int | None
    """None while an attempt is under way."""
    answer_in_ms: int | None = None
    """How long its receiver, which answered 202, has to say that it is done; None where none is
    waited for."""


@dataclass(frozen=True, slots=True)
class UserView:
    """Everything about one user but the texts."""

    user: str
    state: UserState
    pending: int
    due_in_ms: int | None
    """Until the next thing happens; None when nothing will."""
    held_for_ms: int | None
    batch: BatchSummary | None
    recent: tuple[AttemptRecord, ...] = ()
    """Newest first, at most 20."""
    waiting_since_ms: int | None = None
    """When the oldest message that waits, or is in flight, was kept."""
    route: str = DEFAULT_ROUTE
    """For programs, which are given `user` as the person's name; the store's own views have the
    conversation's key there, and leave this as it is."""


@dataclass(frozen=True, slots=True)
class UserPage:
    """`cursor` continues the list; None at its end."""

    users: tuple[UserView, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """What a DELETE removed."""

    messages: int
    """How many messages were dropped."""
    batch_id: str | None
    """The batch under way that was dropped too; None if there was none."""
    stored: tuple[bytes, ...]
    """The dropped messages as they were kept, up to 1 MiB of them."""

    @property
    def items(self) -> tuple[Item, ...]:
        """The messages in `stored`, as objects."""
        return items_of(self.stored)

    @property
    def complete(self) -> bool:
        """Whether `stored` has every dropped message. What is not in it is gone unseen."""
        return len(self.stored) == self.messages


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A batch that no more attempts will be made for, unless it is replayed."""

    id: str
    user: str
    died_at_ms: int
    attempts: int
    reason: str
    messages: int
    queued: bool
    """A replay is on its way."""
    status: int | None = None
    """The receiver's, to the last attempt; with the following as in `AttemptRecord`."""
    answer: str | None = None
    replica: str | None = None
    took_ms: int | None = None
    batch: Batch | None = None
    """With its items; only when one dead letter is read."""
    route: str = DEFAULT_ROUTE
    """As in `UserView`."""


@dataclass(frozen=True, slots=True)
class DeadPage:
    """Newest first."""

    letters: tuple[DeadLetter, ...]
    cursor: str | None
    unreadable: int = 0
    """Entries among those looked at whose letter is gone, or holds what nobody of ours wrote."""


@dataclass(frozen=True, slots=True)
class DueUser:
    """A user with a next step soon."""

    user: str
    remaining_ms: int
    """Negative when overdue."""


class Store(
    AliasStore,
    OwnMessageStore,
    ListStore,
    ReplayStore,
    WaitingStore,
    HistoryStore,
    EraseStore,
    DeedStore,
    RouteStore,
    AnswerStore,
    SignOutStore,
    Protocol,
):
    """One namespace of one Redis."""

    @property
    def replica(self) -> str:
        """Who calls: what the others know this replica by."""
        ...

    @property
    def log_key(self) -> bytes:
        """A random key of the namespace, the same for every replica; empty before the start."""

    @property
    def answer_key(self) -> bytes:
        """As `log_key`: what addresses for answers are signed with."""

    @property
    def all_open_sealed(self) -> bool:
        """Whether every replica that lives opens addresses that nobody can read, as far as the last
        heartbeat knows."""

    @property
    def set_aside(self) -> SetAside: ...

    # Messages in

    async def append(self, messages: Sequence[Message]) -> list[Appended]:
        """Keep `messages`, in order, and say of each what happened to it. A crash in the middle may
        keep some and not others, of one user always the first ones."""

    async def append_each(self, messages: Sequence[Message]) -> list[Appended | StoreUnavailable]:
        """As `append`, in the order of `arrived_ns`; each has its own fate, nothing is raised."""

    # The owner's verbs, all fenced by the lease (`ack` by the batch id alone)

    async def claim(
        self, lease: Lease, user: str, token: str, batch_id: str, *, spare_ms: int = 0
    ) -> Claim:
        """Take the user's next attempt, if it is due.

        `token` names this claim: the same call repeated after a lost answer gets the same
        attempt. `batch_id` is used if a new batch has to be closed. `spare_ms` are added to the
        attempt's limit: time that passes before this call is answered.
        """
        ...

    async def ack(self, attempt: Attempt, status: int, took_ms: int | None = None) -> SettleResult:
        """The batch was delivered, which stays true however late it is said.

        While another attempt at it is under way, the user's turn goes on until that one is settled
        or its limit has passed; whatever comes of it, the batch is not sent again.
        """
        ...

    async def retry(
        self,
        lease: Lease,
        attempt: Attempt,
        after_ms: int,
        status: int | None,
        reason: str,
        answer: str | None = None,
        took_ms: int | None = None,
        *,
        spent: bool = True,
    ) -> SettleResult:
        """Try again `after_ms` from now. What the receiver said is kept with the attempt.

        Without `spent`, the next attempt has this one's number.
        """
        ...

    async def divide(
        self,
        lease: Lease,
        attempt: Attempt,
        status: int | None,
        reason: str,
        answer: str | None = None,
        took_ms: int | None = None,
    ) -> SettleResult:
        """Make two batches of one that has several messages; the first half is due at once."""
        ...

    async def bury(
        self,
        lease: Lease,
        attempt: Attempt,
        status: int | None,
        reason: str,
        answer: str | None = None,
        took_ms: int | None = None,
    ) -> SettleResult: ...

    async def due(self, shards: Sequence[int], within_ms: int, limit: int) -> list[list[DueUser]]:
        """Per shard, the first `limit` users due at most `within_ms` from now, soonest first."""
        ...

    # Ownership

    def by_server(self, shards: Sequence[int]) -> list[list[int]]:
        """The shards, those of one server together: it may be away when the others are not."""
        ...

    async def acquire(
        self, shards: Sequence[int], replica: str, nonce: str, ttl_ms: int
    ) -> list[Lease | LeaseHeld]: ...

    async def renew(self, leases: Sequence[Lease], ttl_ms: int) -> list[bool]:
        """Extend every lease that is still ours, in one round trip; False where it is not."""
        ...

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back.

        Attempts under way may still be settled with the lease that was given back.
        """
        ...

    async def listen(self, hear: Callable[[News], None]) -> None:
        """Hand over what other replicas tell this one, until cancelled. News may be lost."""
        ...

    async def heartbeat(self, replica: str, ttl_ms: int) -> list[Replica]:
        """Say that we live; returns who else does. A replica silent for `ttl_ms` is forgotten."""
        ...

    async def leave(self, replica: str) -> None:
        """Say that we go: nobody counts on us from now on."""
        ...

    async def tell_free(self, replica: str) -> None:
        """Tell every replica that lives, but for `replica`, that shards were given back."""
        ...

    async def want_events(self) -> None:
        """Tell every replica that somebody wants to hear what it does."""
        ...

    async def publish_events(self, text: bytes) -> None:
        """Tell whoever listens to events, at any replica; nobody may."""
        ...

    async def listen_to_events(self, hear: Callable[[bytes | None], None]) -> None:
        """Hand over what `publish_events` is given anywhere, until cancelled; None whenever the
        connection is new. Texts may be lost, and may be anything."""
        ...

    async def leases(self) -> list[LeaseInfo]: ...

    # What the API offers per user; any replica may call these

    async def describe(self, user: str) -> UserView: ...

    async def flush(self, user: str) -> UserView | Literal["held"]: ...

    async def typing(self, user: str, ttl_ms: int | None) -> tuple[bool, UserView]:
        """Extend the open window to `ttl_ms` from now (default: its last ttl).

        False: there was nothing to extend.
        """
        ...

    async def hold(self, user: str, for_ms: int) -> UserView: ...

    async def unhold(self, user: str) -> UserView: ...

    async def hold_ran_out(self, user: str) -> bool:
        """Whether this user's last hold has ended by time: not by `unhold`, and not since."""
        ...

    async def drop(self, user: str, bytes_max: int = DROPPED_BYTES_MAX) -> Dropped: ...

    # Dead letters

    async def dead_letter(self, batch_id: str) -> DeadLetter | None: ...

    async def dead_drop(self, batch_id: str) -> bool: ...

    async def dead_expire(
        self, lease: Lease, retention_ms: int, limit: int, passed: int
    ) -> Expired | None:
        """Delete a page of what is older; `passed` old ones were kept before. None: fenced."""
        ...

    async def sizes(self, shards: Sequence[int], within_ms: int) -> list[Sizes]: ...

    async def waiting_by_route(
        self, shards: Sequence[int], begin: Sequence[int], count: int
    ) -> list[tuple[int, Mapping[str, int]]]:
        """Of each shard, how many places of its timer index were looked at, from `begin` on and at
        most `count`, and how many conversations of which route stood there. A route's name may be
        anything that somebody wrote."""
        ...

    async def all_waiting_by_route(self, looked_at_max: int) -> tuple[Mapping[str, int], bool]:
        """The same of all shards, of about as many places of each, and whether these were all."""
        ...

    async def dead_replay(self, batch_id: str) -> DeadLetter | None:
        """Put it back at the head of its user's line; None if there is no such dead letter."""
        ...

    # The server itself

    async def ping(self) -> None: ...

    async def info(self) -> StoreInfo: ...

    def memory(self) -> Memory | None: ...

    def trouble(self) -> str | None:
        """Why the store cannot be written to right now, as far as is known; None if it can."""
        ...
