"""How an edge reads under uvicorn: plain requests at once, everything else with h11.

A message that `http/plain.py` recognises is answered without h11, a scope, events or a task of its
own. Probes are left to h11, because in a group they would wait for the store with it. All plain
requests that are read in one pass of the loop are one group with one task. The grammar there
is a part of h11's, and every byte of anything else goes to uvicorn's own protocol, which bounds the
heads that it reads. So each request has one reader: a connection is read here only where h11 holds
no byte of it and no request is under way.

The order of arrival is kept: a group takes in nothing more once another request has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from actor_queue.http.edge import EdgeApplication
from actor_queue.http.faults import FaultLog
from actor_queue.http.plain import (
    BODY_BYTES_MAX,
    HEAD_BYTES_MAX,
    HEAD_END,
    Request,
    Route,
    closing,
)

BYTES_MAX: Final = HEAD_BYTES_MAX + BODY_BYTES_MAX
GROUP_MAX: Final = 256
"""Requests that are answered together."""

Find = Callable[[], EdgeApplication | None]


def protocol_for(application: Find) -> type[asyncio.Protocol]:
    """What uvicorn is to read with. `application` gives the one that runs now."""
    groups = _Groups(application)

    class Protocol(EdgeProtocol):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(groups, *args, **options)

    return Protocol


class EdgeProtocol(H11Protocol):
    """One connection."""

    def __init__(self, groups: _Groups, config: Config, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        self._groups = groups
        self._under_way = False
        """Whether a plain request waits for its answer."""
        self._further = b""
        """What came meanwhile. The socket is not read on."""
        self._is_last = False

    def data_received(self, data: bytes) -> None:
        if self._under_way:
            self._further += data
            self.flow.pause_reading()
            return
        application = self._groups.application()
        request = None
        if application is not None and self._may_be_plain(data):
            request = _plain(application, data)
        if request is None or application is None or application.is_exposed(self.server):
            self._groups.seal()
            super().data_received(data)
            return
        self._unset_keepalive_if_required()
        self._under_way = True
        self._groups.add(application, self, request)

    def _may_be_plain(self, data: bytes) -> bool:
        """Whether this begins a request, and there is room for it here."""
        most = self.limit_concurrency
        return (
            len(data) <= BYTES_MAX
            and (self.cycle is None or self.cycle.response_complete)
            and self.conn.trailing_data == (b"", False)
            and _is_idle(self.conn)
            and not self.flow.write_paused
            and not self.transport.is_closing()
            and (most is None or max(len(self.connections), len(self.tasks)) < most)
        )

    def answered(self, answer: bytes | None) -> None:
        """The request that was under way has this answer, or none and never will."""
        self._under_way = False
        if self.transport.is_closing():
            return
        if answer is None or self._is_last:
            if answer is not None:
                self.transport.write(closing(answer))
            self.transport.close()
            return
        self.transport.write(answer)
        self.on_response_complete()
        if self._further:
            further, self._further = self._further, b""
            self.data_received(further)

    def shutdown(self) -> None:
        if self._under_way:
            self._is_last = True
        else:
            super().shutdown()


class _Groups:
    """The plain requests of all connections, in the order in which they were read."""

    def __init__(self, application: Find) -> None:
        self.application = application
        self._open: list[tuple[EdgeProtocol, Request]] | None = None
        self._faults = FaultLog()

    def add(self, application: EdgeApplication, asker: EdgeProtocol, request: Request) -> None:
        if self._open is None or len(self._open) >= GROUP_MAX:
            self._open = []
            task = asker.loop.create_task(self._answer(application, self._open))
            asker.tasks.add(task)
            task.add_done_callback(asker.tasks.discard)
        self._open.append((asker, request))

    def seal(self) -> None:
        """What comes from now on must not be answered before what has come."""
        self._open = None

    async def _answer(
        self, application: EdgeApplication, group: list[tuple[EdgeProtocol, Request]]
    ) -> None:
        if self._open is group:
            self._open = None
        answers: list[bytes] | list[None] = [None] * len(group)
        try:
            answers = await application.answer_plain([request for _, request in group])
        finally:
            for (asker, _), answer in zip(group, answers, strict=True):
                try:
                    asker.answered(answer)
                except Exception as error:  # noqa: BLE001  # it ends one connection, and no other
                    self._faults.write("request_failed", error)
                    asker.transport.abort()


def _is_idle(connection: Any) -> bool:
    """Whether h11 waits for the first byte of a request."""
    return connection.our_state is h11.IDLE and connection.their_state is h11.IDLE


def _plain(application: EdgeApplication, data: bytes) -> Request | None:
    """The plain request that `data` is, whole and with nothing behind it."""
    end = data.find(HEAD_END, 0, HEAD_BYTES_MAX)
    if end < 0:
        return None
    body_at = end + len(HEAD_END)
    route: Route | None = application.plain.route(data[:body_at])
    if route is None or len(data) - body_at != route.length:
        return None
    if route.key is None:
        return None  # a probe, which must not wait for the store with its group
    return Request(route, data[body_at:], 0)
