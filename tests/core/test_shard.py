"""Users must be found again by every other process, build and release."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.shard import shard_of


@pytest.mark.parametrize(
    ("user", "of_64", "of_100", "of_1"),
    [
        ("joao.silva", 57, 93, 0),
        ("+5511999999999", 10, 26, 0),
        ("1", 55, 83, 0),
        ("\0", 13, 57, 0),
        ("João \U0001f600", 30, 14, 0),
    ],
)
def test_the_golden_vectors_stand_for_ever(user: str, of_64: int, of_100: int, of_1: int) -> None:
    assert (shard_of(user, 64), shard_of(user, 100), shard_of(user, 1)) == (of_64, of_100, of_1)


def test_the_hash_is_the_one_that_the_world_calls_crc_32() -> None:
    assert shard_of("123456789", 1 << 32) == 0xCBF43926


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 16_384))
def test_every_user_has_a_shard(user: str, shards: int) -> None:
    assert shard_of(user, shards) in range(shards)


@pytest.mark.parametrize("shards", [16, 64, 100, 256])
@pytest.mark.parametrize("pattern", ["+55119{:08d}", "user{}", "{}@s.whatsapp.net", "{:05d}000"])
def test_users_that_look_alike_spread_evenly(shards: int, pattern: str) -> None:
    mean = 100
    full = Counter(shard_of(pattern.format(n), shards) for n in range(mean * shards))
    assert len(full) == shards
    assert max(full.values()) < 1.5 * mean
