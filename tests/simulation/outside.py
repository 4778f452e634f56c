"""A simulated history as somebody outside sees it, for the checker of the tests on real processes.

It knows what the senders were told and what the receiver got, and nothing of scripts or leases.
What a simulated fault excuses beyond that is left out here: users of whom the server forgot
something, overlaps where processes were frozen, moments where the server's clock was set. So are
batches that died: their replays come whenever an operator wants.
"""

from __future__ import annotations

from collections.abc import Iterator

from actor_queue.core.conversation import route_of
from actor_queue.core.routes import Route
from tests.acceptance.checker import Expected, violations
from tests.acceptance.history import Post
from tests.acceptance.receiver import Attempt
from tests.simulation.history import Attempted, Called
from tests.simulation.story import Batch, Story

NO_CAP_MESSAGES = 500
NO_CAP_BYTES = 1_048_576


def seen_from_outside(story: Story) -> Iterator[str]:
    """Violations of the contract by the checker that chaos and the acceptance tests use, route by
    route: each has limits of its own."""
    excused = set()
    if story.plan.has("pause", "pause_midway"):
        excused |= {"overlap", "unresolved"}
    if story.plan.has("server_clock"):
        excused |= {"overlap", "unresolved", "early"}
    unseen = {batch.id for batch in (*_died(story), *_came_again(story))}
    for route in story.plan.routes.values():
        posts = [
            _post(call)
            for call in story.history.of(Called)
            if call.text and call.user not in story.shaken and route_of(call.user) == route.name
        ]
        attempts = [
            _attempt(story, attempt)
            for attempt in story.history.of(Attempted)
            if attempt.user not in story.shaken
            and route_of(attempt.user) == route.name
            and attempt.batch_id not in unseen
        ]
        for violation in violations(posts, attempts, _expected(story, route)):
            if violation.partition(":")[0] not in excused:
                yield violation


def _expected(story: Story, route: Route) -> Expected:
    uncapped = route.max_messages >= NO_CAP_MESSAGES and route.max_batch_bytes >= NO_CAP_BYTES
    died = _died(story)
    changed = story.edited_of | story.revoked_of
    changed |= {batch.user for batch in story.batches.values() if batch.taken_back}
    users = {call.user for call in story.history.of(Called)}
    return Expected(
        repeats=True,
        max_wait_s=route.max_wait_ms / 1000 or None,
        closed_early=changed | story.flushed.keys() if uncapped else users,
        dead=[batch.id for batch in story.batches.values() if batch.dropped],
        gone=story.dropped | {text for batch in died for text in batch.texts},
    )


def _died(story: Story) -> list[Batch]:
    """What became a dead letter, and what came of it: its replay may have been divided, or taken
    back."""

    def died(batch: Batch) -> bool:
        return any(each.buried for each in (batch, *story.lineage(batch)))

    return [batch for batch in story.batches.values() if died(batch)]


def _came_again(story: Story) -> list[Batch]:
    """What was no delivery, because it was taken back, and what that was a half of."""
    of_newer = [b for b in story.batches.values() if story.superseded(b)]
    taken = [batch for batch in story.batches.values() if batch.taken_back]
    return [*taken, *(each for batch in of_newer for each in story.lineage(batch))]


def _post(call: Called) -> Post:
    status = 202 if call.accepted else 429 if call.answered is not None else None
    returned = call.answered if call.answered is not None else call.at
    return Post(call.user, call.text, call.ttl_s, call.at, returned, status)


def _attempt(story: Story, seen: Attempted) -> Attempt:
    """An attempt is over, and a success, when its receiver has said that it is done, before its 202
    or after it."""
    batch, ended, status = story.batches.get(seen.batch_id), seen.ended, seen.status
    said = [e.at for e in batch.done] if batch else []
    if batch and said and seen is batch.last_before(said[0]):
        ended, status = min(ended or said[0], said[0]), 200
    return Attempt(
        webhook_id=seen.batch_id,
        user=seen.user,
        texts=seen.texts,
        body=seen.body,
        headers={"idempotency-key": seen.batch_id},
        line="",
        started=seen.at,
        ended=ended,
        status=status,
    )
