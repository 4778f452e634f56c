"""Waiting for a condition with a deadline: the only way these tests wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from tests.acceptance.checker import undelivered
from tests.acceptance.history import Journal
from tests.acceptance.receiver import Attempt, Receiver

POLL_S = 0.01
WITHIN_S = 30.0
BUSY_S = 1.0
"""How much later than promised a thing may be seen here: the machine may be busy with others.
What the contract says about milliseconds is measured by the benchmarks."""


def wait_until(condition: Callable[[], object], what: str, within_s: float = WITHIN_S) -> float:
    """The moment at which `condition` was seen to hold. AssertionError when it never does."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"after {within_s:g} s still not: {what}"
        time.sleep(POLL_S)
    return time.monotonic()


def wait_for_delivery(
    journal: Journal, receiver: Receiver, within_s: float = WITHIN_S, gone: Collection[str] = ()
) -> None:
    """Until every accepted message, but for those `gone`, was in a successful attempt."""
    deadline = time.monotonic() + within_s
    while missing := undelivered(journal.posts, receiver.attempts) - set(gone):
        assert time.monotonic() < deadline, (
            f"after {within_s:g} s not delivered: {len(missing)}, for example {sorted(missing)[:5]}"
        )
        time.sleep(POLL_S)


def wait_for_attempts(
    receiver: Receiver, user: str, count: int = 1, within_s: float = WITHIN_S
) -> list[Attempt]:
    """The user's attempts, as soon as the receiver has begun to see `count` of them."""
    wait_until(lambda: len(receiver.of(user)) >= count, f"{count} attempts for {user}", within_s)
    return receiver.of(user)


def wait_for_end(receiver: Receiver, user: str, count: int = 1) -> list[Attempt]:
    """The user's attempts, as soon as `count` of them are over."""
    wait_until(
        lambda: sum(attempt.ended is not None for attempt in receiver.of(user)) >= count,
        f"{count} finished attempts for {user}",
    )
    return receiver.of(user)


def wait_for_work(receiver: Receiver, attempts: int) -> None:
    """Until so many more attempts have begun."""
    before = len(receiver.attempts)
    wait_until(lambda: len(receiver.attempts) >= before + attempts, "work goes on")


def until(moment: float) -> None:
    """Let the clock pass `moment`: for what must have had its chance to happen by then."""
    time.sleep(max(0.0, moment - time.monotonic()))
