"""Mistakes in the protocol, each of which the simulation has to notice.

Single lines of Lua are `Edit`s, of Python a context that patches. Where two defences stand
behind each other, removing one shows nothing, which is what they are for; such mutants remove
both, and say so in their names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import trio

from actor_queue.core import actor as machine
from actor_queue.core.batch import Attempt
from actor_queue.core.outcome import Ack
from actor_queue.runtime.actor import Actor
from actor_queue.runtime.owner import Owner
from actor_queue.runtime.recoverer import Recoverer
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.membership import Membership
from tests.simulation.mutant import PRELUDE, Edit, Mutant, replaced
from tests.simulation.mutants_of_answers import MUTANTS_OF_ANSWERS
from tests.simulation.mutants_of_limits import MUTANTS_OF_LIMITS
from tests.simulation.mutants_of_routes import MUTANTS_OF_ROUTES

# Mistakes in Python


def _claimable_for_ever(self: Owner, shard: int) -> Any:
    held = self._held.get(shard)
    return None if held is None or self._draining else held.lease


def _trusted_for_ever(self: Owner, shard: int) -> Any:
    held = self._held.get(shard) or self._given.get(shard)
    return None if held is None else held.lease


def _claimable_when_given(self: Owner, shard: int) -> Any:
    held = self._held.get(shard) or self._given.get(shard)
    return None if held is None or not held.trust.holds(self._clock()) else held.lease


async def _ack_then_deliver(self: Actor, attempt: Attempt) -> Any:
    await self._world.store.ack(attempt, 200)
    return await _DELIVER(self, attempt)


_DELIVER = Actor._deliver


async def _deliver_without_limit(self: Actor, attempt: Attempt) -> Any:
    """The attempt's time runs from here, not from the claim."""
    self._claimed_at = trio.current_time()
    full = Attempt(attempt.batch, attempt.number, 10**9)
    return await _DELIVER(self, full)


async def _sweep_only_gains(self: Recoverer) -> None:
    while True:
        await self._owner.gained.wait()
        self._owner.gained = trio.Event()
        try:
            await self.run_once(self._owner.owned())
        except Exception:  # noqa: BLE001  # it is a mistake on purpose
            await trio.sleep(0.2)


async def _stop_claiming_only(self: Owner) -> None:
    """Until it is asked a second time, at the end."""
    again, self._draining = self._draining, True
    if again:
        await _LEAVE(self)


_LEAVE = Owner.leave


async def _say_nothing(self: Membership, replica: str) -> None:
    """Shards are free, and whoever wants them may find out."""


async def _renew_blindly(self: Owner, held: Any) -> None:
    """Whatever the store said about each lease, it is still ours."""
    asked_at = self._clock()
    try:
        await self._store.renew([each.lease for each in held], self._ttl_ms)
    except StoreUnavailable:
        return
    finally:
        self._renewing.difference_update(each.lease.shard for each in held)
    for each in held:
        if each.lease.shard in self._held:
            trust = each.trust.extended(asked_at, self._times)
            self._held[each.lease.shard] = type(each)(each.lease, asked_at, trust)


@contextmanager
def _never_doubts() -> Iterator[None]:
    with (
        mock.patch.object(Owner, "_renew", _renew_blindly),
        mock.patch.object(Owner, "doubt", return_value=None),
    ):
        yield


async def _wake_all_at_once(self: Recoverer, shards: Any) -> bool:
    """A sweep that does not wait for attempts under way."""
    answers = await self._store.due(shards, 10_000, 1_000)
    now = trio.current_time()
    for shard, users in zip(shards, answers, strict=True):
        for user in users:
            if user.user not in self._registry:
                self._registry.nudge(user.user, shard, now, now)
    return False


async def _settle_everything_as_done(self: Actor, settle: machine.Settle) -> Any:
    if isinstance(settle.verdict, Ack):
        return await _SETTLE(self, settle)
    return await _SETTLE(self, machine.replace(settle, verdict=Ack(), status=200))


_SETTLE = Actor._settle


async def _claim_with_new_tokens(self: Actor) -> Any:
    self._token = ""
    return await _CLAIM(self)


_CLAIM = Actor._claim

FENCE = "if fenced(KEYS[1], ARGV[2], ARGV[3], now) then"
NO_FENCE = Edit("claim", FENCE, "if false then")
NO_EXPIRY = Edit(PRELUDE, "or num(lease[3]) <= now", "")
NO_NONCE = Edit(PRELUDE, "or lease[2] ~= nonce", "")
ANY_HIGHER_EPOCH = Edit(PRELUDE, "lease[1] ~= epoch", "num(lease[1]) > num(epoch)")
COUNTED_EPOCH = Edit("acquire", "math.max(epoch + 1, now)", "epoch + 1")
LATE_ACKS = ("late_acks",)
"""An attempt succeeds, its replica is cut off, and comes back in the middle of its heir's."""
TOO_LARGE = ("webhook_too_large",)
TAKEN_OVER = "local over = u.fs == 'r'"

MUTANTS = (
    # The fence
    Mutant("a claim without a fence", (NO_FENCE,)),
    Mutant(
        "a claim without a fence, by owners that ignore their trust window",
        (NO_FENCE,),
        replaced(Owner, "claimable", _claimable_for_ever),
    ),
    Mutant("the trust window is ignored", (), replaced(Owner, "claimable", _claimable_for_ever)),
    Mutant(
        ">= for == on epochs, the nonce not compared",
        (ANY_HIGHER_EPOCH, NO_NONCE),
        faults=("rollback", "crash", "pause", "rolling"),
    ),
    Mutant("the nonce is not compared, epochs are counted", (NO_NONCE, COUNTED_EPOCH)),
    Mutant("an expired lease is as good as a live one", (NO_EXPIRY,)),
    Mutant("a live lease is stolen", (Edit("acquire", "and num(lease[3]) > now", "and false"),)),
    Mutant(
        "a new owner gets the old epoch",
        (Edit("acquire", "math.max(epoch + 1, now)", "math.max(epoch, 1)"),),
    ),
    Mutant(
        "a lease is renewed for anybody",
        (Edit("renew", "lease[1] ~= ARGV[2] or lease[2] ~= ARGV[3]", "false"),),
    ),
    Mutant("an owner does not hear that it lost its lease", (), _never_doubts),
    Mutant(
        "a retry by anybody, by owners that ignore their trust window",
        (Edit("retry", "if estranged(KEYS[1], ARGV[2], ARGV[3], now)", "if false"),),
        replaced(Owner, "trusted", _trusted_for_ever),
        ("cut", "pause", "webhook_fails", "webhook_slow"),
    ),
    Mutant(
        "a burial by anybody, by owners that ignore their trust window",
        (Edit("bury", "if estranged(KEYS[1], ARGV[2], ARGV[3], now)", "if false"),),
        replaced(Owner, "trusted", _trusted_for_ever),
        ("cut", "pause", "webhook_gone", "webhook_slow"),
    ),
    Mutant(
        "a retry for any attempt",
        (Edit("retry", "or u.fo ~= ARGV[6]", ""),),
        faults=("copy", "webhook_fails", "webhook_slow"),
    ),
    Mutant(
        "a shard is given back before claiming in it stops",
        (),
        replaced(Owner, "claimable", _claimable_when_given),
    ),
    # Claims
    Mutant("due is not looked at again", (Edit("claim", "if now < at then", "if false then"),)),
    Mutant(
        "a claim's token is ignored",
        (Edit("claim", "if u.fo == ARGV[5] then", "if false then"),),
        faults=("copy", "lost_answer", "late"),
    ),
    Mutant(
        "a repeated claim starts a new attempt",
        (
            Edit(
                "claim",
                "  if u.fs == 'a' and now < u.fu then\n    local again = attempt(",
                "  if u.fs == 'a' and now < u.fu then\n"
                "    redis.call('HSET', user_key, 'fa', u.fa + 1)\n"
                "    local again = attempt(",
            ),
        ),
    ),
    Mutant(
        "each attempt has an id of its own",
        (
            Edit(
                "claim",
                "u.fs, u.fu = 'a', now + num(ARGV[7])",
                "redis.call('HSET', user_key, 'fid', ARGV[6] .. 'f')\n"
                "u.fs, u.fu = 'a', now + num(ARGV[7])",
            ),
        ),
    ),
    Mutant(
        "a takeover does not wait for the attempt's limit",
        (
            Edit(
                "claim",
                TAKEN_OVER,
                "if u.fs == 'a' and redis.call('HGET', user_key, 'fx') ~= ARGV[3] then\n"
                "  at = now\nend\n"
                "redis.call('HSET', user_key, 'fx', ARGV[3])\n" + TAKEN_OVER,
            ),
        ),
        replaced(Recoverer, "run_once", _wake_all_at_once),
    ),
    Mutant(
        "an attempt's limit forgets the webhook's time",
        (
            Edit(
                "claim",
                "u.fs, u.fu = 'a', now + num(ARGV[7])",
                "u.fs, u.fu = 'a', now + 100",
            ),
        ),
    ),
    Mutant(
        "an attempt's time runs from when it is heard of",
        (),
        replaced(Actor, "_deliver", _deliver_without_limit),
        ("lost_answer", "late", "webhook_hangs"),
    ),
    Mutant("a hold is ignored", (Edit(PRELUDE, "return math.max(at, u.hu)", "return at"),)),
    # Verdicts
    Mutant(
        "a late ack ends another attempt's turn",
        (Edit("ack", "now < u.fu and u.fo ~= ARGV[8]", "false"),),
        faults=(),
        options=LATE_ACKS,
    ),
    Mutant(
        "a delivered batch is retried",
        (Edit("retry", "local known = delivered(u)", "local known"),),
        faults=("webhook_fails",),
        options=LATE_ACKS,
    ),
    Mutant(
        "a delivered batch becomes a dead letter",
        (Edit("bury", "local known = delivered(u)", "local known"),),
        faults=("webhook_fails", "webhook_gone"),
        options=LATE_ACKS,
    ),
    Mutant(
        "a delivered batch is claimed again",
        (Edit("claim", "over and delivered(u) then", "false then"),),
        faults=("crash",),
        options=LATE_ACKS,
    ),
    # A receiver that finds a batch too large
    Mutant(
        "dividing loses the second half",
        (Edit("divide", "redis.call('LPUSH', list, unpack(reversed))", "local _ = reversed"),),
        faults=TOO_LARGE,
    ),
    Mutant(
        "the halves swap",
        (
            Edit(
                "divide",
                "  put_back(kept, count)\n",
                "  for _ = 1, kept do\n"
                "    redis.call('RPUSH', flight, redis.call('LPOP', flight))\n  end\n"
                "  kept = count - kept\n  put_back(kept, count)\n",
            ),
        ),
        faults=TOO_LARGE,
    ),
    Mutant(
        "the first half's ack lets both go",
        (
            Edit(
                "divide",
                "  put_back(kept, count)\n",
                "  put_back(kept, count)\n  redis.call('HSET', user_key, 'hx', count - kept)\n",
            ),
            Edit(
                "ack",
                "redis.call('UNLINK', KEYS[4])\n",
                "redis.call('UNLINK', KEYS[4])\n"
                "local more = num(redis.call('HGET', KEYS[3], 'hx'))\n"
                "if more > 0 then\n  local p = string.gsub(KEYS[4], '}:f:', '}:p:', 1)\n"
                "  local s = string.gsub(KEYS[4], '}:f:', '}:s:', 1)\n"
                "  redis.call('LTRIM', p, more, -1)\n  redis.call('LPOP', s)\n"
                "  u.sn = u.sn - 1\n"
                "  redis.call('HSET', KEYS[3], 'sn', u.sn)\n"
                "  redis.call('HDEL', KEYS[3], 'hx')\nend\n",
            ),
        ),
        faults=TOO_LARGE,
    ),
    Mutant(
        "the second half goes behind newer messages",
        (
            Edit(
                "divide",
                "redis.call('LPUSH', list, unpack(reversed))",
                "redis.call('RPUSH', list, unpack(page))",
            ),
        ),
        faults=TOO_LARGE,
    ),
    Mutant(
        "a half is a batch like any other",
        (Edit("claim", "local half = take_half()", "local half"),),
        faults=TOO_LARGE,
    ),
    Mutant("an ack for any batch", (Edit("ack", "or u.fid ~= ARGV[3]", ""),)),
    Mutant("the ack goes before the attempt", (), replaced(Actor, "_deliver", _ack_then_deliver)),
    Mutant(
        "a failed attempt is settled as a success",
        (),
        replaced(Actor, "_settle", _settle_everything_as_done),
    ),
    Mutant(
        "a retry is not in the timer index",
        (
            Edit(
                "retry",
                "schedule_and_tell(KEYS[2], KEYS[3], ARGV[4], u, now, owner, ARGV[10], ARGV[11])",
                "next_step(u)",
            ),
        ),
    ),
    Mutant(
        "a drop takes an attempt under way",
        (Edit("drop", "if u.fs == 'r' then\n  batch", "if u.fs then\n  batch"),),
    ),
    # Messages in
    Mutant(
        "a message id is not remembered",
        (Edit("append", "redis.call('SET', id, '1', 'PX', remember_ms)", "local _ = id"),),
    ),
    Mutant(
        "a message id is remembered although the message was refused",
        (
            Edit(
                "append",
                "    what = 2\n",
                "    what = 2 if id then redis.call('SET', id, '1', 'PX', remember_ms) end\n",
            ),
        ),
    ),
    Mutant(
        "a batch is as large as its messages make it",
        (Edit("append", "u.ob + size > max_bytes", "false"),),
    ),
    # Timers and the sweep
    Mutant(
        "the sweep skips who is in flight",
        (
            Edit(
                "due",
                "for i = 2, #found, 2 do",
                "local kept = {}\nfor i = 1, #found, 2 do\n"
                "  local f = string.sub(KEYS[1], 1, -4) .. 'f:' .. found[i]\n"
                "  if redis.call('LLEN', f) == 0 then\n"
                "    kept[#kept + 1] = found[i] kept[#kept + 1] = found[i + 1]\n  end\nend\n"
                "found = kept\nfor i = 2, #found, 2 do",
            ),
        ),
    ),
    Mutant("there is no sweep but at a gain", (), replaced(Recoverer, "run", _sweep_only_gains)),
    Mutant(
        "nobody is told that shards are free", (), replaced(Membership, "tell_free", _say_nothing)
    ),
    Mutant(
        "who leaves keeps its shards until its requests are done",
        (),
        replaced(Owner, "leave", _stop_claiming_only),
        ("rolling",),
    ),
    Mutant(
        "other owners are not told of sooner steps",
        (
            Edit(
                PRELUDE,
                "if owner and at and at - now <= HORIZON_MS",
                "if false",
            ),
        ),
    ),
    *MUTANTS_OF_LIMITS,
    *MUTANTS_OF_ANSWERS,
    *MUTANTS_OF_ROUTES,
)
