"""Receivers that answer later: what they are told fits what the server knew, and no message stands
in two batches that were answered.

`_Line` is what one conversation looks like to whoever only sees which scripts were carried out:
what waits, which attempt is under way and until when, what was answered last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile

from actor_queue.core.answers import TAKEN_BACK_MAX
from tests.simulation.history import Executed, History, Told
from tests.simulation.story import Batch, Story, appended, dropped_texts, revoked_text

ROUND_MS = 1


@dataclass(slots=True)
class _Flight:
    """The attempt under way."""

    batch: Batch
    token: str
    until_ms: int
    since_ms: int | None = None
    """When its receiver was first known to answer later."""
    known: bool = False
    """An earlier attempt has delivered the batch."""


@dataclass(slots=True)
class _Line:
    waiting: list[str] = field(default_factory=list)
    halves: list[set[str]] = field(default_factory=list)
    """Of what waits: the rests of batches that were divided, which are older than what is newer."""
    flight: _Flight | None = None
    last: tuple[str, str, str, int] | None = None
    """Batch, token, what was answered, how many newer messages waited."""

    @property
    def newer(self) -> int:
        older = set().union(*self.halves)
        # A half behind messages that were taken back waits as they do.
        return len(list(dropwhile(older.__contains__, self.waiting)))

    def forget(self, texts: Sequence[str]) -> None:
        gone = set(texts)
        self.waiting = [text for text in self.waiting if text not in gone]
        self.halves = [rest for half in self.halves if (rest := half - gone)]


class _Eye:
    """Follows all conversations, and writes down what does not fit."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.lines: defaultdict[str, _Line] = defaultdict(_Line)
        self.wrong: list[tuple[str, str]] = []
        """User and sentence."""
        for e in story.history.of(Executed):
            self._read(e)

    def _read(self, e: Executed) -> None:
        match e.script:
            case "append":
                for user, text, _ in appended(e):
                    self.lines[user].waiting.append(text)
            case "claim" | "claim_replay":
                self._claimed(e, self.lines[e.args[3]])
            case "retry" | "bury" | "divide":
                if _said(e) in (b"ok", b"known"):
                    self._settled(e, self.lines[e.args[3]])
            case "ack":
                self._acked(e, self.lines[e.args[1]])
            case "drop":
                self.lines[e.args[1]].forget(dropped_texts(e))
            case "revoke" if e.reply == b"ok":
                self.lines[e.args[1]].forget([revoked_text(e)])
            case "answering":
                self._answering(e, self.lines[e.args[1]])
            case "extend" | "done" | "answer_fail":
                self._answered(e, self.lines[e.args[1]])

    def _claimed(self, e: Executed, line: _Line) -> None:
        if _said(e) == b"unanswered" or (line.flight and e.now_ms >= line.flight.until_ms):
            line.flight = None
        if _said(e) != b"attempt":
            return
        assert isinstance(e.reply, list)
        batch, token = self.story.batches[e.reply[3].decode()], e.args[4]
        if line.flight is None or line.flight.token != token:
            line.flight = _Flight(batch, token, e.now_ms + e.reply[2])
        line.forget(batch.texts)

    def _settled(self, e: Executed, line: _Line) -> None:
        flight, line.flight = line.flight, None
        if e.script == "divide" and _said(e) == b"ok" and flight is not None:
            line.waiting[:0] = flight.batch.texts
            line.halves.insert(0, set(flight.batch.texts))

    def _acked(self, e: Executed, line: _Line) -> None:
        flight = line.flight
        if _said(e) not in (b"ok", b"known") or flight is None:
            return
        if e.now_ms < flight.until_ms and flight.token != e.args[7]:
            flight.known = True
        else:
            line.flight = None

    def _answering(self, e: Executed, line: _Line) -> None:
        flight = line.flight
        if _said(e) == b"known":
            line.flight = None
        elif _said(e) == b"ok" and flight is not None:
            within_ms = self.story.plan.route_of(e.args[1]).answer_within_ms
            if flight.since_ms is None:
                flight.since_ms, flight.until_ms = e.now_ms, e.now_ms + within_ms
            # Its receiver has asked for more time before the 202 was recorded.
            flight.until_ms = max(flight.until_ms, flight.since_ms + within_ms)

    # What a receiver says

    def _answered(self, e: Executed, line: _Line) -> None:
        if not isinstance(e.reply, list):
            return  # the script itself objected, which is another rule's
        what, flight = e.reply[0].decode(), line.flight
        open_ = (
            flight is not None
            and (flight.batch.id, flight.token) == (e.args[2], e.args[3])
            and e.now_ms < flight.until_ms
        )
        if flight is not None and open_:
            self._in_time(e, line, flight, what)
        else:
            self._out_of_time(e, line, what)

    def _in_time(self, e: Executed, line: _Line, flight: _Flight, what: str) -> None:
        newer = line.newer
        if what in ("over", "again") or e.reply[1] != newer:  # type: ignore[index]
            self._wrong(e, f"told {e.reply}, and it was in time, with {newer} newer messages")
        if e.script == "extend":
            if what == "answering":
                self._extended(e, flight)
            return
        if e.script == "done":
            # As often as it was taken back in a row, a `z` stands in its id.
            again = flight.batch.id.count("z") < TAKEN_BACK_MAX and not flight.known
            right = "taken_back" if e.args[5] == "1" and newer and again else "done"
            if what != right:
                self._wrong(e, f"told {what} in the place of {right}, with {newer} newer messages")
        if what == "taken_back":
            if line.halves and line.waiting[0] in line.halves[0]:
                del line.halves[0]
            line.waiting[:0] = flight.batch.texts
        line.last = flight.batch.id, flight.token, what, newer
        line.flight = None

    def _extended(self, e: Executed, flight: _Flight) -> None:
        flight.since_ms = e.now_ms if flight.since_ms is None else flight.since_ms
        most_ms = flight.since_ms + self.story.plan.answer_max_ms
        right = max(flight.until_ms, min(e.now_ms + int(e.args[5]), most_ms))
        flight.until_ms = until_ms = e.reply[2]  # type: ignore[index]
        if abs(until_ms - right) > ROUND_MS:
            self._wrong(e, f"told {until_ms - right} ms too much")

    def _out_of_time(self, e: Executed, line: _Line, what: str) -> None:
        assert isinstance(e.reply, list)
        again = line.last if line.last and line.last[:2] == (e.args[2], e.args[3]) else None
        if again is None:
            if what != "over":
                self._wrong(e, f"told {what}, and its time was over")
            return
        told = e.reply[1:3] if what == "again" else e.reply[:2]
        if what == "over" or (told[0].decode(), told[1]) != again[2:]:
            self._wrong(e, f"told {e.reply}, and before {again[2:]}")

    def _wrong(self, e: Executed, what: str) -> None:
        said = f"{e.script} at {e.at:.3f} of {e.args[2]} by {e.args[3]} was {what}"
        self.wrong.append((e.args[1], said))


def _said(e: Executed) -> object:
    return e.reply[0] if isinstance(e.reply, list) and e.reply else None


# Rules


def answers(story: Story) -> Iterator[str]:
    """Who speaks of the attempt under way and in time is heard, and nobody else; a repetition is
    answered as before; `newer` is what waits behind the batch, and a batch is taken back exactly
    if its receiver asked for that, something newer waits, and that was not so twice in a row."""
    if not any(route.answer == "later" for route in story.plan.routes.values()):
        return
    for user, what in _Eye(story).wrong:
        if user not in story.shaken:
            yield what
    yield from _told(story)


def _told(story: Story) -> Iterator[str]:
    """What a receiver was told that had asked to be done only if nothing newer waits."""
    for told in story.history.of(Told):
        if told.said == "unknown":
            yield f"a receiver of {told.user} was told at {told.at:.3f} that its address is none"
        blind = told.verb == "latest" and told.said == "done" and told.newer > 0
        blind = blind and not (told.again or told.known)
        if blind and told.batch_id.count("z") < TAKEN_BACK_MAX and told.user not in story.shaken:
            yield (
                f"{told.batch_id} was done at {told.at:.3f}, if it was the latest, and"
                f" {told.newer} newer messages waited"
            )


def answered_twice(story: Story) -> Iterator[str]:
    """A message is never in two batches that were answered."""
    home: dict[str, Batch] = {}
    for batch in story.batches.values():
        if not (batch.acked or batch.done) or batch.user in story.shaken:
            continue
        for text in batch.texts:
            first = home.setdefault(text, batch)
            if first is not batch:
                yield f"{text} was answered in {first.id} and in {batch.id}"


def taken_back(story: Story) -> Iterator[str]:
    """What was taken back comes again, whole and in order, in front of newer messages, in a batch
    that names it. What was edited, dropped or revoked meanwhile is not asked for."""
    followed = {old.id for batches in story.again.values() for old in batches}
    for batch in story.batches.values():
        if not batch.taken_back or batch.user in story.shaken:
            continue
        rest = [text for text in batch.texts if text not in story.dropped]
        if rest and batch.id not in followed:
            yield f"{batch.id} with {rest} was taken back, and its messages did not come again"
    for new in story.batches.values():
        if new.user in story.shaken:
            continue
        named = story.superseded(new)
        if named is not None and not named.taken_back:
            yield f"{new.id} supersedes {named.id}, which was not taken back"
        yield from _stands_in_front(story, new)


def _stands_in_front(story: Story, new: Batch) -> Iterator[str]:
    """Those that were taken back last stand first."""
    olds = sorted(story.again[new.id], key=lambda old: old.taken_back[0].at, reverse=True)
    rest = [text for old in olds for text in old.texts if text not in story.dropped]
    if list(new.texts[: len(rest)]) != rest:
        yield f"{new.id} with {new.texts} does not begin with {rest}, which was taken back"
    halves = any(each.divided for each in story.lineage(new))
    if olds and not halves and story.superseded(new) is not olds[0] and olds[0].texts[0] in rest:
        yield f"{new.id} does not say that it supersedes {olds[0].id}"


def gave_up_late(story: Story) -> Iterator[str]:
    """A batch whose last attempt was not answered in time gets no other one, unless who was to bury
    it never did."""
    for batch in story.batches.values():
        most = len(story.plan.route_of(batch.user).retry_schedule_ms) + 1
        for earlier, later in zip(batch.claims, batch.claims[1:], strict=False):
            if batch.user in story.shaken or earlier.answering_since_ms is None:
                continue
            if batch.unanswered:
                continue
            between = [*batch.retries, *batch.buried]
            if any(earlier.executed.at <= each.at <= later.executed.at for each in between):
                continue
            if earlier.number >= most:
                yield f"{batch.id} had attempt {later.number} of {most}"


def wanted_no_other(story: Story) -> Iterator[str]:
    """Where a receiver says that it wants no other attempt, there is none."""
    for told in story.history.of(Told):
        heard = told.verb == "final" and told.said == "failed" and not (told.again or told.known)
        if not heard or told.user in story.shaken:
            continue
        batch = story.batches.get(told.batch_id)
        if batch is not None and any(e.token == told.token for e in batch.retries):
            yield f"{told.batch_id} is tried again, which its receiver refused at {told.at:.3f}"


def final_tokens(history: History) -> set[str]:
    """Attempts of which the receiver has said that it wants no other one."""
    return {told.token for told in history.of(Told) if told.verb == "final"}
