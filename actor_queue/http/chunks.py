"""What is admitted of a stream of messages, on its way to the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from actor_queue.core.message import Message
from actor_queue.http.problem import Problem

CHUNK_MESSAGES_MAX: Final = 500
"""Admitted between two turns of the event loop, about 5 ms. In bytes a chunk is bounded by what
one read of the socket brings and one unfinished message."""
CHUNKS_AHEAD: Final = 4
"""Chunks that may wait while one is pushed. Each has what one read of the socket brings."""


@dataclass(slots=True)
class Chunk:
    """What is pushed together."""

    messages: list[Message]
    refusals: list[Problem | None]
    """One per element; None for each of `messages`."""


class Ahead:
    """How far what was admitted is ahead of what was pushed, in elements."""

    def __init__(self) -> None:
        self.handed = 0
        self._through = 0
        self._caught_up = anyio.Event()

    def through(self, elements: int) -> None:
        self._through += elements
        if self._through == self.handed:
            self._caught_up.set()

    async def caught_up(self) -> None:
        while self._through < self.handed:
            self._caught_up = anyio.Event()
            await self._caught_up.wait()


async def gathered(chunks: MemoryObjectReceiveStream[Chunk]) -> AsyncIterator[Chunk]:
    """The chunks, of which those that wait together are one, up to `CHUNK_MESSAGES_MAX`.

    The first one is alone: with later ones it would count as having come with them.
    """
    following: Chunk | None = await anext(chunks, None)
    if following is not None:
        yield following
    while (chunk := await anext(chunks, None)) is not None:
        following = chunk
        while following is not None:
            chunk, following = following, None
            with suppress(anyio.WouldBlock, anyio.EndOfStream):
                while following is None:
                    more = chunks.receive_nowait()
                    if len(chunk.messages) + len(more.messages) > CHUNK_MESSAGES_MAX:
                        following = more
                    else:
                        chunk.messages += more.messages
                        chunk.refusals += more.refusals
            yield chunk
