"""How large batches are, and what becomes of those that are too large for their receiver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from actor_queue.core.batch import divided_from
from actor_queue.core.payload import counted_bytes
from tests.simulation.story import Batch, Story


def _counted(story: Story, sizes: Iterable[int]) -> int:
    """The bytes that stored messages count as, together."""
    frame, times, each = counted_bytes(story.plan.settings.payload)
    return frame + sum(times * size + each for size in sizes)


def counted_with_the_next(story: Story, batch: Batch) -> int:
    """What the batch would have counted as with the message that the server kept after it."""
    kept = story.kept[batch.user]
    place = [each.text for each in kept].index(batch.texts[-1]) + 1
    following = [each.size_max for each in kept[place : place + 1]]
    return _counted(story, [*(item.size for item in batch.items), *following])


def too_large(story: Story) -> Iterator[str]:
    """Only a single message may be larger than a batch, as it is counted and as it is sent."""
    most = story.plan.settings.max_batch_bytes
    for batch in story.batches.values():
        if len(batch.items) > 1 and _counted(story, (item.size for item in batch.items)) > most:
            yield f"{batch.id} of {batch.user} counts as more than {most} bytes"
        for attempt in batch.attempts:
            if len(attempt.texts) > 1 and len(attempt.body) > most:
                yield f"{batch.id} of {batch.user} was sent with {len(attempt.body)} bytes"


def stands_in_order(story: Story, batch: Batch) -> bool:
    """Whether the batch's messages have their place in the user's order here. A batch that was
    divided leaves it to its halves, but for a replay, whose place is where it first came."""
    replayed = any(whole.buried for whole in story.wholes(batch))
    return not replayed and not (batch.divided and not batch.buried)


def halves(story: Story) -> Iterator[str]:
    """Two halves carry what the whole carried, in order, both as it was closed."""
    parts: dict[str, list[Batch]] = {}
    for batch in story.batches.values():
        if whole := divided_from(batch.id):
            parts.setdefault(whole, []).append(batch)
    for name, of_whole in parts.items():
        if not story.batches[name].divided and story.batches[name].user not in story.shaken:
            yield f"{[part.id for part in of_whole]} came, and {name} was never divided"
    for whole in story.batches.values():
        if not whole.divided or whole.user in story.shaken:
            continue
        found = parts.get(whole.id, [])
        texts = [text for part in found for text in part.texts]
        rest = set(whole.texts[len(texts) :]) - story.dropped
        if len(found) > 2 or tuple(texts) != whole.texts[: len(texts)] or rest:
            yield f"{whole.id} with {whole.texts} was divided into {[p.texts for p in found]}"
        if any((p.closed_ms, p.reason) != (whole.closed_ms, whole.reason) for p in found):
            yield f"a half of {whole.id} says that it was closed otherwise"
