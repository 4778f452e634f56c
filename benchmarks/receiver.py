"""The webhook's receiver: answers 200 at once and notes when each body came.

A process of its own: `python -m benchmarks.receiver FILE`. It keeps arrivals in memory; a
POST to `/dump` writes them to FILE, one line each: Unix nanoseconds, a blank, the body. A GET to
`/count` answers with their number, and one to `/first` with the first one's time.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import sys
import time
from pathlib import Path
from typing import cast

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
LATER = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
"""To what is sent to `/later`: it will never say that it is done."""
PIECE_BYTES = 1 << 20

arrivals: list[tuple[int, bytes]] = []


class Exchange(asyncio.Protocol):
    """One connection. The time of an arrival is when its last byte was read."""

    def __init__(self, dump: Path) -> None:
        self._dump = dump
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        now = time.time_ns()
        self._buffer = self._buffer + data if self._buffer else data
        while self._buffer:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            length = LENGTH.search(self._buffer, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < size:
                return
            request, self._buffer = self._buffer[:size], self._buffer[size:]
            self._answer(request, end, now)

    def _answer(self, request: bytes, end: int, now: int) -> None:
        if request.startswith(b"POST / "):
            arrivals.append((now, request[end + 4 :]))
            self._transport.write(OK)
            return
        path = request.split(b" ", 2)[1]
        if request.startswith(b"POST /later "):
            arrivals.append((now, request[end + 4 :]))
            self._transport.write(LATER)
            return
        body = b""
        if path == b"/dump":
            write(self._dump)
        elif path == b"/count":
            body = b"%d" % len(arrivals)
        elif path == b"/first":
            body = b"%d" % (arrivals[0][0] if arrivals else 0)
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )


def write(path: Path) -> None:
    with path.open("wb", PIECE_BYTES) as file:
        file.writelines(b"%d %b\n" % arrival for arrival in arrivals)
    arrivals.clear()


async def main(port: int, dump: Path) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Exchange(dump), "127.0.0.1", port, backlog=1024)
    gc.disable()  # arrivals are only ever added
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(os.environ["PORT"]), Path(sys.argv[1])))
