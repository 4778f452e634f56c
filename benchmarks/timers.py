"""What a timer costs: starting it, resetting it, letting it run out. One process, no Redis.

The engine runs as in the service; only the store behind it is a stand-in that answers at once. A
push beyond the horizon touches no timer, so the differences to it are the timers' own.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import trio

from actor_queue.core.message import Accepted, Message
from actor_queue.core.outcome import Delivered
from actor_queue.core.settings import Settings
from actor_queue.runtime.engine import Engine
from actor_queue.store.api import DueUser, Lease, Nothing, Replica, Store
from actor_queue.testing.memory import memory_store
from benchmarks import processes
from benchmarks.figures import Result

USERS = 20_000
USERS_QUICK = 5_000
WITHIN_MS = 60_000
BEYOND_MS = 3_600_000
POLL_S = 0.001
AT_ONCE = 200
"""Messages in one push, as in the bulk road."""

METHOD = f"""\
The engine over a stand-in store that answers at once; {AT_ONCE} messages a push; CPU of the
process per user. A push of users beyond the horizon is the baseline: what starting or resetting a
timer costs is the difference to it. Running out contains the claim that finds nothing, and the
end of the task."""


class Stub:
    """A store that answers at once on the way of a message; of the rest, an empty one in memory."""

    replica = "r-1"

    def __init__(self) -> None:
        self.next_in_ms = WITHIN_MS
        self._rest = memory_store(Settings(), clock=lambda: time.time_ns() // 1_000_000)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rest, name)

    async def append(self, messages: Sequence[Message]) -> list[Accepted]:
        after = self.next_in_ms
        return [Accepted(m.user, m.message_id, 1, after, False, after) for m in messages]

    async def listen(self, *_: object) -> None:
        await trio.sleep_forever()

    async def claim(self, *_: object) -> Nothing:
        return Nothing()

    async def due(self, shards: Sequence[int], *_: object) -> list[list[DueUser]]:
        return [[] for _ in shards]

    async def acquire(
        self, shards: Sequence[int], replica: str, nonce: str, ttl_ms: int
    ) -> list[Lease]:
        return [Lease(shard, 1, nonce) for shard in shards]

    async def renew(self, leases: Sequence[Lease], ttl_ms: int) -> list[bool]:
        return [True for _ in leases]

    async def heartbeat(self, replica: str, ttl_ms: int) -> list[Replica]:
        return [Replica(replica, 0)]

    async def release(self, *_: object) -> None: ...

    async def leave(self, replica: str) -> None: ...

    def trouble(self) -> str | None:
        return None


def run(quick: bool) -> Result:
    """No targets: figures to keep an eye on."""
    users, rounds = (USERS_QUICK, 2) if quick else (USERS, 5)
    result = Result("What a timer costs", METHOD)
    measured = [_in_a_process(users) for _ in range(rounds)]
    for name in measured[0]:
        unit = "bytes/user" if name.startswith("memory") else "µs/user"
        result.add(f"{name} ({users:,} users)", unit, [each[name] for each in measured])
    return result


def _in_a_process(users: int) -> dict[str, float]:
    process = processes.start(
        processes.python("timers", str(users)),
        core=processes.SERVICE_CORE,
        stdout=subprocess.PIPE,
    )
    return processes.finish_load(process)


async def measure(users: int) -> dict[str, float]:
    """CPU µs per user; bytes per user."""
    stub = Stub()
    engine = Engine(Settings(), cast(Store, stub), _delivered)
    async with engine.running():
        await _until(lambda: engine.shards_owned == engine.settings.shards)
        gc.collect()
        gc.freeze()
        stub.next_in_ms = BEYOND_MS
        baseline = await _push_all(engine, users, "beyond")
        before = _rss_bytes()
        stub.next_in_ms = WITHIN_MS
        started = await _push_all(engine, users, "within")
        memory = _rss_bytes() - before
        assert engine.actors == users
        reset = await _push_all(engine, users, "within")
        stub.next_in_ms = 0
        over = await _push_all(engine, users, "within", until=lambda: engine.actors == 0)
    return {
        "push without a timer": baseline,
        "starting a timer": started - baseline,
        "resetting a timer": reset - baseline,
        "a timer running out": over - baseline,
        "memory of a timer": memory / users,
    }


async def _push_all(
    engine: Engine, users: int, prefix: str, until: Callable[[], bool] = lambda: True
) -> float:
    """CPU µs per user, the tasks' first steps included; ends when `until` holds."""
    pushes = [
        [
            Message(f"{prefix}-{user}", b"{}", WITHIN_MS, f"m-{user}", False)
            for user in range(first, first + AT_ONCE)
        ]
        for first in range(0, users, AT_ONCE)
    ]
    begin = time.process_time()
    for messages in pushes:
        await engine.push(messages)
        await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    await _until(until)
    return (time.process_time() - begin) / users * 1e6


async def _until(reached: Callable[[], bool]) -> None:
    while not reached():  # the engine has no signal for it
        await trio.sleep(POLL_S)


async def _delivered(*_: object) -> Delivered:
    return Delivered(200)


def _rss_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    figures: dict[str, Any] = trio.run(measure, int(sys.argv[1]))
    print(json.dumps(figures))
