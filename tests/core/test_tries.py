"""An address that tries wrong keys has to wait, and the memory of who tried is bounded."""

from __future__ import annotations

from actor_queue.core.tries import ADDRESSES_MAX, TRIES_AT_ONCE, TRY_EVERY_S, Tries


def test_some_tries_at_once_and_then_one_at_a_time() -> None:
    tries = Tries()
    for _ in range(TRIES_AT_ONCE):
        assert tries.wait_s("a", 100.0) == 0
        tries.failed("a", 100.0)
    assert tries.wait_s("a", 100.0) == TRY_EVERY_S
    assert tries.wait_s("a", 100.0 + TRY_EVERY_S / 2) == TRY_EVERY_S / 2
    assert tries.wait_s("b", 100.0) == 0
    later = 100.0 + TRY_EVERY_S
    assert tries.wait_s("a", later) == 0
    tries.failed("a", later)
    assert tries.wait_s("a", later) == TRY_EVERY_S


def test_all_is_forgiven_after_a_while() -> None:
    tries = Tries()
    for _ in range(TRIES_AT_ONCE):
        tries.failed("a", 0.0)
    rested = TRIES_AT_ONCE * TRY_EVERY_S
    for _ in range(TRIES_AT_ONCE):
        assert tries.wait_s("a", rested) == 0
        tries.failed("a", rested)
    assert tries.wait_s("a", rested) == TRY_EVERY_S


def test_addresses_without_end_take_no_memory_without_end() -> None:
    tries = Tries()
    for number in range(ADDRESSES_MAX + 1_000):
        tries.failed(f"address {number}", 5.0)
    assert len(tries) == ADDRESSES_MAX
    for _ in range(TRIES_AT_ONCE):
        tries.failed("the newest", 6.0)
    assert tries.wait_s("the newest", 6.0) > 0
