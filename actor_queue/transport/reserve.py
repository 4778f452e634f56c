"""Messages in, as long as the server has room for them: the road on which AQ_REDIS_RESERVE is kept.

Only appends take this road. Whatever empties the server goes on when it is full. The rule itself is
`core/headroom.py`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence

import anyio

from actor_queue.core.headroom import MESSAGE_BYTES, Headroom, Memory
from actor_queue.transport.errors import StoreUnavailable
from actor_queue.transport.refusals import NO_ROOM
from actor_queue.transport.runner import Call, ScriptError

LOOK_S = 1.0
PAUSE_S = 0.05
"""How often a server is asked how full it is, usually, and at most while messages pour in."""

WORDS_OF_A_MESSAGE = 3
"""Arguments of an append's script for one message; there are some more for each user and call."""


class Reserve:
    """Of one server."""

    def __init__(self, headroom: Headroom) -> None:
        self._headroom = headroom
        self._look_now = anyio.Event()

    @property
    def memory(self) -> Memory | None:
        """None while nothing is known."""
        return self._headroom.memory

    def sentence(self) -> str | None:
        """Why new messages are refused; None when they are not."""
        return self._headroom.sentence()

    async def take_in(
        self, calls: Sequence[Call], send: Callable[[], Awaitable[list[object]]]
    ) -> list[object]:
        """The replies to these appends. `send` is not called where there is no room for them."""
        room = self._headroom
        if not room.limited:
            return await send()
        refused = room.sentence()
        if refused is not None:
            return [ScriptError(NO_ROOM, refused, executed=False)] * len(calls)
        size = sum(map(_size_of, calls))
        room.sent(size)
        if room.wanting:
            self._look_now.set()
        try:
            return await send()
        finally:
            room.settled(size)

    async def watch(self, ask: Callable[[], Awaitable[object]]) -> None:
        """Until cancelled. `ask` returns what the server answers to INFO."""
        while True:
            self._look_now = anyio.Event()
            settled = self._headroom.asking()
            try:
                facts = await ask()
            except StoreUnavailable:
                pass  # that it cannot be asked is told elsewhere
            else:
                if (found := memory_of(facts)) is not None:
                    self._headroom.looked(*found, settled)
            await anyio.sleep(PAUSE_S)
            with anyio.move_on_after(LOOK_S):
                await self._look_now.wait()


def memory_of(facts: object) -> tuple[int, int] | None:
    """What INFO says of `used_memory` and `maxmemory`; None where it does not."""
    found = dict(_MEMORY.findall(facts)) if isinstance(facts, bytes) else {}
    used, most = found.get(b"used_memory"), found.get(b"maxmemory")
    return None if used is None or most is None else (int(used), int(most))


_MEMORY = re.compile(rb"^(used_memory|maxmemory):([0-9]{1,18})\r?$", re.MULTILINE)


def _size_of(call: Call) -> int:
    """About as many bytes as its messages may take, and rather more."""
    texts = sum(len(word) for word in call.args if isinstance(word, bytes))
    return texts + MESSAGE_BYTES * len(call.args) // WORDS_OF_A_MESSAGE
