"""Every fault at random over real processes, and the contract holds. Longer: `make chaos`."""

from __future__ import annotations

import pytest

from tests.chaos.faults import kinds_of
from tests.chaos.fleet import StoreKind
from tests.chaos.run import Plan, Run, run

pytestmark = pytest.mark.process

SECONDS_MAX = 600.0
GAP_S = (0.3, 1.2)
"""Shorter than in a campaign, so that each kind comes while others are at work."""
BUSY_S = 2.5
"""Late without a fault: other tests keep the machine busy. `make chaos` allows 1 s."""


def stormed(plan: Plan) -> Run:
    done = run(plan, print)
    for line in done.verdict.lines():
        print(line)
    done.verdict.require()
    return done


def test_everything_happens_once_at_least_and_the_contract_holds() -> None:
    done = stormed(Plan(SECONDS_MAX, seed=5, calm_s=BUSY_S, rounds=1, gap_s=GAP_S))
    assert set(kinds_of("single")) <= {fault.kind for fault in done.faults}


@pytest.mark.parametrize(("store", "seed"), [("cluster", 3), ("sentinel", 4)])
def test_primaries_change_and_the_contract_holds(store: StoreKind, seed: int) -> None:
    changes = [kind for kind in kinds_of(store) if kind.startswith(("primary", "slots"))]
    kinds = [*changes, "replica killed", "replica rolled", "replica frozen for three leases"]
    plan = Plan(SECONDS_MAX, seed, kinds=kinds, store=store, calm_s=BUSY_S, rounds=1)
    done = stormed(plan)
    assert {fault.kind for fault in done.faults} == set(kinds)
