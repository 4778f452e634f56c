"""One run: a fleet, a load, two lanes of faults drawn from a seed, and the verdict."""

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

from tests.acceptance.history import Post
from tests.acceptance.receiver import Attempt
from tests.chaos.balancer import Traffic
from tests.chaos.faults import KINDS, Fault, Lane, Scene, kinds_of, perform
from tests.chaos.fleet import EACH_SECOND, EACH_WRITE, Fleet, StoreKind, fleet
from tests.chaos.verdict import CALM_S, Verdict, judge

GAP_S = (0.5, 2.5)
"""Between two faults of a lane."""
PER_SECOND = 80.0
LANES: tuple[Lane, ...] = ("replica", "surroundings")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    seconds: float
    seed: int
    replicas: int = 3
    kinds: Sequence[str] = kinds_of("single")
    per_second: float = PER_SECOND
    store: StoreKind = "single"
    calm_s: float = CALM_S
    """How late the machine alone may make a batch."""
    variables: Mapping[str, str] = field(default_factory=dict)


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
    """Faults for `plan.seconds`, then heal, drain, judge. The kinds and their order are the
    seed's; when exactly they fall is the machine's."""
    forgets = any(KINDS[kind].forgets for kind in plan.kinds)
    options = EACH_SECOND if forgets else EACH_WRITE
    with fleet(plan.replicas, plan.variables, kind=plan.store, options=options) as whole:
        traffic = Traffic(whole.client, per_second=plan.per_second, seed=plan.seed)
        with traffic.running():
            faults = _storm(whole, plan, say)
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
    """What the fleet's histories say of what began after `since`."""
    by_port = {f":{one.to_webhook.port}": one.index for one in whole.replicas}

    def made_by(attempt: Attempt) -> int:
        host = attempt.headers["host"]
        return by_port[host[host.rindex(":") :]]

    return judge(
        [post for post in list(whole.journal.posts) if post.called >= since],
        [attempt for attempt in whole.attempts if attempt.started >= since],
        faults,
        samples=whole.samples,
        replica_of={name: one.index for name, one in whole.indexed().items()},
        made_by=made_by,
        calm_s=calm_s,
    )


def _storm(whole: Fleet, plan: Plan, say: Say) -> list[Fault]:
    faults: list[Fault] = []
    wrong: list[BaseException] = []
    over_at = time.monotonic() + plan.seconds
    stop = threading.Event()

    def walk(lane: Lane) -> None:
        chance = random.Random(f"{plan.seed}-{lane}")
        try:
            for name in _draw(plan.kinds, lane, chance):
                gap_s = chance.uniform(*GAP_S)
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


def _draw(kinds: Sequence[str], lane: Lane, chance: random.Random) -> Iterator[str]:
    """Each kind of the lane once, in some order, then all again."""
    bag = [name for name in kinds if KINDS[name].lane == lane]
    for _ in itertools.count() if bag else ():
        chance.shuffle(bag)
        yield from bag
