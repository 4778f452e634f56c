"""The checker can fail: it sees a build without fencing, and what a Redis has forgotten."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.service import ROOT
from tests.acceptance.waiting import until, wait_for_work
from tests.chaos.balancer import Traffic
from tests.chaos.faults import Fault, Scene, perform
from tests.chaos.fleet import EACH_SECOND, Fleet, fleet
from tests.chaos.run import forgotten, verdict_on

pytestmark = pytest.mark.process

FREEZES_MAX = 5

WITHOUT_FENCES = (
    *(
        (
            f"store/lua/{prelude}.lua",
            "return lease[1] ~= epoch or lease[2] ~= nonce or num(lease[3]) <= now",
            "return false",
        )
        for prelude in ("prelude_v2", "prelude_v3")
    ),
    (
        "store/lua/renew_v1.lua",
        "if lease[1] ~= ARGV[2] or lease[2] ~= ARGV[3] then\n  return 0\nend",
        "if lease[1] ~= ARGV[2] or lease[2] ~= ARGV[3] then\n  return 1\nend",
    ),
    ("core/lease.py", "return now < self.trusted_until", "return True"),
)
"""File, what stands there, and what takes its place."""


@pytest.fixture(scope="module")
def unfenced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a package in which a lost lease means nothing."""
    directory = tmp_path_factory.mktemp("unfenced")
    package = directory / "actor_queue"
    shutil.copytree(ROOT / "actor_queue", package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, there, instead in WITHOUT_FENCES:
        text = (package / name).read_text()
        assert text.count(there) == 1, name
        (package / name).write_text(text.replace(there, instead))
    return directory


def test_without_fences_a_frozen_owner_that_wakes_is_seen_to_send_for_others(
    unfenced: Path,
) -> None:
    variables = {"PYTHONPATH": str(unfenced), "AQ_LEASE_TTL": "1"}
    with fleet(2, variables) as whole, Traffic(whole.client, per_second=60).running():
        wait_for_work(whole.receiver, 20)
        assert any("stale:" in each for each in _after_freezes(whole))


def _after_freezes(whole: Fleet) -> Iterator[str]:
    """Violations after each freeze; ends with the first freeze that shows any."""
    faults = []
    for _ in range(FREEZES_MAX):
        victim = whole.replicas[0]
        victim.freeze()
        frozen_at = time.monotonic()
        until(frozen_at + 2.5 * whole.lease_s)
        victim.thaw()
        woken_at = time.monotonic()
        cost_until = frozen_at + whole.lease_s + 1
        faults.append(Fault("freeze", frozen_at, woken_at, cost_until, True, victim.index))
        until(woken_at + 1)
        # What is under way now is not lost, only not there yet.
        found = verdict_on(whole, faults).violations
        stale = [each for each in found if not each.startswith("lost:")]
        if stale:
            yield from stale
            return


def test_what_redis_forgets_is_seen_to_be_lost_and_only_that() -> None:
    with fleet(1, options=EACH_SECOND) as whole:
        assert lost_by(whole, strike(whole, "power cut")) > 0


def test_a_failover_loses_in_memory_mode_and_nothing_where_a_replica_is_waited_for() -> None:
    careless, careful = {"AQ_DURABILITY": "memory"}, {"AQ_NAMESPACE": "careful"}
    with (
        fleet(1, careless, kind="sentinel") as hasty,
        fleet(1, careful, kind="sentinel", store=hasty.store) as patient,
    ):
        with under_load(patient):
            fault = strike(hasty, "primary killed ahead of its replica")
        assert lost_by(hasty, fault) > 0
        patient.settle()
        patient.drain(60)
        kept = dataclasses.replace(fault, lost_since=None)
        verdict_on(patient, [kept]).require()


def lost_by(whole: Fleet, fault: Fault) -> int:
    """How many messages a Redis that forgot has lost; nothing else may have happened."""
    whole.settle()
    whole.drain(60, gone=forgotten(whole, [fault]))
    blind = verdict_on(whole, [Fault("outage", *_span(fault), doubles=True)])
    assert any(each.startswith("lost:") for each in blind.violations)
    verdict = verdict_on(whole, [fault])
    verdict.require()
    for line in verdict.lines():
        print(line)
    return verdict.forgotten["lost"]


def strike(whole: Fleet, kind: str) -> Fault:
    """One fault under load."""
    with under_load(whole):
        return perform(kind, Scene(whole, whole.replicas[0], 0.5, whole.client.chance))


@contextmanager
def under_load(whole: Fleet) -> Iterator[None]:
    """Work goes on before the block and after it."""
    with Traffic(whole.client, per_second=60, ttl_s=(0.3, 1.5)).running():
        wait_for_work(whole.receiver, 20)
        yield
        wait_for_work(whole.receiver, 20)


def _span(fault: Fault) -> tuple[float, float, float]:
    return fault.began, fault.ended, fault.late_until
