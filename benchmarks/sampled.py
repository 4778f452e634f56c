"""`python -m benchmarks.sampled serve`: the service, which counts where its processor time goes.

What `profile` looks at. SIGUSR1 begins, SIGUSR2 ends and writes the counts to the file in
`BENCHMARK_SAMPLES`. The kernel's clock of this process's own time interrupts it; what counts is the
innermost frame that belongs to a part of `PARTS`. Time in the kernel and in C counts where it was
called.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

from actor_queue.app.cli import main

EVERY_S = 0.002

PARTS: Final = {
    "actor_queue/http/": "reading requests and writing answers",
    "actor_queue/core/": "what a message is, and the rules of a timer",
    "actor_queue/store/": "the call's arguments and reply",
    "actor_queue/transport/": "the connection to Redis",
    "actor_queue/runtime/": "timers and the engine",
    "/trio/": "Trio",
}
"""By a piece of a source file's path."""
REST = "everything else"

counted: Counter[str] = Counter()
known: dict[str, str | None] = {}


def count(_: int, frame: FrameType | None) -> None:
    while frame is not None:
        path = frame.f_code.co_filename
        if path not in known:
            known[path] = next((part for piece, part in PARTS.items() if piece in path), None)
        part = known[path]
        if part is not None:
            counted[part] += 1
            return
        frame = frame.f_back
    counted[REST] += 1


def begin(*_: object) -> None:
    counted.clear()
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)


def end(*_: object) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    path = Path(os.environ["BENCHMARK_SAMPLES"])
    written = path.with_suffix(".new")
    written.write_text(json.dumps(counted))
    written.replace(path)


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, count)
    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    main()
