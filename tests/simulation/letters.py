"""Dead letters, from death to their end: a replay, a drop, or their age. And the jobs that send all
of them again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from tests.simulation.excuses import Excuses
from tests.simulation.history import Executed, Listed, Stepped
from tests.simulation.story import Story

EXPIRY_S = 3.0
"""How late a letter may be deleted where nothing excuses it: its shard's owner looks once a second,
and may have changed just then."""
COUNTED_S = 1.5
"""Since a count was taken, at the most."""


@dataclass(slots=True)
class Life:
    """A batch as a dead letter. One that dies again begins a second one."""

    id: str
    user: str
    died: Executed
    queued: Executed | None = None
    """When its replay was queued, if it is."""
    unqueued_at: float = 0.0
    ended: Executed | None = None

    def lasts(self, start: float, end: float) -> bool:
        """Whether it was a letter all that time."""
        return self.died.at < start and (self.ended is None or self.ended.at > end)


@dataclass(slots=True)
class Job:
    """One that sends all letters again, by its id: it gets a new one from whoever takes it up."""

    id: str
    begun: Executed
    over: Executed | None = None
    replayed: set[str] = field(default_factory=set)
    """Letters whose replay anybody queued until it was over."""


class Letters:
    """A history's. Who looks at it passes over users of whom the server forgot something."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.lives: list[Life] = []
        self.jobs: dict[str, Job] = {}
        self.wrong: list[tuple[str, str]] = []
        """User and sentence: what was done to letters that there were not."""
        self._living: dict[str, Life] = {}
        self._tokens: set[tuple[str, str]] = set()
        for e in story.history.of(Executed):
            self._read(e)

    def _read(self, e: Executed) -> None:
        match e.script, e.reply:
            case "bury", [b"ok", *_]:
                self._died(e.args[4], e.args[3], e)
            case "answer_fail", [b"failed", _, _, 0] if e.args[5] == "":
                self._died(e.args[2], e.args[1], e)
            case "dead_replay", 1:
                self._queued(e)
            case "drop", list():
                for life in self._living.values():
                    if life.user == e.args[1]:
                        life.queued, life.unqueued_at = None, e.at
            case "claim_replay", [b"attempt", *_]:
                self._claimed(e)
            case "dead_expire", 1:
                self._expired(e)
            case "replay_job", [bytes() as name, *_]:
                self._told(e, name.decode())

    def _died(self, name: str, user: str, e: Executed) -> None:
        life = Life(name, user, e)
        self.lives.append(life)
        self._living[name] = life

    def _queued(self, e: Executed) -> None:
        life = self._living.get(e.args[5])
        if life is None:
            self.wrong.append(
                (e.args[1], f"{e.args[5]} was queued at {e.at:.3f}, and is no letter")
            )
        elif life.queued is None:
            life.queued = e
        for job in self.jobs.values():
            if job.over is None:
                job.replayed.add(e.args[5])

    def _claimed(self, e: Executed) -> None:
        name, token = e.args[5], e.args[4]
        if (name, token) in self._tokens:
            return
        self._tokens.add((name, token))
        life = self._living.pop(name, None)
        if life is None or life.queued is None:
            what = "and is no letter" if life is None else "and nobody wanted that"
            self.wrong.append((e.args[3], f"{name} was sent again at {e.at:.3f}, {what}"))
        if life is not None:
            life.ended = e

    def _expired(self, e: Executed) -> None:
        user, name = e.args[3], e.args[4]
        life = self._living.pop(name, None)
        if life is None:
            if user:
                self.wrong.append((user, f"{name} was deleted at {e.at:.3f}, and is no letter"))
            return
        life.ended = e
        age_ms = e.now_ms - life.died.now_ms
        if age_ms < self.story.plan.settings.dead_retention_ms:
            self.wrong.append((user, f"{name} was deleted at {e.at:.3f}, {age_ms} ms old"))
        if life.queued is not None:
            self.wrong.append((user, f"{name} was deleted at {e.at:.3f}, and its replay is queued"))

    def _told(self, e: Executed, name: str) -> None:
        assert isinstance(e.reply, list)
        verb, asked, over, stop = e.args[1], e.args[2], e.reply[3], e.reply[4]
        if verb in ("begin", "take") and name == asked:
            self.jobs.setdefault(name, Job(name, e))
        elif verb == "tell" and name == asked and over == b"1" and stop != b"1":
            job = self.jobs.get(name)
            if job is not None and job.over is None:
                job.over = e


@lru_cache(maxsize=1)
def letters_of(story: Story) -> Letters:
    """For all rules together."""
    return Letters(story)


def letters(story: Story) -> Iterator[str]:
    """A letter is deleted only when it is old enough and nobody wants it sent; it is sent once for
    each death, and only when somebody wants that."""
    for user, what in letters_of(story).wrong:
        if user not in story.shaken:
            yield what


def kept_too_long(story: Story) -> Iterator[str]:
    """A letter is deleted soon after its time, unless its replay is queued."""
    retention_s = story.plan.settings.dead_retention_ms / 1000
    if not retention_s or any(True for _ in story.history.of(Stepped)):
        return
    excuses, over = Excuses(story.history), story.history.ending.at
    for life in letters_of(story).lives:
        end = life.ended.at if life.ended else over
        end = min(end, life.queued.at) if life.queued else end
        due = max(life.died.at + retention_s, life.unqueued_at)
        late_s = excuses.unexcused_s(due, end) if due < end else 0.0
        if late_s > EXPIRY_S and life.user not in story.shaken:
            yield f"{life.id} died at {life.died.at:.3f} and was there {late_s:.3f} s too long"


def jobs(story: Story) -> Iterator[str]:
    """A job that came to its end has queued each letter that was there from its begin to its end,
    or found it queued, and says how many. A drop in between may have taken it out again."""
    if story.lost:
        return
    for job in letters_of(story).jobs.values():
        if job.over is None:
            continue
        total, replayed, passed = json.loads(job.over.args[3])
        if total != replayed + passed:
            yield f"{job.id} counted {total} letters, queued {replayed}, passed over {passed}"
        for life in letters_of(story).lives:
            if not life.lasts(job.begun.at, job.over.at) or life.id in job.replayed:
                continue
            if life.unqueued_at > job.begun.at:
                continue
            if life.queued is None or life.queued.at > job.over.at:
                yield f"{job.id} ended at {job.over.at:.3f} without {life.id}"


def listed(story: Story) -> Iterator[str]:
    """A list has every letter that there is, and none that was gone before it was asked for; so
    have the counts, and at the end nothing is left of a letter outside of the index."""
    lives = letters_of(story).lives
    for page in story.history.of(Listed):
        for life in lives:
            if life.user in story.shaken:
                continue
            if life.lasts(page.asked, page.at) and life.id not in page.ids:
                yield f"the list of {page.asked:.3f} is without {life.id}"
            gone = life.ended is not None and life.ended.at < page.asked
            if gone and life.id in page.ids and not _died_again(lives, life):
                yield f"the list of {page.asked:.3f} has {life.id}, which is gone"
    ending = story.history.ending
    for name, (indexed, whole) in ending.letters.items():
        if not (indexed and whole):
            yield f"at the end {name} is {'' if indexed else 'not '}in the index, {whole=}"
    if ending.counted is not None:
        there = sum(indexed for indexed, _ in ending.letters.values())
        lately = ending.at - COUNTED_S
        ended = sum(life.ended is not None and life.ended.at > lately for life in lives)
        if not there <= ending.counted <= there + ended:
            yield f"{ending.counted} dead letters are counted, and there are {there}"


def _died_again(lives: list[Life], life: Life) -> bool:
    return any(each.id == life.id and each.died.at > life.died.at for each in lives)
