"""A TCP link between a replica and something it needs, which can be disturbed.

Owns the way and nothing of what travels on it. The end of a connection is always passed on,
in every mode but HOLD: a caller that has gone away is seen to have gone.
"""

from __future__ import annotations

import enum
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

READ_BYTES = 65_536
ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends a reset."""
CLOSE_S = 10.0


class Mode(enum.Enum):
    """What becomes of bytes."""

    PASS = "pass"
    HOLD = "hold"
    """They wait and arrive after healing, also those of a caller that is no longer there."""
    DROP = "drop"
    """They are gone; a connection that has lost some is reset when healed."""
    RESET = "reset"
    """Connections are reset, new ones too."""
    DELAY = "delay"
    """Each piece arrives so much later."""


class _Connection:
    """Two sockets and whether bytes were lost between them."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.far = far
        self.torn = False
        self.pumps = 2

    def cut(self, *, reset: bool) -> None:
        for sock in (self.near, self.far):
            with suppress(OSError):
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                sock.shutdown(socket.SHUT_RDWR)


class Link:
    """Use with `linked`. Listens on `port` of the loopback."""

    def __init__(self, upstream: str | int) -> None:
        """`upstream` is the path of a unix socket, or a port of the loopback."""
        self._upstream = upstream
        self._mode = Mode.PASS
        self._delay_s = 0.0
        self._changed = threading.Condition()
        self._connections: set[_Connection] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode: Mode, delay_s: float = 0.0) -> None:
        """From now on, for connections that are open too."""
        with self._changed:
            torn = [each for each in self._connections if each.torn or mode is Mode.RESET]
            self._mode, self._delay_s = mode, delay_s
            self._changed.notify_all()
        for connection in torn:
            connection.cut(reset=True)

    def heal(self) -> None:
        self.set(Mode.PASS)

    @contextmanager
    def disturbed(self, mode: Mode, delay_s: float = 0.0) -> Iterator[None]:
        self.set(mode, delay_s)
        try:
            yield
        finally:
            self.heal()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.set(Mode.RESET)
        deadline = time.monotonic() + CLOSE_S
        while self._connections and time.monotonic() < deadline:
            time.sleep(0.01)

    # Threads

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = self._connect() if self._mode is not Mode.RESET else None
            if far is None:
                near.close()
                continue
            connection = _Connection(near, far)
            with self._changed:
                self._connections.add(connection)
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(connection, *ends), daemon=True).start()

    def _connect(self) -> socket.socket | None:
        if isinstance(self._upstream, int):
            far = socket.socket()
            address: str | tuple[str, int] = ("127.0.0.1", self._upstream)
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            far, address = socket.socket(socket.AF_UNIX), self._upstream
        try:
            far.connect(address)
        except OSError:
            far.close()
            return None
        return far

    def _pump(self, connection: _Connection, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            if target is connection.near:
                target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := source.recv(READ_BYTES):
                if self._lets_through(connection):
                    target.sendall(data)
        self._held()
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._changed:
            connection.pumps -= 1
            last = connection.pumps == 0
            if last:
                self._connections.discard(connection)
        if last:
            connection.near.close()
            connection.far.close()

    def _lets_through(self, connection: _Connection) -> bool:
        self._held()
        mode = self._mode
        if mode is Mode.DROP:
            connection.torn = True
        if mode is Mode.DELAY:
            time.sleep(self._delay_s)
        return mode is not Mode.DROP and not connection.torn

    def _held(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._mode is not Mode.HOLD)


@contextmanager
def linked(upstream: str | int) -> Iterator[Link]:
    link = Link(upstream)
    try:
        yield link
    finally:
        link.close()
