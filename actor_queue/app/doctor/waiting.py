"""What waits in Redis and needs somebody: dead letters, retries, holds.

Looks through the service's own store, because only that knows how a batch is kept. Reads only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import trio

from actor_queue.app.doctor.advice import explained
from actor_queue.app.doctor.finding import Finding
from actor_queue.app.terminal import counted, span
from actor_queue.core.horizon import HORIZON_S, UNSHARED
from actor_queue.core.outcome import Failed
from actor_queue.core.settings import Settings
from actor_queue.core.upkeep import Sizes, together
from actor_queue.store.api import DeadLetter, StoreMisconfigured, StoreUnavailable, UserView
from actor_queue.store.connect import runner_for
from actor_queue.store.foreign import FOUND_MAX, Foreign
from actor_queue.store.keys import Keys
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.store.server import probe_call

LOOK_S = 15.0
PAGE = 1_000
QUOTED_BYTES_MAX = 600
USERS_MAX = 10_000
REPLICA = "doctor"
FOREIGN_SHOWN_MAX = 5


def examine_waiting(url: str, settings: Settings) -> list[Finding]:
    """Never raises."""
    try:
        return trio.run(_look, replace(settings, redis_url=url))
    except* (StoreUnavailable, StoreMisconfigured) as group:
        error = group.exceptions[0]
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        words = str(error)
    return [Finding("warn", "waiting", f"what waits could not be looked at: {words}")]


async def _look(settings: Settings) -> list[Finding]:
    assert settings.redis_url is not None
    keys = Keys(settings.namespace, settings.shards)
    runner = runner_for(settings.redis_url, probe_call(keys.meta, settings.shards, FORMAT))
    store = RedisStore(runner, settings, replica=REPLICA)
    findings: list[Finding] = []
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(LOOK_S) as patience:
            await nursery.start(runner.serve)
            await runner.prepare()
            sizes = together(await store.sizes(range(settings.shards), int(HORIZON_S * 1000)))
            findings.append(_waiting(sizes, settings))
            findings.append(_dead((await store.dead(PAGE, None)).letters, sizes.dead, settings))
            users, more_users = await _users(store)
            findings += _retries(users, more_users, settings)
            findings += _holds(users, more_users)
            findings += _foreign(await store.foreign())
        nursery.cancel_scope.cancel()
    if patience.cancelled_caught:
        text = f"what waits could not be read within {LOOK_S:g} s: Redis is slow"
        findings.append(Finding("warn", "waiting", text))
    return findings


async def _users(store: RedisStore) -> tuple[list[UserView], bool]:
    """Those who are due soonest."""
    users: list[UserView] = []
    cursor: str | None = None
    while len(users) < USERS_MAX:
        page = await store.users(None, PAGE, cursor)
        users += page.users
        cursor = page.cursor
        if cursor is None:
            return users, False
    return users, True


def _waiting(sizes: Sizes, settings: Settings) -> Finding:
    """Many users are no trouble: it costs each replica more questions, and nobody time."""
    text = f"{_counted_users(sizes.waiting)}, {sizes.due_soon:,} of them due within {HORIZON_S:g} s"
    if sizes.due_soon > UNSHARED * settings.max_actors:
        text += (
            f"; a replica sets up to {settings.max_actors:,} timers (AQ_MAX_ACTORS), so a single"
            " one would look less far ahead"
        )
    return Finding("ok", "users", text)


def _dead(letters: Sequence[DeadLetter], count: int, settings: Settings) -> Finding:
    days = settings.dead_retention_days
    kept = f"each is kept for {days:g} days" if days else "each is kept for ever"
    kept += " (AQ_DEAD_RETENTION)"
    if not letters:
        return Finding("ok", "dead letters", f"there are none; {kept}")
    newest = letters[0]
    died_at = datetime.fromtimestamp(newest.died_at_ms / 1000, UTC)
    failed = Failed(newest.reason, newest.status, answer=newest.answer)
    return Finding(
        "warn",
        "dead letters",
        f"{counted(max(count, len(letters)), 'dead letter')}, the newest of"
        f" {died_at:%Y-%m-%d %H:%M:%S} UTC after {counted(newest.attempts, 'attempt')}:"
        f" {_why(failed, settings)}; look with `actor-queue dead list`, and send them again with"
        f" `actor-queue dead replay --all`; {kept}",
    )


def _retries(users: list[UserView], more: bool, settings: Settings) -> Iterator[Finding]:
    batches = [
        (view.batch.closed_at_ms, view.batch.attempts, view)
        for view in users
        if view.state == "retrying" and view.batch is not None
    ]
    if not batches:
        yield Finding("ok", "retries", f"nobody waits for a retry{_of(users, more)}")
        return
    closed_at_ms, attempts, view = min(batches, key=lambda batch: batch[:2])
    failures = (
        Failed(record.reason, record.status, answer=record.answer)
        for record in view.recent
        if record.reason is not None
    )
    failed = next(failures, None)
    why = "no reason is known" if failed is None else _why(failed, settings)
    age = span(time.time() - closed_at_ms / 1000)
    yield Finding(
        "warn",
        "retries",
        f"{_counted_users(len(batches))} for a retry{_of(users, more)}; the oldest batch was closed"
        f" {age} ago and failed {counted(attempts, 'time')}: {why}",
    )


def _holds(users: list[UserView], more: bool) -> Iterator[Finding]:
    held_ms = [view.held_for_ms or 0 for view in users if view.state == "held"]
    if not held_ms:
        yield Finding("ok", "holds", f"nobody with messages is held{_of(users, more)}")
        return
    yield Finding(
        "ok",
        "holds",
        f"{counted(len(held_ms), 'user')} with messages held{_of(users, more)}, the longest for"
        f" {span(max(held_ms) / 1000)} more; `actor-queue release USER` ends a hold",
    )


def _foreign(found: list[Foreign]) -> Iterator[Finding]:
    """The key is shown as `redis-cli` takes it; what stands there may be anybody's text."""
    if not found:
        return
    commands = "; ".join(map(_dropping, found[:FOREIGN_SHOWN_MAX]))
    which = "it" if len(found) == 1 else "the first" if len(found) > FOREIGN_SHOWN_MAX else "them"
    at_least = "at least " if len(found) >= FOUND_MAX else ""
    yield Finding(
        "warn",
        "foreign entries",
        f"{at_least}{counted(len(found), 'thing')} in Redis that the service did not write, or"
        " cannot read; it passes over them. Look who writes into this namespace; to drop"
        f" {which}: {commands}",
    )


def _dropping(foreign: Foreign) -> str:
    verb, words = "DEL", [foreign.key]
    if foreign.member is not None:
        verb, words = "ZREM", [foreign.key, foreign.member]
    return " ".join(["redis-cli --quoted-input", verb, *map(_quoted, words)])


def _quoted(word: bytes) -> str:
    shown = "".join(
        chr(byte) if 32 < byte < 127 and chr(byte) not in "\"\\'$`" else f"\\x{byte:02x}"
        for byte in word[:QUOTED_BYTES_MAX]
    )
    return f"'\"{shown}\"'" if len(word) <= QUOTED_BYTES_MAX else f"(of {len(word):,} bytes)"


def _why(failed: Failed, settings: Settings) -> str:
    said = f"; it said: {failed.answer}" if failed.answer else ""
    return f"{explained(failed, settings)}{said}"


def _counted_users(number: int) -> str:
    return f"{counted(number, 'user')} {'waits' if number == 1 else 'wait'}"


def _of(users: list[UserView], more: bool) -> str:
    return f" among the first {len(users):,} users" if more else ""
