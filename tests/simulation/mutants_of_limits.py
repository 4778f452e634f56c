"""Mistakes about what is kept for a time, sent again, or refused for want of room."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from actor_queue.core.headroom import Headroom
from actor_queue.core.horizon import HORIZON_S, horizon_s
from actor_queue.runtime import replays
from actor_queue.runtime.recoverer import Recoverer
from actor_queue.runtime.registry import Registry
from actor_queue.runtime.replays import Replays
from actor_queue.runtime.upkeep import Upkeep
from actor_queue.store.api import DeadLetter, StoreUnavailable
from actor_queue.store.redis import RedisStore
from actor_queue.store.replay_api import ReplayJob
from actor_queue.transport.runner import Call
from tests.simulation.mutant import Edit, Mutant, replaced
from tests.simulation.wire import Wire
from tests.simulation.world import EPOCH_MS

# Edits

FLIGHT_FIRST = """
for at, item in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
  if is_it(item) then
    return { 'waits', at - 1, item }
  end
end
local last = redis.call('LLEN', KEYS[1]) - 1
"""
IN_FLIGHT = """
local flight = string.gsub(list, ':p:', ':f:', 1)
if redis.call('LINDEX', flight, place) == old then
  redis.call('LSET', flight, place, new)
  return 'ok'
end
if redis.call('LINDEX', list, place) ~= old then"""

# Dead letters


async def _expire_by_own_clock(self: Upkeep, shard: int) -> None:
    """By the clock of the replica, which runs wrong now and then."""
    store = self._store
    assert isinstance(store, RedisStore)
    twin = copy.copy(store)
    twin._clock = lambda: EPOCH_MS + round(self._owner._clock() * 1000)
    self._store = twin
    try:
        await _DROP_OLD(self, shard)
    finally:
        self._store = store


_DROP_OLD = Upkeep._drop_old


async def _pass_over_unanswered(self: Replays, letter: DeadLetter) -> bool:
    """A letter whose replay could not be queued at once is none."""
    try:
        return await self._store.dead_queue(letter)
    except StoreUnavailable:
        return False


@contextmanager
def _skips_a_page() -> Iterator[None]:
    """Whoever takes up a job takes it that a page was under way, and begins behind that."""
    take_up, waiting = Replays._take_up, Replays._waiting
    taken_by: set[Replays] = set()

    async def take_up_behind(self: Replays) -> None:
        taken_by.add(self)
        await take_up(self)
        taken_by.discard(self)

    async def all_but_a_page(self: Replays, job: ReplayJob) -> Any:
        found, unreadable = await waiting(self, job)
        for _ in range(min(replays.PAGE, len(found)) if self in taken_by else 0):
            found.pop()
        return found, unreadable

    with (
        mock.patch.object(Replays, "_take_up", take_up_behind),
        mock.patch.object(Replays, "_waiting", all_but_a_page),
    ):
        yield


async def _say_nothing(self: Replays) -> None:
    """Whoever did it will come back."""


LETTERS = ("webhook_gone", "webhook_fails")
EXPIRING, SENT_AGAIN = ("retention",), ("jobs",)
FENCE = "if fenced(KEYS[1], ARGV[2], ARGV[3], now) then"
QUEUED = "if redis.call('LPOS', KEYS[3], 'R' .. ARGV[5]) then"
CLOSED_AT = "redis.call('HGET', KEYS[4], 'fc') or 0"
OLD_ENOUGH = "num(died_at) > now - num(ARGV[6])"

# Room


async def _refuse_everything(self: Wire, calls: Sequence[Call]) -> list[object]:
    if calls and self._reserve.sentence() is not None:
        raise StoreUnavailable("no room", executed=False)
    return await _RUN(self, calls)


_RUN = Wire.run


def _never_less(self: Headroom, used: int, most: int, settled_before: int) -> None:
    before = 0 if self.memory is None else self.memory.used
    _LOOKED(self, max(used, before), most, settled_before)


_LOOKED = Headroom.looked


# Timers


def _shortest_ever(self: Registry) -> float:
    reach_s = min(getattr(self, "_shortest", HORIZON_S), horizon_s(len(self), self._actors_max))
    self._shortest = reach_s  # type: ignore[attr-defined]
    return reach_s


MUTANTS_OF_LIMITS = (
    # Dead letters that are old
    Mutant(
        "a letter whose replay is queued is deleted",
        (Edit("dead_expire", QUEUED, "if false then"),),
        faults=("webhook_slow", *LETTERS),
        options=(*EXPIRING, *SENT_AGAIN),
    ),
    Mutant(
        "a letter is as old as its batch",
        (
            Edit(
                "dead_expire",
                OLD_ENOUGH,
                f"num({CLOSED_AT}) > now - num(ARGV[6])",
            ),
            Edit("dead_old", "- num(ARGV[2]))", ")"),
        ),
        options=EXPIRING,
    ),
    Mutant(
        "a letter's age is taken by the clock of a replica",
        (),
        replaced(Upkeep, "_drop_old", _expire_by_own_clock),
        ("skew", *LETTERS),
        EXPIRING,
    ),
    Mutant(
        "the messages of a deleted letter stay",
        (Edit("dead_expire", "redis.call('UNLINK', KEYS[4], KEYS[5])", "local _ = KEYS"),),
        options=EXPIRING,
    ),
    Mutant(
        "a deleted letter stays in the list",
        (Edit("dead_expire", "redis.call('ZREM', KEYS[2], ARGV[5])\n", ""),),
        options=EXPIRING,
    ),
    Mutant(
        "letters are deleted without a fence",
        (Edit("dead_expire", FENCE, "if false then"),),
        faults=("late", "pause_midway", *LETTERS),
        options=EXPIRING,
    ),
    # All letters again
    Mutant(
        "a job that is taken up skips a page",
        (),
        _skips_a_page,
        ("crash_at_work", *LETTERS),
        SENT_AGAIN,
    ),
    Mutant(
        "nobody takes up a job that was abandoned",
        (),
        replaced(Replays, "_take_up", _say_nothing),
        ("crash_at_work", *LETTERS),
        SENT_AGAIN,
    ),
    Mutant(
        "a job passes over what got no answer",
        (),
        replaced(Replays, "_queue", _pass_over_unanswered),
        ("refused", "lost_request", *LETTERS),
        SENT_AGAIN,
    ),
    # Room
    Mutant(
        "a reserve that refuses claims too",
        (),
        replaced(Wire, "run", _refuse_everything),
        (),
        options=("reserve",),
    ),
    Mutant(
        "there is no reserve",
        (),
        replaced(Headroom, "exhausted", property(lambda self: False)),
        (),
        options=("reserve",),
    ),
    Mutant(
        "a server that was full is full for ever",
        (),
        replaced(Headroom, "looked", _never_less),
        (),
        options=("reserve",),
    ),
    Mutant(
        "a claim gives no bytes back",
        (Edit("claim", "return math.max(0, bytes)", "return u.pb"),),
        options=("pending_bytes",),
    ),
    Mutant(
        "a drop gives no bytes back",
        (Edit("append", "  if pending == 0 then\n    u.pb = 0\n  end\n", ""),),
        options=("pending_bytes",),
    ),
    Mutant(
        "what a division puts back counts as nothing",
        (Edit("divide", "bytes = bytes + #page[i]", "bytes = bytes"),),
        faults=("webhook_too_large", "webhook_slow", "webhook_fails"),
        options=("pending_bytes",),
    ),
    # Edits and revokes
    Mutant(
        "an edit changes what is at the place, whatever that is by now",
        (Edit("edit", "if redis.call('LINDEX', list, place) ~= old then", "if false then"),),
        options=("changes",),
    ),
    Mutant(
        "a revoke leaves the count of its closed batch",
        (Edit("revoke", "'%d,%s,%s,%s', count - 1,", "'%d,%s,%s,%s', count,"),),
        options=("changes",),
    ),
    Mutant(
        "a revoke leaves a closed batch without messages",
        (Edit("revoke", "  take_out(line, in_line)\n  u.sn = u.sn - 1\n", ""),),
        options=("changes",),
    ),
    Mutant(
        "an edit counts no bytes",
        (Edit("edit", "u.pb = math.max(0, u.pb + grown)", ""),),
        options=("changes", "pending_bytes"),
    ),
    Mutant(
        "an edit makes a window too large",
        (Edit("edit", "if several and bytes + times * grown > max_bytes then", "if false then"),),
        options=("changes",),
    ),
    Mutant(
        "an edit changes what was claimed",
        (
            Edit("message", "local last = redis.call('LLEN', KEYS[1]) - 1\n", FLIGHT_FIRST),
            Edit("edit", "if redis.call('LINDEX', list, place) ~= old then", IN_FLIGHT),
        ),
        options=("changes",),
    ),
    # Timers
    Mutant(
        "a horizon that never grows again",
        (),
        replaced(Registry, "horizon_s", property(_shortest_ever)),
        options=("few_actors",),
    ),
    Mutant(
        "nobody looks for those who got no timer",
        (),
        replaced(Recoverer, "_turned_away", lambda self, at: None),
        options=("few_actors",),
    ),
)
