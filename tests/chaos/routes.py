"""One service, four receivers: a healthy one, a slow one, a dead one, one that answers later.

The healthy one is the default route. Turn by turn it has the service to itself and then with the
others, under the same faults in the same order, and how late its batches are is compared. The dead
receiver comes to life at the end of each turn, so that nothing of what waited for it may be lost.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from actor_queue.core.conversation import DEFAULT_ROUTE
from tests.acceptance.checker import undelivered
from tests.acceptance.history import Journal
from tests.acceptance.receiver import HANG, Attempt, slow
from tests.acceptance.waiting import wait_until
from tests.chaos.balancer import Balancer, Traffic
from tests.chaos.faults import KINDS, Fault, kinds_of
from tests.chaos.fleet import Fleet, StoreKind, fleet
from tests.chaos.late import WITHIN_S, Late
from tests.chaos.late_verdict import answer_violations, as_they_ended, last_words
from tests.chaos.run import Plan, Say, storm, verdict_of
from tests.chaos.verdict import CALM, Verdict, lateness
from tests.chaos.verdict import Late as LateBatch

SLOW, LATER, DEAD = "slow", "later", "dead"
ROUTES = {
    SLOW: 'payload = "detailed"',
    LATER: f'payload = "detailed"\nanswer = "later"\nanswer_within = {WITHIN_S:g}',
    DEAD: "",
}
VARIABLES = {"AQ_PUBLIC_URL": "http://127.0.0.1:1"}
"""Nobody calls it: whoever says a word chooses the replica."""
SLOW_S = (0.3, 0.8)
HANGS = 0.03
"""This part of the slow receiver's attempts is never answered."""
HEALTHY_PER_S = 40.0
OTHERS_PER_S = 12.0
THREADS = 4
RATIO_MAX = 1.5
"""So many times as late as alone may the healthy route's batches be, at the 99th percentile …"""
FLOOR_S = 0.02
"""… and this is the machine's own share, of which no route is the cause."""
TURNS_S = 120.0
"""Of a campaign's seconds: one storm with the healthy route alone, and one with all."""
DRAIN_S = 150.0
"""A dead route is probed once a minute at last, and what has waited goes at a growing pace."""

LOOK_AGAIN_S = 0.25
ALL, AFTERWARDS = "all batches", "all batches, once the cause was gone"


def healthy_kinds(store: StoreKind) -> tuple[str, ...]:
    """All faults but the healthy receiver's own: it is the one that has no trouble."""
    return tuple(name for name in kinds_of(store) if KINDS[name].lane != "receiver")


@dataclass(frozen=True)
class Turn:
    """One storm, with one route or with all."""

    alone: bool
    began: float
    ended: float


@dataclass(frozen=True)
class RoutesVerdict:
    of: Mapping[str, Verdict]
    violations: list[str]
    p99_s: Mapping[str, tuple[float, float]]
    """The healthy route's, alone and beside the others."""
    words: Mapping[str, int]

    def lines(self) -> Iterator[str]:
        for route, verdict in self.of.items():
            yield f"- {route}: {verdict.messages:,} messages, {verdict.batches:,} batches,"
            yield f"  {verdict.attempts:,} attempts, {verdict.duplicates} once more"
        yield "- words: " + ", ".join(f"{count} {what}" for what, count in self.words.items())
        for what, (alone_s, beside_s) in self.p99_s.items():
            yield f"- p99 late, {what}: {alone_s * 1000:,.0f} ms alone,"
            yield f"  {beside_s * 1000:,.0f} ms beside the others"
        yield f"- verdict: {len(self.violations)} violations"
        yield ""
        yield from self.of[DEFAULT_ROUTE].lines()

    def require(self) -> None:
        shown = "\n  ".join(self.violations[:20])
        assert not self.violations, f"{len(self.violations)} violations:\n  {shown}"


@dataclass
class Campaign:
    """Use `run`."""

    whole: Fleet
    plan: Plan
    late: Late
    say: Say
    journals: dict[str, Journal]
    faults: list[Fault] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)

    def turn(self, *, alone: bool) -> None:
        """Load and faults, then everything heals and drains."""
        began = time.monotonic()
        self.whole.receivers[DEAD].refuse()
        self.late.calm = False
        with ExitStack() as stack:
            for route in (DEFAULT_ROUTE,) if alone else self.journals:
                stack.enter_context(self._traffic(route, len(self.turns)).running())
            self.faults += storm(self.whole, self.plan, self.say)
            self.whole.heal()
        self.whole.settle()
        self.whole.receivers[DEAD].listen()
        self.late.calm = True
        # What went before would else be probed in a minute.
        self.whole.replicas[0].service.client.call("POST", f"/api/routes/{DEAD}/resume", b"{}")
        ended = time.monotonic()
        self.drain()
        self.turns.append(Turn(alone, began, ended))

    def _traffic(self, route: str, turn: int) -> Traffic:
        journal, ports = self.journals[route], self.whole.client.ports
        named = None if route == DEFAULT_ROUTE else route
        client = Balancer(0, journal, chance=random.Random(route), ports=ports, route=named)
        per_second = HEALTHY_PER_S if named is None else OTHERS_PER_S
        # Every route has users of the same names, who are others all the same.
        return Traffic(
            client,
            per_second,
            THREADS,
            seed=self.plan.seed + turn,
            user_names=lambda name: f"{turn}-{name}",
        )

    def drain(self) -> None:
        """Until everything that was accepted is delivered, on all routes."""
        deadline = time.monotonic() + DRAIN_S
        while missing := {text for route in self.journals for text in self._missing(route)}:
            assert time.monotonic() < deadline, f"not delivered: {len(missing)}, {min(missing)}"
            time.sleep(LOOK_AGAIN_S)
        client = self.whole.replicas[0].service.client
        wait_until(lambda: client.get("/api/users").json()["users"] == [], "nobody waits", 30)
        assert client.dead_ids() == set()

    def _missing(self, route: str) -> set[str]:
        return undelivered(list(self.journals[route].posts), self.attempts(route))

    def attempts(self, route: str) -> list[Attempt]:
        """What each came to."""
        attempts = list(self.whole.receivers[route].attempts)
        if route != LATER:
            return attempts
        return as_they_ended(attempts, last_words(list(self.late.said)))

    def verdict(self) -> RoutesVerdict:
        """Of all routes, once everything is drained."""
        of, found = {}, []
        for route, journal in self.journals.items():
            # Only the healthy route's batches have a time: the others' receivers cost what they do.
            calm_s = self.plan.calm_s if route == DEFAULT_ROUTE else float("inf")
            posts, attempts = list(journal.posts), self.attempts(route)
            of[route] = verdict_of(self.whole, self.faults, route, posts, attempts, calm_s)
            found += [f"{route}: {each}" for each in of[route].violations]
        posts = list(self.journals[LATER].posts)
        attempts = list(self.whole.receivers[LATER].attempts)
        failovers = [(each.began, each.ended) for each in self.faults if each.fails_over]
        told = answer_violations(posts, attempts, list(self.late.said), failovers=failovers)
        found += [f"{LATER}: {each}" for each in told]
        p99_s = self._p99_s() if any(turn.alone for turn in self.turns) else {}
        found += slowed(p99_s)
        return RoutesVerdict(of, found, p99_s, _counted(self.late))

    def _p99_s(self) -> dict[str, tuple[float, float]]:
        posts = list(self.journals[DEFAULT_ROUTE].posts)
        batches = list(lateness(posts, self.attempts(DEFAULT_ROUTE), self.faults))
        late_s = {
            ALL: [(batch.due, batch.late_s) for batch in batches],
            AFTERWARDS: [(batch.due, afterwards_s(batch, self.faults)) for batch in batches],
            CALM: [(batch.due, batch.late_s) for batch in batches if not batch.kinds],
        }
        return {
            what: (self._p99_of(values, alone=True), self._p99_of(values, alone=False))
            for what, values in late_s.items()
        }

    def _p99_of(self, late_s: Sequence[tuple[float, float]], *, alone: bool) -> float:
        turns = [turn for turn in self.turns if turn.alone == alone]
        values = sorted(
            value for due, value in late_s if any(t.began <= due <= t.ended for t in turns)
        )
        return values[round((len(values) - 1) * 0.99)] if values else 0.0


def slowed(p99_s: Mapping[str, tuple[float, float]]) -> Iterator[str]:
    """Where the healthy route is later beside the others than they may make it."""
    for what, (alone_s, beside_s) in p99_s.items():
        if what != ALL and beside_s > RATIO_MAX * alone_s + FLOOR_S:
            yield (
                f"slowed: the healthy route's batches are {beside_s:.3f} s late beside the others"
                f" and {alone_s:.3f} s alone ({what}, p99)"
            )


def afterwards_s(batch: LateBatch, faults: Sequence[Fault]) -> float:
    """How late a batch was, counted from when the last cause was gone that kept everybody from it:
    how long Redis is away, or a process takes to start, no other route is to blame for."""
    came = batch.due + batch.late_s
    gone = [
        fault.ended
        for fault in faults
        if not KINDS[fault.kind].leases and fault.began <= came and batch.due < fault.ended <= came
    ]
    return came - max([batch.due, *gone])


def run(plan: Plan, turns: Sequence[bool], say: Say = lambda line: None) -> RoutesVerdict:
    """So many turns, each with its share of the plan's seconds: the healthy route alone where one
    is true, and with the others where it is false."""
    plan = replace(plan, seconds=plan.seconds / len(turns))
    with ExitStack() as stack:
        started = fleet(plan.replicas, VARIABLES, kind=plan.store, routes=ROUTES)
        whole = stack.enter_context(started)
        chance = random.Random(plan.seed)
        ports = whole.client.ports
        speaker = Balancer(0, Journal(), chance=random.Random(plan.seed), ports=ports)
        late = stack.enter_context(Late(speaker, chance))
        slow_one = whole.receivers[SLOW]
        slow_one.mix = lambda: HANG if chance.random() < HANGS else slow(chance.uniform(*SLOW_S))
        whole.receivers[LATER].decide = late.decide
        journals = {DEFAULT_ROUTE: whole.journal, **{name: Journal() for name in ROUTES}}
        campaign = Campaign(whole, plan, late, say, journals)
        for alone in turns:
            say("alone" if alone else "beside the others")
            campaign.turn(alone=alone)
        return campaign.verdict()


def _counted(late: Late) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in late.said:
        what = "taken back" if each.taken_back else f"{each.verb} {each.status}"
        counts[what] = counts.get(what, 0) + 1
    return dict(sorted(counts.items()))
