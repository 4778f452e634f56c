"""Verdicts: what became of an attempt. Each ends the attempt by one script."""

from __future__ import annotations

import json

from actor_queue.core.batch import Attempt
from actor_queue.store.api import Fenced, Gone, Lease, Settled, SettleResult
from actor_queue.store.base import StoreBase
from actor_queue.store.history_lines import Told, history_of
from actor_queue.transport.reading import READING, Unreadable, listed, number


class Verdicts(StoreBase):
    """All but `ack` carry the lease and may be told `Fenced`."""

    async def ack(self, attempt: Attempt, status: int, took_ms: int | None = None) -> SettleResult:
        """See `Store.ack`."""
        batch = attempt.batch
        shard, mine = self._user_keys(batch.key)
        entry = history_of(attempt, "delivered", status, None, self._told(None, took_ms))
        return settled(
            await self._call(
                "ack_v2",
                (shard.lease, shard.due, mine.state, mine.flight, mine.history),
                self._now,
                mine.user,
                batch.id,
                entry,
                *self._caller(shard),
                attempt.token,
            )
        )

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
        """See `Store.retry`."""
        shard, mine = self._user_keys(attempt.batch.key)
        told = self._told(answer, took_ms)
        return settled(
            await self._call(
                "retry_v3",
                (shard.lease, shard.due, mine.state, mine.history, mine.flight),
                self._now,
                lease.epoch,
                lease.nonce,
                mine.user,
                attempt.batch.id,
                attempt.token,
                after_ms,
                history_of(attempt, "retry", status, reason, told),
                *self._caller(shard),
                history_of(attempt, "failed", status, reason, told),
                int(spent),
            )
        )

    async def divide(
        self,
        lease: Lease,
        attempt: Attempt,
        status: int | None,
        reason: str,
        answer: str | None = None,
        took_ms: int | None = None,
    ) -> SettleResult:
        """See `Store.divide`."""
        batch = attempt.batch
        shard, mine = self._user_keys(batch.key)
        told = self._told(answer, took_ms)
        entry = history_of(attempt, "divided", status, reason, told)
        return settled(
            await self._call(
                "divide_v1",
                (
                    shard.lease,
                    shard.due,
                    mine.state,
                    mine.pending,
                    mine.line,
                    mine.flight,
                    mine.history,
                ),
                self._now,
                lease.epoch,
                lease.nonce,
                mine.user,
                batch.id,
                attempt.token,
                entry,
                *self._caller(shard),
                history_of(attempt, "failed", status, reason, told),
            )
        )

    async def bury(
        self,
        lease: Lease,
        attempt: Attempt,
        status: int | None,
        reason: str,
        answer: str | None = None,
        took_ms: int | None = None,
    ) -> SettleResult:
        """See `Store.bury`."""
        batch = attempt.batch
        shard, mine = self._user_keys(batch.key)
        letter, items = shard.letter(batch.id)
        told = self._told(answer, took_ms)
        entry = history_of(attempt, "dead", status, reason, told)
        return settled(
            await self._call(
                "bury_v2",
                (
                    shard.lease,
                    shard.due,
                    mine.state,
                    mine.flight,
                    mine.history,
                    shard.dead,
                    letter,
                    items,
                ),
                self._now,
                lease.epoch,
                lease.nonce,
                mine.user,
                batch.id,
                attempt.token,
                reason,
                entry,
                *self._caller(shard),
                history_of(attempt, "failed", status, reason, told),
                json.dumps({"status": status, **told}),
            )
        )

    def _told(self, answer: str | None, took_ms: int | None) -> Told:
        """What is kept of an attempt, by the names that it is kept under."""
        told: Told = {"answer": answer, "by": self.replica or None, "ms": took_ms}
        return {name: value for name, value in told.items() if value is not None}


def settled(reply: object) -> SettleResult:
    with READING:
        match listed(reply):
            case [b"ok" | b"known" as what, left]:
                ms = number(left)
                return Settled(None if ms < 0 else ms, known=what == b"known")
            case [b"gone", *_]:
                return Gone()
            case [b"fenced", *_]:
                return Fenced()
    raise Unreadable
