"""Every fault at random over four routes, and each keeps the contract. Longer, and with the healthy
route alone for comparison: `python -m tests.chaos --routes`."""

from __future__ import annotations

import pytest

from tests.chaos import routes
from tests.chaos.run import Plan
from tests.chaos.test_storm import BUSY_S, GAP_S, SECONDS_MAX

pytestmark = pytest.mark.process


def test_a_dead_a_slow_and_a_late_receiver_hurt_nobody_and_lose_nothing() -> None:
    kinds = routes.healthy_kinds("single")
    plan = Plan(SECONDS_MAX, 5, 3, kinds, calm_s=BUSY_S, rounds=1, gap_s=GAP_S)
    done = routes.run(plan, [False], print)
    for line in done.lines():
        print(line)
    done.require()
    assert done.words["done 200"]
    assert done.words["taken back"]
