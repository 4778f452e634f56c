"""Every fault at random over real processes, and the contract holds. Longer: `make chaos`."""

from __future__ import annotations

import pytest

from tests.chaos.faults import kinds_of
from tests.chaos.fleet import StoreKind
from tests.chaos.run import Plan, Run, run

pytestmark = pytest.mark.process

SECONDS = 120.0
SECONDS_OF_FAILOVERS = 30.0
BUSY_S = 2.5
"""Late without a fault: other tests keep the machine busy. `make chaos` allows 1 s."""


def stormed(plan: Plan) -> Run:
    done = run(plan, print)
    for line in done.verdict.lines():
        print(line)
    done.verdict.require()
    return done


def test_two_minutes_of_everything_and_the_contract_holds() -> None:
    done = stormed(Plan(SECONDS, seed=5, calm_s=BUSY_S))
    assert {fault.kind for fault in done.faults} == set(kinds_of("single"))
    assert done.verdict.messages > 3_000


@pytest.mark.parametrize(("store", "seed"), [("cluster", 3), ("sentinel", 4)])
def test_primaries_change_and_the_contract_holds(store: StoreKind, seed: int) -> None:
    kinds = [kind for kind in kinds_of(store) if kind.startswith(("primary", "slots", "replica"))]
    done = stormed(Plan(SECONDS_OF_FAILOVERS, seed, kinds=kinds, store=store, calm_s=BUSY_S))
    assert any(fault.kind.startswith("primary") for fault in done.faults)
