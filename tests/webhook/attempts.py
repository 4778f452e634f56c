"""Attempts made by a real client on a real receiver, and what came of them."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Awaitable, Callable

import trio

from actor_queue.core.batch import Batch
from actor_queue.core.outcome import Failed, Outcome
from actor_queue.webhook.client import WebhookClient
from tests.webhook.receiver import Behaviour, Connection, Receiver, receiving

SOON_S = 0.2
"""A deadline for receivers that never answer."""
AMPLE_S = 10.0


def batch(batch_id: str = "b1", text: str = "oi") -> Batch:
    original = json.dumps({"user": "u", "message": text}).encode()
    return Batch(
        id=batch_id,
        user="u",
        seq=1,
        reason="quiet",
        mode="classic",
        first_at_ms=1,
        last_at_ms=1,
        due_at_ms=1,
        closed_at_ms=1,
        stored=(b'[1,1,"m",' + original + b"]",),
    )


def run(main: Callable[[], Awaitable[None]]) -> None:
    """To its end within ten seconds, leaving nothing for the garbage collector to complain of."""

    async def bounded() -> None:
        with trio.fail_after(AMPLE_S):
            await main()

    trio.run(bounded)
    gc.collect()


def attempts(
    behaviour: Behaviour, deadline_s: float = AMPLE_S, times: int = 1
) -> tuple[list[Outcome], Receiver]:
    """The outcomes of attempts made one after the other, and what the receiver saw."""
    outcomes: list[Outcome] = []
    seen: list[Receiver] = []

    async def main() -> None:
        async with receiving(behaviour) as receiver, WebhookClient(receiver.url) as client:
            seen.append(receiver)
            outcomes.extend([await client.deliver(batch(), deadline_s) for _ in range(times)])

    run(main)
    return outcomes, seen[0]


def failure(behaviour: Behaviour, deadline_s: float = AMPLE_S) -> Failed:
    [outcome], _ = attempts(behaviour, deadline_s)
    assert isinstance(outcome, Failed)
    assert "hidden" not in outcome.reason
    return outcome


def open_sockets() -> int:
    held = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            held += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
        except OSError:
            continue
    return held


async def stay(connection: Connection) -> None:
    await connection.wait_until_client_closes()


async def say_nothing(connection: Connection) -> None:
    await connection.read_request()
    await stay(connection)
