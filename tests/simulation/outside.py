"""A simulated history as somebody outside sees it, for the checker of the tests on real processes.

It knows what the senders were told and what the receiver got, and nothing of scripts or leases.
What a simulated fault excuses beyond that is left out here: users of whom the server forgot
something, overlaps where processes were frozen, moments where the server's clock was set. So are
batches that died: their replays come whenever an operator wants.
"""

from __future__ import annotations

from collections.abc import Iterator

from actor_queue.core.batch import divided_from
from tests.acceptance.checker import Expected, violations
from tests.acceptance.history import Post
from tests.acceptance.receiver import Attempt
from tests.simulation.history import Attempted, Called
from tests.simulation.story import Batch, Story

NO_CAP_MESSAGES = 500
NO_CAP_BYTES = 1_048_576


def seen_from_outside(story: Story) -> Iterator[str]:
    """Violations of the contract by the checker that chaos and the acceptance tests use."""
    posts = [
        _post(call)
        for call in story.history.of(Called)
        if call.text and call.user not in story.shaken
    ]
    died = {batch.id for batch in _died(story)}
    attempts = [
        _attempt(attempt)
        for attempt in story.history.of(Attempted)
        if attempt.user not in story.shaken and attempt.batch_id not in died
    ]
    excused = set()
    if story.plan.has("pause", "pause_midway"):
        excused |= {"overlap", "unresolved"}
    if story.plan.has("server_clock"):
        excused |= {"overlap", "unresolved", "early"}
    for violation in violations(posts, attempts, _expected(story)):
        if violation.partition(":")[0] not in excused:
            yield violation


def _expected(story: Story) -> Expected:
    settings = story.plan.settings
    uncapped = settings.max_messages >= NO_CAP_MESSAGES and settings.max_batch_bytes >= NO_CAP_BYTES
    died = _died(story)
    users = {call.user for call in story.history.of(Called)}
    return Expected(
        repeats=True,
        max_wait_s=settings.max_wait_ms / 1000 or None,
        closed_early=story.flushed.keys() if uncapped else users,
        dead=[batch.id for batch in story.batches.values() if batch.dropped],
        gone=story.dropped | {text for batch in died for text in batch.texts},
    )


def _died(story: Story) -> list[Batch]:
    """What became a dead letter, and the halves of it: its replay may have been divided."""

    def died(name: str | None) -> bool:
        if name is None:
            return False
        batch = story.batches.get(name)
        return bool(batch and batch.buried) or died(divided_from(name))

    return [batch for batch in story.batches.values() if died(batch.id)]


def _post(call: Called) -> Post:
    status = 202 if call.accepted else 429 if call.answered is not None else None
    returned = call.answered if call.answered is not None else call.at
    return Post(call.user, call.text, call.ttl_s, call.at, returned, status)


def _attempt(seen: Attempted) -> Attempt:
    return Attempt(
        webhook_id=seen.batch_id,
        user=seen.user,
        texts=seen.texts,
        body=seen.body,
        headers={"idempotency-key": seen.batch_id},
        line="",
        started=seen.at,
        ended=seen.ended,
        status=seen.status,
    )
