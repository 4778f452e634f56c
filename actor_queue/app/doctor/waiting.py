"""What waits in Redis and needs somebody: dead letters, retries, holds.

Looks through the service's own store, because only that knows how a batch is kept. Reads only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import trio

from actor_queue.app.doctor.advice import explained
from actor_queue.app.finding import Finding
from actor_queue.app.terminal import counted, span
from actor_queue.core.horizon import HORIZON_S, UNSHARED
from actor_queue.core.outcome import Failed
from actor_queue.core.settings import Settings
from actor_queue.core.upkeep import Sizes, together
from actor_queue.store.api import DeadLetter, StoreMisconfigured, StoreUnavailable, UserView
from actor_queue.store.foreign import FOUND_MAX, LOOKED_AT_MAX, Foreign
from actor_queue.store.keys import Keys
from actor_queue.store.needs import needs_of
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.transport.connect import runner_for

LOOK_S = 15.0
PAGE = 1_000
QUOTED_BYTES_MAX = 600
USERS_MAX = 10_000
REPLICA = "doctor"
FOREIGN_SHOWN_MAX = 5
KEEP = (
    "Never remove an entry from an index `:due` whose user has a hash `:u:USER`: what waits for"
    " this user would wait on unseen (`actor-queue flush USER` sends it)."
)
LOOKED_AT_LEAST = 5
"""Entries of each shard's indexes that are looked at, even where there are many shards."""


def examine_waiting(
    url: str, settings: Settings, *, quote: bool = True, users_max: int = USERS_MAX
) -> list[Finding]:
    """With `quote`, what failing receivers said is quoted. Never raises."""
    look = _Look(replace(settings, redis_url=url), quote, users_max)
    try:
        return trio.run(look.findings)
    except* (StoreUnavailable, StoreMisconfigured) as group:
        error = group.exceptions[0]
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        words = str(error)
    return [Finding("warn", "waiting", f"what waits could not be looked at: {words}")]


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at what waits. Of many users, at those who are due soonest."""

    settings: Settings
    quote: bool
    users_max: int

    async def findings(self) -> list[Finding]:
        settings = self.settings
        assert settings.redis_url is not None
        keys = Keys(settings.namespace, settings.shards)
        runner = runner_for(settings.redis_url, needs_of(keys.meta, settings.shards, FORMAT))
        store = RedisStore(runner, settings, replica=REPLICA)
        found: list[Finding] = []
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(LOOK_S) as patience:
                await nursery.start(runner.serve)
                await runner.prepare()
                every = range(settings.shards)
                sizes = together(await store.sizes(every, int(HORIZON_S * 1000)))
                found.append(_waiting(sizes, settings))
                found.append(self._dead((await store.dead(PAGE, None)).letters, sizes.dead))
                users, more_users = await self._users(store)
                found += self._retries(users, more_users)
                found += _holds(users, more_users)
                each_shard = max(LOOKED_AT_LEAST, self.users_max // settings.shards)
                found += _foreign(await store.foreign(min(LOOKED_AT_MAX, each_shard)))
            nursery.cancel_scope.cancel()
        if patience.cancelled_caught:
            text = f"what waits could not be read within {LOOK_S:g} s: Redis is slow"
            found.append(Finding("warn", "waiting", text))
        return found

    async def _users(self, store: RedisStore) -> tuple[list[UserView], bool]:
        users: list[UserView] = []
        cursor: str | None = None
        while len(users) < self.users_max:
            page = await store.users(None, PAGE, cursor)
            users += page.users
            cursor = page.cursor
            if cursor is None:
                return users, False
        return users, True

    def _dead(self, letters: Sequence[DeadLetter], count: int) -> Finding:
        days = self.settings.dead_retention_days
        kept = f"each is kept for {days:g} days" if days else "each is kept for ever"
        kept += " (AQ_DEAD_RETENTION)"
        if not letters and count:
            what = f"{counted(count, 'dead letter')} that cannot be read: see foreign entries"
            return Finding("warn", "dead letters", f"{what}; {kept}")
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
            f" {self._why(failed)}; look with `actor-queue dead list`, and send them again with"
            f" `actor-queue dead replay --all`; {kept}",
        )

    def _retries(self, users: list[UserView], more: bool) -> Iterator[Finding]:
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
        why = "no reason is known" if failed is None else self._why(failed)
        age = span(time.time() - closed_at_ms / 1000)
        yield Finding(
            "warn",
            "retries",
            f"{_counted_users(len(batches))} for a retry{_of(users, more)}; the oldest batch was"
            f" closed {age} ago and failed {counted(attempts, 'time')}: {why}",
        )

    def _why(self, failed: Failed) -> str:
        said = f"; it said: {failed.answer}" if failed.answer and self.quote else ""
        return f"{explained(failed, self.settings)}{said}"


def _waiting(sizes: Sizes, settings: Settings) -> Finding:
    """Many users are no trouble: it costs each replica more questions, and nobody time."""
    text = f"{_counted_users(sizes.waiting)}, {sizes.due_soon:,} of them due within {HORIZON_S:g} s"
    if sizes.due_soon > UNSHARED * settings.max_actors:
        text += (
            f"; a replica sets up to {settings.max_actors:,} timers (AQ_MAX_ACTORS), so a single"
            " one would look less far ahead"
        )
    return Finding("ok", "users", text)


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
    """A key is shown as `redis-cli` takes it. What may hold a user's name is not shown, but how to
    see it: findings are for more eyes than those who may look into Redis."""
    if not found:
        return
    ways = list(dict.fromkeys(map(_dropping, found)))
    which = "it" if len(found) == 1 else "the first" if len(ways) > FOREIGN_SHOWN_MAX else "them"
    at_least = "at least " if len(found) >= FOUND_MAX else ""
    named = any(each.near is not None for each in found)
    keep = f" {KEEP}" if named else ""
    yield Finding(
        "warn",
        "foreign entries",
        f"{at_least}{counted(len(found), 'thing')} in Redis that the service did not write, or"
        f" cannot read; it passes over them. Look who writes into this namespace.{keep} To"
        f" {'see' if named else 'drop'} {which}: {'; '.join(ways[:FOREIGN_SHOWN_MAX])}",
    )


def _dropping(foreign: Foreign) -> str:
    """Of what may hold a user's name, the command that shows it."""
    if foreign.near is not None:
        index, score = foreign.near
        most = score + 1 if isinstance(score, int) else score  # a fraction was cut off
        look = f"redis-cli --quoted-input ZRANGEBYSCORE {_quoted(index)} {score} {most} LIMIT 0 10"
        if foreign.key == index:
            return look
        return f"{_shown(foreign.key)}USER, where USER is among those of {look}"
    verb, words = "DEL", [_quoted(foreign.key)]
    if foreign.member is not None:
        verb, words = "ZREM", [_quoted(foreign.key), _quoted(foreign.member)]
    return " ".join(["redis-cli --quoted-input", verb, *words])


def _quoted(word: bytes) -> str:
    if len(word) > QUOTED_BYTES_MAX:
        return f"(of {len(word):,} bytes)"
    return f"'\"{_shown(word)}\"'"


def _shown(word: bytes) -> str:
    return "".join(
        chr(byte) if 32 < byte < 127 and chr(byte) not in "\"\\'$`" else f"\\x{byte:02x}"
        for byte in word
    )


def _counted_users(number: int) -> str:
    return f"{counted(number, 'user')} {'waits' if number == 1 else 'wait'}"


def _of(users: list[UserView], more: bool) -> str:
    return f" among the first {len(users):,} users" if more else ""
