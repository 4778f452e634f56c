"""The seam between what the store means and how a call reaches a server."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from actor_queue.core.headroom import Memory
from actor_queue.store.api import StoreInfo
from actor_queue.store.scripts import Script

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


class Runner(Protocol):
    """Runs calls in the order given. Calls that are under way together may share a round trip."""

    async def run(self, calls: Sequence[Call]) -> list[object]:
        """One reply per call: what the script returned (bytes, int, list, None) or a `ScriptError`.

        Raises `StoreUnavailable` when the connection fails before every reply has arrived.
        """
        ...

    def server_of(self, key: bytes) -> Hashable:
        """Whatever tells the servers apart: the one that has this key, as far as is known."""
        ...

    async def listen(self, channels: Sequence[bytes], hear: Callable[[bytes | None], None]) -> None:
        """Hand over each message published on any of `channels`, until cancelled; None whenever the
        connection is new and something may have been missed."""
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
