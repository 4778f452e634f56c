"""How large batches are, and what becomes of those that are too large for their receiver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from actor_queue.core.batch import divided_from
from actor_queue.core.payload import counted_bytes
from tests.simulation.story import Batch, Story


def _counted(story: Story, user: str, sizes: Iterable[int]) -> int:
    """The bytes that stored messages count as, together."""
    frame, times, each = counted_bytes(story.plan.route_of(user).payload)
    return frame + sum(times * size + each for size in sizes)


def counted_with_the_next(story: Story, batch: Batch) -> int:
    """What the batch would have counted as with the message that the server kept after it."""
    kept = story.kept[batch.user]
    place = [each.text for each in kept].index(batch.texts[-1]) + 1
    following = [each.size_max for each in kept[place : place + 1]]
    return _counted(story, batch.user, [*(item.size for item in batch.items), *following])


def too_large(story: Story) -> Iterator[str]:
    """Only a single message may be larger than a batch, as it is counted and as it is sent, and
    what comes again with newer messages because it was taken back."""
    for batch in story.batches.values():
        most = story.plan.route_of(batch.user).max_batch_bytes
        if any(each.taken_back for each in story.lineage(batch)):
            continue
        sizes = (item.size for item in batch.items)
        if len(batch.items) > 1 and _counted(story, batch.user, sizes) > most:
            yield f"{batch.id} of {batch.user} counts as more than {most} bytes"
        for attempt in batch.attempts:
            if len(attempt.texts) > 1 and len(attempt.body) > most:
                yield f"{batch.id} of {batch.user} was sent with {len(attempt.body)} bytes"


def placed(story: Story, batch: Batch) -> list[str]:
    """The messages of a batch that have their place in the user's order here. A batch that was
    divided leaves it to its halves, and one that was taken back to the one that supersedes it, but
    for a replay, whose place is where it first came."""
    if (batch.divided or batch.taken_back) and not batch.buried:
        return []
    before = {text for each in story.lineage(batch) if each.buried for text in each.texts}
    return [text for text in batch.texts if text not in before]


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
        rest = set(whole.texts[len(texts) :]) - story.dropped - _joined(story, whole)
        if len(found) > 2 or tuple(texts) != whole.texts[: len(texts)] or rest:
            yield f"{whole.id} with {whole.texts} was divided into {[p.texts for p in found]}"
        if any((p.closed_ms, p.reason) != (whole.closed_ms, whole.reason) for p in found):
            yield f"a half of {whole.id} says that it was closed otherwise"


def _joined(story: Story, whole: Batch) -> set[str]:
    """What came in a batch with messages that were taken back: a half that stood first in the line
    then, for one."""
    again = [
        batch
        for batch in story.batches.values()
        if batch.user == whole.user and story.came_with_others(batch)
    ]
    return {text for batch in again for text in batch.texts}
