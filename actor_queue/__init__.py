"""Collects bursts of chat messages durably in Redis and sends each burst as one ordered batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actor_queue.app.queue import ActorQueue, QueueFull
    from actor_queue.core.admission import Refused
    from actor_queue.core.batch import Batch
    from actor_queue.core.outcome import Delivered, Failed
    from actor_queue.core.settings import Settings, SettingsError
    from actor_queue.store.api import StoreMisconfigured, StoreUnavailable

__all__ = [
    "ActorQueue",
    "Batch",
    "Delivered",
    "Failed",
    "QueueFull",
    "Refused",
    "Settings",
    "SettingsError",
    "StoreMisconfigured",
    "StoreUnavailable",
]

_HOMES = {
    "ActorQueue": "app.queue",
    "Batch": "core.batch",
    "Delivered": "core.outcome",
    "Failed": "core.outcome",
    "QueueFull": "app.queue",
    "Refused": "core.admission",
    "Settings": "app.environment",
    "SettingsError": "core.settings",
    "StoreMisconfigured": "store.api",
    "StoreUnavailable": "store.api",
}


def __getattr__(name: str) -> object:
    """Import a part when it is asked for: the command line waits for nothing it does not use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"actor_queue.{_HOMES[name]}"), name)
