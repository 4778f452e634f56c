"""What races of `done {"if": "latest"}` against appends prove. Pure.

A call took effect at some moment between its beginning and its answer. Each rule is applied only
where it holds for all such moments.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

TAKEN_BACK_MAX = 2
"""In a row; the end after that is one whatever waits."""


@dataclass(frozen=True)
class Carried:
    """A batch as its receiver got it."""

    id: str
    texts: tuple[str, ...]
    supersedes: str | None


@dataclass(frozen=True)
class Append:
    """The message that raced."""

    text: str
    called: float
    returned: float
    status: int


@dataclass(frozen=True)
class Word:
    """An answer, and when it was asked for."""

    called: float
    returned: float
    status: int
    newer: int | None


@dataclass(frozen=True)
class Race:
    """`words` are several where several replicas were asked for the same end."""

    batch: Carried
    append: Append
    words: tuple[Word, ...]

    @property
    def met(self) -> bool:
        """Whether both were under way at the same time."""
        append = self.append
        return any(w.called < append.returned and append.called < w.returned for w in self.words)


@dataclass(frozen=True)
class Story:
    """One conversation: its first message, its races, and the last batch, ended without one."""

    user: str
    first: str
    races: tuple[Race, ...]
    last: Carried
    end: Word


@dataclass(frozen=True)
class RaceVerdict:
    violations: list[str]
    races: int
    met: int
    outcomes: Counter[str]

    def lines(self) -> Iterator[str]:
        yield f"- {self.races:,} races, in {self.met:,} of which both calls were under way at once"
        counted = (f"{count:,} {what}" for what, count in sorted(self.outcomes.items()))
        yield f"- {', '.join(counted)}"
        yield f"- verdict: {len(self.violations)} violations"

    def require(self) -> None:
        shown = "\n  ".join(self.violations[:20])
        assert not self.violations, f"{len(self.violations)} violations:\n  {shown}"


def judge_races(stories: Sequence[Story]) -> RaceVerdict:
    """All of it."""
    races = [race for story in stories for race in story.races]
    outcomes = Counter(_outcome(race) for race in races)
    found = [each for story in stories for each in _of_story(story)]
    return RaceVerdict(found, len(races), sum(race.met for race in races), outcomes)


def _outcome(race: Race) -> str:
    word = race.words[0]
    if word.status == 409:
        return "taken back"
    if word.status == 200:
        return "done although something newer waited" if word.newer else "done"
    return f"answered {word.status}"


def _of_story(story: Story) -> Iterator[str]:
    in_a_row = 0
    following = [*(race.batch for race in story.races[1:]), story.last]
    for race, after in zip(story.races, following, strict=True):
        if race.append.status != 202:
            yield f"refused: {race.append.text} of {story.user} got {race.append.status}"
        yield from _of_words(race, in_a_row)
        yield from _of_next(race, after)
        in_a_row = in_a_row + 1 if _taken_back(race) else 0
    if story.end.status != 200:
        yield f"open: the end of {story.last.id} got {story.end.status}"
    yield from _once_each(story)


def _taken_back(race: Race) -> bool:
    return any(word.status == 409 for word in race.words)


def _of_words(race: Race, in_a_row: int) -> Iterator[str]:
    """What may be said, given when the message was accepted."""
    batch, append = race.batch, race.append
    said = {(word.status, word.newer) for word in race.words}
    if len(said) > 1:
        yield f"twice: {batch.id} got different answers, {sorted(said, key=str)}"
    for word in race.words:
        # The effect of the first of several words is the effect of all.
        waits = append.returned < min(each.called for each in race.words)
        comes = append.called > word.returned
        match word.status:
            case 200 if waits and not word.newer:
                yield f"unseen: {batch.id} is done, and {append.text} had been accepted before"
            case 200 if word.newer and in_a_row < TAKEN_BACK_MAX:
                yield f"done: {batch.id} is done after {in_a_row}, and {word.newer} waited"
            case 409 if comes or not word.newer:
                yield f"groundless: {batch.id} was taken back, and nothing newer waited"
            case 409 if in_a_row >= TAKEN_BACK_MAX:
                yield f"endless: {batch.id} was taken back once more than may be"
            case 200 | 409:
                pass
            case other:
                yield f"answer: the end of {batch.id} got {other}"


def _of_next(race: Race, after: Carried) -> Iterator[str]:
    """What the next batch carries: what was taken back and the newer message, or that alone."""
    batch, text = race.batch, race.append.text
    back = _taken_back(race)
    wanted = (*batch.texts, text) if back else (text,)
    if after.texts != wanted:
        yield f"content: after {batch.id} came {after.texts}, not {wanted}"
    if after.id == batch.id:
        yield f"again: {batch.id} was ended, and came again"
    if after.supersedes != (batch.id if back else None):
        yield f"supersedes: {after.id} names {after.supersedes}, and {batch.id} was before it"


def _once_each(story: Story) -> Iterator[str]:
    """Every message is in exactly one batch that was done."""
    done = [race.batch for race in story.races if not _taken_back(race)]
    done += [story.last] if story.end.status == 200 else []
    counted = Counter(itertools.chain.from_iterable(batch.texts for batch in done))
    for text in (story.first, *(race.append.text for race in story.races)):
        if counted[text] != 1:
            what = "lost" if not counted[text] else "doubled"
            yield f"{what}: {text} of {story.user} is in {counted[text]} batches that were done"
