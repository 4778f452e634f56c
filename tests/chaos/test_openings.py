"""An open route excuses lateness only where the receiver failed for every replica."""

from __future__ import annotations

import pytest

from tests.chaos.faults import Fault
from tests.chaos.openings import OPEN, RAMP_S, openings

LOG = """\
{"ts": "1970-01-01T00:16:41.500Z", "level": "warning", "event": "route_opened", "route": "default"}
{"ts": "1970-01-01T00:16:46.600Z", "level": "info", "event": "route_closed", "route": "default"}
"""


def found(kind: str, began: float, log: str = LOG) -> list[Fault]:
    fault = Fault(kind, began, began + 3, began + 3, doubles=False)
    return list(openings(["", log], [fault], now=100.0, wall=1_100.0))


def test_what_is_late_while_the_route_of_a_failing_receiver_is_open_is_excused() -> None:
    (excuse,) = found("webhook fails", 0.0)
    assert (excuse.kind, excuse.began, excuse.ended) == (OPEN, 0.5, pytest.approx(6.6))
    assert excuse.late_until == pytest.approx(6.6 + RAMP_S)
    (still_open,) = found("webhook fails", 0.0, LOG.splitlines()[0])
    assert still_open.ended == 100.0


@pytest.mark.parametrize(
    ("kind", "began"),
    [("replica apart from the webhook", 0.0), ("replica killed", 0.0), ("webhook fails", -9.0)],
)
def test_a_route_that_was_opened_for_anything_else_excuses_nothing(kind: str, began: float) -> None:
    assert found(kind, began) == []
