"""What happens to one user for a planted fault to be seen, where chance would take long to find it.

The words are those of `tests/store/machine.py`. The same happens to the scripts as they are, and
nobody objects.
"""

from __future__ import annotations

from typing import Any, Final

LIMITS: Final[dict[str, Any]] = {
    "max_wait_ms": 0,
    "max_messages": 100,
    "max_batch_bytes": 100_000,
    "max_pending": 12,
    "max_pending_bytes": 1_000_000,
    "payload": "classic",
}

STORIES: Final[dict[str, tuple[dict[str, Any], list[str]]]] = {
    "a renewal for anybody": ({}, ["r1 takes over", "give back", "r1 takes over"]),
    "the id is remembered before a refusal": (
        {"max_pending": 4},
        [*["send 1000"] * 4, "repeat with new", "fire", "ack", "repeat"],
    ),
    "twice in one call is not seen": ({}, ["repeat with itself"]),
    "a message that makes it too large": ({"max_batch_bytes": 120}, ["send 1000"] * 3),
    "no limit of pending": ({"max_pending": 4}, ["send 1000"] * 5),
    "what is claimed goes on counting": (
        {"max_messages": 1, "max_pending_bytes": 100},
        ["send 0", "send 0", "retry", "send 0"],
    ),
    "what is put back does not count": (
        {"max_pending_bytes": 100},
        [*["send 1000"] * 4, "fire", "divide", *["send 1000"] * 3],
    ),
    "a late ack is ignored": ({}, ["retry", "ack"]),
    "a second half goes last": (
        {"max_messages": 3},
        [*["send 0"] * 3, "fire", *["send 0"] * 3, "divide", "fire"],
    ),
    "a second half goes before replays": (
        {},
        [
            *["send 0", "fire", "bury", "send 1000", "send 1000"],
            *["fire", "replay", "divide", "fire", "ack", "fire"],
        ],
    ),
    "only the last division counts": (
        {},
        [*["send 1000"] * 4, *["fire", "divide"] * 2, *["fire", "ack"] * 3],
    ),
    "a delivered batch is divided": ({}, ["send 5000", "send 5000", "late ack", "divide"]),
    "typing makes it sooner": ({}, ["typing 0"]),
}
"""By the fault: limits that differ from `LIMITS`, and what happens. `Machine` ends each by sending
out whatever waits."""
