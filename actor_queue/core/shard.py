"""Which shard a user belongs to. A promise for ever: another answer would lose track of keys.

CRC-32 (zlib's) rather than a cryptographic hash: measured on phone numbers, counters, padded
ids and ids in steps of a thousand, over 16 to 1,024 shards, the fullest shard is never fuller
than with BLAKE2b (chi-square per degree of freedom at most 1.02, mostly far below 1, because a
CRC spreads neighbours on purpose), and it costs 0.16 µs instead of 0.58. Neither keeps out
somebody who chooses users in order to fill one shard. Any language can compute it.
"""

from __future__ import annotations

from zlib import crc32

from actor_queue.core.conversation import key_to_bytes


def shard_of(user: str, shards: int) -> int:
    """The shard of `user`, a conversation's key, in `range(shards)`.

    It is the same in every process, build and release.
    """
    return crc32(key_to_bytes(user)) % shards
