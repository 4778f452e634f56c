"""What a seed stands for: the size of a world, its settings, and which faults strike how often.

A world has options, too: limits that are drawn so small that they are reached.

Swarm testing (Groce et al., 2012): each run draws a random subset of the faults with random
rates, because a fault that is always there hides what others could show.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property

from actor_queue.core.answers import ANSWER_MAX_MS
from actor_queue.core.conversation import DEFAULT_ROUTE, Conversation, route_of
from actor_queue.core.routes import Route
from actor_queue.core.settings import Settings
from actor_queue.core.upkeep import DAY_MS

FAULTS = (
    # Processes
    "crash",
    "crash_midway",
    "crash_at_work",
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

OWN_DICE = ("webhook_too_large", "crash_at_work")
"""Faults that are drawn apart, so that the other draws of a seed are as they were before."""

OPTIONS = (
    "retention",
    "jobs",
    "pending_bytes",
    "reserve",
    "few_actors",
    "changes",
    "routes",
    "answers",
    "dead_route",
    "pauses",
    "late_acks",
)
"""Dead letters expire; operators send all of them again; AQ_MAX_PENDING_BYTES, the room that Redis
has for messages, and AQ_MAX_ACTORS are small; people edit messages and take them back; there are
several routes; receivers answer later; one route's receiver is dead for a while; operators pause
routes; replicas lose the server with an ack to send. They are drawn apart, too."""
OPTION_SHARE = 0.15
ALSO_LATER_SHARE = 0.4
"""Of the routes besides the one that is drawn where receivers answer later."""
FEW_ACTORS_SHARE = 0.08
"""A world with few actors takes twice as long as others, because its sweeps follow each other
sooner."""

FAULT_SHARE = 0.3
ROOM_BYTES = 1_048_576
"""For messages, on an empty server whose memory is bounded."""
CALM_SHARE = 0.1
"""Of the runs that have no fault at all, so that the strictest bounds are checked too."""


@dataclass(frozen=True)
class Death:
    """A route's receiver takes nothing for a while."""

    route: str
    how: str
    """`refuses`, `fails`, `asks` (503 with Retry-After) or `hangs`."""
    start: float
    end: float


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
    options: frozenset[str] = frozenset()
    page: int = 100
    """Dead letters that a job, or the looking for old ones, takes together."""
    maxmemory: int = 0
    """Bytes that the server may use; 0: any number, and nobody asks."""
    more: tuple[Route, ...] = ()
    """Routes besides the default one."""
    death: Death | None = None
    late_ack_share: float = 0.0
    """Of the attempts that the receiver takes: their replica loses the server with its ack to send,
    and has it back in the middle of the next attempt."""
    answer_max_ms: int = ANSWER_MAX_MS
    """The most that a receiver gets after its 202."""

    @cached_property
    def routes(self) -> dict[str, Route]:
        """By name."""
        return {route.name: route for route in (Route.default(self.settings), *self.more)}

    def route_of(self, user: str) -> Route:
        """That of a conversation."""
        return self.routes[route_of(user)]

    @cached_property
    def conversations(self) -> tuple[str, ...]:
        """Their keys: a person talks on each route."""
        names = list(self.routes)
        return tuple(
            Conversation(names[number % len(names)], f"user-{number // len(names)}").key
            for number in range(self.users)
        )

    def on(self, route: str) -> int:
        """How many conversations of a route there are."""
        return sum(route_of(each) == route for each in self.conversations)

    def receiver_bytes_max(self, user: str) -> int:
        """What the receiver takes at the most, where `webhook_too_large` strikes: sometimes less
        than a single message, often less than two."""
        alone, more = (90, 60) if self.route_of(user).payload == "classic" else (400, 600)
        return alone + round(self.rate("webhook_too_large") * more)

    def rate(self, fault: str) -> float:
        return self.rates.get(fault, 0.0)

    def has(self, *faults: str) -> bool:
        return any(fault in self.rates for fault in faults)


def draw(
    seed: int, faults: Collection[str] | None = None, options: Collection[str] | None = None
) -> Plan:
    """The plan of `seed`; with `faults` or `options`, those and no others, as the seed has them."""
    chance = random.Random(f"{seed}:plan")
    calm = chance.random() < CALM_SHARE
    share = chance.uniform(0.5, 1.5) * FAULT_SHARE
    rates = {}
    for fault in FAULTS:
        dice = random.Random(f"{seed}:{fault}") if fault in OWN_DICE else chance
        chosen, rate = dice.random() < share and not calm, dice.uniform(0.1, 1.0)
        if chosen if faults is None else fault in faults:
            rates[fault] = rate
    plan = Plan(
        seed=seed,
        settings=_settings(chance),
        replicas=chance.choice((2, 2, 2, 3, 3, 4, 5)),
        users=chance.randint(3, 8),
        chaos_s=chance.uniform(5, 15),
        ttls_ms=tuple(chance.sample((0, 100, 300, 700, 1_500, 3_000), chance.randint(1, 4))),
        pace_s=chance.choice((0.4, 0.8, 1.5)),
        rates=rates,
    )
    for option in OPTIONS:
        dice = random.Random(f"{seed}:{option}")
        share = FEW_ACTORS_SHARE if option == "few_actors" else OPTION_SHARE
        if dice.random() < share if options is None else option in options:
            plan = _with(plan, option, dice)
    if faults is None and plan.options & {"retention", "jobs"}:
        # Without dead letters there is nothing to see.
        plan.rates.setdefault("webhook_gone", 0.5)
    return plan


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


def _with(plan: Plan, option: str, dice: random.Random) -> Plan:
    settings: dict[str, object] = {}
    world: dict[str, object] = {}
    match option:
        case "retention":
            settings["dead_retention_days"] = round(dice.choice((800, 2_000, 5_000)) / DAY_MS, 9)
            world["page"] = dice.choice((1, 2, 3))
        case "jobs":
            world["page"] = dice.choice((1, 2, 3))
        case "pending_bytes":
            settings["max_pending_bytes"] = dice.choice((150, 220, 300, 700))
        case "reserve":
            settings["redis_reserve_bytes"] = reserve = dice.choice((65_536, 131_072))
            world["maxmemory"] = reserve + ROOM_BYTES
        case "few_actors":
            settings["max_actors"] = dice.choice((1, 2, 3, 4))
        case "routes":
            names = ("vendas", "suporte")[: dice.choice((1, 1, 2))]
            world["more"] = tuple(_route(name, plan.settings, dice) for name in names)
        case "answers":
            settings, world = _answers(plan, dice)
        case "late_acks":
            world["late_ack_share"] = dice.choice((0.1, 0.3))
        case "dead_route":
            start, end = dice.uniform(0, 0.4) * plan.chaos_s, dice.uniform(0.6, 1) * plan.chaos_s
            how = dice.choice(("refuses", "fails", "asks", "hangs"))
            world["death"] = Death(dice.choice(list(plan.routes)), how, start, end)
    changed = replace(plan.settings, **settings)  # type: ignore[arg-type]
    return replace(plan, settings=changed, options=plan.options | {option}, **world)  # type: ignore[arg-type]


def _route(name: str, settings: Settings, dice: random.Random) -> Route:
    """With limits of its own."""
    drawn = _settings(dice)
    return replace(
        Route.default(settings),
        name=name,
        timeout_ms=drawn.webhook_timeout_ms,
        max_wait_ms=drawn.max_wait_ms,
        max_messages=drawn.max_messages,
        max_batch_bytes=drawn.max_batch_bytes,
        max_deliveries=drawn.max_deliveries,
        retry_schedule_ms=drawn.retry_schedule_ms,
        payload=drawn.payload,
    )


def _answers(plan: Plan, dice: random.Random) -> tuple[dict[str, object], dict[str, object]]:
    """Of the settings and of the plan: one route or more answer later."""
    within = {name: dice.choice((500, 1_200, 2_500, 5_000)) for name in plan.routes}
    sure = dice.choice(list(within))
    later = {name: name == sure or dice.random() < ALSO_LATER_SHARE for name in within}
    more = tuple(
        replace(each, answer="later", answer_within_ms=within[each.name])
        if later[each.name]
        else each
        for each in plan.more
    )
    settings: dict[str, object] = {}
    if later[DEFAULT_ROUTE]:
        settings = {"answer": "later", "answer_within_ms": within[DEFAULT_ROUTE]}
    return settings, {"more": more, "answer_max_ms": dice.choice((1_500, 4_000, 8_000))}
