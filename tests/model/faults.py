"""Faults to plant in the scripts: each is a mistake that somebody could make, one line of Lua.

They prove the tests, not the code: `test_faults_are_caught.py` demands that the state machine
goes red for every one of them. A fault whose text is no longer in its script is an error, so
that this list cannot fade away while the scripts change.
"""

from __future__ import annotations

from dataclasses import dataclass

from actor_queue.store.scripts import script
from actor_queue.transport.script import Script


@dataclass(frozen=True)
class Fault:
    """Replace `old`, which stands in the script exactly once, by `new`."""

    name: str
    script: str
    old: str
    new: str

    def source(self, script: Script) -> str:
        """The Lua to run for `script`: with the fault, if it is in this one."""
        if script.name == self.script or self.script == PRELUDE:
            return script.plain_source.replace(self.old, self.new)
        return script.plain_source

    def check_applies(self) -> None:
        """Raises AssertionError if the scripts have changed so that this fault is none any more."""
        name = "claim_v4" if self.script == PRELUDE else self.script
        found = script(name).plain_source.count(self.old)
        assert found == 1, f"the text of {self.name!r} is in {self.script} {found} times, not once"


PRELUDE = "prelude"
"""Stands in front of every script, so its faults are in all of them."""

FENCE = "if fenced(KEYS[1], ARGV[2], ARGV[3], now) then"
SETTLE_FENCE = "if estranged(KEYS[1], ARGV[2], ARGV[3], now) then"
TOKEN = "  if u.fs == 'a' and now < u.fu then\n    local again = attempt(user_key, flight, now)"
NEW_BATCH = "if not u.fs then\n"
KNOWN = "redis.call('EXISTS', id) == 1 then\n        what = 1\n"

FAULTS = (
    # The fence
    Fault("a claim without a fence", "claim_v4", FENCE, "if false then"),
    Fault("a retry without a fence", "retry_v3", SETTLE_FENCE, "if false then"),
    Fault("a bury without a fence", "bury_v2", SETTLE_FENCE, "if false then"),
    Fault("epochs compared for order", PRELUDE, "lease[1] ~= epoch", "num(lease[1]) > num(epoch)"),
    Fault("the nonce is not compared", PRELUDE, "or lease[2] ~= nonce", ""),
    Fault("an expired lease is good", PRELUDE, "or num(lease[3]) <= now", ""),
    Fault("a live lease is stolen", "acquire_v2", "and num(lease[3]) > now", "and false"),
    Fault(
        "a takeover keeps the epoch", "acquire_v2", "math.max(epoch + 1, now)", "math.max(epoch, 1)"
    ),
    Fault("a renewal for anybody", "renew_v1", "if lease[1] ~= ARGV[2]", "if false"),
    # Messages in. Most come alone; that the script for several does the same is held by
    # tests/store/test_append_one.py.
    Fault(
        "the id is not remembered",
        "append_v2",
        "redis.call('SET', id, '1', 'PX', remember_ms)",
        "local _ = id",
    ),
    Fault(
        "the id is remembered before a refusal",
        "append_v2",
        "    what = 2\n",
        "    what = 2 if id then redis.call('SET', id, '1', 'PX', remember_ms) end\n",
    ),
    Fault(
        "a duplicate moves the timer",
        "append_v2",
        KNOWN,
        KNOWN + "redis.call('HSET', p.hash, 'od', text(at + num(ARGV[arg])))\n",
    ),
    Fault("twice in one call is not seen", "append_v2", "seen[id] or ", ""),
    Fault("no clamp to the maximum wait", "append_one_v1", "od > ow then", "false then"),
    Fault(
        "one message too many", "append_one_v1", "on >= tonumber(ARGV[7])", "on > tonumber(ARGV[7])"
    ),
    Fault(
        "a message that makes it too large",
        "append_one_v1",
        "on > 0 and ob + size > max_bytes",
        "false",
    ),
    Fault("what is full by bytes stays open", "append_one_v1", "ob >= max_bytes and", "false and"),
    Fault("the window before it goes late", "append_v2", "u.sd = at", "u.sd = u.od"),
    Fault("no limit of pending", "append_one_v1", "pending >= tonumber(ARGV[5])", "false"),
    Fault("no limit of bytes", "append_one_v1", "pb + bytes > tonumber(ARGV[13])", "false"),
    Fault("a single message is too many", "append_one_v1", "pending > 0 and pb", "pb"),
    Fault("what is claimed goes on counting", "claim_v4", "bytes = bytes - #page[i]", ""),
    Fault("what is put back does not count", "divide_v1", "bytes = bytes + #page[i]", ""),
    Fault(
        "newest first",
        "append_one_v1",
        "call('RPUSH', KEYS[4], item)",
        "call('LPUSH', KEYS[4], item)",
    ),
    # Claims
    Fault("due is not looked at again", "claim_v4", "if now < at then", "if false then"),
    Fault(
        "a takeover drops the batch in flight",
        "claim_v4",
        NEW_BATCH,
        "if u.fs == 'a' and (u.on > 0 or u.sn > 0) then\n"
        "redis.call('DEL', flight) clear_flight(user_key, u) u.fa = 0\nend\n" + NEW_BATCH,
    ),
    Fault(
        "a new batch overwrites the one in flight",
        "claim_v4",
        NEW_BATCH,
        "if not u.fs or u.fs == 'r' and u.on == pending and u.on > 0 then\n",
    ),
    Fault(
        "a repeated claim counts as an attempt",
        "claim_v4",
        TOKEN,
        TOKEN.replace("local", "redis.call('HINCRBY', user_key, 'fa', 1) local"),
    ),
    Fault(
        "a claim that was long on its way starts an attempt",
        "claim_v4",
        "if u.fo == ARGV[5] then",
        "if u.fo == ARGV[5] and u.fs == 'a' and now < u.fu then",
    ),
    Fault(
        "an attempt whose replica was killed is not told",
        "claim_v4",
        "remember_silence(KEYS[7], user_key, u)\nend\nu.fs",
        "local _ = u\nend\nu.fs",
    ),
    Fault("a maximum wait called quiet", "claim_v4", "and 'max_wait' or 'quiet'", "and 'quiet'"),
    Fault("a replay under another id", "claim_replay_v2", "'fid', id", "'fid', id .. '0'"),
    # Verdicts
    Fault("an ack for any batch", "ack_v2", "or u.fid ~= ARGV[3]", ""),
    Fault("a late ack is ignored", "ack_v2", "if not u.fs or", "if u.fs ~= 'a' or"),
    Fault("a late ack ends another attempt", "ack_v2", "now < u.fu and u.fo ~= ARGV[8]", "false"),
    Fault(
        "a late ack is told each time",
        "ack_v2",
        "if known then\n    return",
        "if false then\n    return",
    ),
    Fault("a delivered batch is retried", "retry_v3", "local known = delivered(u)", "local known"),
    Fault("a delivered batch dies", "bury_v2", "local known = delivered(u)", "local known"),
    Fault("a delivered batch is claimed", "claim_v4", "over and delivered(u) then", "false then"),
    Fault("a retry for any attempt", "retry_v3", "or u.fo ~= ARGV[6]", ""),
    Fault("a bury for any attempt", "bury_v2", "or u.fo ~= ARGV[6]", ""),
    Fault("a retry counts from 1 again", "retry_v3", "'fs', 'r',", "'fs', 'r', 'fa', 0,"),
    Fault(
        "a retry is not in the timer index",
        "retry_v3",
        "schedule_and_tell(KEYS[2], KEYS[3], ARGV[4], u, now, owner, ARGV[10], ARGV[11])",
        "next_step(u)",
    ),
    Fault(
        "a dead letter without messages",
        "bury_v2",
        "redis.call('RENAME', KEYS[4], KEYS[8])",
        "redis.call('DEL', KEYS[4])",
    ),
    # Batches that are too large for their receiver
    Fault("a division without a fence", "divide_v1", SETTLE_FENCE, "if false then"),
    Fault("a division for any attempt", "divide_v1", "or u.fo ~= ARGV[6] then", "then"),
    Fault(
        "a second half is lost",
        "divide_v1",
        "redis.call('LPUSH', list, unpack(reversed))",
        "local _ = reversed",
    ),
    Fault(
        "a second half goes behind newer messages",
        "divide_v1",
        "redis.call('LPUSH', list, unpack(reversed))",
        "redis.call('RPUSH', list, unpack(page))",
    ),
    Fault("a second half goes last", "divide_v1", "if pivot then", "if false then"),
    Fault("a second half goes before replays", "divide_v1", "line, u.rn)", "line, 0)"),
    Fault("a half counts its whole's attempts", "divide_v1", "'fa', 0, ", ""),
    Fault("a half has its whole's id", "claim_v4", "half.parent, u.bseq + 1)", "'b', u.bseq + 1)"),
    Fault(
        "a half was closed when it is claimed", "claim_v4", "half.closed, half.mode", "closed, mode"
    ),
    Fault(
        "only the last division counts",
        "divide_v1",
        "and half .. ';' .. f[6] or half",
        "and half or half",
    ),
    Fault("a delivered batch is divided", "divide_v1", "local known = delivered(u)", "local known"),
    # What anybody may order
    Fault("a hold does not hold a retry", PRELUDE, "    at = u.fu\n", "    return u.fu\n"),
    Fault("a flush ends an attempt", "flush_v1", "if u.fs == 'r' and u.fu", "if u.fs and u.fu"),
    Fault("a flush breaks a hold", "flush_v1", "if u.hu > now then", "if false then"),
    Fault(
        "typing makes it sooner",
        "typing_v1",
        "math.max(u.od, math.min(math.max(now, u.ol) + ttl, cap))",
        "math.min(math.max(now, u.ol) + ttl, cap)",
    ),
    Fault("typing knows no cap", "typing_v1", "ttl, cap))", "ttl, ttl + now))"),
    Fault(
        "a drop takes an attempt under way",
        "drop_v1",
        "if u.fs == 'r' then\n  batch,",
        "if u.fs then\n  batch,",
    ),
    Fault(
        "a lease given back is good for claims",
        "claim_v4",
        FENCE,
        FENCE.replace("fenced", "estranged"),
    ),
    Fault(
        "a replay queued twice", "dead_replay_v2", "if redis.call('LPOS'", "if redis.call('LLEN'"
    ),
    Fault("a replay at the end of the line", "dead_replay_v2", "if pivot then", "if false then"),
    # Edits and revokes
    Fault(
        "a revoke forgets the id",
        "revoke_v1",
        "  redis.call('SET', KEYS[5], 'r', 'PX', ARGV[7])\n",
        "",
    ),
    Fault(
        "a revoke leaves an empty batch", "revoke_v1", "elseif count == 1 then", "elseif false then"
    ),
    # Tidiness
    Fault(
        "nobody leaves the timer index",
        PRELUDE,
        "redis.call('ZREM', due_key, user)\n    redis.call('PEXPIRE'",
        "redis.call('PEXPIRE'",
    ),
    Fault(
        "users are kept for ever",
        PRELUDE,
        "redis.call('PEXPIRE', user_key, text(math.max(REST_MS, u.hu - now)))",
        "redis.call('PERSIST', user_key)",
    ),
)
