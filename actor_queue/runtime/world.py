"""What all actors of a replica share."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from actor_queue.core.actor import Policy
from actor_queue.core.batch import Batch
from actor_queue.core.outcome import Outcome
from actor_queue.runtime.answers import Answers
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.events import EventBus
from actor_queue.runtime.history import History
from actor_queue.runtime.journal import Journal
from actor_queue.runtime.lanes import Lanes
from actor_queue.runtime.routes import Gates
from actor_queue.store.api import Lease, Store

DeliverFunction = Callable[[Batch, float], Awaitable[Outcome]]
"""Carries a batch to its receiver within so many seconds. Raises nothing but bugs."""


class Leases(Protocol):
    """Whether a shard is ours right now."""

    def claimable(self, shard: int) -> Lease | None:
        """For starting something new; None too while the replica drains."""
        ...

    def trusted(self, shard: int) -> Lease | None:
        """For finishing what was started."""
        ...

    def held(self, shard: int) -> Lease | None:
        """What is renewed, whether it is trusted at the moment or not."""
        ...

    def doubt(self, shard: int) -> None:
        """The store said that the lease is not ours."""
        ...


@dataclass(slots=True)
class World:
    """Of one replica."""

    store: Store
    leases: Leases
    deliver: DeliverFunction
    lanes: Lanes
    policy: Policy
    """But for the retry schedule, which is a route's."""
    counters: Counters
    events: EventBus
    journal: Journal
    history: History
    gates: Gates
    answers: Answers
    random: random.Random
    entropy: Callable[[], str]
    """20 hexadecimal digits that nobody else has drawn."""
    awake: int = 0
    """Actors that are past their sleep, of all routes."""

    def stirs(self, user: str) -> None:
        """This user's actor is past its sleep from now on."""
        self.awake += 1
        self.lanes.of(user).awake += 1

    def rests(self, user: str) -> None:
        """It sleeps again, or has ended."""
        self.awake -= 1
        self.lanes.of(user).awake -= 1
