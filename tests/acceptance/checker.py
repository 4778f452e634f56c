"""One checker for every test: do the attempts fit the posts, as the contract promises?

Pure: two histories in, sentences about violations out. Each message has a text of its own, by
which it is followed. A message was appended at some moment between its first try's call and the
return of its first 202; every rule is applied only where it holds for all such moments, so a
violation is never a matter of timing here.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.acceptance.history import Post
from tests.acceptance.receiver import Attempt

CLOCK_S = 0.002
"""Redis counts whole milliseconds, and its clock may be slewed meanwhile."""
NOTICE_S = 0.05
"""How long a thread here may take to notice that a caller went away."""
SHOWN_MAX = 20


@dataclass(frozen=True)
class Expected:
    """What the test did, and so what may differ from a run without trouble."""

    late_s: float | None = None
    """First attempts come at most this long after they are due. None: not checked."""
    repeats: bool = False
    """A success may be followed by the same batch again: an answer was lost, a process died."""
    max_wait_s: float | None = None
    closed_early: Collection[str] = ()
    """Users whose batches were flushed, or closed by a cap."""
    dead: Collection[str] = ()
    """Ids of batches that died when their attempts ran out. 410, and 413 of one message, need no
    mention; 413 of several divides the batch."""
    gone: Collection[str] = ()
    """Texts that were dropped, or are dead letters or held now."""


@dataclass(frozen=True)
class _Message:
    user: str
    ttl_s: float
    called: float
    """Not appended before this."""
    returned: float | None
    """Appended before this; None when it was never accepted."""
    possible: bool
    """Whether any try can have been kept."""


@dataclass
class _Batch:
    webhook_id: str
    user: str
    texts: tuple[str, ...]
    attempts: list[Attempt]

    @property
    def divided(self) -> bool:
        """Too large for its receiver: its messages come again, in two batches or more."""
        return len(self.texts) > 1 and any(attempt.status == 413 for attempt in self.attempts)

    def holds(self, part: _Batch) -> bool:
        """Whether `part` has some of its messages, one after the other."""
        count, others = len(part.texts), range(len(self.texts))
        return count < len(self.texts) and any(
            self.texts[start : start + count] == part.texts for start in others
        )

    @property
    def resolved_at(self) -> float | None:
        for attempt in self.attempts:
            if attempt.succeeded or attempt.status in (410, 413):
                return attempt.ended
        return None


def verify(posts: Iterable[Post], attempts: Iterable[Attempt], expected: Expected) -> None:
    """Raise AssertionError that lists every violation."""
    found = violations(posts, attempts, expected)
    shown = "\n  ".join(found[:SHOWN_MAX])
    assert not found, f"{len(found)} violations of the contract:\n  {shown}"


def violations(posts: Iterable[Post], attempts: Iterable[Attempt], expected: Expected) -> list[str]:
    """One sentence for each, empty when all is well."""
    messages = _messages(posts)
    in_order = sorted(attempts, key=lambda attempt: attempt.started)
    batches = _batches(in_order)
    return [
        *_lost(messages, in_order, expected),
        *_invented(messages, in_order),
        *_changed(in_order),
        *_in_two_batches(batches),
        *_disorder(messages, batches),
        *_overlapping(in_order),
        *_unresolved(batches, expected),
        *_repeated(in_order, expected),
        *_early(messages, batches, expected),
        *_late(messages, batches, expected),
    ]


def undelivered(posts: Iterable[Post], attempts: Iterable[Attempt]) -> set[str]:
    """Accepted texts that no successful attempt carried yet."""
    delivered = {text for attempt in list(attempts) if attempt.succeeded for text in attempt.texts}
    return {post.text for post in list(posts) if post.accepted} - delivered


# Reading the histories


def _messages(posts: Iterable[Post]) -> dict[str, _Message]:
    tries: dict[str, list[Post]] = defaultdict(list)
    for post in posts:
        tries[post.text].append(post)
    return {text: _message(of_text) for text, of_text in tries.items()}


def _message(tries: Sequence[Post]) -> _Message:
    possible = [post for post in tries if post.accepted or post.unknown]
    return _Message(
        user=tries[0].user,
        ttl_s=tries[0].ttl_s,
        called=min(post.called for post in possible or tries),
        returned=min((post.returned for post in tries if post.accepted), default=None),
        possible=bool(possible),
    )


def _batches(attempts: Sequence[Attempt]) -> dict[str, _Batch]:
    """In order of first attempt."""
    batches: dict[str, _Batch] = {}
    for attempt in attempts:
        fresh = _Batch(attempt.webhook_id, attempt.user, attempt.texts, [])
        batches.setdefault(attempt.webhook_id, fresh).attempts.append(attempt)
    return batches


def _by_user(batches: dict[str, _Batch]) -> dict[str, list[_Batch]]:
    grouped: dict[str, list[_Batch]] = defaultdict(list)
    for batch in batches.values():
        grouped[batch.user].append(batch)
    return grouped


# The rules


def _lost(
    messages: dict[str, _Message], attempts: Sequence[Attempt], expected: Expected
) -> Iterator[str]:
    delivered = {text for attempt in attempts if attempt.succeeded for text in attempt.texts}
    for text, message in messages.items():
        if message.returned is not None and text not in delivered and text not in expected.gone:
            yield f"lost: {text} of {message.user} was accepted and never delivered"


def _invented(messages: dict[str, _Message], attempts: Sequence[Attempt]) -> Iterator[str]:
    for attempt in attempts:
        for text in attempt.texts:
            message = messages.get(text)
            if message is None or not message.possible:
                yield f"invented: {text} was never accepted, and {attempt.webhook_id} carries it"
            elif message.user != attempt.user:
                yield f"invented: {text} of {message.user} was sent for {attempt.user}"


def _changed(attempts: Sequence[Attempt]) -> Iterator[str]:
    bodies: dict[str, bytes] = {}
    for attempt in attempts:
        if bodies.setdefault(attempt.webhook_id, attempt.body) != attempt.body:
            yield f"changed: {attempt.webhook_id} was sent with another body"
        if attempt.headers.get("idempotency-key") != attempt.webhook_id:
            yield f"changed: {attempt.webhook_id} has another idempotency-key"


def _in_two_batches(batches: dict[str, _Batch]) -> Iterator[str]:
    home: dict[str, _Batch] = {}
    for batch in batches.values():
        if len(set(batch.texts)) != len(batch.texts):
            yield f"doubled: {batch.webhook_id} carries a message twice"
        for text in batch.texts:
            before, home[text] = home.get(text), batch
            if before is not None and not (before.divided and before.holds(batch)):
                yield f"doubled: {text} is in {before.webhook_id} and in {batch.webhook_id}"


def _disorder(messages: dict[str, _Message], batches: dict[str, _Batch]) -> Iterator[str]:
    for user, of_user in _by_user(batches).items():
        whole = [batch for batch in of_user if not batch.divided]
        texts = [text for batch in whole for text in batch.texts if text in messages]
        soonest_return, follower = float("inf"), ""
        for text in reversed(texts):
            message = messages[text]
            if message.called > soonest_return:
                yield f"disorder: {text} of {user} came before {follower}, sent after it"
            if message.returned is not None and message.returned < soonest_return:
                soonest_return, follower = message.returned, text


def _overlapping(attempts: Sequence[Attempt]) -> Iterator[str]:
    last: dict[str, Attempt] = {}
    for attempt in attempts:
        before = last.get(attempt.user)
        if before is not None and _ended(before) > attempt.started:
            yield (
                f"overlap: {attempt.webhook_id} of {attempt.user} began before the attempt of"
                f" {before.webhook_id} had ended"
            )
        if before is None or _ended(attempt) >= _ended(before):
            last[attempt.user] = attempt


def _ended(attempt: Attempt) -> float:
    if attempt.ended is None:
        return float("inf")
    # An answer is dated before it is sent, a caller's leaving after it is seen.
    return attempt.ended if attempt.status is not None else attempt.ended - NOTICE_S


def _unresolved(batches: dict[str, _Batch], expected: Expected) -> Iterator[str]:
    for user, of_user in _by_user(batches).items():
        for earlier, later in itertools.pairwise(of_user):
            if earlier.webhook_id in expected.dead:
                continue
            resolved_at = earlier.resolved_at
            began = later.attempts[0].started
            pair = f"{later.webhook_id} of {user} and {earlier.webhook_id} before it"
            if resolved_at is None or resolved_at > began:
                yield f"unresolved: {pair}, which had neither succeeded nor died"
            if resolved_at is not None and _again(earlier, began) and not _died(earlier):
                yield f"unresolved: {pair}, which came once more afterwards"


def _again(batch: _Batch, after: float) -> bool:
    return any(attempt.started > after for attempt in batch.attempts)


def _died(batch: _Batch) -> bool:
    return any(attempt.status in (410, 413) for attempt in batch.attempts)


def _repeated(attempts: Sequence[Attempt], expected: Expected) -> Iterator[str]:
    if expected.repeats:
        return
    done: dict[str, Attempt] = {}
    for attempt in attempts:
        before = done.get(attempt.webhook_id)
        if before is not None and before.ended is not None:
            took_s, later_s = before.ended - before.started, attempt.started - before.ended
            yield (
                f"repeated: {attempt.webhook_id} was sent again {later_s:.3f} s after its success,"
                f" which had taken {took_s:.3f} s"
            )
        if attempt.succeeded:
            done.setdefault(attempt.webhook_id, attempt)


def _early(
    messages: dict[str, _Message], batches: dict[str, _Batch], expected: Expected
) -> Iterator[str]:
    for batch, last, first in _timed(messages, batches, expected):
        due = _due(last, first, expected, lambda message: message.called)
        ahead_s = due - CLOCK_S - batch.attempts[0].started
        if ahead_s > 0:
            yield f"early: {batch.webhook_id} of {batch.user} came {ahead_s:.3f} s early"


def _late(
    messages: dict[str, _Message], batches: dict[str, _Batch], expected: Expected
) -> Iterator[str]:
    if expected.late_s is None:
        return
    free_at: dict[str, float] = {}
    for batch, last, first in _timed(messages, batches, expected):
        if last.returned is not None and first.returned is not None:
            due = _due(last, first, expected, lambda message: message.returned or 0.0)
            due = max(due, free_at.get(batch.user, 0.0))
            late_s = batch.attempts[0].started - due
            if late_s > expected.late_s:
                yield f"late: {batch.webhook_id} of {batch.user} came {late_s:.3f} s late"
        ends = [attempt.ended for attempt in batch.attempts if attempt.ended is not None]
        free_at[batch.user] = max(ends, default=0.0)


def _timed(
    messages: dict[str, _Message], batches: dict[str, _Batch], expected: Expected
) -> Iterator[tuple[_Batch, _Message, _Message]]:
    """The batches whose moment is known, each with its last and its first message."""
    wholes = [batch for batch in batches.values() if batch.divided]
    for batch in batches.values():
        known = batch.texts and all(text in messages for text in batch.texts)
        known = known and not any(whole.holds(batch) for whole in wholes)
        if known and batch.user not in expected.closed_early:
            yield batch, messages[batch.texts[-1]], messages[batch.texts[0]]


def _due(
    last: _Message, first: _Message, expected: Expected, moment: Callable[[_Message], float]
) -> float:
    quiet = moment(last) + last.ttl_s
    if expected.max_wait_s is None:
        return quiet
    return min(quiet, moment(first) + expected.max_wait_s)
