"""What a run with faults proves: the one checker, and what the faults may excuse.

Pure. A fault excuses three things and no more: lateness until its cost is over, a batch that
comes once more, and the connection that a stopped process leaves open.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from actor_queue.core.conversation import DEFAULT_ROUTE, Conversation
from actor_queue.core.shard import shard_of
from tests.acceptance.checker import Expected, violations
from tests.acceptance.history import Post
from tests.acceptance.receiver import Attempt
from tests.chaos.faults import Fault
from tests.chaos.witness import Sample

CALM_S = 1.0
"""How late a batch may be without a fault: the machine may be busy with others."""
LIMIT_S = 2.0
"""An attempt's time limit, at the end of which the same batch may come once more."""
SURE_S = 1.0
"""Who has owned a shard for so long is its owner for everybody: a claim of the owner before
would have been sent, or its attempt given up."""
AWAKE_S = 0.25
"""A process that wakes may be in the middle of sending; what it does after this it knows of."""
SAMPLES_MAX = 64
CALM = "calm"

MadeBy = Callable[[Attempt], int]
"""Which replica sent it."""


@dataclass(frozen=True)
class Late:
    """A batch's first attempt, `late_s` after it was due, and the kinds that were at work,
    the one whose cost lasted longest at the end."""

    webhook_id: str
    due: float
    late_s: float
    excess_s: float
    """Beyond what the faults excuse; negative when it came sooner."""
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    violations: list[str]
    messages: int
    batches: int
    attempts: int
    duplicates: int
    faults: Mapping[str, int]
    forgotten: Mapping[str, int]
    """What a Redis that forgot broke, by kind of violation: counted, not complained of."""
    lateness: Mapping[str, list[float]] = field(repr=False)
    """Sorted, by the kind of the fault whose cost lasted longest, or `CALM`."""

    def require(self) -> None:
        shown = "\n  ".join(self.violations[:20])
        assert not self.violations, f"{len(self.violations)} violations:\n  {shown}"

    def p99_s(self, kind: str = CALM) -> float:
        values = self.lateness[kind]
        return values[round((len(values) - 1) * 0.99)]

    def lines(self) -> Iterator[str]:
        """A Markdown summary."""
        yield f"- {sum(self.faults.values())} faults, {self.messages:,} messages accepted,"
        yield f"  {self.batches:,} batches, {self.attempts:,} attempts"
        yield f"- {self.duplicates} batches delivered once more, each with its own webhook-id"
        if self.forgotten:
            yield "- by what Redis forgot: " + ", ".join(
                f"{count} {kind}" for kind, count in sorted(self.forgotten.items())
            )
        yield f"- verdict: {len(self.violations)} violations"
        yield ""
        yield "| fault | times | batches due meanwhile | p50 late | p99 late | worst |"
        yield "|---|---|---|---|---|---|"
        for kind in sorted({*self.lateness, *self.faults}, key=lambda kind: (kind != CALM, kind)):
            values = self.lateness.get(kind, [])
            times = self.faults.get(kind, "")
            if values:
                p50, worst = values[len(values) // 2], values[-1]
                late = f"{_ms(p50)} | {_ms(self.p99_s(kind))} | {_ms(worst)}"
            else:
                late = " | | "
            yield f"| {kind} | {times} | {len(values):,} | {late} |"


def _ms(seconds: float) -> str:
    return f"{max(0.0, seconds) * 1000:,.0f} ms"


def judge(
    posts: Iterable[Post],
    attempts: Iterable[Attempt],
    faults: Sequence[Fault] = (),
    *,
    samples: Sequence[Sample] = (),
    replica_of: Mapping[str, int] | None = None,
    made_by: MadeBy | None = None,
    calm_s: float = CALM_S,
    route: str = DEFAULT_ROUTE,
) -> Verdict:
    """All of it, of one route. Rule 7 is looked at when `samples`, `replica_of` and `made_by` are
    given."""
    posts, came = list(posts), sorted(attempts, key=lambda attempt: attempt.started)
    excused = [_without_pauses(attempt, faults, made_by) for attempt in came]
    touched, kept_posts, kept_attempts = _set_apart(posts, excused, faults)
    found = violations(kept_posts, kept_attempts, Expected(repeats=True))
    forgotten = violations(*touched, Expected(repeats=True)) if touched[0] else []
    forgotten_texts = {post.text for post in touched[0] if _forgotten(post, faults)}
    found += [
        each
        for each in forgotten
        if each.startswith("lost:") and each.split()[1] not in forgotten_texts
    ]
    repeats = list(_repeats(kept_attempts))
    found += _unexcused(repeats, faults)
    late = list(lateness(kept_posts, kept_attempts, faults))
    found += [
        f"late: {each.webhook_id} came {each.late_s:.3f} s after it was due at {each.due:.3f},"
        f" {each.excess_s:.3f} s more than {' and '.join(each.kinds) or 'nothing'} excuses"
        for each in late
        if each.excess_s > calm_s
    ]
    if made_by is not None and replica_of is not None:
        found += stale(came, samples, faults, replica_of, made_by, route)
    by_kind: dict[str, list[float]] = defaultdict(list)
    for each in late:
        by_kind[each.kinds[-1] if each.kinds else CALM].append(each.late_s)
    return Verdict(
        violations=found,
        messages=len({post.text for post in posts if post.accepted}),
        batches=len({attempt.webhook_id for attempt in came}),
        attempts=len(came),
        duplicates=len(repeats),
        faults=Counter(fault.kind for fault in faults),
        forgotten=Counter(each.partition(":")[0] for each in forgotten),
        lateness={kind: sorted(values) for kind, values in by_kind.items()},
    )


# A Redis that forgot


def _set_apart(
    posts: Sequence[Post], attempts: Sequence[Attempt], faults: Sequence[Fault]
) -> tuple[tuple[list[Post], list[Attempt]], list[Post], list[Attempt]]:
    """The histories of those users of whom Redis may have forgotten something, and the others'."""
    users = {post.user for post in posts if _forgotten(post, faults)}
    for fault in faults:
        if fault.lost_since is not None:
            users |= {each.user for each in attempts if _during(each.started, each.ended, fault)}
    touched = (
        [post for post in posts if post.user in users],
        [attempt for attempt in attempts if attempt.user in users],
    )
    return (
        touched,
        [post for post in posts if post.user not in users],
        [attempt for attempt in attempts if attempt.user not in users],
    )


def _forgotten(post: Post, faults: Sequence[Fault]) -> bool:
    return any(_during(post.called, post.returned, fault) for fault in faults)


def _during(began: float, ended: float | None, fault: Fault) -> bool:
    if fault.lost_since is None or began > fault.ended:
        return False
    return ended is None or ended >= fault.lost_since


# Overlaps


def _without_pauses(attempt: Attempt, faults: Sequence[Fault], made_by: MadeBy | None) -> Attempt:
    """What a stopped process leaves open counts as over when it was stopped."""
    if made_by is None or attempt.status is not None:
        return attempt
    ended = attempt.ended if attempt.ended is not None else float("inf")
    for fault in faults:
        if fault.frozen == made_by(attempt) and attempt.started < fault.ended < ended + LIMIT_S:
            ended = min(ended, max(fault.began, attempt.started))
    return dataclasses.replace(attempt, ended=None if ended == float("inf") else ended)


# Once more


def _repeats(attempts: Sequence[Attempt]) -> Iterator[tuple[Attempt, Attempt]]:
    """A success, and the same batch again after it."""
    done: dict[str, Attempt] = {}
    for attempt in attempts:
        if attempt.webhook_id in done:
            yield done[attempt.webhook_id], attempt
        if attempt.succeeded:
            done[attempt.webhook_id] = attempt


def _unexcused(
    repeats: Sequence[tuple[Attempt, Attempt]], faults: Sequence[Fault]
) -> Iterator[str]:
    for success, again in repeats:
        if not any(
            fault.doubles and fault.began <= again.started and success.started <= fault.late_until
            for fault in faults
        ):
            yield (
                f"repeated: {again.webhook_id} came again at {again.started:.3f},"
                f" {again.started - success.started:.3f} s after its success,"
                " and no fault can have lost its answer"
            )


# Lateness


def lateness(
    posts: Iterable[Post], attempts: Sequence[Attempt], faults: Sequence[Fault]
) -> Iterator[Late]:
    """For each batch whose due time is known: the last message's answer, and its ttl.

    A batch behind another one is due when that one is done.
    """
    ends = _accepted(posts)
    in_order = sorted(faults, key=lambda fault: fault.began)
    free_at: dict[str, float] = {}
    for webhook_id, tries in _by_batch(attempts).items():
        first = tries[0]
        due = ends.get(first.texts[-1])
        if due is not None:
            due = max(due, free_at.get(first.user, 0.0))
            excused_until, kinds = _excused(due, first.started, in_order)
            late_s, excess_s = first.started - due, first.started - excused_until
            yield Late(webhook_id, due, late_s, excess_s, kinds)
        over = [attempt.ended for attempt in tries if attempt.ended is not None]
        free_at[first.user] = max([free_at.get(first.user, 0.0), *over])


def _accepted(posts: Iterable[Post]) -> dict[str, float]:
    """When each accepted text's quiet time was over at the latest."""
    ends: dict[str, float] = {}
    for post in posts:
        if post.accepted:
            end = post.returned + post.ttl_s
            ends[post.text] = min(end, ends.get(post.text, end))
    return ends


def _by_batch(attempts: Sequence[Attempt]) -> dict[str, list[Attempt]]:
    batches: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        batches[attempt.webhook_id].append(attempt)
    return batches


def _excused(due: float, came: float, faults: Sequence[Fault]) -> tuple[float, tuple[str, ...]]:
    """Until when it may come, and by which faults: each may begin before another's cost is over."""
    until, at_work = due, []
    for fault in faults:
        if fault.began > came:
            break
        if fault.began <= until + CALM_S and due <= max(fault.ended, fault.late_until):
            until = max(until, fault.late_until)
            at_work.append(fault)
    at_work.sort(key=lambda fault: fault.late_until)
    return until, tuple(fault.kind for fault in at_work)


# Stale owners


def stale(
    attempts: Iterable[Attempt],
    samples: Sequence[Sample],
    faults: Sequence[Fault],
    replica_of: Mapping[str, int],
    made_by: MadeBy,
    route: str = DEFAULT_ROUTE,
) -> Iterator[str]:
    """Attempts by a replica while another one had owned the shard for long, and went on to."""
    shards = len(samples[0].owners) if samples else 0
    place = 0
    for attempt in sorted(attempts, key=lambda attempt: attempt.started):
        while place < len(samples) and samples[place].heard < attempt.started - SURE_S:
            place += 1
        around = samples[max(0, place - 1) : place + SAMPLES_MAX]
        shard = shard_of(Conversation(route, attempt.user).key, shards) if shards else 0
        owner = _owner_around(attempt, around, shard) if shards else None
        sender = made_by(attempt)
        if owner is None or replica_of.get(owner, sender) == sender:
            continue
        if not any(
            fault.frozen == sender and 0 <= attempt.started - fault.ended < AWAKE_S
            for fault in faults
        ):
            yield (
                f"stale: replica {sender} sent {attempt.webhook_id} at {attempt.started:.3f} while"
                f" replica {replica_of[owner]} had owned the shard for {SURE_S:g} s"
            )


def _owner_around(attempt: Attempt, samples: Sequence[Sample], shard: int) -> str | None:
    """Who owned the shard all the time from `SURE_S` before the attempt until after it."""
    names: set[tuple[str | None, int]] = set()
    for sample in samples:
        names.add((sample.owners[shard], sample.epochs[shard]))
        if sample.asked > attempt.started:
            if samples[0].heard <= attempt.started - SURE_S and len(names) == 1:
                return names.pop()[0]
            return None
    return None
