"""What holds while a route is open, or paused."""

from __future__ import annotations

from collections.abc import Iterator

from actor_queue.core.breaker import FIRST_PROBE_MS, LAST_PROBE_MS
from actor_queue.core.conversation import route_of
from actor_queue.runtime.routes import LOOK_S
from tests.simulation.excuses import Excuses
from tests.simulation.history import ROUTE_OPEN, ROUTE_PAUSED, Executed, Trouble
from tests.simulation.story import Batch, Story

TURNS_S = 2 * LOOK_S + 1
"""After a route was closed: until every replica has heard of it, and every user has had a turn."""
HEARD_S = LOOK_S + 1
"""After a route was opened: until every replica that is not cut off has heard of it."""
TOLD_S = 0.25
"""After a route was paused: until every replica has heard of that, where nothing keeps the news."""
ROUND_MS = 1
ROUND_S = 0.001


def while_open(story: Story) -> Iterator[str]:
    """On an open route there are probes and nothing else, each granted, and none that counts; so
    nothing becomes a dead letter there."""
    if story.plan.has("rollback", "server_clock"):
        return
    grants = [e for e in story.history.of(Executed) if e.script == "route_probe" and _granted(e)]
    for opening in _times(story, ROUTE_OPEN):
        assert opening.route is not None
        timeout_s = story.plan.routes[opening.route].timeout_ms / 1000
        # By then every replica has heard of the opening, and its attempts are over.
        start = opening.start + HEARD_S + timeout_s
        end = opening.end - TURNS_S
        granted = [e for e in grants if e.args[1] == opening.route and opening.start <= e.at < end]
        if granted and _closed_by_probe(story, opening.route, end):
            # Whoever made that probe goes on while the server has yet to hear what came of it.
            end = granted[-1].at
        probes = sum(e.at < end for e in granted)
        claims = 0
        for batch in _on(story, opening.route):
            # What arrives late was asked for before, and nobody is left to make that attempt.
            claims += sum(
                start < claim.executed.at < end and not (claim.executed.late or claim.executed.copy)
                for claim in batch.claims
            )
            for e in (*batch.retries, *batch.buried):
                failed = e.script == "retry" and e.spent
                dead = e.script == "bury" and not (
                    "answered 41" in e.why or e.token in batch.unanswered
                )
                if start < e.at < end and (failed or dead):
                    yield f"an attempt of {batch.id} that failed at {e.at:.3f} was spent"
        if claims > probes:
            yield f"{claims} attempts, and {probes} probes, between {start:.3f} and {end:.3f}"


def _closed_by_probe(story: Story, route: str, at: float) -> bool:
    """Whether the route was closed then for what a probe's receiver answered."""
    return any(
        e.script == "route_close" and e.args[1] == route and abs(e.at - at) < ROUND_S
        for e in story.history.of(Executed)
    )


def probes(story: Story) -> Iterator[str]:
    """One replica probes an open route at a time: the first one after 5 s, and each after twice as
    long as the one before, unless somebody resumed the route in between."""
    if story.plan.has("rollback", "server_clock"):
        return
    last: dict[tuple[str, int], tuple[int, int]] = {}
    resumed: set[str] = set()
    for e in story.history.of(Executed):
        if e.script == "route_resume":
            resumed.add(e.args[1])
        if e.script != "route_probe" or not isinstance(e.reply, list) or not _granted(e):
            continue
        _, number, since_ms = e.reply
        before_ms, count = last.get((e.args[1], since_ms), (since_ms, number - 1))
        last[e.args[1], since_ms] = e.now_ms, number
        due_ms = before_ms + min(FIRST_PROBE_MS * 2**count, LAST_PROBE_MS)
        if e.now_ms < due_ms - ROUND_MS and e.args[1] not in resumed:
            yield f"probe {number} of {e.args[1]} was granted {due_ms - e.now_ms} ms too early"
        resumed.discard(e.args[1])


def while_paused(story: Story) -> Iterator[str]:
    """No replica makes an attempt on a paused route, as soon as the news of it can have come."""
    if story.plan.has("rollback"):
        return
    excuses = Excuses(story.history)
    # Whoever the news did not reach looks by itself, seldom.
    told_s = HEARD_S if story.plan.has("deaf") else TOLD_S
    for pause in _times(story, ROUTE_PAUSED):
        assert pause.route is not None
        end = pause.end - TURNS_S
        for batch in _on(story, pause.route):
            for claim in batch.claims:
                at = claim.executed.at
                if pause.start < at < end and excuses.unexcused_s(pause.start, at) > told_s:
                    yield (
                        f"an attempt of {batch.id} began at {at:.3f} by {claim.executed.replica},"
                        f" and {pause.route} was paused since {pause.start:.3f}"
                    )


def _times(story: Story, what: str) -> list[Trouble]:
    return [trouble for trouble in story.history.of(Trouble) if trouble.what == what]


def _on(story: Story, route: str) -> list[Batch]:
    return [batch for batch in story.batches.values() if route_of(batch.user) == route]


def _granted(e: Executed) -> bool:
    return isinstance(e.reply, list) and e.reply[:1] == [b"probe"]
