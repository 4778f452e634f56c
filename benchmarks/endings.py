"""How a batch ends: an ack after a receiver's answer, or a `done` that comes later. One process.

`python -m benchmarks.endings KIND BATCHES URL`: the store as in the service, over a real
Valkey. Batches are brought under way beforehand, and only their ends are measured.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import trio

from actor_queue.core.answers import Ticket
from actor_queue.core.batch import Attempt, batch_id
from actor_queue.core.message import Message
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.store.api import Lease
from actor_queue.store.keys import Keys
from actor_queue.store.needs import needs_of
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.transport.connect import runner_for

AT_ONCE = 50
"""Ends under way at the same time, so that they share round trips as in the service."""
LEASE_MS = 3_600_000
WITHIN_MS = 600_000
REPLICA = "r-1"

End = Callable[[Attempt], Awaitable[object]]
T = TypeVar("T")


async def measure(kind: str, batches: int, url: str) -> dict[str, float]:
    """CPU µs of this process per end."""
    settings = Settings(redis_url=url)
    needs = needs_of(Keys(settings.namespace, settings.shards).meta, settings.shards, FORMAT)
    runner = runner_for(url, needs)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.serve)
        await runner.prepare()
        store = RedisStore(runner, settings, replica=REPLICA)
        attempts = await _under_way(store, settings, batches)
        if kind != "ack":
            await _at_once(attempts, lambda each: store.answering(each, WITHIN_MS))
        end = _end(kind, store)
        print(json.dumps({"ready": True}), flush=True)
        sys.stdin.readline()
        began_cpu, began = time.process_time(), time.monotonic()
        await _at_once(attempts, end)
        result = {
            "cpu_us": (time.process_time() - began_cpu) / batches * 1e6,
            "wall_us": (time.monotonic() - began) / batches * 1e6,
        }
        nursery.cancel_scope.cancel()
    return result


def _end(kind: str, store: RedisStore) -> End:
    if kind == "ack":
        return lambda attempt: store.ack(attempt, 200)
    latest = kind == "latest"

    def done(attempt: Attempt) -> Awaitable[object]:
        batch = attempt.batch
        expires_at_ms = attempt.claimed_at_ms + WITHIN_MS
        ticket = Ticket(batch.key, batch.id, attempt.token, expires_at_ms)
        return store.answer_done(ticket, only_latest=latest)

    return done


async def _under_way(store: RedisStore, settings: Settings, batches: int) -> list[Attempt]:
    """One message each of so many users, claimed."""
    shards = list(range(settings.shards))
    held = await store.acquire(shards, REPLICA, "nonce", LEASE_MS)
    leases = {lease.shard: lease for lease in held if isinstance(lease, Lease)}
    users = [f"joao-{number:09}" for number in range(batches)]
    attempts: list[Attempt] = []

    async def bring(user: str) -> None:
        shard = shard_of(user, settings.shards)
        name = batch_id(shard, secrets.token_hex(10))
        claim = await store.claim(leases[shard], user, f"{REPLICA}/{name}", name)
        assert isinstance(claim, Attempt), claim
        attempts.append(claim)

    for first in range(0, batches, AT_ONCE):
        some = users[first : first + AT_ONCE]
        text = b'{"message": "Sua mensagem aqui"}'
        await store.append([Message(user, text, 0, secrets.token_hex(8), False) for user in some])
    await _at_once(users, bring)
    return attempts


async def _at_once(all_of_them: Iterable[T], work: Callable[[T], Awaitable[object]]) -> None:
    left = iter(all_of_them)

    async def worker() -> None:
        for each in left:
            await work(each)

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(worker)


if __name__ == "__main__":
    figures = trio.run(measure, sys.argv[1], int(sys.argv[2]), sys.argv[3])
    print(json.dumps(figures))
