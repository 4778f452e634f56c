"""The seam between what the store means and how a call reaches a server."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import anyio

from actor_queue.core.headroom import Memory
from actor_queue.transport.errors import StoreUnavailable
from actor_queue.transport.script import Script

WRONG_TYPE = "WRONGTYPE"
"""The code where a script found another kind of value at a key than it looks for. It may have come
late in the script, so nothing says that nothing was done."""

Word = bytes | str | int


class Call(NamedTuple):
    """One script with its keys, all of one slot, and its arguments."""

    script: Script
    keys: Sequence[bytes]
    args: Sequence[Word]
    arrived_ns: int = 0
    """Of calls that wait together, one with a smaller number goes first."""


@dataclass(frozen=True, slots=True)
class ScriptError:
    """The server refused one call. `executed` is False where it certainly changed nothing."""

    code: str
    text: str
    executed: bool | None


@dataclass(slots=True, eq=False)
class Watch:
    """Somebody waits for a change of a key."""

    changed: Callable[[], None]
    """May be called when nothing has changed, and is called once `live` is True."""
    live: bool = False
    """Whether the next change will be told. Until then whoever waits has to look for itself."""


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What `doctor` and the start-up checks look at."""

    server: str
    """`valkey` or `redis`."""
    version: str
    maxmemory_policy: str | None
    """None when the server will not say."""
    maxmemory: int
    used_memory: int
    aof_enabled: bool
    rdb_save: bool
    clock_skew_ms: int
    """Server clock minus this machine's."""
    extra: Mapping[str, str] = field(default_factory=dict)


class OneByOne:
    """`run_each` by `run`."""

    async def run_each(self, calls: Sequence[Call]) -> list[object]:
        """See `Runner.run_each`."""
        replies: list[object] = [None] * len(calls)

        async def run_one(place: int) -> None:
            try:
                (replies[place],) = await self.run([calls[place]])
            except StoreUnavailable as error:
                replies[place] = error

        if len(calls) == 1:
            await run_one(0)
            return replies
        async with anyio.create_task_group() as tasks:
            for place in range(len(calls)):
                tasks.start_soon(run_one, place)
        return replies

    async def run(self, calls: Sequence[Call]) -> list[object]:
        """See `Runner.run`."""
        raise NotImplementedError


class Runner(Protocol):
    """Runs calls in the order given. Calls that are under way together may share a round trip."""

    async def run(self, calls: Sequence[Call]) -> list[object]:
        """One reply per call: what the script returned (bytes, int, list, None) or a `ScriptError`.

        Raises `StoreUnavailable` when the connection fails before every reply has arrived.
        """
        ...

    async def run_each(self, calls: Sequence[Call]) -> list[object]:
        """As `run`, for calls that have nothing to do with each other: the reply to one whose fate
        is not known is a `StoreUnavailable`, and nothing is raised. `arrived_ns` is each call's."""
        ...

    def server_of(self, key: bytes) -> Hashable:
        """Whatever tells the servers apart: the one that has this key, as far as is known."""
        ...

    async def listen(self, channels: Sequence[bytes], hear: Callable[[bytes | None], None]) -> None:
        """Hand over each message published on any of `channels`, until cancelled; None whenever the
        connection is new and something may have been missed."""
        ...

    def watch(self, key: bytes, changed: Callable[[], None]) -> AbstractContextManager[Watch]:
        """Have `changed` called after a change of this key, by whomever, until the context ends."""
        ...

    async def ping(self) -> None:
        """Raises `StoreUnavailable`."""
        ...

    async def info(self) -> StoreInfo: ...

    def memory(self) -> Memory | None:
        """Of the server that has the least room for new messages; None while none is known."""
        ...

    def trouble(self) -> str | None:
        """Why the last thing failed, while nothing has succeeded since; None when all is well."""
        ...
