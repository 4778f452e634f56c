"""What a server must be ready for before anything depends on it. The store says it, and a runner
sees to it without knowing what any of it means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from actor_queue.transport.runner import Call
from actor_queue.transport.script import Script
from actor_queue.transport.wire import Command


@dataclass(frozen=True, slots=True)
class Needs:
    """`probe` is a cheap write that tells whether writes are possible again.

    `rights` makes the call that asks which rights are missing, also those to the given commands,
    which are sent outside of scripts; `missing` makes one sentence of the reply, or None.
    """

    probe: Call
    scripts: Sequence[Script]
    rights: Callable[[Iterable[Command]], Call]
    missing: Callable[[object], str | None]
