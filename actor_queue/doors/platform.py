"""What an adapter is: two pure functions. The table of them is `actor_queue.doors.PLATFORMS`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from actor_queue.core.doors import Door
from actor_queue.doors.reading import Node
from actor_queue.doors.vocabulary import Action


class Request(msgspec.Struct, frozen=True):
    """A webhook as it came: `headers` by lower-case name, as text in Latin-1."""

    headers: Mapping[str, str]
    body: bytes


class Verify(Protocol):
    """Whether the platform has signed a request. None: it shows nothing that could be judged."""

    def __call__(self, request: Request, door: Door, now_s: float) -> bool | None: ...


class Read(Protocol):
    """What the event asks for, in the order of the event. Never raises, whatever the event is.

    `now_s` is in Unix seconds.
    """

    def __call__(self, event: Node, door: Door, now_s: float) -> Iterator[Action]: ...


@dataclass(frozen=True, slots=True)
class Adapter:
    """One platform."""

    verify: Verify
    read: Read


def is_old(sent_s: int | None, door: Door, now_s: float) -> bool:
    """Whether a message is too old to be answered. One without a time is not."""
    return sent_s is not None and now_s - sent_s > door.max_age_s
