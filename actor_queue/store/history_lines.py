"""What is kept of an attempt in its user's history."""

from __future__ import annotations

import json

from actor_queue.core.batch import Attempt

Told = dict[str, str | int | None]
"""What is kept beside the outcome, by the names that it is kept under."""


def history_of(
    attempt: Attempt, outcome: str, status: int | None, reason: str | None, told: Told
) -> str:
    """One line of history; the script puts the time in front."""
    batch = attempt.batch
    return history_line(
        (batch.id, attempt.number, outcome, len(batch.stored), status), reason, told
    )


def history_line(
    facts: tuple[str, int, str, int, int | None], reason: str | None, told: Told
) -> str:
    """The line about an attempt at a batch, what came of it, how many messages, and its status.

    What the first release does not know of stands behind the reason, after a line break: it reads
    exactly these seven values, and shows all of that as the reason.
    """
    why = f"{reason or ''}\n{json.dumps(told)}" if told else reason
    return json.dumps([*facts, why])[1:-1]
