"""Collects bursts of chat messages durably in Redis and sends each burst as one ordered batch.

`ActorQueue` is the queue for a program on Trio. On asyncio take `actor_queue.aio.ActorQueue`, which
has the same methods. `actor_queue.testing` has a queue without a server, whose clock a test moves.

    import trio
    from actor_queue import ActorQueue, Batch, Settings

    async def answer(batch: Batch) -> None:
        print(batch.user, batch.messages)

    async def main() -> None:
        async with ActorQueue(Settings(redis_url="redis://localhost"), deliver=answer) as queue:
            await queue.push("joao.silva", "Oi", ttl=2)
            await trio.sleep(3)

    trio.run(main)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actor_queue.app.deliver import DeliverCallback
    from actor_queue.app.queue import ActorQueue
    from actor_queue.app.verbs import NotChanged, OnHold, QueueFull, TooLate, Typing
    from actor_queue.core.admission import Refused
    from actor_queue.core.batch import Batch, Item
    from actor_queue.core.message import Accepted
    from actor_queue.core.outcome import Delivered, Failed
    from actor_queue.core.settings import Settings, SettingsError
    from actor_queue.store.answers_api import Answered
    from actor_queue.store.api import (
        AttemptRecord,
        BatchSummary,
        DeadLetter,
        DeadPage,
        Dropped,
        StoreMisconfigured,
        StoreUnavailable,
        UserPage,
        UserView,
    )
    from actor_queue.store.changes_api import Changed

    __version__: str

__all__ = [
    "Accepted",
    "ActorQueue",
    "Answered",
    "AttemptRecord",
    "Batch",
    "BatchSummary",
    "Changed",
    "DeadLetter",
    "DeadPage",
    "DeliverCallback",
    "Delivered",
    "Dropped",
    "Failed",
    "Item",
    "NotChanged",
    "OnHold",
    "QueueFull",
    "Refused",
    "Settings",
    "SettingsError",
    "StoreMisconfigured",
    "StoreUnavailable",
    "TooLate",
    "Typing",
    "UserPage",
    "UserView",
    "__version__",
]

_HOMES = {
    "Accepted": "core.message",
    "ActorQueue": "app.queue",
    "Answered": "store.answers_api",
    "AttemptRecord": "store.api",
    "Batch": "core.batch",
    "BatchSummary": "store.api",
    "Changed": "store.changes_api",
    "DeadLetter": "store.api",
    "DeadPage": "store.api",
    "Delivered": "core.outcome",
    "DeliverCallback": "app.deliver",
    "Dropped": "store.api",
    "Failed": "core.outcome",
    "Item": "core.batch",
    "NotChanged": "app.verbs",
    "OnHold": "app.verbs",
    "QueueFull": "app.verbs",
    "Refused": "core.admission",
    # There it learns to read the environment.
    "Settings": "app.environment",
    "SettingsError": "core.settings",
    "StoreMisconfigured": "store.api",
    "StoreUnavailable": "store.api",
    "TooLate": "app.verbs",
    "Typing": "app.verbs",
    "UserPage": "store.api",
    "UserView": "store.api",
}


def __getattr__(name: str) -> object:
    """Import a part when it is asked for: the command line waits for nothing it does not use."""
    from importlib import import_module, metadata

    if name == "__version__":
        found: object = metadata.version("actor-queue")
    elif name in _HOMES:
        found = getattr(import_module(f"actor_queue.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
