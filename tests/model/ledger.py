"""The contract's guarantees, checked on what the store answered, without any model of it.

A `Ledger` writes down what was accepted, attempted, settled and dropped, and fails as soon as
the story breaks a guarantee. Every message is told apart by the number `n` in its body, because
a message id may be used again after the dedup window.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from actor_queue.core.batch import Attempt, Batch, divided_from, supersedes

BACK = "taken back"


@dataclass(frozen=True)
class Kept:
    """An accepted message."""

    n: int
    message_id: str
    body: bytes
    ttl_ms: int


@dataclass
class Story:
    """One user's, so far."""

    accepted: list[Kept] = field(default_factory=list)
    place: dict[int, str] = field(default_factory=dict)
    """n → `pending`, `dropped`, or the id of the batch that holds it."""
    batches: dict[str, Batch] = field(default_factory=dict)
    fate: dict[str, str] = field(default_factory=dict)
    """Batch id → `flight`, `delivered`, `dead`, `dropped`, `divided`, `taken back`."""
    unresolved: str | None = None
    closing: str | None = None
    """The batch that was delivered while another attempt at it was under way: the user's turn goes
    on, and nothing new begins before it is over."""
    attempt: Attempt | None = None
    limit_at_ms: int = 0
    """When the attempt under way must be over; 0 when none is."""
    hold_until_ms: int = 0
    awaited: tuple[bytes, ...] = ()
    """The first half of a divided batch, as long as no attempt was made at it."""
    halves: list[tuple[bytes, ...]] = field(default_factory=list)
    """Second halves, in the order in which they must come."""
    joined: tuple[int, ...] = ()
    """With those of these that are left the next new batch begins: what was taken back, and a half
    that waited behind it."""
    former: str | None = None
    """The batch that was taken back, as long as its messages wait to come again."""
    newest: int = -1
    """The last message that ever went into a batch."""


class Ledger:
    """All users' stories. Every method raises AssertionError where a guarantee is broken."""

    def __init__(self, *, ids_are_for_ever: bool) -> None:
        self.stories: dict[str, Story] = {}
        self._ids_are_for_ever = ids_are_for_ever

    def story(self, user: str) -> Story:
        return self.stories.setdefault(user, Story())

    def accepted(self, user: str, kept: Kept) -> None:
        story = self.story(user)
        story.accepted.append(kept)
        story.place[kept.n] = "pending"

    def attempted(self, attempt: Attempt, now_ms: int) -> None:
        """The store granted `attempt` (a repetition of the same grant included)."""
        story = self.story(attempt.batch.user)
        if story.closing and story.attempt and story.attempt.token == attempt.token:
            assert replace(attempt, limit_in_ms=0) == replace(story.attempt, limit_in_ms=0)
            assert attempt.limit_in_ms == story.limit_at_ms - now_ms > 0
            return
        if story.unresolved == attempt.batch.id and story.attempt:
            repeated = attempt.number == story.attempt.number
            # A claim to bury what was never answered has the number of the attempt before.
            repeated = repeated and attempt.token == story.attempt.token
            assert repeated or attempt.unanswered or attempt.number == story.attempt.number + 1, (
                "a number was skipped"
            )
            if repeated:
                assert now_ms < story.limit_at_ms, "an attempt that is over was handed out again"
                assert attempt.limit_in_ms == story.limit_at_ms - now_ms
        else:
            assert attempt.number == 1, "a batch's first attempt has number 1"
            repeated = False
        self._same_bytes_or_new(story, attempt.batch)
        if not repeated:
            assert now_ms >= story.hold_until_ms, "an attempt started although a hold is in force"
            assert now_ms >= story.limit_at_ms, "two attempts overlap"
        story.attempt, story.closing = attempt, None
        story.limit_at_ms = now_ms + attempt.limit_in_ms

    def _same_bytes_or_new(self, story: Story, batch: Batch) -> None:
        known = story.batches.get(batch.id)
        if story.unresolved == batch.id:
            assert batch == known, "the same id with other bytes"
            return
        assert story.unresolved is None, "a second batch while one is unresolved"
        if known:
            assert not story.awaited, "a replay before the first half of a divided batch"
            assert story.fate[batch.id] == "dead", "a batch that was resolved came again"
            assert batch == known, "a replay with other bytes"
        elif any(story.place[n] == "pending" for n in story.joined):
            self._check_joined(story, batch)
            story.batches[batch.id] = batch
        elif story.awaited or story.halves:
            self._check_half(story, batch)
            story.batches[batch.id] = batch
        else:
            self._check_new(story, batch)
            story.batches[batch.id] = batch
        story.unresolved, story.fate[batch.id] = batch.id, "flight"

    def _check_joined(self, story: Story, batch: Batch) -> None:
        joined = [n for n in story.joined if story.place[n] == "pending"]
        numbers = numbers_of(batch.stored)
        assert numbers[: len(joined)] == joined, "what was taken back does not come first"
        # The id is bound to the first message, which may have been revoked.
        former = story.former if joined[0] == story.joined[0] else None
        assert supersedes(batch.id) == former, "the batch does not say what it supersedes"
        # What was replayed, and then taken back, may be older than others that have gone.
        story.joined, story.newest, newest = (), joined[0] - 1, story.newest
        self._check_new(story, batch)
        story.newest = max(newest, story.newest)

    def _check_half(self, story: Story, batch: Batch) -> None:
        expected, story.awaited = story.awaited or story.halves.pop(0), ()
        assert batch.stored == expected, "another batch than the next half of a divided one"
        whole = story.batches[divided_from(batch.id) or ""]
        assert story.fate[whole.id] == "divided"
        times = [json.loads(item)[1] for item in batch.stored]
        assert (batch.first_at_ms, batch.last_at_ms) == (times[0], times[-1])
        said = replace(
            whole,
            id=batch.id,
            seq=batch.seq,
            first_at_ms=batch.first_at_ms,
            last_at_ms=batch.last_at_ms,
            stored=batch.stored,
        )
        assert batch == said, "a half says other things than the whole"
        for n in numbers_of(batch.stored):
            story.place[n] = batch.id

    def _check_new(self, story: Story, batch: Batch) -> None:
        kept = {message.n: message for message in story.accepted}
        numbers = numbers_of(batch.stored)
        assert numbers, "an empty batch"
        for n, item in zip(numbers, batch.stored, strict=True):
            assert n in kept, "a message that was never accepted"
            assert story.place[n] == "pending", f"message {n} is already {story.place[n]}"
            assert n > story.newest, "out of order"
            story.newest = n
            story.place[n] = batch.id
            _, _, message_id, _ = json.loads(item)
            assert message_id == kept[n].message_id
            assert item.endswith(b"," + kept[n].body + b"]"), "a body was changed"
        skipped = [
            m.n for m in story.accepted if m.n < story.newest and story.place[m.n] == "pending"
        ]
        assert not skipped, "an accepted message was passed over"
        self._check_times(batch, kept[numbers[-1]].ttl_ms)
        if self._ids_are_for_ever:
            self._check_ids(story)

    def _check_times(self, batch: Batch, ttl_ms: int) -> None:
        times = [json.loads(item)[1] for item in batch.stored]
        assert times == sorted(times)
        assert (times[0], times[-1]) == (batch.first_at_ms, batch.last_at_ms)
        assert batch.closed_at_ms >= batch.due_at_ms, "closed before it was due"
        if batch.reason == "quiet":
            assert batch.closed_at_ms >= batch.last_at_ms + ttl_ms, "early"

    def _check_ids(self, story: Story) -> None:
        named = [message.message_id for message in story.accepted]
        assert len(named) == len(set(named)), "a message id was accepted twice"

    def delivered(self, attempt: Attempt, now_ms: int) -> None:
        """The store took the ack of `attempt`."""
        user, batch_id = attempt.batch.user, attempt.batch.id
        story = self.story(user)
        under_way, until_ms = story.attempt, story.limit_at_ms
        self._resolved(user, batch_id, "delivered")
        if under_way and under_way.token != attempt.token and now_ms < until_ms:
            story.closing, story.attempt, story.limit_at_ms = batch_id, under_way, until_ms

    def turn_over(self, attempt: Attempt) -> None:
        """The attempt that was under way when its batch was delivered has ended."""
        story = self.story(attempt.batch.user)
        assert story.closing == attempt.batch.id, "a turn ended that had ended before"
        assert story.attempt
        story.closing, story.attempt, story.limit_at_ms = None, None, 0

    def buried(self, user: str, batch_id: str) -> None:
        self._resolved(user, batch_id, "dead")

    def divided(self, attempt: Attempt) -> None:
        """The batch has become two: the first half goes next, and its second half after it."""
        user, stored = attempt.batch.user, attempt.batch.stored
        story, middle = self.story(user), (len(stored) + 1) // 2
        self._resolved(user, attempt.batch.id, "divided")
        story.awaited = stored[:middle]
        story.halves.insert(0, stored[middle:])
        assert all((story.awaited, story.halves[0])), "an empty half"
        story.place.update(dict.fromkeys(numbers_of(stored), "half"))

    def taken_back(self, attempt: Attempt) -> None:
        """The batch's messages come again, in front of the newer ones."""
        user, stored = attempt.batch.user, attempt.batch.stored
        story = self.story(user)
        self._resolved(user, attempt.batch.id, BACK)
        waiting = tuple(n for n in story.joined if story.place[n] == "pending")
        behind = waiting or numbers_of(story.halves.pop(0) if story.halves else ())
        story.joined, story.former = (*numbers_of(stored), *behind), attempt.batch.id
        story.place.update(dict.fromkeys(story.joined, "pending"))

    def answering(self, user: str, until_ms: int) -> None:
        """The attempt's limit has moved: its receiver will say when it is done."""
        self.story(user).limit_at_ms = until_ms

    def waits(self, user: str) -> None:
        """The attempt under way ended; its batch waits for a retry."""
        self.story(user).limit_at_ms = 0

    def _resolved(self, user: str, batch_id: str, fate: str) -> None:
        story = self.story(user)
        assert story.unresolved == batch_id, "a verdict was taken for a batch not in flight"
        story.fate[batch_id] = fate
        story.unresolved, story.attempt, story.limit_at_ms = None, None, 0

    def held(self, user: str, until_ms: int) -> None:
        self.story(user).hold_until_ms = until_ms

    def dropped(self, user: str, batch_id: str | None, items: Sequence[bytes]) -> None:
        story = self.story(user)
        if batch_id and story.awaited:
            assert items[: len(story.awaited)] == story.awaited
            story.place.update(dict.fromkeys(numbers_of(story.awaited), "dropped"))
            items, story.awaited = items[len(story.awaited) :], ()
        elif batch_id:
            self._resolved(user, batch_id, "dropped")
            assert list(items[: len(story.batches[batch_id].stored)]) == list(
                story.batches[batch_id].stored
            )
            items = items[len(story.batches[batch_id].stored) :]
        assert numbers_of(items) == self.pending(user), "dropped other messages than were pending"
        story.halves.clear()
        story.joined = ()
        for n in numbers_of(items):
            story.place[n] = "dropped"

    def edited(self, user: str, message_id: str, text: str) -> None:
        """The newest waiting message of this id has another text, and else stays what it was."""
        place = self._waiting_place(user, message_id)
        accepted = self.story(user).accepted
        body = json.loads(accepted[place].body) | {"message": text}
        accepted[place] = replace(accepted[place], body=json.dumps(body).encode())

    def revoked(self, user: str, message_id: str) -> None:
        story = self.story(user)
        gone = story.accepted[self._waiting_place(user, message_id)].n
        story.place[gone] = "dropped"
        if (left := self.pending(user)) and left[-1] < gone:
            # The timer stays as the message set it that is gone: it may be a shorter one.
            last = next(n for n, kept in enumerate(story.accepted) if kept.n == left[-1])
            story.accepted[last] = replace(story.accepted[last], ttl_ms=0)

    def _waiting_place(self, user: str, message_id: str) -> int:
        story = self.story(user)
        places = [
            place
            for place, kept in enumerate(story.accepted)
            if kept.message_id == message_id and story.place[kept.n] == "pending"
        ]
        assert places, "a message was changed that did not wait"
        return places[-1]

    def letter_dropped(self, user: str, batch_id: str) -> None:
        assert self.story(user).fate[batch_id] == "dead"
        self.story(user).fate[batch_id] = "dropped"

    def pending(self, user: str) -> list[int]:
        """What must be waiting now, in order: accepted, not in a batch, not dropped."""
        story = self.story(user)
        halves = [n for half in story.halves for n in numbers_of(half)]
        waiting = [k.n for k in story.accepted if story.place[k.n] == "pending"]
        first = [n for n in story.joined if story.place[n] == "pending"]
        return first + halves + [n for n in waiting if n not in story.joined]

    def check_holdings(self, user: str, pending: Sequence[bytes], flight: Sequence[bytes]) -> None:
        """Nothing lost: what the store holds is exactly what must be waiting and in flight."""
        story = self.story(user)
        assert numbers_of(pending) == self.pending(user), "pending messages are wrong"
        if story.closing and not flight:
            # Its attempt's limit has passed, which nobody has to say.
            return
        held = story.unresolved or story.closing
        expected = story.batches[held].stored if held else story.awaited
        assert tuple(flight) == expected, "the batch in flight is wrong"

    def dead(self, user: str) -> dict[str, Batch]:
        story = self.story(user)
        return {name: story.batches[name] for name, fate in story.fate.items() if fate == "dead"}

    def check_drained(self) -> None:
        """Nothing is pending, in flight or dead any more."""
        for user, story in self.stories.items():
            assert not self.pending(user), "accepted and never handed out"
            assert set(story.fate.values()) <= {"delivered", "dropped", "divided", BACK}, story.fate
            assert not any((story.awaited, story.halves, story.joined)), (
                "half of a batch was forgotten"
            )


def numbers_of(items: Iterable[bytes]) -> list[int]:
    """The `n` of each stored item."""
    return [json.loads(item)[3]["n"] for item in items]
