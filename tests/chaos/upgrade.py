"""Two releases on one Redis: replicas go over from one to the other and back, under load.

The former release is what a revision of this repository holds. It knows the default route alone;
the newer replicas have a second one besides, whose receiver answers later and whose messages come
while a newer replica is up. A replica that goes over is mostly stopped as an operator does it, and
now and then killed.
"""

from __future__ import annotations

import io
import random
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from actor_queue.core.conversation import DEFAULT_ROUTE
from tests.acceptance.history import Journal
from tests.acceptance.receiver import OK, Attempt, reply
from tests.acceptance.service import ROOT
from tests.acceptance.waiting import until
from tests.chaos.balancer import Balancer, Traffic
from tests.chaos.faults import Fault
from tests.chaos.fleet import CONFIG, Fleet, Replica, fleet
from tests.chaos.late import Late
from tests.chaos.routes import LATER, OTHERS_PER_S, ROUTES, THREADS, Campaign, RoutesVerdict
from tests.chaos.run import Plan, Say

BETWEEN_S = 2.0
"""Between two replicas that go over, so that both releases work side by side."""
WHOLE_S = 4.0
"""All replicas are of one release for so long."""
KILLED = 0.25
"""This part of those who go over are not asked to stop."""
FAILS = 0.1
"""This part of the default receiver's answers are 503, so that batches wait for another attempt,
which a replica of the other release may make."""
STUCK_S = 3.5
"""An attempt's time limit, and the longest pause before the next one."""
ROLLED, DIED = "replica rolled", "replica killed"


def stuck_for(attempts: Sequence[Attempt], limit_s: float) -> Iterator[str]:
    """Batches that waited for their next attempt for longer: the replica that had them could not
    make it."""
    before: dict[str, Attempt] = {}
    for attempt in sorted(attempts, key=lambda attempt: attempt.started):
        last = before.get(attempt.webhook_id)
        if last is not None and attempt.started - last.started > limit_s:
            waited_s = attempt.started - last.started
            yield f"stuck: {attempt.webhook_id} waited {waited_s:.1f} s for its next attempt"
        before[attempt.webhook_id] = attempt


@contextmanager
def code_of(revision: str) -> Iterator[Path]:
    """A directory with the package as it was."""
    command = ["git", "archive", revision, "actor_queue"]
    archive = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    with (
        tempfile.TemporaryDirectory(prefix="aq-") as name,
        tarfile.open(fileobj=io.BytesIO(archive)) as files,
    ):
        files.extractall(name, filter="data")
        yield Path(name)


@dataclass
class Rolling:
    """Use `run`."""

    whole: Fleet
    former: Path
    chance: random.Random
    say: Say
    newer: list[int] = field(default_factory=list)
    """Ports of the replicas of this release."""
    faults: list[Fault] = field(default_factory=list)

    def forth_and_back(self, traffic: Traffic) -> None:
        """Every replica becomes new, and then every one old again; the first one is new longest,
        and while it is, the second route has messages."""
        for replica in self.whole.replicas:
            self._over(replica, newer=True)
        with traffic.running():
            until(time.monotonic() + WHOLE_S)
            for replica in self.whole.replicas[1:]:
                self._over(replica, newer=False)
        self._over(self.whole.replicas[0], newer=False)
        until(time.monotonic() + WHOLE_S)

    def end(self) -> None:
        for replica in self.whole.replicas:
            self._over(replica, newer=True)

    def _over(self, replica: Replica, *, newer: bool) -> None:
        until(time.monotonic() + BETWEEN_S)
        service, killed = replica.service, self.chance.random() < KILLED
        if not newer:
            self.newer.remove(service.port)
        began = time.monotonic()
        if killed:
            service.kill()
        else:
            assert service.stop() == 0, f"{replica.name} did not end well"
        service.variables = _variables(replica, self.former, newer=newer)
        service.start()
        ended = time.monotonic()
        late_until = began + self.whole.lease_s + 1.0 if killed else began
        self.faults.append(
            Fault(DIED if killed else ROLLED, began, ended, late_until, doubles=killed)
        )
        if newer:
            self.newer.append(service.port)
        how = "killed" if killed else "stopped"
        self.say(f"{began:.3f} {replica.name} {how}, and {'newer' if newer else 'former'} now")


def _variables(replica: Replica, former: Path, *, newer: bool) -> Mapping[str, str]:
    common = dict(replica.service.variables)
    for name in ("PYTHONPATH", "AQ_CONFIG", "AQ_PUBLIC_URL"):
        common.pop(name, None)
    if not newer:
        return {**common, "PYTHONPATH": str(former)}
    config = str(replica.service.directory / CONFIG)
    return {**common, "AQ_CONFIG": config, "AQ_PUBLIC_URL": "http://127.0.0.1:1"}


def run(
    revision: str,
    plan: Plan,
    *,
    payload: str = "detailed",
    say: Say = lambda line: None,
) -> RoutesVerdict:
    """Forth and back again for the plan's seconds; at the end every replica is of this release."""
    routes, chance = {LATER: ROUTES[LATER]}, random.Random(plan.seed)
    with ExitStack() as stack:
        former = stack.enter_context(code_of(revision))
        variables = {"PYTHONPATH": str(former), "AQ_PAYLOAD": payload}
        whole = stack.enter_context(
            fleet(plan.replicas, variables, kind=plan.store, routes=routes, named=False)
        )
        rolling = Rolling(whole, former, chance, say)
        speaker = Balancer(0, Journal(), chance=random.Random(plan.seed), ports=rolling.newer)
        late = stack.enter_context(Late(speaker, chance))
        whole.receivers[LATER].decide = late.decide
        whole.receiver.mix = lambda: reply(503) if chance.random() < FAILS else OK
        journals = {DEFAULT_ROUTE: whole.journal, LATER: Journal()}
        campaign = Campaign(whole, plan, late, say, journals, rolling.faults)
        ends_at, turn = time.monotonic() + plan.seconds, 0
        with Traffic(whole.client, plan.per_second, seed=plan.seed).running():
            while time.monotonic() < ends_at:
                turn += 1
                second = Balancer(
                    0, journals[LATER], chance=chance, ports=rolling.newer, route=LATER
                )
                traffic = Traffic(second, OTHERS_PER_S, THREADS, seed=turn)
                rolling.forth_and_back(traffic)
            rolling.end()
        late.calm = True
        whole.receiver.mix = None
        campaign.drain()
        verdict = campaign.verdict()
        limit_s = STUCK_S + whole.lease_s + plan.calm_s
        stuck = list(stuck_for(campaign.attempts(DEFAULT_ROUTE), limit_s))
        return replace(verdict, violations=[*verdict.violations, *stuck])
