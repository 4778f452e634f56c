"""A receiver that answers 202 and says later how it goes on, and insists until it is heard.

What it will say of a batch is drawn when the batch comes: done, done if nothing newer waits, more
time and then done, failed, or nothing at all. Each word goes to some replica, and to another one
while nobody answers. All that was said and heard is written down; `late_verdict` judges it.
"""

from __future__ import annotations

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.acceptance.receiver import Answer, Attempt, reply
from tests.acceptance.waiting import until
from tests.chaos.balancer import RETRY_PAUSE_S, Balancer
from tests.chaos.late_verdict import Said

WITHIN_S = 2.0
"""What the route gives a receiver to answer."""
SPEAKERS = 48
"""So many batches may be with the receiver at once."""
GIVE_UP_S = 60.0
PLANS = ("done", "done", "latest", "latest", "latest", "extend", "fail", "silence")


@dataclass
class Late:
    """Its `decide` is the receiver's. Use it as a context: all has been said when that ends."""

    balancer: Balancer
    chance: random.Random
    said: list[Said] = field(default_factory=list)
    calm: bool = False
    """From now on every batch is soon done."""
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(SPEAKERS))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Late:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def decide(self, attempt: Attempt) -> Answer:
        """Called by the receiver's threads."""
        with self._lock:
            plan = "done" if self.calm else self.chance.choice(PLANS)
            pause_s = self.chance.uniform(0, 0.1 if self.calm else WITHIN_S / 2)
        self._pool.submit(self._speak, attempt, plan, time.monotonic() + pause_s)
        return reply(202)

    def _speak(self, attempt: Attempt, plan: str, at: float) -> None:
        until(at)
        if plan == "extend":
            # The end comes when the first time is over.
            if self._insist(attempt, "extend", {"seconds": 2 * WITHIN_S}).status != 200:
                return
            until(attempt.started + 1.25 * WITHIN_S)
            plan = "done"
        if plan == "latest":
            self._insist(attempt, "done", {"if": "latest"})
        elif plan == "done":
            self._insist(attempt, "done", {})
        elif plan == "fail":
            self._insist(attempt, "fail", {"reason": "chaos", "retry_after": 0.2})

    def _insist(self, attempt: Attempt, verb: str, body: dict[str, Any]) -> Said:
        """Until a replica knows the answer; what was heard last is written down."""
        path = f"{urlsplit(attempt.headers['aq-answer-url']).path}/{verb}"
        began, tries = time.monotonic(), 0
        while True:
            tries += 1
            answer = self.balancer.call("POST", path, json.dumps(body).encode())
            known = answer.status is not None and answer.status < 500
            if known or time.monotonic() > began + GIVE_UP_S:
                break
            time.sleep(RETRY_PAUSE_S)
        newer = answer.json().get("newer") if answer.status in (200, 409) else None
        said = Said(
            attempt.webhook_id,
            attempt.started,
            "latest" if body.get("if") else verb,
            began,
            answer.returned,
            answer.status,
            newer,
            tries,
        )
        self.said.append(said)
        return said
