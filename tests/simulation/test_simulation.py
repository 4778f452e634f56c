"""The contract's guarantees in hundreds of small worlds. More: `make simulate SEEDS=10000`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.__main__ import report
from tests.simulation.history import Attempted
from tests.simulation.plan import FAULTS, draw
from tests.simulation.world import simulate

SEEDS = 240
PART = 20


@pytest.mark.parametrize("start", range(0, SEEDS, PART))
def test_every_guarantee_holds_in_random_worlds_from(start: int) -> None:
    failures = [told for told in map(report, range(start, start + PART)) if told]
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize(
    "seed",
    [
        36,
        40,
        123,
        156,
        163,
        372,
        397,
        519,
        582,
        680,
        1022,
        1031,
        1256,
        22775,
        24073,
        500_473,
        501_409,
        701_110,
        1_000_046,
        1_000_937,
        1_005_019,
        1_006_704,
    ],
)
def test_what_once_failed_stays_right(seed: int) -> None:
    assert report(seed) == ""


def test_a_seed_is_the_same_run_in_every_process() -> None:
    command = (
        "from tests.simulation.world import simulate;"
        "print(*[simulate(seed).digest for seed in (3, 4)])"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", command],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert digests == {f"{simulate(3).digest} {simulate(4).digest}\n"}


def test_every_fault_is_drawn_and_some_worlds_are_calm() -> None:
    plans = [draw(seed) for seed in range(SEEDS)]
    assert {fault for plan in plans for fault in plan.rates} == set(FAULTS)
    assert any(not plan.rates for plan in plans)


def test_work_is_done_in_every_world() -> None:
    verdict = simulate(1, faults=())
    assert not verdict.failed
    sent = {text for record in verdict.history.of(Attempted) for text in record.texts}
    assert len(sent) > 10
