"""Answers that callers share who ask the same at about the same time.

Every open page asks for its lists again each second, and ten pages ask ten times for the same. With
`Cache-Control: max-age=1` a caller says that an answer may be a second old; then one reading is
made for all who said so, and each hears its age. Whoever says nothing is answered anew, because a
program that has changed something wants to see that.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Final

import trio
from quart import Response, request

from actor_queue.http.routing import View, asked_by, raw_answer

YOUNG_S: Final = 0.9
"""Less than the second for which the pages wait after an event: what they get was read after it."""
READINGS_MAX: Final = 64
BYTES_MAX: Final = 262_144
"""A longer answer is shared by those who wait for it together, and not kept."""
AGE: Final = "answer-age-ms"

_MAY_BE_OLD = re.compile(r"\bmax-age=0*[1-9]", re.ASCII | re.IGNORECASE)


@dataclass(eq=False, slots=True)
class _Reading:
    begun_at: float
    ended: trio.Event = field(default_factory=trio.Event)
    body: bytes | None = None


class Shared:
    """What was read lately, by what was asked; in bounded memory."""

    def __init__(self) -> None:
        self._readings: dict[str, _Reading] = {}

    def view(self, view: View) -> View:
        """Share this view's answers. They must be the same for all callers who reach the same
        routes, and the view must raise whatever is no 200: so a 403 for another route is no answer
        that could be kept, and no answer of another reach is given in its place."""

        async def read() -> bytes:
            body = await (await view()).get_data(as_text=False)
            assert isinstance(body, bytes)
            return body

        @wraps(view)
        async def either() -> Response:
            if _MAY_BE_OLD.search(request.headers.get("cache-control", "")) is None:
                return await view()
            key = asked_by()
            bound = "" if key is None or key.route is None else key.route
            asked = f"{bound} {request.path}?{request.query_string.decode('latin-1')}"
            body, age_s = await self.body(asked, read)
            shared = raw_answer(body)
            shared.headers[AGE] = str(round(age_s * 1000))
            return shared

        return either

    async def body(self, asked: str, read: Callable[[], Awaitable[bytes]]) -> tuple[bytes, float]:
        """What `read()` gives, or gave to another caller, and how many seconds ago that began."""
        not_before = trio.current_time() - YOUNG_S
        while (known := self._readings.get(asked)) and known.begun_at >= not_before:
            await known.ended.wait()
            if known.body is not None:
                return known.body, trio.current_time() - known.begun_at
            # Whoever read it has failed, or has hung up.
        mine = self._begin(asked)
        try:
            body = mine.body = await read()
        finally:
            if self._readings.get(asked) is mine and len(mine.body or b"") not in _KEPT:
                del self._readings[asked]
            mine.ended.set()
        return body, trio.current_time() - mine.begun_at

    def _begin(self, asked: str) -> _Reading:
        mine = _Reading(trio.current_time())
        old = [
            each
            for each, known in self._readings.items()
            if known.begun_at + YOUNG_S < mine.begun_at
        ]
        for each in old:
            del self._readings[each]
        if len(self._readings) >= READINGS_MAX:
            del self._readings[next(iter(self._readings))]
        self._readings[asked] = mine
        return mine


_KEPT = range(1, BYTES_MAX + 1)
