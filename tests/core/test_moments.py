"""Moments are read however people and programs write them."""

from __future__ import annotations

import pytest

from actor_queue.core.json_text import Refused
from actor_queue.core.moments import moment_ms

NOW_MS = 1_738_199_985_120


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        (1_738_199_985, 1_738_199_985_000),
        (1_738_199_985.12, 1_738_199_985_120),
        ("1738199985", 1_738_199_985_000),
        ("1738199985120", 1_738_199_985_120),
        (1_738_199_985_120, 1_738_199_985_120),
        ("2025-01-30T01:19:45.120Z", 1_738_199_985_120),
        ("2025-01-29T22:19:45-03:00", 1_738_199_985_000),
        ("2025-01-30 01:19:45z", 1_738_199_985_000),
        ("2025-01-30T01:19:45", 1_738_199_985_000),
        ("2025-01-30T01:19", 1_738_199_940_000),
        ("2025-01-30", 1_738_195_200_000),
        (" 10m ", NOW_MS - 600_000),
        ("90s", NOW_MS - 90_000),
        ("2h", NOW_MS - 7_200_000),
        ("3d", NOW_MS - 259_200_000),
        ("999999999d", 0),
        (0, 0),
    ],
)
def test_a_moment_is_read(written: object, ms: int) -> None:
    assert moment_ms("since", written, NOW_MS) == ms


@pytest.mark.parametrize(
    "written",
    [
        "yesterday",
        "2025-02-30T01:19:45Z",
        "10 m",
        "-5",
        -5,
        True,
        [1],
        "1e9",
        "9" * 14,
        "٣d",
    ],
)
def test_what_is_no_moment_is_refused_by_name(written: object) -> None:
    with pytest.raises(Refused) as caught:
        moment_ms("since", written, NOW_MS)
    assert (caught.value.status, caught.value.field) == (422, "since")
