"""The guarantees in a hundred small worlds and more. Thousands: `make simulate SEEDS=10000`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.__main__ import report
from tests.simulation.history import Attempted, Executed, NoRoom
from tests.simulation.plan import FAULTS, OPTIONS, draw
from tests.simulation.world import simulate

SEEDS = 100
LIMITS = ("retention", "jobs", "pending_bytes", "reserve", "few_actors", "changes")
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
    assert report(seed, options=()) == ""


def test_what_once_failed_with_options_stays_right() -> None:
    """A batch that came again had an id that a server could give twice."""
    verdict = simulate(10, options=("answers", "routes", "pauses", "dead_route"))
    assert not verdict.failed, verdict.violations


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
    assert {option for plan in plans for option in plan.options} == set(OPTIONS)


def test_work_is_done_in_every_world() -> None:
    verdict = simulate(1, faults=())
    assert not verdict.failed
    sent = {text for record in verdict.history.of(Attempted) for text in record.texts}
    assert len(sent) > 10


def test_small_limits_are_reached() -> None:
    """Letters expire and are sent again by jobs, bytes and memory run out, timers are put off."""
    seen: set[str] = set()
    for seed in range(300, 306):
        verdict = simulate(seed, options=LIMITS)
        assert not verdict.failed, verdict.violations
        for record in verdict.history.records:
            match record:
                case Executed(script="dead_expire", reply=1):
                    seen.add("expired")
                case Executed(script="replay_job", reply=[_, _, _, b"1", b""]):
                    seen.add("job done")
                case Executed(script="append", reply=list(said)) if 3 in said[1::4]:
                    seen.add("too many bytes")
                case NoRoom():
                    seen.add("no room")
    assert seen == {"expired", "job done", "too many bytes", "no room"}


def test_routes_open_and_pause_and_receivers_answer_later() -> None:
    """Batches are taken back and lapse, probes are granted, on several routes."""
    seen: set[str] = set()
    for seed in (53, 55, 126, 129):
        verdict = simulate(seed, options=("routes", "answers", "dead_route", "pauses"))
        assert not verdict.failed, verdict.violations
        for record in verdict.history.records:
            match record:
                case Executed(script="done", reply=[bytes() as what, *_]):
                    seen.add(what.decode())
                case Executed(script="claim", reply=[b"unanswered", *_]):
                    seen.add("never answered")
                case Executed(script="route_probe", reply=[b"probe", *_]):
                    seen.add("probed")
                case Executed(script="route_pause", reply=[1]):
                    seen.add("paused")
    assert seen == {"done", "taken_back", "again", "over", "never answered", "probed", "paused"}
