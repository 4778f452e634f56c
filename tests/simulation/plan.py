"""What a seed stands for: the size of a world, its settings, and which faults strike how often.

Swarm testing (Groce et al., 2012): each run draws a random subset of the faults with random
rates, because a fault that is always there hides what others could show.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field

from actor_queue.core.settings import Settings

FAULTS = (
    # Processes
    "crash",
    "crash_midway",
    "pause",
    "pause_midway",
    "rolling",
    # The road to the store
    "slow",
    "refused",
    "lost_request",
    "lost_answer",
    "late",
    "copy",
    "cut",
    "deaf",
    # Clocks
    "skew",
    "server_clock",
    # The server
    "outage",
    "rollback",
    # The receiver
    "webhook_slow",
    "webhook_hangs",
    "webhook_fails",
    "webhook_gone",
    "webhook_answer_lost",
    "webhook_retry_after",
    "webhook_refuses",
    "webhook_too_large",
)
"""Every kind there is. `docs/simulation.md` says what each one does."""

OWN_DICE = ("webhook_too_large",)
"""Faults that are drawn apart, so that the other draws of a seed are as they were before."""

FAULT_SHARE = 0.3
CALM_SHARE = 0.1
"""Of the runs that have no fault at all, so that the strictest bounds are checked too."""


@dataclass(frozen=True)
class Plan:
    """One world."""

    seed: int
    settings: Settings
    replicas: int
    users: int
    chaos_s: float
    """How long clients post and faults strike."""
    ttls_ms: tuple[int, ...]
    pace_s: float
    """Between two things that a client does, on average."""
    rates: dict[str, float] = field(default_factory=dict)
    """Fault → how hard, in (0, 1]."""

    @property
    def receiver_bytes_max(self) -> int:
        """What the receiver takes at the most, where `webhook_too_large` strikes: sometimes less
        than a single message, often less than two."""
        alone, more = (90, 60) if self.settings.payload == "classic" else (400, 600)
        return alone + round(self.rate("webhook_too_large") * more)

    def rate(self, fault: str) -> float:
        return self.rates.get(fault, 0.0)

    def has(self, *faults: str) -> bool:
        return any(fault in self.rates for fault in faults)


def draw(seed: int, faults: Collection[str] | None = None) -> Plan:
    """The plan of `seed`; with `faults`, those and no others, at the rates of the seed."""
    chance = random.Random(f"{seed}:plan")
    calm = chance.random() < CALM_SHARE
    share = chance.uniform(0.5, 1.5) * FAULT_SHARE
    rates = {}
    for fault in FAULTS:
        dice = random.Random(f"{seed}:{fault}") if fault in OWN_DICE else chance
        chosen, rate = dice.random() < share and not calm, dice.uniform(0.1, 1.0)
        if chosen if faults is None else fault in faults:
            rates[fault] = rate
    return Plan(
        seed=seed,
        settings=_settings(chance),
        replicas=chance.choice((2, 2, 2, 3, 3, 4, 5)),
        users=chance.randint(3, 8),
        chaos_s=chance.uniform(5, 15),
        ttls_ms=tuple(chance.sample((0, 100, 300, 700, 1_500, 3_000), chance.randint(1, 4))),
        pace_s=chance.choice((0.4, 0.8, 1.5)),
        rates=rates,
    )


def _settings(chance: random.Random) -> Settings:
    retries = chance.randint(1, 4)
    return Settings(
        redis_url="redis://simulated",
        shards=chance.choice((1, 2, 4, 6, 8)),
        lease_ttl_ms=chance.choice((1_000, 1_500, 2_000, 3_000)),
        webhook_timeout_ms=chance.choice((300, 800, 1_500, 3_000)),
        max_wait_ms=chance.choice((0, 0, 2_000, 4_000)),
        max_messages=chance.choice((2, 3, 5, 500)),
        max_batch_bytes=chance.choice((300, 1_048_576)),
        max_pending=chance.choice((3, 8, 10_000, 10_000)),
        max_deliveries=chance.choice((1, 3, 100, 100, 100, 100)),
        retry_schedule_ms=tuple(chance.choice((200, 600, 1_500)) for _ in range(retries)),
        payload=chance.choice(("classic", "detailed")),
    )
