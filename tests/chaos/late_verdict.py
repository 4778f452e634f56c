"""What a receiver that answers later proves: guarantee 6 in its longer form, and all the others.

Pure. A batch of such a receiver is delivered when a replica has granted its `done`, not when it was
answered 202. So the attempts are read again as what they came to, and then judged by the one
checker; what that cannot know stands here.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.acceptance.history import Post
from tests.acceptance.receiver import Attempt

ACCEPTED = 202
TAKEN_BACK_MAX = 2
"""In a row; the end after that is one whatever waits."""
UNREPLICATED_S = 1.0
"""What a primary did so long before its failover began, its replica may not have."""

Windows = Sequence[tuple[float, float]]
"""When each failover began and was over."""


@dataclass(frozen=True)
class Said:
    """One word of the receiver about one attempt, and the answer that it heard at last."""

    batch_id: str
    attempt: float
    """When that attempt began."""
    verb: str
    """`done`, `latest` (done if nothing newer waits), `extend`, `fail`."""
    called: float
    """The first time that it was said."""
    returned: float
    status: int | None
    newer: int | None = None
    tries: int = 1

    @property
    def granted(self) -> bool:
        return self.status == 200 and self.verb in ("done", "latest")

    @property
    def taken_back(self) -> bool:
        return self.status == 409

    @property
    def unsure(self) -> bool:
        """An earlier try may have been carried out and forgotten again: the user's next batch may
        have been answered meanwhile."""
        return self.status in (None, 410) and self.tries > 1 and self.verb in ("done", "latest")


Words = Mapping[tuple[str, float], Said]
"""The last word about each attempt, without extensions."""


def last_words(said: Sequence[Said]) -> Words:
    return {(each.batch_id, each.attempt): each for each in said if each.verb != "extend"}


def superseded(attempts: Sequence[Attempt]) -> set[str]:
    """Batches whose messages came again in another one, as that one says."""
    return {named for named in map(_supersedes, attempts) if named is not None}


def _supersedes(attempt: Attempt) -> str | None:
    named: str | None = json.loads(attempt.body).get("batch", {}).get("supersedes")
    return named


def as_they_ended(attempts: Sequence[Attempt], words: Words) -> list[Attempt]:
    """What each attempt came to. What was taken back is left out: it comes again elsewhere."""
    back = _taken_back(attempts, words)
    final = {each.webhook_id: each.started for each in attempts}
    return [
        _ended(each, words, final=final[each.webhook_id] == each.started)
        for each in attempts
        if each.webhook_id not in back
    ]


def _taken_back(attempts: Sequence[Attempt], words: Words) -> set[str]:
    unsure = {word.batch_id for word in words.values() if word.unsure}
    heard = {word.batch_id: word.returned for word in words.values() if word.taken_back}
    # A failover may undo what was answered: the batch then comes again as it was.
    undone = {
        each.webhook_id
        for each in attempts
        if each.started > heard.get(each.webhook_id, float("inf"))
    }
    return (set(heard) - undone) | (unsure & superseded(attempts))


def _ended(attempt: Attempt, words: Words, *, final: bool) -> Attempt:
    if attempt.status != ACCEPTED:
        return attempt
    word = words.get((attempt.webhook_id, attempt.started))
    if word is not None and (word.granted or (word.unsure and final)):
        return dataclasses.replace(attempt, status=200, ended=word.called)
    if word is not None and word.status == 200:
        return dataclasses.replace(attempt, status=500, ended=word.called)
    # Its time passed without a word that counted.
    return dataclasses.replace(attempt, status=500)


def answer_violations(
    posts: Sequence[Post],
    attempts: Sequence[Attempt],
    said: Sequence[Said],
    *,
    failovers: Windows = (),
) -> Iterator[str]:
    """What concerns answers alone; the rest is the checker's, over `as_they_ended`. A batch may
    come again although its end was answered, where one of `failovers` can have undone that end:
    AQ_DURABILITY is what the 202 to a message waits for, and an end is not waited for."""
    words = last_words(said)
    for each in said:
        if each.status not in (200, 409, 410):
            yield f"answer: {each.verb} about {each.batch_id} got {each.status}"
    by_user: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda attempt: attempt.started):
        by_user[attempt.user].append(attempt)
    back = _taken_back(attempts, words)
    for batch_id in superseded(attempts) - back:
        yield f"groundless: {batch_id} came again in another batch, and was not taken back"
    for of_user in by_user.values():
        yield from _after_the_end(of_user, words, failovers)
        yield from _back_in_front(of_user, words, back)
    yield from _unseen(posts, attempts, words)


def _after_the_end(attempts: Sequence[Attempt], words: Words, failovers: Windows) -> Iterator[str]:
    """A batch whose end was granted, or that was taken back, does not come again."""
    over: dict[str, float] = {}
    for attempt in attempts:
        ended_at = over.get(attempt.webhook_id)
        if ended_at is not None and attempt.started > ended_at:
            later_s = attempt.started - ended_at
            yield f"again: {attempt.webhook_id} came {later_s:.3f} s after its end"
        word = words.get((attempt.webhook_id, attempt.started))
        if word is None or _may_be_undone(word, failovers):
            continue
        if word.granted or word.taken_back:
            over[attempt.webhook_id] = word.returned


def _may_be_undone(word: Said, failovers: Windows) -> bool:
    return any(
        word.called <= ended and word.returned >= began - UNREPLICATED_S
        for began, ended in failovers
    )


def _back_in_front(attempts: Sequence[Attempt], words: Words, back: set[str]) -> Iterator[str]:
    """What was taken back stands in front of what is newer in the user's next batch, which says
    whose place it takes; and the third time in a row nothing is taken back."""
    times: dict[str, int] = {}
    for place, attempt in enumerate(attempts):
        before = _supersedes(attempt)
        in_a_row = times[attempt.webhook_id] = 0 if before is None else times.get(before, 0) + 1
        word = words.get((attempt.webhook_id, attempt.started))
        if word is None:
            continue
        if word.granted and word.verb == "latest" and word.newer and in_a_row < TAKEN_BACK_MAX:
            yield f"done: {word.batch_id} is done, and {word.newer} newer waited"
        if word.batch_id not in back or not (word.taken_back or word.unsure):
            continue
        if in_a_row >= TAKEN_BACK_MAX:
            yield f"endless: {word.batch_id} was taken back, the third time in a row"
        following = [each for each in attempts[place + 1 :] if each.webhook_id != word.batch_id]
        if not following:
            yield f"lost: {word.batch_id} was taken back and never came again"
            continue
        after, count = following[0], len(attempt.texts)
        if after.texts[:count] != attempt.texts or len(after.texts) == count:
            yield f"content: {after.webhook_id} does not begin with what {word.batch_id} carried"
        if _supersedes(after) != word.batch_id:
            yield f"supersedes: {after.webhook_id} does not name {word.batch_id}"


def _unseen(posts: Sequence[Post], attempts: Sequence[Attempt], words: Words) -> Iterator[str]:
    """An end for the latest is granted only where nothing that was accepted before it waits."""
    first_sent: dict[str, float] = {}
    for attempt in attempts:
        for text in attempt.texts:
            first_sent[text] = min(attempt.started, first_sent.get(text, attempt.started))
    accepted = [post for post in posts if post.accepted]
    of_user: dict[str, list[Post]] = defaultdict(list)
    for post in accepted:
        of_user[post.user].append(post)
    for attempt in attempts:
        word = words.get((attempt.webhook_id, attempt.started))
        if word is None or not word.granted or word.verb != "latest" or word.newer:
            continue
        for post in of_user[attempt.user]:
            waits = first_sent.get(post.text, float("inf")) > word.returned
            if post.returned < word.called and waits:
                yield f"unseen: {word.batch_id} is done, and {post.text} was accepted before"
