"""The faults: what each does to a fleet, and what it may cost.

`KINDS` is the one table. A fault that is done is a `Fault`, with its moments on
`time.monotonic()`; what the contract still promises around it is judged in `verdict`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import redis

from tests.acceptance.receiver import CLOSE, HANG, OK, Answer, reply, slow
from tests.acceptance.waiting import until, wait_until
from tests.chaos.failovers import handed_over, primary_killed, primary_killed_ahead, slots_moved
from tests.chaos.fleet import SHARDS, Fleet, Replica, StoreKind
from tests.chaos.link import Mode

READY_S = 60.0
RECONNECT_S = 3.0
"""A half-open connection is replaced within this."""
FAILED_OVER_S = 5.0
"""The service is back so long after Redis is."""
FORGOTTEN_S = 1.0
"""What a server that syncs once a second loses when the power goes."""
RETRIED_S = 2.5
"""An attempt's time limit, and the first retries after it."""

Lane = Literal["replica", "redis", "receiver"]
"""Faults of one lane follow each other; the three lanes go on at the same time."""


@dataclass(frozen=True)
class Fault:
    """One that was done."""

    kind: str
    began: float
    ended: float
    """When its cause was gone: the process ready again, the link healed."""
    late_until: float
    """What became due since `began` has been attempted by then, on a calm machine."""
    doubles: bool
    """An answer may have been lost, so a batch may come once more."""
    frozen: int | None = None
    """The replica that was stopped meanwhile."""
    lost_since: float | None = None
    """Redis has forgotten what it did from this moment to the end."""

    @property
    def fails_over(self) -> bool:
        """Whether another primary took over, which may lack the last that nobody waited for."""
        return self.kind.startswith("primary")


@dataclass(frozen=True)
class Scene:
    """What a fault is done to. `extent` in [0, 1) says how long or how far."""

    fleet: Fleet
    victim: Replica
    extent: float
    chance: random.Random

    def between(self, low_s: float, high_s: float) -> float:
        return low_s + (high_s - low_s) * self.extent


@dataclass(frozen=True)
class Kind:
    lane: Lane
    perform: Callable[[Scene], None]
    grace_s: float = 0.0
    """Counts from the end of the cause …"""
    leases: bool = False
    """… or it is what a death costs, which counts from the beginning: the lease and 1 s …"""
    unseen: bool = False
    """… or nothing: nobody may notice."""
    doubles: bool = True
    freezes: bool = False
    forgets: bool = False
    """Redis loses what it did meanwhile; only where losses are allowed."""
    stores: tuple[StoreKind, ...] = ("single", "cluster", "sentinel")


def perform(name: str, scene: Scene) -> Fault:
    """Do it, wait for its end, write it down."""
    kind = KINDS[name]
    began = time.monotonic()
    kind.perform(scene)
    ended = time.monotonic()
    late_until = began if kind.unseen else ended + kind.grace_s
    if kind.leases:
        late_until = began + scene.fleet.lease_s + 1.0
    frozen = scene.victim.index if kind.freezes else None
    lost_since = began if kind.forgets else None
    return Fault(name, began, ended, late_until, kind.doubles, frozen, lost_since)


# Replicas


def _restart(replica: Replica) -> None:
    replica.service.start(ready=False)
    wait_until(lambda: replica.service.ready, f"{replica.name} is ready", READY_S)


def _kill(scene: Scene) -> None:
    scene.victim.service.kill()
    until(time.monotonic() + scene.between(0, 2 * scene.fleet.lease_s))
    _restart(scene.victim)


def _kill_all(scene: Scene) -> None:
    for replica in scene.fleet.replicas:
        replica.service.kill()
    for replica in scene.fleet.replicas:
        replica.service.start(ready=False)
    for replica in scene.fleet.replicas:
        wait_until(lambda one=replica: one.service.ready, f"{replica.name} is ready", READY_S)  # type: ignore[misc]


def _roll(scene: Scene) -> None:
    status = scene.victim.service.stop()
    assert status == 0, f"{scene.victim.name} ended with {status}"
    until(time.monotonic() + scene.between(0, 1))
    _restart(scene.victim)


def _frozen_for(leases: float) -> Callable[[Scene], None]:
    def freeze(scene: Scene) -> None:
        scene.victim.freeze()
        until(time.monotonic() + leases * scene.fleet.lease_s)
        scene.victim.thaw()

    return freeze


# Valkey


def _valkey_killed(scene: Scene) -> None:
    valkey = scene.fleet.redis
    valkey.kill()
    until(time.monotonic() + scene.between(0, 2))
    valkey.start()


def _valkey_frozen(scene: Scene) -> None:
    with scene.fleet.redis.frozen():
        until(time.monotonic() + scene.between(2, 5))


def _power_cut(scene: Scene) -> None:
    valkey = scene.fleet.redis
    kept_bytes = valkey.written_bytes()
    until(time.monotonic() + FORGOTTEN_S)
    valkey.cut_power(kept_bytes)
    valkey.start()


def _scripts_flushed(scene: Scene) -> None:
    with scene.fleet.redis.client() as client:
        client.script_flush()


def _clients_cut(scene: Scene) -> None:
    with scene.fleet.redis.client() as client:
        # A kill that finds nobody is an error to redis-py.
        for kind in ("normal", "pubsub")[: scene.chance.choice((1, 2))]:
            with suppress(redis.ResponseError):
                client.client_kill_filter(_type=kind, skipme=True)


def _valkey_full(scene: Scene) -> None:
    scene.fleet.redis.configure(maxmemory=1)
    until(time.monotonic() + 2)
    scene.fleet.redis.configure(maxmemory=0)


# Links and the webhook


def _apart_from_redis(scene: Scene) -> None:
    mode = scene.chance.choice((Mode.HOLD, Mode.DROP, Mode.RESET))
    with scene.victim.to_redis.disturbed(mode):
        until(time.monotonic() + scene.between(0.5, 2.5 * scene.fleet.lease_s))


def _far_from_redis(scene: Scene) -> None:
    with scene.victim.to_redis.disturbed(Mode.DELAY, scene.between(0.02, 0.2)):
        until(time.monotonic() + 3)


def _apart_from_webhook(scene: Scene) -> None:
    mode = scene.chance.choice((Mode.DROP, Mode.RESET))
    with scene.victim.to_webhook.disturbed(mode):
        until(time.monotonic() + scene.between(0.5, 4))


def _answering(*answers: Answer) -> Callable[[Scene], None]:
    def disturb(scene: Scene) -> None:
        scene.fleet.receiver.mix = lambda: scene.chance.choice(answers)
        until(time.monotonic() + scene.between(1, 4))
        scene.fleet.receiver.mix = None

    return disturb


KINDS: dict[str, Kind] = {
    "replica killed": Kind("replica", _kill, leases=True),
    "all replicas killed": Kind("replica", _kill_all, grace_s=3.0),
    "replica rolled": Kind("replica", _roll, doubles=False, unseen=True),
    "replica frozen for half a lease": Kind("replica", _frozen_for(0.5), leases=True, freezes=True),
    "replica frozen for a lease": Kind("replica", _frozen_for(1), leases=True, freezes=True),
    "replica frozen for three leases": Kind("replica", _frozen_for(3), leases=True, freezes=True),
    "Valkey killed": Kind("redis", _valkey_killed, grace_s=RECONNECT_S, stores=("single",)),
    "Valkey frozen": Kind("redis", _valkey_frozen, grace_s=RECONNECT_S, stores=("single",)),
    "power cut": Kind("redis", _power_cut, grace_s=RECONNECT_S, forgets=True, stores=("single",)),
    "scripts flushed": Kind(
        "redis", _scripts_flushed, doubles=False, unseen=True, stores=("single",)
    ),
    "clients cut": Kind("redis", _clients_cut, grace_s=RETRIED_S, stores=("single",)),
    "Valkey full": Kind("redis", _valkey_full, doubles=False, stores=("single",)),
    "replica apart from Redis": Kind(
        "redis", _apart_from_redis, grace_s=RECONNECT_S, stores=("single",)
    ),
    "replica far from Redis": Kind("redis", _far_from_redis, doubles=False, stores=("single",)),
    "primary killed": Kind(
        "redis",
        lambda scene: primary_killed(scene.fleet.store, scene.chance),
        grace_s=FAILED_OVER_S,
        stores=("cluster", "sentinel"),
    ),
    "primary killed ahead of its replica": Kind(
        "redis",
        lambda scene: primary_killed_ahead(scene.fleet.watched),
        grace_s=FAILED_OVER_S,
        forgets=True,
        stores=("sentinel",),
    ),
    "primary handed over": Kind(
        "redis",
        lambda scene: handed_over(scene.fleet.store, scene.chance),
        grace_s=FAILED_OVER_S,
        stores=("cluster", "sentinel"),
    ),
    "slots moved": Kind(
        "redis",
        lambda scene: slots_moved(scene.fleet.store, scene.chance, SHARDS),
        grace_s=RECONNECT_S,
        stores=("cluster",),
    ),
    "replica apart from the webhook": Kind("receiver", _apart_from_webhook, grace_s=RETRIED_S),
    "webhook fails": Kind(
        "receiver", _answering(OK, reply(500), reply(503), reply(429)), doubles=False
    ),
    "webhook hangs": Kind("receiver", _answering(OK, OK, HANG), doubles=False),
    "webhook slow": Kind("receiver", _answering(slow(0.2), slow(0.5)), doubles=False),
    "webhook resets": Kind("receiver", _answering(OK, CLOSE), doubles=False),
}


def kinds_of(store: StoreKind, *, lossy: bool = False) -> tuple[str, ...]:
    """What can be done to a fleet with this store; without `lossy`, nothing that may lose."""
    return tuple(
        name for name, kind in KINDS.items() if store in kind.stores and (lossy or not kind.forgets)
    )
