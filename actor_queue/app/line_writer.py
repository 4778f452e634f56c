"""Lines to a file descriptor that may be slow, full or gone: nobody waits for it, nothing fails.

A reader that has stopped reading (a paused terminal, a log collector that hangs) fills the pipe,
and the next write blocks the process. Making the descriptor non-blocking would change it for every
process that shares it. So a thread of its own does the waiting; in front of it is a bounded queue,
and what does not fit is counted. A reader that is gone costs an error for each write and no more:
Python ignores SIGPIPE.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable

QUEUE_BYTES_MAX = 4_194_304
PIECE_BYTES_MAX = 4_096
"""Linux writes this much to a pipe in one piece, so lines of several processes never mix."""


class LineWriter:
    """`dropped` makes the line that tells how many others were lost."""

    def __init__(self, descriptor: int | None, dropped: Callable[[int], str]) -> None:
        self._descriptor = descriptor
        self._dropped = dropped
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._lost = 0
        self._writing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Queue `line`, which gets its line break here. Never blocks, never raises."""
        if self._descriptor is None:
            return
        encoded = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._changed:
            if self._bytes + len(encoded) > QUEUE_BYTES_MAX:
                self._lost += 1
                return
            self._queue.append(encoded)
            self._bytes += len(encoded)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, within_s: float) -> bool:
        """Wait until everything is written, no longer than `within_s`; returns whether it is."""
        until = time.monotonic() + within_s
        with self._changed:
            while self._queue or self._writing:
                if not self._changed.wait(max(0.0, until - time.monotonic())):
                    return False
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                while not self._queue:
                    self._changed.wait()
                piece = self._take()
                self._writing = True
            self._write(piece)

    def _take(self) -> bytes:
        """As many lines as can be written in one piece, at least one."""
        lost, self._lost = self._lost, 0
        piece = self._dropped(lost).encode() + b"\n" if lost else b""
        while self._queue and (not piece or len(piece) + len(self._queue[0]) <= PIECE_BYTES_MAX):
            line = self._queue.popleft()
            self._bytes -= len(line)
            piece += line
        return piece

    def _write(self, piece: bytes) -> None:
        assert self._descriptor is not None
        while piece:
            try:
                piece = piece[os.write(self._descriptor, piece) :]
            except BlockingIOError:
                # Somebody who shares it has made it non-blocking.
                time.sleep(0.05)
            except OSError:
                return  # nobody reads; a log cannot tell that to anybody
