"""What an ACL must allow the service, asked of the server before anything depends on it.

A script that lacks a right for its last command has carried out the others, and nothing rolls
it back. So the rights of all commands are looked at when the service starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha1

from actor_queue.store.keys import Keys
from actor_queue.transport.reading import listed, octets, text
from actor_queue.transport.refusals import ACL_RECIPE, NEVER_WORKS
from actor_queue.transport.runner import Call, ScriptError, Word
from actor_queue.transport.script import Script
from actor_queue.transport.wire import Command

_WORDS_AFTER_KEY = {
    0: "DEL EXISTS GET LLEN LPOP PERSIST UNLINK ZCARD",
    1: "HDEL HGET HMGET LINDEX LPOS LPUSH PEXPIRE RENAME RPUSH SET ZRANK ZREM ZREVRANK ZSCORE",
    2: "HSET HSETNX LRANGE LREM LSET LTRIM ZADD ZCOUNT ZRANGE ZRANGEBYSCORE ZREMRANGEBYSCORE"
    " ZREVRANGE",
    3: "LINSERT",
}
ON_KEYS = {name: words for words, names in _WORDS_AFTER_KEY.items() for name in names.split()}
"""Every command that a script gives a key to, and how many words it needs at least after it."""

_BESIDES = (b"ASKING", b"WAIT", b"WAITAOF")
"""What is sent outside of scripts."""

_SOURCE = """#!lua flags=no-writes
if not redis.acl_check_cmd then
  return {}
end
local missing, i = {}, 1
while i <= #ARGV do
  local words = {}
  for k = 1, tonumber(ARGV[i]) do
    words[k] = ARGV[i + k]
  end
  if not redis.acl_check_cmd(unpack(words)) then
    missing[#missing + 1] = words[1]
  end
  i = i + 1 + tonumber(ARGV[i])
end
return missing
"""
_SHA = sha1(_SOURCE.encode(), usedforsecurity=False).hexdigest()
_SCRIPT = Script("rights", _SOURCE, _SHA, _SOURCE, _SHA)


def rights_call(meta_key: bytes, besides: Iterable[Command] = ()) -> Call:
    """Asks for the commands whose right is missing in the namespace of `meta_key`.

    `besides` are commands that are sent outside of scripts. Touches no key, so any node of a
    cluster can answer.
    """
    keys = Keys(meta_key.decode().removesuffix(":meta"), 1)
    due, channel = keys.shards[0].due, keys.channel + b"r"
    questions: list[tuple[Word, ...]] = [("PING",), ("TIME",), ("SCAN", "0")]
    questions += [("SUBSCRIBE", channel), ("PUBLISH", channel, "")]
    questions += [(command.name, *command.serialized_arguments) for command in besides]
    # A key of ours stands for every further word, because RENAME needs the right to two.
    questions += [(name, due, *[due] * words) for name, words in ON_KEYS.items()]
    questions += [("ZADD", keys.members, "0", ""), ("HSETNX", keys.meta, "", "")]
    words = [word for question in questions for word in (len(question), *question)]
    return Call(_SCRIPT, (), words)


def missing_rights(reply: object) -> str | None:
    """One sentence for what the server answered; None when nothing is known to be missing."""
    if isinstance(reply, ScriptError):
        return reply.text if reply.code in NEVER_WORKS else None
    asked = {name.encode() for name in ("PING", "TIME", "SCAN", "SUBSCRIBE", "PUBLISH", *ON_KEYS)}
    # What the call did not ask for cannot be missing.
    said = [name for name in map(octets, listed(reply)) if name in asked or name in _BESIDES]
    if not said:
        return None
    names = ", ".join(dict.fromkeys(text(name) for name in said))
    return (
        f"Redis does not allow its user {names} on the keys and channels of this AQ_NAMESPACE:"
        f" give it the rights in {ACL_RECIPE}"
    )
