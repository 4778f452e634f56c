"""Peers that take connections and give as little as they can: one process, one selector.

A peer is a connection that is written to and read from in tiny steps. One that is closed comes
back, but begins at most once in `AGAIN_S`: whoever only opens connections as fast as they can is
no slow peer, and what they take is a processor.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, cycle
from math import inf
from typing import Final

CONNECTS_PER_S: Final = 1_000
TURN_S: Final = 0.02
AGAIN_S: Final = 10.0
SMALL_WINDOW_BYTES: Final = 1_024
BODY_BYTES: Final = 200_000

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Kind:
    """How a peer of this kind behaves."""

    begin: Callable[[str], bytes]
    """What it sends first, given a key."""
    more: bytes
    """What it sends every `every_s` seconds."""
    every_s: float
    reads: int = 0
    """Bytes read every `every_s` seconds; 0: everything at once."""
    leaves: bool = False
    """Reads nothing, as much as the system takes for it, and goes after `every_s` seconds."""


def _post(path: str, key: str, kind: str) -> bytes:
    granted = f"authorization: Bearer {key}\r\n" if key else ""
    return (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{granted}content-type: {kind}\r\n"
        f"content-length: {BODY_BYTES}\r\n\r\n"
    ).encode()


def _many(key: str) -> bytes:
    return _post("/api/messages", key, "application/x-ndjson") + b"{"


KINDS: Final[Mapping[str, Kind]] = {
    "silent": Kind(lambda key: b"", b"", 5.0),
    "idle after an answer": Kind(
        lambda key: b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", b"", 5.0
    ),
    "slow heads": Kind(lambda key: b"GET / HTTP/1.1\r\nhost: localhost\r\n", b"x-a: b\r\n", 2.0),
    "slow bodies": Kind(lambda key: _post("/api/message", key, "application/json"), b"{", 5.0),
    "slow bodies without a key": Kind(
        lambda key: _post("/api/message", "", "application/json"), b"{", 5.0
    ),
    "slow streams": Kind(_many, b" ", 12.0),
    "slow readers": Kind(
        lambda key: b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n" * 8, b"", 2.0, 8
    ),
    "pages that nobody reads": Kind(
        lambda key: b"GET /docs HTTP/1.1\r\nhost: localhost\r\n\r\n" * 50, b"", 8.0, leaves=True
    ),
    "questions without a key": Kind(
        lambda key: b"GET /api/users HTTP/1.1\r\nhost: localhost\r\n\r\n" * 20, b"", 8.0
    ),
    "events without a key": Kind(
        lambda key: b"POST /in/waha HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}",
        b"",
        8.0,
    ),
}
MIXED: Final = "mixed"


class Peers:
    """`size` connections of `kinds` to `target`, kept up until it is stopped."""

    def __init__(self, target: Address, kinds: list[str], size: int, key: str, *, many: bool):
        self._target = target
        self._key = key
        self._places = deque([0.0] * size)
        """When each missing peer may begin, the soonest first."""
        self._kinds = cycle(KINDS[kind] for kind in kinds)
        self._sources = _sources(many)
        self._selector = selectors.EpollSelector()
        self._peers: dict[socket.socket, tuple[Kind, float]] = {}
        self._began: dict[socket.socket, float] = {}
        self._next = time.monotonic()
        self.opened = 0
        self.closed = 0

    def turn(self) -> None:
        """Open what is missing, take what came, and give what is due."""
        now = time.monotonic()
        while self._places and max(self._places[0], self._next) <= now:
            self._places.popleft()
            self._next = max(self._next + 1 / CONNECTS_PER_S, now - TURN_S)
            self._open()
        for key, _ in self._selector.select(TURN_S):
            self._take(key.fileobj)  # type: ignore[arg-type]
        for sock, (kind, due) in list(self._peers.items()):
            if now >= due:
                self._peers[sock] = (kind, now + kind.every_s)
                self._give(sock, kind)

    def _open(self) -> None:
        kind = next(self._kinds)
        sock = socket.socket()
        sock.setblocking(False)
        if kind.reads:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_WINDOW_BYTES)
        try:
            sock.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
            sock.bind((next(self._sources), 0))
            with suppress(BlockingIOError):
                sock.connect(self._target)
        except OSError:
            sock.close()
            self._places.append(time.monotonic() + AGAIN_S)
            return
        self._peers[sock] = (kind, inf)
        self._began[sock] = time.monotonic()
        self._selector.register(sock, selectors.EVENT_WRITE)

    def _take(self, sock: socket.socket) -> None:
        kind, _ = self._peers[sock]
        if self._selector.get_key(sock).events == selectors.EVENT_WRITE:
            try:
                sock.send(kind.begin(self._key))
            except OSError:
                self._close(sock)
                return
            self.opened += 1
            self._peers[sock] = (kind, time.monotonic() + kind.every_s)
            if kind.reads or kind.leaves:
                self._selector.unregister(sock)
            else:
                self._selector.modify(sock, selectors.EVENT_READ)
            return
        try:
            if sock.recv(65_536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(sock)

    def _give(self, sock: socket.socket, kind: Kind) -> None:
        if kind.leaves:
            self._close(sock)
            return
        try:
            if kind.more:
                sock.send(kind.more)
            if kind.reads and not sock.recv(kind.reads):
                self._close(sock)
        except BlockingIOError:
            return
        except OSError:
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        with suppress(KeyError):
            self._selector.unregister(sock)
        del self._peers[sock]
        sock.close()
        insort(self._places, self._began.pop(sock) + AGAIN_S)
        self.closed += 1


def _sources(many: bool) -> Iterator[str]:
    """Addresses to come from: one, or as many as fit."""
    if not many:
        return cycle(["127.0.0.1"])
    return (f"127.{1 + n // 62_500 % 200}.{n // 250 % 250}.{1 + n % 250}" for n in count())


def main(host: str, port: str, kinds: str, size: str, key: str, many: str) -> None:
    """Runs until standard input ends; then says how many connections there were."""
    names = list(KINDS) if kinds == MIXED else [kinds]
    peers = Peers((host, int(port)), names, int(size), key, many=many == "many")
    ending = selectors.DefaultSelector()
    ending.register(sys.stdin, selectors.EVENT_READ)
    while not ending.select(0):
        peers.turn()
    print(peers.opened, peers.closed, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
