"""What the oracle keeps: one line per user, who holds which shard, dead letters. No verbs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from actor_queue.core.answers import AnswerState
from actor_queue.core.batch import Batch, Reason
from actor_queue.core.message import FullOf
from actor_queue.core.settings import Settings
from actor_queue.store.api import AttemptRecord, DeadLetter, Lease


@dataclass(frozen=True)
class Item:
    """A kept message."""

    seq: int
    at_ms: int
    message_id: str
    body: bytes

    def encoded(self) -> bytes:
        name = json.dumps(self.message_id, ensure_ascii=False).encode()
        return b"[%d,%d,%s,%s]" % (self.seq, self.at_ms, name, self.body)

    @classmethod
    def decoded(cls, stored: bytes) -> Item:
        seq, at_ms, message_id, _ = json.loads(stored)
        name = json.dumps(message_id, ensure_ascii=False).encode()
        start = len(b"[%d,%d,%s," % (seq, at_ms, name))
        return cls(seq, at_ms, message_id, stored[start:-1])


@dataclass
class Window:
    """The open window: still collecting."""

    first_at_ms: int
    max_wait_deadline_ms: int
    """0 = off."""
    last_ttl_ms: int = 0
    due_at_ms: int = 0
    items: list[Item] = field(default_factory=list)
    bytes: int = 0


@dataclass(frozen=True)
class Sealed:
    """Closed by a cap or a flush, not yet claimed."""

    items: tuple[Item, ...]
    reason: Reason
    due_at_ms: int
    whole: Batch | None = None
    """The batch that it is the second half of."""


@dataclass(frozen=True)
class Replay:
    """A dead letter that waits at the head of the line."""

    batch_id: str
    due_at_ms: int


@dataclass
class Flight:
    """The one batch in flight: an attempt under way, or waiting for its retry."""

    batch: Batch
    number: int = 0
    limit_at_ms: int = 0
    retry_at_ms: int | None = None
    """None while an attempt is under way (also after its limit, until the next claim)."""
    token: str = ""
    """Of the claim that started the last attempt."""
    delivered: bool = False
    """An earlier attempt was acknowledged while this one was under way: only the turn goes on."""
    answering_since_ms: int | None = None
    """When the receiver of the attempt under way answered 202."""
    unanswered: bool = False
    """The attempt under way was claimed to be buried: the one before it was never answered."""

    def under_way(self, now_ms: int) -> bool:
        return self.retry_at_ms is None and now_ms < self.limit_at_ms


@dataclass
class Line:
    """Everything about one user."""

    seq: int = 0
    batches: int = 0
    clock_ms: int = 0
    hold_until_ms: int = 0
    open: Window | None = None
    sealed: list[Sealed] = field(default_factory=list)
    replays: list[Replay] = field(default_factory=list)
    flight: Flight | None = None
    last_token: str = ""
    """Of the claim that started the last attempt, also when that is over."""
    former: tuple[int, str] | None = None
    """Of a batch that was taken back: the number of its first message, and its id."""
    last_answer: tuple[str, str, AnswerState, int] | None = None
    """Batch id, token, what was answered, and how many newer messages waited."""
    recent: list[AttemptRecord] = field(default_factory=list)
    remembered: dict[str, int] = field(default_factory=dict)
    """Message id → last millisecond at which it is still known."""
    revoked: dict[str, int] = field(default_factory=dict)
    """What `remembered` said of a message when it was taken out: of another one it says another
    millisecond."""

    def pending(self) -> int:
        waiting = sum(len(sealed.items) for sealed in self.sealed)
        return waiting + (len(self.open.items) if self.open else 0)

    def waiting_since_ms(self) -> int | None:
        """When the oldest message that is not settled was kept."""
        if self.flight and not self.flight.delivered:
            return self.flight.batch.first_at_ms
        if self.sealed:
            return self.sealed[0].items[0].at_ms
        return self.open.first_at_ms if self.open else None

    def full_of(self, settings: Settings, item: Item) -> FullOf | None:
        """Which limit keeps this message out."""
        waiting = [item for sealed in self.sealed for item in sealed.items]
        waiting += self.open.items if self.open else ()
        if len(waiting) >= settings.max_pending:
            return "messages"
        size = sum(len(each.encoded()) for each in [*waiting, item])
        return "bytes" if waiting and size > settings.max_pending_bytes else None

    def next_step_ms(self) -> int | None:
        """When something is due for this user; None when nothing waits."""
        if self.flight and self.flight.retry_at_ms is None:
            return self.flight.limit_at_ms
        if self.flight and self.flight.retry_at_ms is not None:
            return max(self.hold_until_ms, self.flight.retry_at_ms)
        if self.replays:
            return max(self.hold_until_ms, self.replays[0].due_at_ms)
        if self.sealed:
            return max(self.hold_until_ms, self.sealed[0].due_at_ms)
        if self.open:
            return max(self.hold_until_ms, self.open.due_at_ms)
        return None

    def held(self, now_ms: int) -> bool:
        return now_ms < self.hold_until_ms


@dataclass
class Grant:
    """Who holds a shard."""

    epoch: int
    nonce: str
    owner: str
    since_ms: int
    expires_at_ms: int
    given_back: Lease | None = None
    """The last lease that was released: its attempts under way may still be settled with it."""


@dataclass
class Buried:
    """A dead letter as kept."""

    batch: Batch
    died_at_ms: int
    attempts: int
    reason: str
    status: int | None = None
    answer: str | None = None
    took_ms: int | None = None
    queued: bool = False
    replica: str | None = None

    def letter(self, *, whole: bool) -> DeadLetter:
        return DeadLetter(
            id=self.batch.id,
            user=self.batch.user,
            died_at_ms=self.died_at_ms,
            attempts=self.attempts,
            reason=self.reason,
            messages=len(self.batch.stored),
            queued=self.queued,
            status=self.status,
            answer=self.answer,
            replica=self.replica,
            took_ms=self.took_ms,
            batch=self.batch if whole else None,
        )
