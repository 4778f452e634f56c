"""Several replicas as one service: each with links of its own to one Valkey and one receiver.

In place of the Valkey there can be a cluster, or a primary behind sentinels; these name their own
addresses, so there are no links to them.

Owns the processes and what is known about them from outside. Does nothing to them by itself.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from actor_queue.core.conversation import DEFAULT_ROUTE
from tests.acceptance.client import Client
from tests.acceptance.history import Journal
from tests.acceptance.receiver import Attempt, Receiver, receiving
from tests.acceptance.redis_process import RedisProcess
from tests.acceptance.service import Service
from tests.acceptance.waiting import wait_for_delivery, wait_until
from tests.chaos.balancer import Balancer
from tests.chaos.link import Link, linked
from tests.chaos.witness import Sample, Witness, witnessing
from tests.redis_topologies import Cluster, Watched, cluster, watched
from tests.servers import running, valkey_binary

StoreKind = Literal["single", "cluster", "sentinel"]

LEASE_S = 2.0
SHARDS = 16
VARIABLES = {
    "AQ_LEASE_TTL": f"{LEASE_S:g}",
    "AQ_SHARDS": str(SHARDS),
    # An attempt's limit is a second more, which is the lease.
    "AQ_WEBHOOK_TIMEOUT": "1",
    # No fault here lasts for so long that a batch may die of it.
    "AQ_RETRY_SCHEDULE": ",".join(["0.2", "0.4", *["1"] * 60]),
}

DURABLE = {"AQ_DURABILITY": "replica"}
"""Where a failover may forget what only the primary had."""
CONFIG = "aq.toml"
"""In a replica's directory, where there are routes."""
STARTS_MAX = 3
SETTLED_LEASES = 8
"""Within so many leases, at the latest, shards are where they belong: an eighth moves at a time."""
EACH_WRITE = ("--appendonly", "yes", "--appendfsync", "always")
EACH_SECOND = ("--appendonly", "yes", "--appendfsync", "everysec")


class Valkey(RedisProcess):
    """With a durability of the caller's choice."""

    def __init__(self, directory: Path, options: Sequence[str]) -> None:
        super().__init__(directory)
        self._options = options

    def start(self) -> None:
        """On the files that are there, and ready for commands when this returns."""
        assert self._server is None
        for left in reversed(range(STARTS_MAX)):
            started = running(valkey_binary(), "valkey", self._directory, *self._options)
            try:
                self._server = self._stack.enter_context(started)
            except RuntimeError:
                # A busy machine may need longer than a start is waited for.
                if not left:
                    raise
            else:
                return

    @property
    def socket_path(self) -> str:
        return str(self._directory / "s.sock")

    def written_bytes(self) -> int:
        """How much of the append-only file is there."""
        return self._tail().stat().st_size

    def cut_power(self, left_bytes: int) -> None:
        """Gone, with everything that was written to the file since it had this size."""
        self.kill()
        os.truncate(self._tail(), left_bytes)

    def _tail(self) -> Path:
        (found,) = self._directory.glob("appendonlydir/*.incr.aof")
        return found


@dataclass
class Replica:
    """One `serve`, and its ways to the others."""

    index: int
    service: Service
    to_webhook: Link
    link: Link | None = None
    """To the Valkey."""
    to_routes: dict[str, Link] = field(default_factory=dict)
    """To the receivers of the other routes."""

    @property
    def name(self) -> str:
        return f"replica {self.index}"

    @property
    def alive(self) -> bool:
        return self.service.process is not None

    def made(self, attempt: Attempt) -> bool:
        return attempt.headers["host"].endswith(f":{self.to_webhook.port}")

    @property
    def to_redis(self) -> Link:
        assert self.link is not None, "there is no single Redis"
        return self.link

    def freeze(self) -> None:
        self.service.freeze()

    def thaw(self) -> None:
        os.kill(self.service.running.pid, signal.SIGCONT)

    def ids(self) -> set[str]:
        """What it called itself, over all its lives."""
        records = [json.loads(line) for line in self.service.log().splitlines()]
        return {record["replica"] for record in records if "replica" in record}


Store = Valkey | Cluster | Watched


@dataclass
class Fleet:
    """Use with `fleet`."""

    replicas: list[Replica]
    store: Store
    receiver: Receiver
    journal: Journal
    client: Balancer
    lease_s: float
    workers: int = 1
    """Of each replica, which are replicas themselves."""
    eye: Witness | None = None
    """Looks at the Valkey."""
    receivers: dict[str, Receiver] = field(default_factory=dict)
    """Of all routes; `receiver` is the default one's."""
    _grow: Callable[[], Replica] = field(repr=False, default=lambda: NotImplemented)

    @property
    def redis(self) -> Valkey:
        assert isinstance(self.store, Valkey), "there is no single Redis"
        return self.store

    @property
    def watched(self) -> Watched:
        assert isinstance(self.store, Watched), "there are no sentinels"
        return self.store

    @property
    def witness(self) -> Witness:
        assert self.eye is not None, "there is no single Redis"
        return self.eye

    @property
    def attempts(self) -> list[Attempt]:
        return list(self.receiver.attempts)

    @property
    def samples(self) -> list[Sample]:
        return [] if self.eye is None else list(self.eye.samples)

    def join(self) -> Replica:
        """One more, started and ready."""
        return self._grow()

    def owner_of(self, shard: int) -> Replica:
        """Who owns it now, said by Redis."""
        return self.indexed()[self.witness.look().owners[shard] or ""]

    def indexed(self) -> dict[str, Replica]:
        """Every id that any of them had."""
        return {name: replica for replica in self.replicas for name in replica.ids()}

    def made_by(self, replica: Replica) -> list[Attempt]:
        return [attempt for attempt in self.attempts if replica.made(attempt)]

    def heal(self) -> None:
        """Everything runs and reaches everything."""
        self.receiver.mix = None
        for replica in self.replicas:
            for way in (replica.to_webhook, *replica.to_routes.values()):
                way.heal()
            if replica.link is not None:
                replica.link.heal()
        for replica in self.replicas:
            if replica.alive:
                replica.thaw()
            else:
                replica.service.start()
            wait_until(lambda one=replica: one.service.ready, f"{replica.name} is ready", 20)  # type: ignore[misc]

    def drain(self, within_s: float = 30.0, gone: Collection[str] = ()) -> None:
        """Until all that was accepted, but for `gone`, is delivered and nobody waits any more."""
        wait_for_delivery(self.journal, self.receiver, within_s, gone)
        client = self.replicas[0].service.client
        wait_until(lambda: client.get("/api/users").json()["users"] == [], "nobody waits")
        assert client.dead_ids() == set()

    def balanced(self) -> str | None:
        """Why the shards are not owned as they should be; None when they are.

        Every shard by exactly one, nobody with more than a quarter (or one) above the fair
        share, and every replica says the same.
        """
        alive = [replica for replica in self.replicas if replica.alive]
        names = {}
        for replica in alive:
            answer = replica.service.client.get("/api/shards")
            if answer.status != 200:
                return f"{replica.name} answers {answer.status}"
            names[replica.index] = [shard["owner"] for shard in answer.json()["shards"]]
        owners = names[alive[0].index]
        if any(each != owners for each in names.values()):
            return "they disagree"
        if None in owners:
            return f"shard {owners.index(None)} is nobody's"
        counts = [owners.count(name) for name in set(owners)]
        members = len(alive) * self.workers
        fair = math.ceil(len(owners) / members)
        if len(counts) != members or max(counts) > max(fair * 1.25, fair + 1):
            return f"shares are {sorted(counts)}"
        return None

    def settle(self, within_s: float = 15.0) -> float:
        """The moment since which the shards are owned as they should be."""
        deadline = time.monotonic() + within_s
        while (reason := self.balanced()) is not None:
            assert time.monotonic() < deadline, f"after {within_s:g} s still: {reason}"
            time.sleep(0.05)
        return time.monotonic()


@contextmanager
def fleet(
    size: int,
    variables: Mapping[str, str] | None = None,
    *,
    kind: StoreKind = "single",
    options: Sequence[str] = EACH_WRITE,
    store: Store | None = None,
    routes: Mapping[str, str] | None = None,
    named: bool = True,
) -> Iterator[Fleet]:
    """`size` replicas that share everything, ready. At the end their logs are looked through.

    `store` is another fleet's, of the same kind, of which this one has a namespace of its own.
    `routes` have a receiver each, and what their tables say besides its address; without `named`
    no replica is told of them.
    """
    with ExitStack() as stack:
        receivers = {
            name: stack.enter_context(receiving()) for name in (DEFAULT_ROUTE, *(routes or {}))
        }
        if store is None:
            store = stack.enter_context(_store(kind, options))
        settings = {**VARIABLES, **(DURABLE if kind != "single" else {}), **(variables or {})}
        journal, replicas = Journal(), list[Replica]()

        def grow(more: int = 1) -> Replica:
            for _ in range(more):
                replica = _replica(stack, len(replicas), store, receivers, journal, settings)
                if routes:
                    file = _configure(stack, replica, receivers, routes)
                    config = {"AQ_CONFIG": str(file)} if named else {}
                    replica.service.variables = {**replica.service.variables, **config}
                replicas.append(replica)
                replica.service.launch()
            for replica in replicas[-more:]:
                replica.service.arrive()
                balancer.ports.append(replica.service.port)
            return replica

        balancer = Balancer(0, journal, chance=random.Random(size))
        eye = None
        if isinstance(store, Valkey):
            eye = stack.enter_context(witnessing(store.socket_path, int(settings["AQ_SHARDS"])))
        lease_s, workers = float(settings["AQ_LEASE_TTL"]), int(settings.get("AQ_WORKERS", 1))
        whole = Fleet(
            replicas,
            store,
            receivers[DEFAULT_ROUTE],
            journal,
            balancer,
            lease_s,
            workers,
            eye,
            receivers,
            grow,
        )
        grow(size)
        whole.settle(SETTLED_LEASES * lease_s)
        yield whole


def _replica(
    stack: ExitStack,
    index: int,
    store: Store,
    receivers: Mapping[str, Receiver],
    journal: Journal,
    settings: Mapping[str, Any],
) -> Replica:
    link = None
    if isinstance(store, Valkey):
        link = stack.enter_context(linked(store.socket_path))
        url = f"redis://127.0.0.1:{link.port}"
    else:
        url = store.url
    to_webhook = stack.enter_context(linked(receivers[DEFAULT_ROUTE].port))
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="aq-"))
    variables = {
        "REDIS_URL": url,
        "WEBHOOK_URL": f"http://127.0.0.1:{to_webhook.port}/hook",
        **settings,
    }
    service = Service(Path(directory), variables, client=Client(0, journal))
    stack.push(service.closing)
    return Replica(index, service, to_webhook, link)


def _configure(
    stack: ExitStack, replica: Replica, receivers: Mapping[str, Receiver], routes: Mapping[str, str]
) -> Path:
    """Links of its own to the routes' receivers, and the file that names them."""
    tables = []
    for name, more in routes.items():
        link = stack.enter_context(linked(receivers[name].port))
        replica.to_routes[name] = link
        tables.append(f'[routes.{name}]\nurl = "http://127.0.0.1:{link.port}/hook"\n{more}\n')
    file = replica.service.directory / CONFIG
    file.write_text("\n".join(tables))
    return file


@contextmanager
def _store(kind: StoreKind, options: Sequence[str]) -> Iterator[Store]:
    match kind:
        case "single":
            with _valkey(options) as valkey:
                yield valkey
        case "cluster":
            with cluster() as made:
                yield made
        case "sentinel":
            with watched(replicas=1) as made:
                yield made


@contextmanager
def _valkey(options: Sequence[str]) -> Iterator[Valkey]:
    # Short, because the path of a unix socket may have no more than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="aq-", ignore_cleanup_errors=True) as name:
        valkey = Valkey(Path(name), options)
        valkey.start()
        try:
            yield valkey
        finally:
            valkey.close()
