"""A plain Python model of the store: what every verb must answer and leave behind.

Written from the semantics in words, not from the scripts, so that a difference between the
two is a mistake in one of them. Synchronous; the clock is the first argument of every verb.
No limits of speed or memory were considered: this is the reference, never an implementation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from actor_queue.core.batch import Attempt, Batch, Reason
from actor_queue.core.message import Accepted, Appended, Full, Message
from actor_queue.core.payload import counted_bytes, stored_mode
from actor_queue.core.settings import Settings
from actor_queue.store.api import (
    BatchSummary,
    Claim,
    Dropped,
    DueUser,
    Fenced,
    Gone,
    Lease,
    NotDue,
    Nothing,
    Settled,
    SettleResult,
    UserState,
    UserView,
)
from tests.model.answers import Answers
from tests.model.changes import Changes
from tests.model.grants import Grants
from tests.model.letters import Letters
from tests.model.state import Buried, Flight, Item, Line, Sealed, Window

ATTEMPT_MARGIN_MS = 1_000
DROPPED_BYTES_MAX = 1_048_576


class Oracle(Grants, Letters, Changes, Answers):
    """The whole store of one namespace."""

    def __init__(self, settings: Settings, shard_of: Callable[[str], int]) -> None:
        self.settings = settings
        self.shard_of = shard_of
        super().__init__()
        self.lines: dict[str, Line] = {}
        self.buried: dict[str, Buried] = {}

    def line(self, user: str) -> Line:
        return self.lines.setdefault(user, Line())

    # Messages in

    def append(self, now_ms: int, messages: Sequence[Message]) -> list[Appended]:
        return [self._append(now_ms, message) for message in messages]

    def _append(self, now_ms: int, message: Message) -> Appended:
        line = self.line(message.user)
        now_ms = max(now_ms, line.clock_ms)
        if message.remembered and self._knows(line, message.message_id, now_ms):
            return self._receipt(line, message, now_ms, duplicate=True)
        item = Item(line.seq + 1, now_ms, message.message_id, message.body)
        if full := line.full_of(self.settings, item):
            due_in = self._due_in(line, now_ms)
            return Full(message.user, message.message_id, line.pending(), due_in, full)
        line.clock_ms = now_ms
        self._push(line, item, message.ttl_ms)
        if message.remembered:
            line.remembered[message.message_id] = now_ms + self.settings.dedup_window_ms
        return self._receipt(line, message, now_ms, duplicate=False)

    def _knows(self, line: Line, message_id: str, now_ms: int) -> bool:
        return now_ms <= line.remembered.get(message_id, -1)

    def _push(self, line: Line, item: Item, ttl_ms: int) -> None:
        line.seq, now_ms = item.seq, item.at_ms
        frame, times, each = counted_bytes(self.settings.payload)
        size = times * len(item.encoded()) + each
        if line.open and line.open.bytes + size > self.settings.max_batch_bytes:
            self._seal(line, "max_bytes", now_ms)
        window = line.open or self._new_window(now_ms, frame)
        line.open = window
        window.items.append(item)
        window.bytes += size
        window.last_ttl_ms = ttl_ms
        window.due_at_ms = now_ms + ttl_ms
        if window.max_wait_deadline_ms:
            window.due_at_ms = min(window.due_at_ms, window.max_wait_deadline_ms)
        if len(window.items) >= self.settings.max_messages:
            self._seal(line, "max_messages", now_ms)
        elif window.bytes >= self.settings.max_batch_bytes:
            self._seal(line, "max_bytes", now_ms)

    def _new_window(self, now_ms: int, frame: int) -> Window:
        wait_ms = self.settings.max_wait_ms
        return Window(now_ms, now_ms + wait_ms if wait_ms else 0, bytes=frame)

    def _seal(self, line: Line, reason: Reason, now_ms: int) -> None:
        assert line.open
        line.sealed.append(Sealed(tuple(line.open.items), reason, now_ms))
        line.open = None

    def _receipt(self, line: Line, message: Message, now_ms: int, *, duplicate: bool) -> Accepted:
        due_in = self._due_in(line, now_ms)
        step = line.next_step_ms()
        next_in = -1 if step is None else max(0, step - now_ms)
        return Accepted(
            message.user, message.message_id, line.pending(), due_in, duplicate, next_in
        )

    def _due_in(self, line: Line, now_ms: int) -> int:
        due_at = line.open.due_at_ms if line.open else now_ms
        return max(0, due_at - now_ms, line.hold_until_ms - now_ms)

    # The owner's verbs

    def claim(self, now_ms: int, lease: Lease, user: str, token: str, batch_id: str) -> Claim:
        if not self._holds(lease, now_ms):
            return Fenced()
        line = self.line(user)
        flight, step = line.flight, line.next_step_ms()
        if step is None:
            return Nothing()
        if line.last_token == token:
            if flight and flight.under_way(now_ms):
                left = flight.limit_at_ms - now_ms
                again = flight.unanswered
                return Attempt(flight.batch, flight.number, left, token, unanswered=again)
            # A claim that was long on its way: its attempt is over, and it starts no other.
            return NotDue(max(0, step - now_ms))
        if flight and flight.under_way(now_ms):
            return NotDue(flight.limit_at_ms - now_ms)
        if flight and flight.delivered:
            if flight.retry_at_ms is None:
                self._silent(line, flight)
            # The attempt that was under way when the batch was acknowledged has had its time.
            line.flight = flight = None
            step = line.next_step_ms()
            if step is None:
                return Nothing()
        # An attempt whose limit has passed is a batch that waits, so a hold counts for it again.
        step = max(step, line.hold_until_ms)
        if now_ms < step:
            if flight and flight.retry_at_ms is None:
                self._silent(line, flight)
                flight.retry_at_ms = flight.limit_at_ms
            return NotDue(step - now_ms)
        unanswered = flight is not None and self._unanswered(flight)
        if flight and flight.retry_at_ms is None and not unanswered:
            self._silent(line, flight)
        if line.flight is None:
            line.flight = Flight(self._close(line, user, batch_id, now_ms))
        line.last_token = line.flight.token = token
        return self._attempt(line.flight, now_ms, unanswered=unanswered)

    def _close(self, line: Line, user: str, batch_id: str, now_ms: int) -> Batch:
        """The next batch of the line, taken out of it."""
        if line.replays:
            return self.buried.pop(line.replays.pop(0).batch_id).batch
        if line.sealed:
            sealed = line.sealed.pop(0)
            former = self._former(line, sealed.items[0])
            if sealed.whole and not former:
                return self._half(line, sealed.whole, "y", [i.encoded() for i in sealed.items])
            items, reason, due_at = sealed.items, sealed.reason, sealed.due_at_ms
        else:
            window = line.open
            assert window
            line.open = None
            former = self._former(line, window.items[0])
            waited = window.due_at_ms == window.max_wait_deadline_ms
            items, due_at = tuple(window.items), window.due_at_ms
            reason = "max_wait" if waited else "quiet"
        line.batches += 1
        numbered = f"{line.batches:x}t{now_ms}"
        return Batch(
            id=f"{former}z{numbered}" if former else f"{batch_id}{numbered}",
            user=user,
            seq=line.batches,
            reason=reason,
            mode=stored_mode(self.settings.payload, self.settings.order),
            first_at_ms=items[0].at_ms,
            last_at_ms=items[-1].at_ms,
            due_at_ms=due_at,
            closed_at_ms=now_ms,
            stored=tuple(item.encoded() for item in items),
        )

    def _attempt(self, flight: Flight, now_ms: int, *, unanswered: bool) -> Attempt:
        flight.number += not unanswered
        flight.answering_since_ms, flight.unanswered = None, unanswered
        limit_in_ms = self.settings.webhook_timeout_ms + ATTEMPT_MARGIN_MS
        flight.limit_at_ms = now_ms + limit_in_ms
        flight.retry_at_ms = None
        return Attempt(
            flight.batch, flight.number, limit_in_ms, flight.token, unanswered=unanswered
        )

    def ack(
        self, now_ms: int, attempt: Attempt, status: int, took_ms: int | None = None
    ) -> SettleResult:
        line = self.line(attempt.batch.user)
        flight = line.flight
        if flight is None or flight.batch.id != attempt.batch.id:
            return Gone()
        if flight.under_way(now_ms) and flight.token != attempt.token:
            # It may say that the batch was delivered; it does not end somebody else's attempt.
            if flight.delivered:
                return Gone()
            flight.delivered = True
            self._record(line, now_ms, attempt, "delivered", status, None, None, took_ms)
            return Settled(flight.limit_at_ms - now_ms)
        if flight.retry_at_ms is None and flight.token != attempt.token:
            self._silent(line, flight)
        self._record(line, now_ms, attempt, "delivered", status, None, None, took_ms)
        return self._over(line, flight, now_ms)

    def _over(self, line: Line, flight: Flight, now_ms: int) -> Settled:
        """The user's turn has ended, and with it the batch."""
        line.flight = None
        return replace(self._settled(line, now_ms), known=flight.delivered)

    def retry(
        self,
        now_ms: int,
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
        line = self.line(attempt.batch.user)
        if refusal := self._may_settle(now_ms, lease, line, attempt):
            return refusal
        assert line.flight
        if line.flight.delivered:
            self._record(line, now_ms, attempt, "failed", status, reason, answer, took_ms)
            return self._over(line, line.flight, now_ms)
        line.flight.number -= not spent
        self._record(line, now_ms, attempt, "retry", status, reason, answer, took_ms)
        line.flight.retry_at_ms = now_ms + after_ms
        return self._settled(line, now_ms)

    def bury(
        self,
        now_ms: int,
        lease: Lease,
        attempt: Attempt,
        status: int | None,
        reason: str,
        answer: str | None = None,
        took_ms: int | None = None,
    ) -> SettleResult:
        line = self.line(attempt.batch.user)
        if refusal := self._may_settle(now_ms, lease, line, attempt):
            return refusal
        assert line.flight
        if line.flight.delivered:
            self._record(line, now_ms, attempt, "failed", status, reason, answer, took_ms)
            return self._over(line, line.flight, now_ms)
        self._record(line, now_ms, attempt, "dead", status, reason, answer, took_ms)
        letter = Buried(
            line.flight.batch, now_ms, line.flight.number, reason, status, answer, took_ms
        )
        self.buried[line.flight.batch.id] = letter
        line.flight = None
        return self._settled(line, now_ms)

    def divide(
        self,
        now_ms: int,
        lease: Lease,
        attempt: Attempt,
        status: int | None,
        reason: str,
        answer: str | None = None,
        took_ms: int | None = None,
    ) -> SettleResult:
        line = self.line(attempt.batch.user)
        if refusal := self._may_settle(now_ms, lease, line, attempt):
            return refusal
        assert line.flight
        if line.flight.delivered:
            self._record(line, now_ms, attempt, "failed", status, reason, answer, took_ms)
            return self._over(line, line.flight, now_ms)
        self._record(line, now_ms, attempt, "divided", status, reason, answer, took_ms)
        whole, token = line.flight.batch, line.flight.token
        middle = (len(whole.stored) + 1) // 2
        rest = tuple(map(Item.decoded, whole.stored[middle:]))
        line.sealed.insert(0, Sealed(rest, whole.reason, whole.due_at_ms, whole))
        first = self._half(line, whole, "x", whole.stored[:middle])
        line.flight = Flight(first, retry_at_ms=now_ms, token=token)
        return self._settled(line, now_ms)

    def _half(self, line: Line, whole: Batch, which: str, stored: Sequence[bytes]) -> Batch:
        """Everything as in the whole but what follows from its messages, its id and its number."""
        line.batches += 1
        first, *_, last = (json.loads(item)[1] for item in (stored[0], *stored))
        return replace(
            whole,
            id=f"{whole.id}{which}{line.batches:x}",
            seq=line.batches,
            first_at_ms=first,
            last_at_ms=last,
            stored=tuple(stored),
        )

    def _may_settle(
        self, now_ms: int, lease: Lease, line: Line, attempt: Attempt
    ) -> Fenced | Gone | None:
        grant = self.grants.get(lease.shard)
        if not self._holds(lease, now_ms) and not (grant and grant.given_back == lease):
            return Fenced()
        flight = line.flight
        if flight is None or flight.retry_at_ms is not None:
            return Gone()
        if (flight.batch.id, flight.token) != (attempt.batch.id, attempt.token):
            return Gone()
        return None

    def due(
        self, now_ms: int, shards: Sequence[int], within_ms: int, limit: int
    ) -> list[list[DueUser]]:
        return [self._due(now_ms, shard, within_ms)[:limit] for shard in shards]

    def _due(self, now_ms: int, shard: int, within_ms: int) -> list[DueUser]:
        steps = self.due_index(shard)
        waiting = [DueUser(user, step - now_ms) for user, step in steps.items()]
        soon = [due for due in waiting if due.remaining_ms <= within_ms]
        return sorted(soon, key=lambda due: due.remaining_ms)

    def due_index(self, shard: int) -> dict[str, int]:
        steps = {
            user: line.next_step_ms()
            for user, line in self.lines.items()
            if self.shard_of(user) == shard
        }
        return {user: step for user, step in steps.items() if step is not None}

    # What the API offers per user

    def describe(self, now_ms: int, user: str) -> UserView:
        line = self.lines.get(user) or Line()
        step = line.next_step_ms()
        return UserView(
            user=user,
            state=self._state(line, now_ms),
            pending=line.pending(),
            due_in_ms=None if step is None else max(0, step - now_ms),
            held_for_ms=line.hold_until_ms - now_ms if line.held(now_ms) else None,
            batch=self._summary(line, now_ms),
            recent=tuple(line.recent),
            waiting_since_ms=line.waiting_since_ms(),
        )

    def _state(self, line: Line, now_ms: int) -> UserState:
        if line.flight and line.flight.retry_at_ms is None:
            return "delivering" if line.flight.answering_since_ms is None else "answering"
        if line.held(now_ms):
            return "held"
        if line.flight:
            return "retrying"
        if line.open or line.sealed or line.replays:
            return "collecting"
        return "idle"

    def _summary(self, line: Line, now_ms: int) -> BatchSummary | None:
        flight = line.flight
        if flight is None:
            return None
        retry_at = flight.retry_at_ms
        waited_for = retry_at is None and flight.answering_since_ms is not None
        return BatchSummary(
            id=flight.batch.id,
            seq=flight.batch.seq,
            reason=flight.batch.reason,
            messages=len(flight.batch.stored),
            attempts=flight.number,
            closed_at_ms=flight.batch.closed_at_ms,
            retry_in_ms=None if retry_at is None else max(0, retry_at - now_ms),
            answer_in_ms=max(0, flight.limit_at_ms - now_ms) if waited_for else None,
        )

    def users(self, now_ms: int, state: UserState | None) -> list[UserView]:
        """Everybody who waits, soonest first; users due at the same time in any order."""
        steps = {user: step for user, line in self.lines.items() if (step := line.next_step_ms())}
        views = [self.describe(now_ms, user) for user in sorted(steps, key=lambda u: (steps[u], u))]
        return [view for view in views if state in (None, view.state)]

    def flush(self, now_ms: int, user: str) -> UserView | Literal["held"]:
        line = self.line(user)
        if line.held(now_ms):
            return "held"
        if line.open:
            self._seal(line, "flush", now_ms)
        if line.flight and line.flight.retry_at_ms is not None:
            line.flight.retry_at_ms = min(line.flight.retry_at_ms, now_ms)
        return self.describe(now_ms, user)

    def typing(self, now_ms: int, user: str, ttl_ms: int | None) -> tuple[bool, UserView]:
        line = self.line(user)
        window = line.open
        if window is None or line.flight is not None:
            return False, self.describe(now_ms, user)
        ttl_ms = window.last_ttl_ms if ttl_ms is None else ttl_ms
        cap = window.max_wait_deadline_ms or window.first_at_ms + self.settings.max_ttl_ms
        extended = min(max(window.due_at_ms, now_ms + ttl_ms), cap)
        # A signal that somebody types never makes a batch go sooner than its messages asked for.
        window.due_at_ms = max(window.due_at_ms, extended)
        return True, self.describe(now_ms, user)

    def hold(self, now_ms: int, user: str, for_ms: int) -> UserView:
        self.line(user).hold_until_ms = now_ms + for_ms
        return self.describe(now_ms, user)

    def unhold(self, now_ms: int, user: str) -> UserView:
        self.line(user).hold_until_ms = 0
        return self.describe(now_ms, user)

    def drop(self, now_ms: int, user: str) -> Dropped:
        line = self.line(user)
        items: list[bytes] = []
        batch_id = None
        if line.flight and line.flight.retry_at_ms is not None:
            batch_id = line.flight.batch.id
            items.extend(line.flight.batch.stored)
            line.flight = None
        items.extend(item.encoded() for sealed in line.sealed for item in sealed.items)
        items.extend(item.encoded() for item in (line.open.items if line.open else ()))
        line.sealed, line.open = [], None
        for replay in line.replays:
            self.buried[replay.batch_id].queued = False
        line.replays = []
        return Dropped(len(items), batch_id, _first_mebibyte(items))

    # For the tests only

    def holdings(self, user: str) -> dict[str, tuple[bytes, ...]]:
        """Every kept item of `user` by place: `open`, `sealed`, `flight`."""
        line = self.lines.get(user) or Line()
        return {
            "open": tuple(item.encoded() for item in (line.open.items if line.open else ())),
            "sealed": tuple(i.encoded() for sealed in line.sealed for i in sealed.items),
            "flight": line.flight.batch.stored if line.flight else (),
        }


def _first_mebibyte(items: Sequence[bytes]) -> tuple[bytes, ...]:
    kept: list[bytes] = []
    size = 0
    for item in items:
        size += len(item)
        if size > DROPPED_BYTES_MAX:
            break
        kept.append(item)
    return tuple(kept)
