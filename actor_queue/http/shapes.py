"""What the store says, as the API's models. Times are ISO 8601 in UTC, durations seconds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Raw
from msgspec.structs import asdict

from actor_queue.core.conversation import conversation_of
from actor_queue.core.payload import render
from actor_queue.http import models
from actor_queue.runtime.many import Many
from actor_queue.runtime.receivers import Blocked, Receivers, RouteReport
from actor_queue.store.api import (
    AttemptRecord,
    BatchSummary,
    DeadLetter,
    Dropped,
    LeaseInfo,
    Replica,
    UserView,
)
from actor_queue.store.changes_api import Changed
from actor_queue.store.deeds_api import Deed
from actor_queue.store.erase_api import Erased
from actor_queue.store.replay_api import ReplayJob
from actor_queue.store.waiting_api import Waiting

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

UNDER_WAY: Final = frozenset({"idle", "delivering", "answering"})
"""States of users of whom nothing waits for an attempt."""


def moment(at_ms: int) -> str:
    """`2025-01-30T01:19:45.120Z`."""
    at = _EPOCH + timedelta(milliseconds=at_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(duration_ms: int | None) -> float | None:
    return None if duration_ms is None else duration_ms / 1000


def routes(found: Receivers) -> models.Routes:
    return models.Routes([_route(each) for each in found.reports], found.complete)


def _route(report: RouteReport) -> models.Route:
    took = report.took_ms
    return models.Route(
        route=report.route,
        state=report.state,
        since=None if report.since_ms is None else moment(report.since_ms),
        reason=report.reason,
        by=report.by,
        next_probe_in=seconds(report.probe_in_ms),
        attempts=report.attempts,
        failed=report.failed,
        answer_ms=models.AnswerTimes(took[len(took) // 2], took[-1 - len(took) // 100])
        if took
        else None,
        waiting=report.waiting,
    )


def user_line(view: UserView, attempt_limit_ms: int, blocked: Blocked | None) -> models.User:
    """One user in a list. `attempt_limit_ms` is what the store allows an attempt, `blocked` why
    none is made on the user's route."""
    route, user = conversation_of(view.user)
    return models.User(
        user=user,
        route=route,
        state=view.state,
        pending=view.pending,
        blocked=None if view.state in UNDER_WAY else blocked,
        fires_in=seconds(view.due_in_ms),
        held_for=seconds(view.held_for_ms),
        waiting_since=None if view.waiting_since_ms is None else moment(view.waiting_since_ms),
        batch=None if view.batch is None else _batch(view.batch, view, attempt_limit_ms),
    )


def user_page(
    view: UserView, attempt_limit_ms: int, blocked: Blocked | None, logged_as: str
) -> models.UserDetail:
    """One user alone, with what happened lately and the name that the log has for it."""
    return models.UserDetail(
        **asdict(user_line(view, attempt_limit_ms, blocked)),
        recent=[_attempt(record) for record in view.recent],
        logged_as=logged_as,
    )


def typing_answer(page: models.UserDetail, *, extended: bool) -> models.TypingAnswer:
    return models.TypingAnswer(**asdict(page), extended=extended)


def user_texts(page: models.UserDetail, kept: Waiting) -> models.UserTexts:
    """A user with the messages that are kept."""
    messages = [_item(item) for item in kept.stored]
    request = None
    if kept.batch is not None:
        request = models.Request(kept.batch.id, render(kept.batch).decode())
    return models.UserTexts(
        **asdict(page), messages=messages, complete=kept.complete, request=request
    )


def dropped(key: str, what: Dropped, *, masked: bool) -> models.Dropped:
    route, user = conversation_of(key)
    return models.Dropped(
        success=True,
        user=user,
        route=route,
        dropped=what.messages,
        batch=what.batch_id,
        complete=what.complete,
        messages=[_item(item, masked=masked) for item in what.stored],
    )


def changed(what: Changed) -> models.ChangedMessage:
    route, user = conversation_of(what.user)
    return models.ChangedMessage(
        success=True,
        user=user,
        route=route,
        message_id=what.message_id,
        pending=what.pending,
        fires_in=seconds(what.due_in_ms),
    )


def deed(what: Deed) -> models.Deed:
    return models.Deed(
        at=moment(what.at_ms),
        deed=what.name,
        by=what.by,
        reason=what.reason,
        seconds=what.seconds,
        batch_id=what.batch_id,
        route=what.route,
        logged_as=what.user_hash,
    )


def user_deeds(key: str, found: Sequence[Deed]) -> models.UserDeeds:
    route, user = conversation_of(key)
    return models.UserDeeds(user=user, route=route, deeds=list(map(deed, found)))


def erased(key: str, what: Erased) -> models.Erased:
    route, user = conversation_of(key)
    return models.Erased(
        success=True,
        user=user,
        route=route,
        dropped=what.messages,
        batch=what.batch_id,
        dead=what.dead,
        attempts=what.attempts,
        ids=what.ids,
        under_way=what.under_way,
        complete=what.cursor is None,
        cursor=what.cursor,
    )


def dead_letter(letter: DeadLetter, retention_ms: int) -> models.DeadLetter:
    """Without its batch. `retention_ms` is for how long dead letters are kept; 0 = for ever."""
    route, user = conversation_of(letter.user)
    return models.DeadLetter(
        id=letter.id,
        user=user,
        route=route,
        died_at=moment(letter.died_at_ms),
        attempts=letter.attempts,
        reason=letter.reason,
        status=letter.status,
        answer=letter.answer,
        replica=letter.replica,
        duration_ms=letter.took_ms,
        messages=letter.messages,
        queued=letter.queued,
        expires_at=moment(letter.died_at_ms + retention_ms) if retention_ms else None,
    )


def dead_groups(
    letters: Sequence[DeadLetter], cursor: str | None, unreadable: int
) -> models.DeadGroups:
    """By route, reason and status, the largest group first. `letters` come newest first."""
    groups: dict[tuple[str, str, int | None], list[DeadLetter]] = {}
    for letter in letters:
        route, _ = conversation_of(letter.user)
        groups.setdefault((route, letter.reason, letter.status), []).append(letter)
    largest_first = sorted(groups.items(), key=lambda group: -len(group[1]))
    return models.DeadGroups(
        groups=[_dead_group(*why, those) for why, those in largest_first],
        letters=len(letters),
        cursor=cursor,
        unreadable=unreadable,
    )


def _dead_group(
    route: str, reason: str, status: int | None, letters: Sequence[DeadLetter]
) -> models.DeadGroup:
    return models.DeadGroup(
        route=route,
        reason=reason,
        status=status,
        letters=len(letters),
        queued=sum(letter.queued for letter in letters),
        messages=sum(letter.messages for letter in letters),
        oldest=moment(min(letter.died_at_ms for letter in letters)),
        newest=moment(max(letter.died_at_ms for letter in letters)),
    )


def dead_letter_detail(
    letter: DeadLetter, retention_ms: int, webhook: bytes | None
) -> models.DeadLetterDetail:
    """With the webhook's body; without it where the texts are masked."""
    batch = None if webhook is None else Raw(webhook)
    return models.DeadLetterDetail(**asdict(dead_letter(letter, retention_ms)), batch=batch)


def shards(replicas: Sequence[Replica], leases: Sequence[LeaseInfo]) -> models.Shards:
    owned = Counter(lease.owner for lease in leases)
    return models.Shards(
        replicas=[
            models.Replica(
                id=replica.id, seen_ago=replica.seen_ms_ago / 1000, shards=owned[replica.id]
            )
            for replica in replicas
        ],
        shards=[_lease(lease) for lease in leases],
    )


def replay_job(job: ReplayJob) -> models.ReplayJob:
    return models.ReplayJob(
        job=job.id,
        state=job.state,
        total=job.total,
        replayed=job.replayed,
        passed_over=job.passed_over,
        user=job.wanted.user or None,
        reason=job.wanted.reason or None,
        status=job.wanted.status,
        since=None if job.wanted.since_ms is None else moment(job.wanted.since_ms),
        route=job.wanted.route,
        per_second=job.per_second,
    )


def many(what: Many, *, dry_run: bool) -> models.Would | models.Done:
    counts = {"messages": what.messages, "passed_over": what.passed_over}
    if dry_run:
        return models.Would(would=what.matched, **counts, cursor=what.cursor)
    return models.Done(success=True, done=what.matched, **counts, cursor=what.cursor)


def _batch(batch: BatchSummary, view: UserView, attempt_limit_ms: int) -> models.Batch:
    waited_for = batch.answer_in_ms is not None
    under_way = batch.retry_in_ms is None and not waited_for and view.due_in_ms is not None
    begun_ms = max(0, attempt_limit_ms - (view.due_in_ms or 0)) if under_way else None
    failures = (each.reason for each in view.recent if each.batch_id == batch.id)
    return models.Batch(
        id=batch.id,
        seq=batch.seq,
        reason=batch.reason,
        messages=batch.messages,
        attempts=batch.attempts,
        closed_at=moment(batch.closed_at_ms),
        retry_in=seconds(batch.retry_in_ms),
        answer_in=seconds(batch.answer_in_ms),
        attempt_for=seconds(begun_ms),
        failure=next((reason for reason in failures if reason is not None), None),
    )


def _attempt(record: AttemptRecord) -> models.Attempt:
    return models.Attempt(
        batch_id=record.batch_id,
        attempt=record.number,
        at=moment(record.at_ms),
        outcome=record.outcome,
        status=record.status,
        reason=record.reason,
        answer=record.answer,
        replica=record.replica,
        duration_ms=record.took_ms,
        messages=record.messages,
    )


def _item(stored: bytes, *, masked: bool = False) -> Raw:
    """Masked, it has nothing of what its sender sent but the id."""
    seq, received_at_ms, message_id, original = json.loads(stored)
    received_at = moment(received_at_ms)
    sent = {} if masked else original
    item = {**sent, "seq": seq, "message_id": message_id, "received_at": received_at}
    return Raw(json.dumps(item, ensure_ascii=False).encode())


def _lease(lease: LeaseInfo) -> models.Lease:
    return models.Lease(
        shard=lease.shard,
        owner=lease.owner,
        epoch=lease.epoch,
        since=None if lease.since_ms is None else moment(lease.since_ms),
        remaining=lease.remaining_ms / 1000,
        waiting=lease.waiting,
    )
