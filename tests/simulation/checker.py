"""The contract's guarantees, judged on what an eye outside of every process saw.

Every rule is applied only where it holds whatever was injected; what a fault excuses is said
where the rule is. Delays are measured in the time in which nothing excuses them.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from actor_queue.core.batch import divided_from
from actor_queue.core.conversation import route_of
from tests.simulation import answers, breaker, letters, limits, ownership
from tests.simulation.excuses import Excuses
from tests.simulation.history import (
    Attempted,
    Broken,
    Called,
    Executed,
    History,
    Moved,
    Stepped,
)
from tests.simulation.outside import seen_from_outside
from tests.simulation.plan import Plan
from tests.simulation.sizes import counted_with_the_next, halves, placed, too_large
from tests.simulation.story import Batch, Story

LATE_S = 0.25
"""What a delay may be where nothing excuses it: a graceful stop and a rebalance do not."""
ROUND_S = 0.01
EARLY_MS = 1


class Violation(NamedTuple):
    """A broken guarantee."""

    rule: str
    what: str


def judge(plan: Plan, history: History) -> list[Violation]:
    """Every violation, the most telling first."""
    story = Story(plan, history)
    found = [Violation(broken.rule, broken.what) for broken in history.of(Broken)]
    for rule, check in RULES.items():
        found += [Violation(rule, what) for what in check(story)]
    return found


# Messages


def _lost(story: Story) -> Iterator[str]:
    """Accepted: delivered, dead, dropped, expired, or forgotten by a server that restarted."""
    processed = {
        text
        for attempt in story.history.of(Attempted)
        if attempt.processed
        for text in attempt.texts
    }
    for batch in story.batches.values():
        if not all(story.forgot(e.at) for e in batch.done):
            processed.update(batch.texts)
    kept: defaultdict[str, list[bool]] = defaultdict(list)
    for each in itertools.chain.from_iterable(story.kept.values()):
        kept[each.text].append(each.forgotten)
    here = processed | story.history.ending.dead_texts | story.dropped | story.expired
    for text, forgotten in kept.items():
        if text not in here and not all(forgotten):
            yield f"{text} was kept, and never delivered"
    for call in story.history.of(Called):
        if call.accepted and call.text and call.text not in kept:
            yield f"{call.text} was accepted, and never kept"


def _too_soon_accepted(story: Story) -> Iterator[str]:
    first = {kept.text: kept.at for of_user in story.kept.values() for kept in reversed(of_user)}
    for call in story.history.of(Called):
        if call.accepted and call.text in first and first[call.text] > (call.answered or 0):
            yield f"{call.text} was accepted before it was kept"


def _invented(story: Story) -> Iterator[str]:
    posted = {(call.user, call.text) for call in story.history.of(Called) if call.text}
    for attempt in story.history.of(Attempted):
        for text in attempt.texts:
            if (attempt.user, text) not in posted:
                yield f"{attempt.batch_id} carries {text}, which {attempt.user} never wrote"
    for name in story.strange:
        yield f"{name} was sent, and no claim granted it"


def _doubled(story: Story) -> Iterator[str]:
    """A message once in one batch; one whose claim the server forgot may be in another too."""
    for user, kept in story.kept.items():
        seen: dict[str, bool] = {}
        for each in kept:
            if seen.get(each.text) is False:
                yield f"{each.text} of {user} was kept twice"
            seen[each.text] = each.forgotten
    home: dict[str, Batch] = {}
    for batch in story.batches.values():
        if len(set(batch.texts)) != len(batch.texts):
            yield f"{batch.id} carries a message twice: {batch.texts}"
        for text in batch.texts:
            first, home[text] = home.get(text, batch), batch
            again = first is batch or first in story.lineage(batch)
            # The second half of a batch comes with what was taken back while it stood in the line.
            again |= bool(first.divided) and story.came_with_others(batch)
            if not again and batch.user not in story.shaken:
                yield f"{text} is in {first.id} and in {batch.id}"


def _changed(story: Story) -> Iterator[str]:
    for batch in story.batches.values():
        if len({attempt.body for attempt in batch.attempts}) > 1:
            yield f"{batch.id} was sent with different bytes"
        if any(attempt.texts != batch.texts for attempt in batch.attempts):
            yield f"{batch.id} was claimed with other messages than it was sent with"


def _stale(story: Story) -> Iterator[str]:
    """What was edited is sent as it was edited, and what was taken back never."""
    for user, text in story.stale:
        if user not in story.shaken:
            yield f"{text} of {user} was claimed, which it was not to say any more"


def _disorder(story: Story) -> Iterator[str]:
    """Per user: batches follow the order of the appends and pass over only what was dropped."""
    for user, batches in story.batches_by_user().items():
        if user in story.shaken:
            continue
        expected = [kept.text for kept in story.kept[user] if kept.text not in story.dropped]
        claimed = [
            text for batch in batches for text in placed(story, batch) if text not in story.dropped
        ]
        if claimed != expected[: len(claimed)]:
            yield f"{user} wrote {expected}, and it was sent as {claimed}"
        arrived = sorted((b for b in batches if b.attempts), key=lambda b: b.attempts[0].at)
        alive = [batch for batch in batches if not batch.buried]
        if [b for b in arrived if not b.buried] != [b for b in alive if b.attempts]:
            yield f"the batches of {user} arrived in another order than they were closed in"


def _unresolved(story: Story) -> Iterator[str]:
    """At most one unresolved batch per user."""
    for user, batches in story.batches_by_user().items():
        if user in story.shaken:
            continue
        for earlier, later in itertools.pairwise(batches):
            began = later.claims[0].executed.at
            if not earlier.resolved_by(began):
                yield f"{later.id} of {user} began at {began:.3f}, and {earlier.id} was not over"


# Attempts


def _overlap(story: Story) -> Iterator[str]:
    """One attempt at a time. What a frozen sender left open past its limit may overlap with its
    successors': with the same id, or after that batch was resolved."""
    by_user: defaultdict[str, list[Attempted]] = defaultdict(list)
    for attempt in story.history.of(Attempted):
        by_user[attempt.user].append(attempt)
    leaps = [step.at for step in story.history.of(Stepped) if step.by_ms > 0]
    pauses = story.plan.has("pause", "pause_midway")
    for user, attempts in by_user.items():
        for one, next_one in itertools.combinations(attempts, 2):
            if one.ended is not None and one.ended <= next_one.at:
                continue
            excused = user in story.shaken or any(
                one.at - 4 < leap <= next_one.at for leap in leaps
            )
            excused |= any(e.at <= next_one.at for e in _closings(story, one))
            if pauses and story.outlived(one, next_one.at):
                excused |= one.batch_id == next_one.batch_id
                excused |= story.batches[one.batch_id].resolved_by(next_one.at)
            if not excused:
                yield (
                    f"{next_one.batch_id} of {user} began at {next_one.at:.3f} by"
                    f" {next_one.replica} while {one.batch_id} was under way by {one.replica}"
                    f" since {one.at:.3f}"
                )


def _closings(story: Story, attempt: Attempted) -> list[Executed]:
    """What its receiver said that ended its turn: it may say so before it answers."""
    batch = story.batches.get(attempt.batch_id)
    return [] if batch is None else [*batch.done, *batch.taken_back]


def _outlived(story: Story) -> Iterator[str]:
    """An attempt is over when its limit has passed and others may make the next one."""
    if story.plan.has("pause", "pause_midway", "server_clock"):
        return
    for batch in story.batches.values():
        for attempt in batch.attempts:
            began = [claim for claim in batch.claims if claim.executed.at <= attempt.at][-1:]
            for claim in began:
                left_s = claim.executed.at + claim.limit_s - (attempt.ended or attempt.at)
                if left_s < 0 and batch.user not in story.shaken:
                    yield f"an attempt of {batch.id} ended {-left_s:.3f} s after its limit"


def _repeated(story: Story) -> Iterator[str]:
    """Delivered means done, as long as nobody dies, sleeps or is not understood."""
    if not set(story.plan.rates) <= HARMLESS or story.plan.late_ack_share:
        return
    for batch in story.batches.values():
        for earlier, later in itertools.pairwise(batch.attempts):
            if earlier.heard:
                yield f"{later.batch_id} was sent again at {later.at:.3f} after its success"


HARMLESS = frozenset(
    [
        "rolling",
        "deaf",
        "skew",
        "webhook_slow",
        "webhook_hangs",
        "webhook_fails",
        "webhook_gone",
        "webhook_answer_lost",
        "webhook_retry_after",
        "webhook_refuses",
        "webhook_too_large",
    ]
)


def _early(story: Story) -> Iterator[str]:
    """Never before it is due, by the server's clock."""
    for batch in story.batches.values():
        route = story.plan.route_of(batch.user)
        half = divided_from(batch.id) or any(each.divided for each in story.lineage(batch))
        # Where a batch is taken back while a half waits, both come again together.
        if half or story.divided_of(batch) or batch.user in story.revoked_of:
            continue  # a timer stays as the message set it that was taken back
        if batch.reason == "max_bytes" and batch.user in story.edited_of:
            continue
        before = story.superseded(batch)
        old = set() if before is None else set(before.texts)
        # What was taken back waits as long as the newer messages do.
        first = next((item for item in batch.items if item.text not in old), batch.items[0])
        last = batch.items[-1]
        match batch.reason:
            case "quiet":
                early_ms = last.at_ms + last.ttl_ms - batch.closed_ms
            case "max_wait":
                early_ms = first.at_ms + route.max_wait_ms - batch.closed_ms
            case "max_messages":
                early_ms = route.max_messages - len(batch.items)
            case "max_bytes":
                early_ms = route.max_batch_bytes - counted_with_the_next(story, batch)
            case _:
                early_ms = 0 if story.flushed[batch.user] else 1
        if early_ms > 0:
            yield f"{batch.id} of {batch.user} was closed for {batch.reason}, {early_ms} too early"


def _attempt_early(story: Story) -> Iterator[str]:
    """An attempt after another waits for its retry's time, or for the other's limit."""
    for batch in story.batches.values():
        if batch.user in story.shaken:
            continue
        for earlier, later in itertools.pairwise(batch.claims):
            since, until = earlier.executed, later.executed
            between = [e for e in batch.retries if since.at <= e.at <= until.at]
            if any(since.at <= e.at <= until.at for e in batch.buried):
                continue
            if not between:
                due_ms, why = earlier.limit_at(until.at), "the limit of the one before"
                flushes = [e.at for e in story.flushed[batch.user] if since.at <= e.at <= until.at]
                if any(story.put_to_wait(earlier, at) for at in flushes):
                    continue
            else:
                due_ms, why = between[-1].now_ms + between[-1].after_ms, "its retry was due"
                if any(between[-1].at <= e.at <= until.at for e in story.flushed[batch.user]):
                    continue
            if until.now_ms < due_ms:
                early_ms = due_ms - until.now_ms
                yield f"attempt {later.number} of {batch.id} began {early_ms} ms before {why}"
            unspent = any(not e.spent for e in between)
            if later.number != earlier.number + (not unspent):
                yield f"attempt {later.number} of {batch.id} followed attempt {earlier.number}"


def _verdict(story: Story) -> Iterator[str]:
    """A failure is recorded of the attempt that is under way, and of no other."""
    for batch in story.batches.values():
        if batch.user in story.shaken:
            continue
        for e in (*batch.retries, *batch.buried, *batch.divided):
            last = [claim for claim in batch.claims if claim.executed.at <= e.at][-1]
            if e.token not in (last.token, *batch.unanswered):
                meant = batch.number(e.token)
                yield (
                    f"{e.script} of {e.replica} at {e.at:.3f} was about attempt {meant} of"
                    f" {batch.id}, and taken for attempt {last.number}"
                )


def _delivered_again(story: Story) -> Iterator[str]:
    """What the server knows to be delivered is not sent again, and is no dead letter."""
    for batch in story.batches.values():
        over = [*batch.acked, *batch.done, *batch.taken_back]
        if not over or batch.user in story.shaken:
            continue
        known = min(e.at for e in over)
        claims = [claim.executed for claim in batch.claims]
        for later in (*claims, *batch.retries, *batch.buried, *batch.divided):
            if later.at > known:
                yield f"{later.script} at {later.at:.3f} of {batch.id}, over at {known:.3f}"


def _dropped_midway(story: Story) -> Iterator[str]:
    """An attempt under way cannot be called back, so a drop leaves it."""
    for batch in story.batches.values():
        for drop in batch.dropped:
            last = [claim for claim in batch.claims if claim.executed.at <= drop.at][-1]
            waits = any(last.executed.at <= e.at <= drop.at for e in batch.retries)
            waits |= last.limit_at(drop.at) <= drop.now_ms or story.put_to_wait(last, drop.at)
            if not waits and batch.user not in story.shaken:
                yield f"a drop at {drop.at:.3f} took {batch.id}, whose attempt was under way"


def _held(story: Story) -> Iterator[str]:
    for batch in story.batches.values():
        if batch.user in story.shaken:
            continue
        for claim in batch.claims:
            e = claim.executed
            until = [until for order, until in story.holds[batch.user] if order < claim.order]
            if until and e.now_ms < until[-1]:
                yield f"an attempt of {batch.id} began at {e.at:.3f} while {batch.user} was held"


def _gave_up_early(story: Story) -> Iterator[str]:
    refused = answers.final_tokens(story.history)
    for batch in story.batches.values():
        most = len(story.plan.route_of(batch.user).retry_schedule_ms)
        for e in batch.buried:
            final = "410" in e.why or ("413" in e.why and len(batch.items) == 1)
            claims = [claim for claim in batch.claims if claim.executed.at <= e.at]
            # A server that forgot a claim may grant its repetition another attempt.
            own = [claim for claim in claims if claim.token == e.token]
            number = (claims if e.token in batch.unanswered else own)[-1].number
            if number <= most and not final and e.token not in refused:
                yield f"{batch.id} was buried after attempt {number} of {most + 1}"


def _one_claim_one_attempt(story: Story) -> Iterator[str]:
    """A claim that was carried out twice is one claim, unless another one came in between."""
    before: dict[str, tuple[str, str, int]] = {}
    for claim in story.granted:
        user, this = claim.batch.user, (claim.token, claim.batch.id, claim.number)
        known = before.get(user, this)
        if known[0] == this[0] and known != this and user not in story.shaken:
            yield f"the claim {this[0]} of {user} was granted {known[1:]}, then {this[1:]}"
        before[user] = this


# Delays


def _late(story: Story) -> Iterator[str]:
    """Overdue in time that no fault excuses, and no trouble of the user's own route: what befalls
    another route is no excuse. Not where attempts queue for a slot."""
    plan = story.plan
    judged = {
        name: Excuses(story.history, name)
        for name, route in plan.routes.items()
        if route.max_deliveries >= plan.on(name)
    }
    steps = [step.at for step in story.history.of(Stepped)]
    since: dict[str, float] = {}
    # Whose receiver is done before its 202 has the next turn when that POST has ended.
    posts: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for attempt in story.history.of(Attempted):
        ended = attempt.ended or 0.0
        posts[attempt.user] += [
            (e.at, ended) for e in _closings(story, attempt) if attempt.at <= e.at < ended
        ]
    for move in story.history.of(Moved):
        began = since.get(move.user, 0.0)
        since[move.user] = move.at
        excuses = judged.get(route_of(move.user))
        if move.before_ms is None or excuses is None:
            continue
        overdue_s = (move.now_ms - move.before_ms) / 1000
        start = max(began, move.at - overdue_s, *[at for at in steps if at <= move.at] or [0.0])
        waited = [min(ended, move.at) for since, ended in posts[move.user] if since <= move.at]
        start = max(start, *waited or [0.0])
        late_s = excuses.unexcused_s(start, move.at)
        if late_s > LATE_S:
            yield (
                f"{move.user} was due at {start:.3f} and its turn came at {move.at:.3f},"
                f" {late_s:.3f} s late"
            )


def _stuck(story: Story) -> Iterator[str]:
    """When the faults are over, everything goes out and every shard finds its owner."""
    ending = story.history.ending
    if not ending.quiet:
        yield f"still waiting when all should be over: {', '.join(ending.waiting)}"
    if not ending.settled:
        yield f"the shards are not where they should be: {ending.owners}"


RULES = {
    "outside": seen_from_outside,
    "lost": _lost,
    "accepted": _too_soon_accepted,
    "invented": _invented,
    "doubled": _doubled,
    "changed": _changed,
    "stale": _stale,
    "order": _disorder,
    "unresolved": _unresolved,
    "overlap": _overlap,
    "outlived": _outlived,
    "repeated": _repeated,
    "early": _early,
    "too large": too_large,
    "halves": halves,
    "attempt early": _attempt_early,
    "verdict": _verdict,
    "open": breaker.while_open,
    "probes": breaker.probes,
    "paused": breaker.while_paused,
    "answers": answers.answers,
    "answered": answers.answered_twice,
    "taken back": answers.taken_back,
    "gave up late": answers.gave_up_late,
    "refused": answers.wanted_no_other,
    "delivered": _delivered_again,
    "held": _held,
    "dropped": _dropped_midway,
    "gave up": _gave_up_early,
    "token": _one_claim_one_attempt,
    "fence": ownership.fence,
    "epoch": ownership.epochs,
    "knew better": ownership.knew_better,
    "late": _late,
    "stuck": _stuck,
    "letters": letters.letters,
    "kept": letters.kept_too_long,
    "job": letters.jobs,
    "listed": letters.listed,
    "reserve": limits.reserve,
    "horizon": limits.horizon,
}
