"""What a number of active users needs: costs fitted to small runs, checked, and carried on.

`python -m benchmarks.capacity` measures, takes two runs that were not fitted as the check, keeps
what it found in `docs/capacity.json`, and writes the tables of `docs/capacity.md` from that.
With `--tables` it only writes the tables. CPU is counted by process, so other work on the
machine makes the costs dearer, and changes neither the check nor what breaks first.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine, processes
from benchmarks.lateness import wait_for

DOCS = Path(__file__).parent.parent / "docs"
KEPT, PAGE = DOCS / "capacity.json", DOCS / "capacity.md"
WINDOW_S = 8.0
GAP_S = 0.4
TTL_S = 1.0
CONNECTIONS = 32
IDLE_S = 5.0
FITTED = ((150, 3), (300, 2), (600, 1), (600, 6), (900, 3), (1_300, 3))
CHECKED = ((450, 2), (1_100, 4))
"""Messages a second, and messages of each user. Two sizes and two shapes that no fitted run has."""
GATHER_S = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032)
"""Tried as the time in which messages gather that are worked on together."""

POPULATIONS = (10_000, 100_000, 1_000_000, 10_000_000)
TURNS_AN_HOUR = 4
MESSAGES_A_TURN = 3
QUIET_S = 15
BUSY_SERVICE, BUSY_REDIS = 0.6, 0.5
"""How much of a core is planned for, so that a burst and a failover find room."""
DEDUP_S = 3_600
REST_S = 86_400
ACTORS_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU in µs, memory in bytes."""

    service_message: float
    service_webhook: float
    service_group: float
    service_idle: float
    """Of a second in which nothing comes."""
    redis_message: float
    redis_webhook: float
    redis_group: float
    redis_idle: float
    memory_timer: float
    """In the service, of a user who is due soon."""
    redis_waiting: float
    """Of a user with one message of 490 bytes."""
    redis_rested: float
    """Of a user whose last batch has gone, until a day later."""
    redis_named: float
    """Of a message's id that its sender gave."""
    gather_s: float
    """In which messages gather that share a turn of the loop and a round trip."""

    def groups(self, rate: float) -> float:
        """How many groups a second so many messages a second make."""
        return rate / (1 + rate * self.gather_s)

    def service_us(self, messages: float, webhooks: float) -> float:
        """Of a second, with so many of each."""
        alone = messages * self.service_message + webhooks * self.service_webhook
        return alone + self.groups(messages) * self.service_group

    def redis_us(self, messages: float, webhooks: float) -> float:
        """As `service_us`."""
        alone = messages * self.redis_message + webhooks * self.redis_webhook
        return alone + self.groups(messages) * self.redis_group


@dataclass(frozen=True, slots=True)
class Load:
    """What a run brought, and what it cost."""

    rate: float
    messages: int
    webhooks: int
    seconds: float
    service_us: float
    redis_us: float
    rested_bytes: float

    def predicted(self, costs: Costs) -> tuple[float, float]:
        """Of the service and of Redis, in µs of CPU."""
        # All of it came within the window, and what came after it was idle.
        messages, webhooks = self.messages / WINDOW_S, self.webhooks / WINDOW_S
        return (
            costs.service_us(messages, webhooks) * WINDOW_S + self.seconds * costs.service_idle,
            costs.redis_us(messages, webhooks) * WINDOW_S + self.seconds * costs.redis_idle,
        )


# Measuring


def measured(rate: float, posts: int) -> Load:
    """`rate` messages a second for `WINDOW_S`, in bursts of `posts` of each user."""
    users = max(1, round(rate * WINDOW_S / posts))
    with (
        tempfile.TemporaryDirectory(prefix="aqb-") as name,
        processes.receiver(Path(name) / "arrivals") as receiver,
        processes.valkey() as valkey,
        processes.service(valkey.url, receiver.port) as service,
    ):
        used = _used(valkey)
        before, began = _cpu_us(service, valkey), time.monotonic()
        processes.load(
            "paced",
            port=service.port,
            connections=CONNECTIONS,
            users=users,
            posts=posts,
            window_s=WINDOW_S,
            gap_s=GAP_S,
            ttl=TTL_S,
            prefix="joao",
            sent_file=str(Path(name) / "sent"),
        )
        wait_for(receiver.port, users)
        after, seconds = _cpu_us(service, valkey), time.monotonic() - began
        rested = (_used(valkey) - used) / users
    spent = [b - a for a, b in zip(before, after, strict=True)]
    return Load(rate, users * posts, users, seconds, *spent, rested)


def idle() -> tuple[float, float]:
    """µs of CPU a second, of the service and of Redis, while nothing comes."""
    with processes.valkey() as valkey, processes.service(valkey.url, processes.free_port()) as one:
        time.sleep(1)
        before = _cpu_us(one, valkey)
        time.sleep(IDLE_S)
        service, redis = (b - a for a, b in zip(before, _cpu_us(one, valkey), strict=True))
    return service / IDLE_S, redis / IDLE_S


def memory() -> tuple[float, float, float]:
    """Bytes: of a timer in the service, of a waiting user and of a named message in Redis."""
    users = 10_000
    with processes.valkey() as valkey, processes.service(valkey.url, processes.free_port()) as one:
        # The first thousands make room that the next ones use.
        processes.load("bulk", prefix="a", requests=1, **_bulk(one.port))
        time.sleep(1)
        before, used = one.rss_bytes(), _used(valkey)
        processes.load("bulk", prefix="b", requests=users // 5_000, **_bulk(one.port))
        time.sleep(1)
        timer, waiting = (one.rss_bytes() - before) / users, (_used(valkey) - used) / users
        used = _used(valkey)
        for i in range(1_000):
            valkey.command(
                "SET", f"{{aq:1}}:id:13:joao-00000000{i}:3EB0C767D26A{i:08}", "1", "EX", "90"
            )
        return timer, waiting, (_used(valkey) - used) / 1_000


def _bulk(port: int) -> dict[str, object]:
    plan = {"port": port, "connections": 1, "messages": 5_000, "form": "ndjson"}
    return {**plan, "ttl": 100.0, "burst": 1}


def _cpu_us(service: processes.Listening, valkey: processes.Valkey) -> tuple[float, float]:
    return service.cpu_s() * 1e6, valkey.process.cpu_s() * 1e6


def _used(valkey: processes.Valkey) -> int:
    found = re.search(rb"used_memory:(\d+)", valkey.command("INFO", "memory"))
    assert found is not None
    return int(found[1])


def fitted(
    loads: Sequence[Load], idle_us: tuple[float, float], bytes_: tuple[float, float, float]
) -> Costs:
    """The least squares of three costs of each process: of a message, a webhook and a group."""
    fits = []
    for gather_s in GATHER_S:
        counts = [
            [load.messages, load.webhooks, load.messages / (1 + load.rate * gather_s)]
            for load in loads
        ]
        service = _solved(counts, [load.service_us - load.seconds * idle_us[0] for load in loads])
        redis = _solved(counts, [load.redis_us - load.seconds * idle_us[1] for load in loads])
        fits.append((service[0] + redis[0], gather_s, service[1], redis[1]))
    _, gather_s, service_us, redis_us = min(fits)
    rested = float(np.median([load.rested_bytes for load in loads]))
    timer, waiting, named = bytes_
    return Costs(
        *service_us, idle_us[0], *redis_us, idle_us[1], timer, waiting, rested, named, gather_s
    )


def _solved(
    counts: Sequence[Sequence[float]], spent_us: Sequence[float]
) -> tuple[float, list[float]]:
    """The relative error that is left, and the costs, none of which is less than nothing."""
    relative = np.array(counts, dtype=float) / np.array(spent_us)[:, None]
    best: tuple[float, list[float]] = (math.inf, [])
    columns = range(relative.shape[1])
    for chosen in (some for n in columns for some in combinations(columns, n + 1)):
        found, *_ = np.linalg.lstsq(relative[:, chosen], np.ones(len(relative)))
        costs = [0.0 for _ in columns]
        for column, cost in zip(chosen, found, strict=True):
            costs[column] = float(cost)
        error = float(np.sum((relative @ np.array(costs) - 1) ** 2))
        if min(costs) >= 0 and error < best[0]:
            best = error, costs
    return best


# Carried on


@dataclass(frozen=True, slots=True)
class Needs:
    """Of so many active users."""

    users: int
    messages_s: float
    webhooks_s: float
    service_cores: float
    redis_cores: float
    waiting: float
    redis_gb: float
    named_gb: float
    """More, where every sender names its messages."""

    @property
    def workers(self) -> int:
        return max(1, math.ceil(self.service_cores / BUSY_SERVICE))

    @property
    def primaries(self) -> int:
        return max(1, math.ceil(self.redis_cores / BUSY_REDIS))


def needs(users: int, costs: Costs) -> Needs:
    webhooks = users * TURNS_AN_HOUR / 3_600
    messages = webhooks * MESSAGES_A_TURN
    # As a worker and a primary are that are as busy as they are planned to be.
    share = users / max(1, users_of_a_core(costs)[0])
    share = max(1.0, share)
    service = share * costs.service_us(messages / share, webhooks / share)
    redis = share * costs.redis_us(messages / share, webhooks / share)
    waiting = webhooks * (QUIET_S + MESSAGES_A_TURN)
    named = messages * DEDUP_S * costs.redis_named
    kept = waiting * costs.redis_waiting * MESSAGES_A_TURN + users * costs.redis_rested
    return Needs(
        users, messages, webhooks, service / 1e6, redis / 1e6, waiting, kept / 1e9, named / 1e9
    )


def users_of_a_core(costs: Costs) -> tuple[int, int]:
    """How many active users one worker takes, and one primary, as busy as they are planned."""
    found = []
    for cost, busy in ((costs.service_us, BUSY_SERVICE), (costs.redis_us, BUSY_REDIS)):
        low, high = 1, 100_000_000
        while high - low > 1:
            users = (low + high) // 2
            webhooks = users * TURNS_AN_HOUR / 3_600
            fits = cost(webhooks * MESSAGES_A_TURN, webhooks) <= busy * 1e6
            low, high = (users, high) if fits else (low, users)
        found.append(low)
    return found[0], found[1]


# Tables


def tables(kept: Mapping[str, Any]) -> dict[str, str]:
    """What stands between the marks in the page, by the name of the mark."""
    costs = Costs(**kept["costs"])
    checks = [Load(**each) for each in kept["checked"]]
    return {
        "costs": f"{_costs_table(costs)}\n\n{_measured_on(kept)}",
        "check": _check_table(checks, costs),
        "needs": f"{_needs_table(costs)}\n\n{_of_a_million(costs)}",
    }


def _measured_on(kept: Mapping[str, Any]) -> str:
    return (
        f"Measured on {kept['machine']['processor']}, {kept['machine']['cores']} cores, while other"
        f" work took {kept['others_cores']:.1f} of them."
    )


def _of_a_million(costs: Costs) -> str:
    many = needs(POPULATIONS[-1], costs)
    service, redis = (
        cores / many.messages_s * 1e6 / 60 for cores in (many.service_cores, many.redis_cores)
    )
    return (
        f"A million messages, with the webhooks that come of them, take {service:.0f} minutes of a"
        f" core of the service and {redis:.0f} of one of Redis."
    )


def _costs_table(costs: Costs) -> str:
    group = f"CPU of a group that gathers for {costs.gather_s * 1e3:g} ms, µs"
    rows = [
        ("CPU of a message, µs", costs.service_message, costs.redis_message),
        ("CPU of a webhook, µs", costs.service_webhook, costs.redis_webhook),
        (group, costs.service_group, costs.redis_group),
        ("CPU of an idle second, µs", costs.service_idle, costs.redis_idle),
        ("memory of a user who waits, bytes", costs.memory_timer, costs.redis_waiting),
        ("memory of a user who has rested for less than a day, bytes", 0, costs.redis_rested),
        ("memory of a message id that was named, bytes", 0, costs.redis_named),
    ]
    lines = [f"| {name} | {service:,.0f} | {redis:,.0f} |" for name, service, redis in rows]
    return _table("| | service | Redis |", "|---|--:|--:|", lines)


def _check_table(checks: Sequence[Load], costs: Costs) -> str:
    lines = []
    for load in checks:
        service, redis = load.predicted(costs)
        pairs = ((service, load.service_us), (redis, load.redis_us))
        cells = [f"{us / load.seconds / 1e4:.1f} %" for pair in pairs for us in pair]
        burst = load.messages // load.webhooks
        lines.append(f"| {load.rate:.0f}/s in bursts of {burst} | {' | '.join(cells)} |")
    head = "| run | service, predicted | measured | Redis, predicted | measured |"
    return _table(head, "|---|--:|--:|--:|--:|", lines)


def _needs_table(costs: Costs) -> str:
    columns: dict[str, Callable[[Needs], str]] = {
        "active users": lambda n: f"{n.users:,}",
        "messages/s": lambda n: f"{n.messages_s:,.0f}",
        "webhooks/s": lambda n: f"{n.webhooks_s:,.0f}",
        "cores of the service": lambda n: f"{n.service_cores:.2f}",
        "workers": lambda n: f"{n.workers}",
        "cores of Redis": lambda n: f"{n.redis_cores:.2f}",
        "primaries": lambda n: f"{n.primaries}",
        "users who wait": lambda n: f"{n.waiting:,.0f}",
        "Redis, GB": lambda n: f"{n.redis_gb:.2f}",
        "more for named ids, GB": lambda n: f"{n.named_gb:.2f}",
    }
    lines = [
        "| " + " | ".join(cell(needs(users, costs)) for cell in columns.values()) + " |"
        for users in POPULATIONS
    ]
    return _table(f"| {' | '.join(columns)} |", "|--:" * len(columns) + "|", lines)


def _table(head: str, rule: str, lines: Sequence[str]) -> str:
    return "\n".join([head, rule, *lines])


def written(page: str, kept: Mapping[str, Any]) -> str:
    """The page with the tables in their places."""
    for name, table in tables(kept).items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        page, found = mark.subn(lambda m, table=table: m[1] + table + m[2], page)  # type: ignore[misc]
        assert found == 1, name
    return page


def main() -> None:
    if "--tables" not in sys.argv:
        processes.settle_here()
        meter = machine.Meter.start()
        loads = [measured(*each) for each in FITTED]
        costs = fitted(loads, idle(), memory())
        kept = {
            "costs": {name: round(value, 4) for name, value in asdict(costs).items()},
            "checked": [asdict(measured(*each)) for each in CHECKED],
            "fitted": [asdict(each) for each in loads],
            "machine": machine.description(),
            "others_cores": round(meter.others_cores(), 2),
        }
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    kept = json.loads(KEPT.read_text())
    PAGE.write_text(written(PAGE.read_text(), kept))
    print("\n\n".join(tables(kept).values()))


if __name__ == "__main__":
    main()
