"""A server between the service and Redis: it passes everything on, until it is told to lie.

While it lies, nothing reaches Redis, and every request is answered with whatever was chosen. With
`greets` the start of a connection is answered as Redis does, so the lies come later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio
from hypothesis import strategies as st

CHUNK_BYTES = 65_536
FLOOD_BYTES_MAX = 512 * 1024 * 1024
CANARY = b"tres-tigres-tristes"
"""Stands in what the liar says, and may stand in nothing that anybody else reads."""


@dataclass(frozen=True)
class Lie:
    """`said` once; then `again` and again until the client goes; then, with `closes`, the end."""

    said: bytes
    again: bytes = b""
    times: int = 1
    """So many of it are sent at once."""
    piece_bytes: int = CHUNK_BYTES
    """How much is sent at once: 1 is a server that is slow."""
    closes: bool = False
    in_front: bool = False
    """The question is passed on all the same, so its answer comes one too late."""


@dataclass
class Liar:
    """`lies` are told in turn, over all connections, from the first again after the last."""

    port: int
    upstream: Path
    lies: Sequence[Lie] = ()
    greets: bool = True
    told: int = 0
    flooded_bytes: int = 0
    heard: trio.Event = field(default_factory=trio.Event)

    def lie(self, lies: Sequence[Lie], *, greets: bool) -> None:
        self.lies, self.greets, self.told, self.heard = lies, greets, 0, trio.Event()

    def be_honest(self) -> None:
        self.lies = ()

    async def serve(self, client: trio.SocketStream) -> None:
        """One connection. Whatever the client does to it is no matter here."""
        try:
            async with (
                client,
                await trio.open_unix_socket(str(self.upstream)) as server,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._back, server, client)
                await self._forth(client, server)
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _forth(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        async for data in client:
            start = b"HELLO" in data or b"SETINFO" in data
            if not self.lies or (start and self.greets):
                await server.send_all(data)
                continue
            lie = self.lies[self.told % len(self.lies)]
            if await self._tell(client, lie):
                return
            if lie.in_front:
                await server.send_all(data)

    async def _tell(self, client: trio.SocketStream, lie: Lie) -> bool:
        """Whether the connection is over."""
        self.told += 1
        if self.told > len(self.lies):
            self.heard.set()
        for start in range(0, len(lie.said), lie.piece_bytes):
            await client.send_all(lie.said[start : start + lie.piece_bytes])
            await trio.sleep(0.001 if lie.piece_bytes == 1 else 0)
        sent = 0
        while lie.again and sent < FLOOD_BYTES_MAX and self.lies:
            await client.send_all(lie.again * lie.times)
            sent += len(lie.again) * lie.times
            self.flooded_bytes = max(self.flooded_bytes, sent)
        return lie.closes

    async def _back(self, server: trio.SocketStream, client: trio.SocketStream) -> None:
        async for data in server:
            await client.send_all(data)


@asynccontextmanager
async def lying(upstream: Path) -> AsyncIterator[Liar]:
    """Honest until told otherwise."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        liar = Liar(listeners[0].socket.getsockname()[1], upstream)
        nursery.start_soon(trio.serve_listeners, liar.serve, listeners)
        yield liar
        nursery.cancel_scope.cancel()


# What may be said


def _bulk(text: bytes, mark: bytes = b"$") -> bytes:
    return b"%b%d\r\n%b\r\n" % (mark, len(text), text)


_texts = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [CANARY, b"ok", b"held", b"attempt", b"wait", b"replay", b"again", b"none", b"fenced"]
    ),
    st.sampled_from([b"gone", b"known", b"message", b"subscribe", b"PONG", b"1", b"inf", b"nan"]),
)
_lines = st.one_of(
    st.sampled_from(
        [
            b"ERR " + CANARY,
            b"WRONGTYPE " + CANARY,
            b"MOVED 99999 127.0.0.1:1",
            b"MOVED " + CANARY,
            b"ASK 1 [::1",
            b"NOSCRIPT",
            b"\xff\xfe" + CANARY,
            b"LOADING",
            b"OOM " + CANARY,
            b"",
            b" ",
            b"NOBODYKNOWS " + CANARY,
        ]
    ),
    st.binary(max_size=20).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b"")),
)
_scalars = st.one_of(
    st.integers(-(2**70), 2**70).map(lambda number: b":%d\r\n" % number),
    st.sampled_from([b":0\r\n", b":1\r\n", b":-1\r\n", b":" + b"9" * 5000 + b"\r\n"]),
    st.sampled_from([b"_\r\n", b"$-1\r\n", b"*-1\r\n", b"#t\r\n", b"#\r\n", b",nan\r\n"]),
    _texts.map(_bulk),
    _texts.map(lambda text: _bulk(b"txt:" + text, b"=")),
    _texts.map(lambda text: _bulk(text, b"=")),
    _lines.map(lambda line: b"-" + line + b"\r\n"),
    _lines.map(lambda line: b"+" + line + b"\r\n"),
)


def _listed(elements: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    marked = st.tuples(st.sampled_from(b"*>~%"), st.lists(elements, max_size=6))
    return marked.map(
        lambda found: (
            b"%c%d\r\n" % (found[0], len(found[1]) // (2 if found[0] == ord("%") else 1))
            + b"".join(found[1])
        )
    )


_values = st.recursive(_scalars, _listed, max_leaves=12)
_nonsense = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.sampled_from(
        [
            b"$99999999999999\r\nabc",
            b"$-7\r\n",
            b"$x\r\n",
            b"*99999999999\r\n",
            b"%99999999999\r\n:1\r\n",
            b"*1\r\n" * 10_000,
            b"~1\r\n" * 500 + b":1\r\n",
            b"%1\r\n%1\r\n:1\r\n:2\r\n:3\r\n",
            b"\r\n",
            b"\n",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"+" + CANARY * 1_000 + b"\r\n",
            b"-\xff\r\n",
        ]
    ),
    _values.map(lambda value: value[:-3]),
)
_floods = st.sampled_from(
    [
        Lie(b"+", CANARY, 1_000),
        Lie(b"*999999999\r\n", b"*0\r\n", 4_000),
        Lie(b"$500000000\r\n", CANARY, 1_000),
        Lie(b"", b"*1\r\n", 4_000),
        Lie(b"", b">2\r\n+message\r\n+" + CANARY + b"\r\n", 100),
        Lie(b"", b":1\r\n", 4_000),
        Lie(b"", b"-" + CANARY + b"\r\n", 100),
    ]
)
lies = st.lists(
    st.one_of(
        st.builds(
            Lie,
            st.lists(st.one_of(_values, _nonsense), max_size=8).map(b"".join),
            piece_bytes=st.sampled_from([1, 7, CHUNK_BYTES]),
            closes=st.booleans(),
            in_front=st.booleans(),
        ),
        st.builds(Lie, st.lists(_values, min_size=1, max_size=70).map(b"".join)),
        _floods,
    ),
    min_size=1,
    max_size=6,
)
