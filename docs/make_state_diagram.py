"""Prints docs/state_machine.md from the code.

`python docs/make_state_diagram.py > docs/state_machine.md`

The edges are not written down here: every event is tried in every phase of the real machine.
"""

from __future__ import annotations

from dataclasses import replace

from actor_queue.core import breaker
from actor_queue.core.actor import (
    ActorState,
    Attempted,
    Barred,
    Claimed,
    Empty,
    Event,
    IllegalEvent,
    Later,
    Lost,
    Nudged,
    Phase,
    Policy,
    Settle,
    Settled,
    Trouble,
    Vanished,
    Woke,
    step,
)
from actor_queue.core.batch import Attempt, Batch
from actor_queue.core.breaker import BreakerState
from actor_queue.core.outcome import Ack, Delivered, Failed

NOW = 1_000.0
POLICY = Policy(retry_schedule_ms=(1_000,), horizon_s=120.0)
ATTEMPT = Attempt(Batch("b", "u", 1, "quiet", "classic", 0, 0, 0, 0, (b"[]",)), 1, 31_000)
STATES = {
    Phase.WAITING: ActorState(Phase.WAITING, NOW),
    Phase.CLAIMING: ActorState(Phase.CLAIMING),
    Phase.DELIVERING: ActorState(Phase.DELIVERING, attempt=ATTEMPT),
    Phase.SETTLING: ActorState(Phase.SETTLING, attempt=ATTEMPT, settle=Settle(ATTEMPT, Ack(), 200)),
    Phase.DONE: ActorState(Phase.DONE),
}
EVENTS: dict[str, Event] = {
    "Woke": Woke(),
    "Claimed": Claimed(ATTEMPT),
    "Claimed: unanswered": Claimed(replace(ATTEMPT, unanswered=True)),
    "Later: soon": Later(NOW + 1, NOW),
    "Later: beyond the horizon": Later(NOW + 1_000, NOW),
    "Empty": Empty(),
    "Lost": Lost(),
    "Barred": Barred(),
    "Trouble": Trouble(NOW + 1),
    "Attempted: delivered": Attempted(Delivered(200), 0.5),
    "Attempted: failed while the route is open": Attempted(
        Failed("answered 500", 500), 0.5, spent=False
    ),
    "Attempted: 202, answers later": Attempted(Delivered(202), 0.5, answer_within_ms=120_000),
    "Attempted: failed": Attempted(Failed("answered 500", 500), 0.5),
    "Settled: next step soon": Settled(NOW + 1, NOW),
    "Settled: beyond the horizon": Settled(NOW + 1_000, NOW),
    "Settled: nothing left": Settled(None, NOW),
    "Vanished": Vanished(),
    "Nudged: soon": Nudged(NOW + 1, NOW, NOW),
    "Nudged: beyond the horizon": Nudged(NOW + 1_000, NOW, NOW),
}

PREFACE = """# State machines

Made by `python docs/make_state_diagram.py > docs/state_machine.md`;
a test compares this file with the code.

## The actor: one user's timer task in a replica's memory

What an event does that is not drawn in a phase: it raises `IllegalEvent` and changes nothing.
"""

BREAKER = """
## The breaker: one route, as a replica sees it

`Ended` is an attempt, the probe where it says so; `Told…` is what the store says of others' doing.

```mermaid
stateDiagram-v2
    [*] --> closed
"""
BREAKER_TABLE = """```

| in | on | goes to | and tells the store |
|---|---|---|---|
"""
FULL = tuple((NOW - 1, True) for _ in range(breaker.WINDOW))
BREAKER_STATES = {
    breaker.Phase.CLOSED: BreakerState(window=FULL),
    breaker.Phase.OPEN: BreakerState(breaker.Phase.OPEN),
    breaker.Phase.PROBING: BreakerState(breaker.Phase.PROBING, probe=1),
    breaker.Phase.RAMPING: BreakerState(breaker.Phase.RAMPING, FULL, ramp_began=NOW - 1),
}
DOWN = Failed("answered 503", 503)
BREAKER_EVENTS: dict[str, breaker.Event] = {
    "Ended: answered": breaker.Ended(NOW, Delivered(200)),
    "Ended: failed, and too many before": breaker.Ended(NOW, DOWN),
    "Ended: the probe, answered": breaker.Ended(NOW, Delivered(200), probe=True),
    "Ended: the probe, failed": breaker.Ended(NOW, DOWN, probe=True),
    "Granted": breaker.Granted(1),
    "Withdrawn": breaker.Withdrawn(),
    "ToldOpen": breaker.ToldOpen(),
    "ToldClosed": breaker.ToldClosed(NOW, 1),
    "Refuted": breaker.Refuted(FULL),
    "Drained": breaker.Drained(),
}

USER_STATES = """
## The user: what is in Redis

`GET /api/users/{user}` says which; where several are true, the first of this list.

```mermaid
stateDiagram-v2
    [*] --> idle
    idle --> collecting: a message, or a replay
    collecting --> collecting: a message resets the window, typing extends it
    collecting --> delivering: claimed: quiet, maximum wait, a cap, or a flush
    delivering --> idle: acknowledged, nothing more waits
    delivering --> collecting: acknowledged or dead, newer messages wait
    delivering --> answering: answered 202 on a route that answers later
    answering --> answering: extend
    answering --> idle: done, nothing more waits
    answering --> collecting: done, or taken back, newer messages wait
    answering --> retrying: the receiver said that it failed
    answering --> held: done, or failed, under a hold
    answering --> delivering: the time for the answer passed: the next attempt
    delivering --> retrying: the attempt failed, or the batch was divided
    delivering --> held: settled under a hold
    delivering --> delivering: the attempt's time limit passed: the next attempt
    retrying --> delivering: claimed when due, or flushed
    retrying --> idle: dropped
    collecting --> idle: dropped
    collecting --> held: hold
    retrying --> held: hold
    idle --> held: hold
    held --> collecting: released, or the hold ran out
    held --> retrying: released, or the hold ran out
    held --> idle: released, or the hold ran out
```

| state | means |
|---|---|
| `delivering` | an attempt is under way, until it is settled or its time limit passes: \
also where an earlier attempt's late ack has come |
| `answering` | the receiver answered 202 and has not said that it is done, until its time passes |
| `held` | a human took over: messages are kept, nothing is sent; attempts go on to their end |
| `retrying` | the batch in flight waits for its next attempt, or, \
as half of one that was too large for its receiver, for its first; \
newer messages collect behind it |
| `collecting` | messages wait for the window to close, or a closed batch or a replay for its turn |
| `idle` | nothing waits |
"""


def edges() -> list[tuple[Phase, str, Phase, str]]:
    """(from, event, to, effect) for every event that is legal in a phase."""
    found = []
    for phase, state in STATES.items():
        for name, event in EVENTS.items():
            try:
                after, effect = step(state, event, POLICY)
            except IllegalEvent:
                continue
            found.append((phase, name, after.phase, type(effect).__name__ if effect else "—"))
    return found


def page() -> str:
    """The whole file."""
    lines = [PREFACE, "```mermaid", "stateDiagram-v2", "    [*] --> waiting"]
    lines += [
        f"    {a.value} --> {b.value}: {event.replace(': ', ', ')}" for a, event, b, _ in edges()
    ]
    lines += [
        f"    {Phase.DONE.value} --> [*]",
        "```",
        "",
        "| in | on | goes to | and does |",
        "|---|---|---|---|",
    ]
    lines += [f"| {a.value} | {event} | {b.value} | {effect} |" for a, event, b, effect in edges()]
    return "\n".join(lines) + "\n" + breaker_part() + USER_STATES


def breaker_part() -> str:
    """The breaker's edges, without events that change nothing."""
    drawn, rows = [], []
    for phase, state in BREAKER_STATES.items():
        for name, event in BREAKER_EVENTS.items():
            try:
                after, effect = breaker.step(state, event)
            except breaker.IllegalEvent:
                continue
            if after.phase is phase and effect is None:
                continue
            told = type(effect).__name__ if effect else "—"
            drawn.append(f"    {phase.value} --> {after.phase.value}: {name.replace(': ', ', ')}")
            rows.append(f"| {phase.value} | {name} | {after.phase.value} | {told} |")
    return BREAKER + "\n".join(drawn) + "\n" + BREAKER_TABLE + "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(page(), end="")
