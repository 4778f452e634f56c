"""What the store says, as the API's JSON. Times are ISO 8601 in UTC, durations seconds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from actor_queue.store.api import (
    AttemptRecord,
    BatchSummary,
    DeadLetter,
    Dropped,
    LeaseInfo,
    Replica,
    UserView,
)
from actor_queue.store.replay_api import ReplayJob

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Json = dict[str, Any]


def moment(at_ms: int) -> str:
    """`2025-01-30T01:19:45.120Z`."""
    at = _EPOCH + timedelta(milliseconds=at_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(duration_ms: int | None) -> float | None:
    return None if duration_ms is None else duration_ms / 1000


def user_line(view: UserView, attempt_limit_ms: int) -> Json:
    """One user in a list. `attempt_limit_ms` is what the store allows an attempt."""
    return {
        "user": view.user,
        "state": view.state,
        "pending": view.pending,
        "fires_in": seconds(view.due_in_ms),
        "held_for": seconds(view.held_for_ms),
        "batch": None if view.batch is None else _batch(view.batch, view, attempt_limit_ms),
    }


def user_page(view: UserView, attempt_limit_ms: int, logged_as: str) -> Json:
    """One user alone, with what happened lately and the name that the log has for it."""
    return {
        **user_line(view, attempt_limit_ms),
        "recent": [_attempt(record) for record in view.recent],
        "logged_as": logged_as,
    }


def dropped(user: str, what: Dropped) -> Json:
    return {
        "success": True,
        "user": user,
        "dropped": what.messages,
        "batch": what.batch_id,
        "complete": what.complete,
        "messages": [_item(item) for item in what.stored],
    }


def dead_letter(letter: DeadLetter) -> Json:
    """Without its batch."""
    return {
        "id": letter.id,
        "user": letter.user,
        "died_at": moment(letter.died_at_ms),
        "attempts": letter.attempts,
        "reason": letter.reason,
        "status": letter.status,
        "answer": letter.answer,
        "replica": letter.replica,
        "duration_ms": letter.took_ms,
        "messages": letter.messages,
        "queued": letter.queued,
    }


def shards(replicas: Sequence[Replica], leases: Sequence[LeaseInfo]) -> Json:
    owned = Counter(lease.owner for lease in leases)
    return {
        "replicas": [
            {"id": replica.id, "seen_ago": replica.seen_ms_ago / 1000, "shards": owned[replica.id]}
            for replica in replicas
        ],
        "shards": [_lease(lease) for lease in leases],
    }


def _batch(batch: BatchSummary, view: UserView, attempt_limit_ms: int) -> Json:
    under_way = batch.retry_in_ms is None and view.due_in_ms is not None
    begun_ms = max(0, attempt_limit_ms - (view.due_in_ms or 0)) if under_way else None
    failures = (each.reason for each in view.recent if each.batch_id == batch.id)
    return {
        "id": batch.id,
        "seq": batch.seq,
        "reason": batch.reason,
        "messages": batch.messages,
        "attempts": batch.attempts,
        "closed_at": moment(batch.closed_at_ms),
        "retry_in": seconds(batch.retry_in_ms),
        "attempt_for": seconds(begun_ms),
        "failure": next((reason for reason in failures if reason is not None), None),
    }


def _attempt(record: AttemptRecord) -> Json:
    return {
        "batch_id": record.batch_id,
        "attempt": record.number,
        "at": moment(record.at_ms),
        "outcome": record.outcome,
        "status": record.status,
        "reason": record.reason,
        "answer": record.answer,
        "replica": record.replica,
        "duration_ms": record.took_ms,
        "messages": record.messages,
    }


def _item(stored: bytes) -> Json:
    seq, received_at_ms, message_id, original = json.loads(stored)
    received_at = moment(received_at_ms)
    return {**original, "seq": seq, "message_id": message_id, "received_at": received_at}


def _lease(lease: LeaseInfo) -> Json:
    return {
        "shard": lease.shard,
        "owner": lease.owner,
        "epoch": lease.epoch,
        "since": None if lease.since_ms is None else moment(lease.since_ms),
        "remaining": lease.remaining_ms / 1000,
        "waiting": lease.waiting,
    }


def replay_job(job: ReplayJob) -> Json:
    """Schema `ReplayJob`."""
    return {
        "job": job.id,
        "state": job.state,
        "total": job.total,
        "replayed": job.replayed,
        "passed_over": job.passed_over,
    }
