"""What other routes are to blame for: not for how long Redis is away, or a process starts."""

from __future__ import annotations

import pytest

from tests.chaos.faults import Fault
from tests.chaos.routes import AFTERWARDS, ALL, afterwards_s, slowed
from tests.chaos.verdict import CALM, Late


def late(due: float, late_s: float) -> Late:
    return Late("b1", due, late_s, 0.0, ())


@pytest.mark.parametrize(
    ("kind", "due", "late_s", "counted_s"),
    [
        ("Valkey frozen", 11.0, 5.5, 1.5),
        ("Valkey frozen", 16.0, 5.5, 5.5),
        ("Valkey frozen", 11.0, 1.0, 1.0),
        ("replica killed", 11.0, 5.5, 5.5),
    ],
)
def test_lateness_counts_from_when_everybody_could_do_something_about_it(
    kind: str, due: float, late_s: float, counted_s: float
) -> None:
    fault = Fault(kind, began=10.0, ended=15.0, late_until=18.0, doubles=True)
    assert afterwards_s(late(due, late_s), [fault]) == pytest.approx(counted_s)


@pytest.mark.parametrize("what", [AFTERWARDS, CALM])
def test_a_healthy_route_that_others_make_late_is_slowed(what: str) -> None:
    assert [each.partition(":")[0] for each in slowed({what: (0.1, 0.2)})] == ["slowed"]
    assert not list(slowed({what: (0.1, 0.16)}))
    assert not list(slowed({what: (0.001, 0.01)})), "the machine's own share"
    assert not list(slowed({ALL: (0.1, 0.2)}))
