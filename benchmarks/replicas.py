"""Several replicas: failover, hand-over, a rolling restart, and what ownership costs at rest."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from actor_queue.core.shard import shard_of
from benchmarks import processes
from benchmarks.figures import Arrival, Result, Target, arrivals, quantile
from benchmarks.processes import Listening, Valkey

LEASE_S = 2.0
SHARDS = 64
SETTLE_TIMEOUT_S = 30.0
POLL_S = 0.05
LOG_BYTES_MAX = 1 << 20
ARRIVE_S = 15.0

KILLS = 20
KILLS_QUICK = 3
KILL_USERS = 600
HANDOVERS = 5
HANDOVER_USERS = 1_000
HANDOVER_SPREAD_S = 3.0
ROLLED = 5
PER_SECOND = 200
SENDERS = 8
ROLL_TTL_S = 0.5
REST_S = 30.0
REST_SHARDS = 256
REST_REPLICAS = 5

METHOD = f"""\
All replicas share core 0. Lateness counts from `batch.due_at` of the detailed body to the
receiver. **Failover**: three replicas, {SHARDS} shards, `AQ_LEASE_TTL` {LEASE_S:g};
{KILL_USERS} users become due from the kill -9 on, over two leases. It counts from the kill to the
first webhook of a user who became due after it and whose shard the dead replica owned; besides,
the greatest lateness of any such user. **Hand-over**: two replicas, one shard,
{HANDOVER_USERS:,} users in it who become due one after the other over {HANDOVER_SPREAD_S:g} s; in
the middle its owner gets SIGTERM. While nobody could fire, users became late by as much, so
their greatest lateness bounds that time. **Rolling restart**: five replicas, {PER_SECOND} messages
a second of as many users, ttl {ROLL_TTL_S:g}, through any replica and through another one when it
refuses; each replica in turn gets SIGTERM and is started again. **At rest**: {REST_REPLICAS}
replicas, {REST_SHARDS} shards, default `AQ_LEASE_TTL`, no messages, for {REST_S:g} s; what scripts
call is not counted."""


def run(quick: bool) -> Result:
    """Failover under the lease and a second, hand-over under 100 ms, nobody notices a roll."""
    result = Result("Several replicas", METHOD)
    _failover(result, KILLS_QUICK if quick else KILLS)
    _handover(result, 1 if quick else HANDOVERS)
    _rolling(result, 1 if quick else 2)
    _rest(result, REST_S / 3 if quick else REST_S)
    return result


# A fleet


@dataclass(slots=True)
class Fleet:
    """Replicas between one Valkey and one receiver."""

    valkey: Valkey
    receiver: Listening
    dump: Path
    settings: dict[str, str]
    replicas: list[Listening] = field(default_factory=list)

    def start(self, place: int) -> None:
        """The replica at `place`, again on its port; ready when this returns."""
        port = self.replicas[place].port if place < len(self.replicas) else None
        running = processes.start_service(
            self.valkey.url, self.receiver.port, port=port, **self.settings
        )
        self.replicas[place : place + 1] = [running]
        processes.wait_ready(running)

    def stop(self) -> None:
        for replica in self.replicas:
            replica.stop()

    def name(self, place: int) -> str:
        """What the replica at `place` calls itself in this life."""
        log = self.replicas[place].log
        assert log is not None
        # Not by reading, which would move the place where the process writes.
        said = os.pread(log.fileno(), LOG_BYTES_MAX, 0)
        found = re.search(rb'"replica": ?"([^"]+)"', said)
        return "" if found is None else found[1].decode()

    def owners(self) -> list[str | None]:
        running = next(each for each in self.replicas if each.popen.poll() is None)
        answer = json.loads(processes.ask(running.port, "/api/shards"))
        return [shard["owner"] for shard in answer["shards"]]

    def settle(self) -> None:
        """Until every shard is owned, and where there are enough, by all of them."""
        shards = int(self.settings["AQ_SHARDS"])
        least = shards // len(self.replicas) // 2

        def shared() -> bool:
            owners = self.owners()
            everybody = {self.name(place) for place in range(len(self.replicas))}
            return {*owners} <= everybody and all(owners.count(n) >= least for n in everybody)

        _wait(shared, "the shards are shared")

    def arrived(self, users: int) -> list[Arrival]:
        """What came, once so many users' webhooks have."""
        _wait(lambda: self.count() >= users, f"{users} webhooks", ARRIVE_S)
        processes.ask(self.receiver.port, "/dump")
        return arrivals(self.dump)

    def count(self) -> int:
        return int(processes.ask(self.receiver.port, "/count"))


@contextmanager
def _fleet(size: int, shards: int, **settings: str) -> Iterator[Fleet]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aqb-")))
        dump = directory / "arrivals"
        receiver = stack.enter_context(processes.receiver(dump))
        valkey = stack.enter_context(processes.valkey())
        common = {"AQ_PAYLOAD": "detailed", "AQ_SHARDS": str(shards), **settings}
        fleet = Fleet(valkey, receiver, dump, common)
        stack.callback(fleet.stop)
        for place in range(size):
            fleet.start(place)
        fleet.settle()
        yield fleet


def _wait(reached: Callable[[], bool], what: str, within_s: float = SETTLE_TIMEOUT_S) -> None:
    deadline = time.monotonic() + within_s
    while not reached():
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {within_s:g} s still not: {what}")
        time.sleep(POLL_S)


def _post_all(port: int, users: Sequence[str], ttls_s: Sequence[float]) -> None:
    """One message for each, in one request."""
    lines = [
        json.dumps({"user": user, "message": "oi", "ttl": round(ttl_s, 3)})
        for user, ttl_s in zip(users, ttls_s, strict=True)
    ]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"content-type": "application/x-ndjson"}
    connection.request("POST", "/api/messages", "\n".join(lines), headers)
    results = connection.getresponse().read().splitlines()
    connection.close()
    if not all(json.loads(each).get("success") for each in results):
        raise RuntimeError("not every message was accepted")


def _late_ms(came: Sequence[Arrival]) -> list[float]:
    return sorted((each.at - each.due_at) * 1e3 for each in came if each.due_at is not None)


# Failover


def _failover(result: Result, kills: int) -> None:
    first_s, worst_s, twice = [], [], 0
    with _fleet(3, SHARDS, AQ_LEASE_TTL=f"{LEASE_S:g}") as fleet:
        for number in range(kills):
            place = number % 3
            users = [f"kill-{number}-{i}" for i in range(KILL_USERS)]
            ttls_s = [1 + 2 * LEASE_S * i / KILL_USERS for i in range(KILL_USERS)]
            began = time.monotonic()
            _post_all(fleet.replicas[(place + 1) % 3].port, users, ttls_s)
            time.sleep(max(0.0, began + 1 - time.monotonic()))
            owned = {s for s, owner in enumerate(fleet.owners()) if owner == fleet.name(place)}
            killed_at = time.time()
            fleet.replicas[place].kill()
            came = fleet.arrived(KILL_USERS)
            twice += len(came) - len({each.user for each in came})
            orphans = [each for each in came if shard_of(each.user, SHARDS) in owned]
            # Due before, it may have been on its way when its sender died.
            overdue = [each for each in orphans if (each.due_at or 0) > killed_at]
            first_s.append(min(each.at for each in overdue) - killed_at)
            worst_s.append(_late_ms(overdue)[-1] / 1e3)
            fleet.start(place)
            fleet.settle()
    target = Target("under", LEASE_S + 1)
    first_s.sort()
    result.add("failover, first overdue webhook: p50", "s", [quantile(first_s, 0.5)], target)
    result.add("failover, first overdue webhook: max", "s", [first_s[-1]], target)
    result.add("failover, latest user: max", "s", [max(worst_s)], target)
    result.add("failover: webhooks sent twice", "webhooks", [float(twice)])
    result.series["failover"] = {"first_s": first_s, "worst_s": worst_s}


# Hand-over


def _handover(result: Result, rounds: int) -> None:
    worst_ms, calm_ms, twice = [], [], []
    with _fleet(2, 1, AQ_LEASE_TTL=f"{LEASE_S:g}") as fleet:
        for number in range(rounds):
            place = 0 if fleet.owners() == [fleet.name(0)] else 1
            users = [f"over-{number}-{i}" for i in range(HANDOVER_USERS)]
            step_s = HANDOVER_SPREAD_S / HANDOVER_USERS
            ttls_s = [2 + step_s * i for i in range(HANDOVER_USERS)]
            began = time.monotonic()
            _post_all(fleet.replicas[1 - place].port, users, ttls_s)
            asked_s = began + 2 + HANDOVER_SPREAD_S / 2
            time.sleep(max(0.0, asked_s - time.monotonic()))
            asked_at = time.time()
            fleet.replicas[place].stop()
            came = fleet.arrived(HANDOVER_USERS)
            twice.append(float(len(came) - len({each.user for each in came})))
            before = [each for each in came if (each.due_at or 0) < asked_at - 0.2]
            calm_ms.append(_late_ms(before)[-1])
            worst_ms.append(_late_ms(came)[-1])
            fleet.start(place)
            fleet.settle()
    name = f"hand-over of {HANDOVER_USERS:,} users"
    result.add(f"{name}: greatest lateness", "ms", worst_ms, Target("under", 100))
    result.add(f"{name}: greatest lateness before it", "ms", calm_ms)
    result.add(f"{name}: webhooks sent twice", "webhooks", twice, Target("at most", 0))


# A rolling restart


@dataclass(slots=True)
class Senders:
    """A steady load through any replica that runs."""

    ports: list[int]
    number: Iterator[int] = field(default_factory=itertools.count)
    accepted: list[str] = field(default_factory=list)
    refused: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._send, args=(i,)) for i in range(SENDERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _send(self, seed: int) -> None:
        chance, every_s = random.Random(seed), SENDERS / PER_SECOND
        following = time.monotonic() + chance.uniform(0, every_s)
        while not self._over.wait(max(0.0, following - time.monotonic())):
            following += every_s
            user = f"roll-{next(self.number)}"
            message = {"user": user, "message": "oi", "ttl": ROLL_TTL_S, "message_id": user}
            while not _accepted(chance.choice(self.ports), json.dumps(message)):
                self.refused += 1
            self.accepted.append(user)


def _accepted(port: int, message: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        headers = {"content-type": "application/json"}
        connection.request("POST", "/api/message", message, headers)
        return connection.getresponse().status == 202
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _rolling(result: Result, rounds: int) -> None:
    late, twice, lost = [], [], []
    for _ in range(rounds):
        with _fleet(ROLLED, SHARDS) as fleet:
            senders = Senders([replica.port for replica in fleet.replicas])
            with senders.running():
                for place in range(ROLLED):
                    fleet.replicas[place].stop()
                    fleet.start(place)
            came = fleet.arrived(len(senders.accepted))
        late.append(_late_ms(came))
        users = {each.user for each in came}
        twice.append(float(len(came) - len(users)))
        lost.append(float(len({*senders.accepted} - users)))
    name = f"rolling restart of {ROLLED}"
    p99 = [quantile(each, 0.99) for each in late]
    result.add(f"{name}: p99 lateness", "ms", p99, Target("under", 250))
    result.add(f"{name}: greatest lateness", "ms", [each[-1] for each in late])
    result.add(f"{name}: webhooks sent twice", "webhooks", twice, Target("at most", 0))
    result.add(f"{name}: messages lost", "messages", lost, Target("at most", 0))


# At rest


def _rest(result: Result, seconds: float) -> None:
    with _fleet(REST_REPLICAS, REST_SHARDS) as fleet:
        time.sleep(5)
        before, began = [each.cpu_s() for each in fleet.replicas], time.monotonic()
        commands, valkey_s = _commands(fleet.valkey), fleet.valkey.process.cpu_s()
        time.sleep(seconds)
        took_s = time.monotonic() - began
        rate = (_commands(fleet.valkey) - commands) / took_s
        valkey = (fleet.valkey.process.cpu_s() - valkey_s) / took_s * 100
        busy = [
            (each.cpu_s() - cpu_s) / took_s * 100
            for each, cpu_s in zip(fleet.replicas, before, strict=True)
        ]
    name = f"at rest, {REST_REPLICAS} replicas, {REST_SHARDS} shards"
    result.add(f"{name}: CPU of a replica", "%", busy, Target("under", 1))
    result.add(f"{name}: CPU of Valkey", "%", [valkey])
    result.add(f"{name}: commands of all replicas", "1/s", [rate])


def _commands(valkey: Valkey) -> int:
    """How many commands clients have sent; what scripts call is not counted."""
    stats = valkey.command("INFO", "commandstats").decode()
    sent = re.findall(r"cmdstat_(evalsha|ping|subscribe|hello|wait|waitaof):calls=(\d+)", stats)
    return sum(int(calls) for _, calls in sent)
