"""In which of a cluster's 16,384 slots a key lives (Redis Cluster specification, "Hash tags")."""

from __future__ import annotations

from binascii import crc_hqx

SLOTS = 16_384


def slot_of(key: bytes) -> int:
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    tagged = start >= 0 and end > start + 1
    return crc_hqx(key[start + 1 : end] if tagged else key, 0) % SLOTS
