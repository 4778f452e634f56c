"""What happens to one user in a row: the words that `machine.Machine` understands.

An exclamation mark: the answer is lost, and the caller asks again.
"""

from __future__ import annotations

from hypothesis import strategies as st

EVENTS = (
    *["send 1000", "send 5000!", "send 0", "repeat", "flush", "flush!"],
    *["typing 0", "typing 5000", "typing 5000"],
    *["fire", "fire", "fire", "fire!", "ack", "ack!", "retry", "retry", "retry!", "bury", "bury!"],
    *["divide", "divide", "divide!"],
    *["replay", "replay!", "drop", "drop!", "hold 2000", "hold 9000!", "hold 0", "hold 0!"],
    *["time 1", "time 1000", "time 4000", "r1 takes over", "r2 takes over"],
    *["late claim", "late verdict", "late ack", "wrong number", "old lease", "old renewal"],
    *["give back", "edit 3", "edit 60!", "edit 200", "revoke 0", "revoke 0!", "revoke 1"],
)
ROUNDS = (
    *[("fire", "divide"), ("fire", "divide"), ("fire", "divide!"), ("fire", "ack")],
    *[("fire", "retry"), ("fire", "bury"), ("late",), ("late", "divide"), ("fire", "stale")],
    *[
        ("fire", "limit", "fire", "wrong"),
        ("fire", "retry", "fire", "wrong"),
        ("limit",),
        ("replay",),
        ("send 0",),
        ("flush",),
    ],
)

LIMITS: dict[str, st.SearchStrategy[object]] = {
    "max_wait_ms": st.sampled_from([0, 3_000]),
    "max_messages": st.sampled_from([1, 3, 100, 100]),
    "max_batch_bytes": st.sampled_from([120, 100_000, 100_000]),
    "max_pending": st.sampled_from([4, 12, 12]),
    "max_pending_bytes": st.sampled_from([100, 400, 1_000_000, 1_000_000]),
    "payload": st.sampled_from(["classic", "detailed"]),
}
"""Fields of the settings. Mostly such that a batch can have several messages."""

divisions = st.lists(st.sampled_from(ROUNDS), max_size=8)
episodes = st.lists(st.sampled_from(EVENTS), min_size=4, max_size=30)
rounds_at_first = st.one_of(st.just([]), divisions)
