"""`traceparent` as W3C Trace Context writes it, and nothing else."""

from __future__ import annotations

import pytest

from actor_queue.core.traceparent import Trace, trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_traceparent_names_trace_span_and_flags() -> None:
    expected = Trace(int(TRACE, 16), int(SPAN, 16), 1)
    assert trace_of(f"00-{TRACE}-{SPAN}-01") == expected
    assert trace_of(f"01-{TRACE}-{SPAN}-01-what a later version adds") == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        [],
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_none_names_nothing(value: object) -> None:
    assert trace_of(value) is None
