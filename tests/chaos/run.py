"""One run: a fleet, a load, three lanes of faults drawn from a seed, and the verdict."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actor_queue.core.conversation import DEFAULT_ROUTE
from tests.acceptance.history import Post
from tests.acceptance.receiver import Attempt
from tests.chaos.balancer import Traffic
from tests.chaos.faults import KINDS, Fault, Lane, Scene, kinds_of, perform
from tests.chaos.fleet import EACH_SECOND, EACH_WRITE, Fleet, StoreKind, fleet
from tests.chaos.openings import openings
from tests.chaos.verdict import CALM_S, Verdict, judge

GAP_S = (0.5, 2.5)
"""Between two faults of a lane."""
PER_SECOND = 80.0
LANES: tuple[Lane, ...] = ("replica", "redis", "receiver")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    seconds: float
    """Faults begin for so long; a lane ends sooner when each of its kinds came `rounds` times."""
    seed: int
    replicas: int = 3
    kinds: Sequence[str] = kinds_of("single")
    per_second: float = PER_SECOND
    store: StoreKind = "single"
    calm_s: float = CALM_S
    """How late the machine alone may make a batch."""
    variables: Mapping[str, str] = field(default_factory=dict)
    rounds: int | None = None
    gap_s: tuple[float, float] = GAP_S


@dataclass(frozen=True)
class Run:
    """What happened, and what it proves."""

    verdict: Verdict
    faults: list[Fault]
    posts: list[Post]
    attempts: list[Attempt]

    def write(self, path: Path) -> None:
        """The whole history, one JSON object a line."""
        with path.open("w") as file:
            records: Iterator[Any] = itertools.chain(self.faults, self.posts, self.attempts)
            for each in records:
                kind = type(each).__name__.lower()
                record = {"what": kind, **dataclasses.asdict(each)}
                record.pop("body", None)
                file.write(json.dumps(record) + "\n")


def run(plan: Plan, say: Say = lambda line: None) -> Run:
    """Faults as long as the plan says, then heal, drain, judge. The kinds and their order are the
    seed's; when exactly they fall is the machine's."""
    forgets = any(KINDS[kind].forgets for kind in plan.kinds)
    options = EACH_SECOND if forgets else EACH_WRITE
    with fleet(plan.replicas, plan.variables, kind=plan.store, options=options) as whole:
        traffic = Traffic(whole.client, per_second=plan.per_second, seed=plan.seed)
        with traffic.running():
            faults = storm(whole, plan, say)
            whole.heal()
        whole.settle()
        whole.drain(60.0, gone=forgotten(whole, faults))
        verdict = verdict_on(whole, faults, calm_s=plan.calm_s)
        return Run(verdict, faults, list(whole.journal.posts), whole.attempts)


def forgotten(whole: Fleet, faults: Sequence[Fault]) -> set[str]:
    """Texts that a Redis which forgot may have lost."""
    windows = [(each.lost_since, each.ended) for each in faults if each.lost_since is not None]
    return {
        post.text
        for post in list(whole.journal.posts)
        if any(post.called <= ended and post.returned >= since for since, ended in windows)
    }


def verdict_on(
    whole: Fleet, faults: Sequence[Fault], *, since: float = 0.0, calm_s: float = CALM_S
) -> Verdict:
    """What the fleet's histories say of what began after `since`, on the default route."""
    posts = [post for post in list(whole.journal.posts) if post.called >= since]
    attempts = [attempt for attempt in whole.attempts if attempt.started >= since]
    return verdict_of(whole, faults, DEFAULT_ROUTE, posts, attempts, calm_s)


def verdict_of(
    whole: Fleet,
    faults: Sequence[Fault],
    route: str,
    posts: Sequence[Post],
    attempts: Sequence[Attempt],
    calm_s: float,
) -> Verdict:
    """What these histories of one route say."""
    by_port = {
        f":{(one.to_routes.get(route) or one.to_webhook).port}": one.index for one in whole.replicas
    }

    def made_by(attempt: Attempt) -> int:
        host = attempt.headers["host"]
        return by_port[host[host.rindex(":") :]]

    logs = [one.service.log() for one in whole.replicas]
    opened = openings(logs, faults, now=time.monotonic(), wall=time.time())
    faults = [*faults, *opened]
    return judge(
        posts,
        attempts,
        faults,
        samples=whole.samples,
        replica_of={name: one.index for name, one in whole.indexed().items()},
        made_by=made_by,
        calm_s=calm_s,
        route=route,
    )


def storm(whole: Fleet, plan: Plan, say: Say) -> list[Fault]:
    """The faults of the plan, one after the other in each lane. Nothing is healed."""
    faults: list[Fault] = []
    wrong: list[BaseException] = []
    over_at = time.monotonic() + plan.seconds
    stop = threading.Event()

    def walk(lane: Lane) -> None:
        chance = random.Random(f"{plan.seed}-{lane}")
        try:
            for name in _draw(plan, lane, chance):
                gap_s = chance.uniform(*plan.gap_s)
                if time.monotonic() + gap_s > over_at or stop.wait(gap_s):
                    return
                victim = chance.choice(whole.replicas)
                # A generator of its own: the receiver's threads draw from it in any order.
                own = random.Random(chance.random())
                fault = perform(name, Scene(whole, victim, chance.random(), own))
                faults.append(fault)
                say(f"{fault.began:.3f} {name}, {victim.name}, {fault.ended - fault.began:.1f} s")
        except Exception as error:  # noqa: BLE001  # raised again by the main thread
            wrong.append(error)
            stop.set()

    lanes = [threading.Thread(target=walk, args=(lane,)) for lane in LANES]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    if wrong:
        raise wrong[0]
    return faults


def _draw(plan: Plan, lane: Lane, chance: random.Random) -> Iterator[str]:
    """Each kind of the lane once, in some order, then all again."""
    bag = [name for name in plan.kinds if KINDS[name].lane == lane]
    rounds = itertools.count() if plan.rounds is None else range(plan.rounds)
    for _ in rounds if bag else ():
        chance.shuffle(bag)
        yield from bag
