"""Why a target was missed, and what would change it: said where it is missed, and only there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from benchmarks.figures import Result

OF_A_MESSAGE = """\
The profile is flat: about a quarter of the service's time each goes into reading and answering
HTTP, into Trio, and into the connection to Redis with the call's words and reply, a sixth into
checks and JSON, and the rest into timers; a seventh of it all is the kernel's. BullMQ's API
spends about as much in Node, keeps a message without limits, ids or checks, and leaves timers to
its worker. Redis has more than a third of the total, two thirds of that inside the script, near
what the script costs when nothing else happens. So seven tenths of BullMQ's cost would leave the
service half of what a bare application on uvicorn takes to read a request and answer it. What
would change it is code that is not Python in the lane and in the engine's loop, or fewer commands
in the script by another layout of what is kept."""
OF_A_WEBHOOK = """\
A webhook is two calls to Redis and one HTTP exchange, and each of the three suspends and wakes a
task: about a third of the time is the exchange, of which the kernel has the greater part, a quarter
the two calls, a tenth each the body, the sweep and the machine that decides. A client that keeps
several requests under way on one connection, and claims and acks that share one call per group of
users, would be the next steps."""

REASONS: Final[Mapping[str, str]] = {
    "actor-queue serve / BullMQ on Node: that p99": """\
Counted from when the last message was sent, because BullMQ says nothing of when it is due: so the
POST itself is in it, which waits behind others in both. On this machine BullMQ is not near its
limit at this rate.""",
    "actor-queue serve / BullMQ on Node": OF_A_MESSAGE,
    "actor-queue edge / BullMQ on Node": """\
The edge answers by the same handlers and calls the same script, so what is said of `serve` is true
of it; uvloop takes less than Trio for a wake-up, and uvicorn's protocol takes that back. The
replica that keeps the timers shares the other core with Redis and the load generator here, which
costs rate and not CPU.""",
    "actor-queue serve / the first design": """\
The generator of the load and Redis share a core in all of these, and serve nearly fills it: the
rate is bounded there before the service's own core is full.""",
    "actor-queue serve / bare app, stock Hypercorn": """\
As above: beside a bare application, which has no Redis, the core with Redis and the load generator
is the first to be full. The ratio of CPU counts Redis, too.""",
    "Evolution": """\
A webhook of a platform is two to three times as long as a POST of the same text, and is read with
everything that it might contain; where it has two names for a person, what is known of them is
looked up besides. Measured beside a POST that names its message, because every webhook does.""",
    "Cloud API": "As Evolution's: its message lies five levels deep, and a person has two names.",
    "Telegram": "As Evolution's.",
    "ndjson: per core": """\
A line is checked as a message alone is, and that is two thirds of its cost; the rest is the
script's words. Twice as much per core would need a parser of all lines at once that keeps digits
and bytes as they were written.""",
    "array: per core": "As NDJSON.",
    "CPU of the service": OF_A_WEBHOOK,
    "last webhook": OF_A_WEBHOOK,
    "10,000 users over 60 s, after due": """\
Half of the core is busy then, and a webhook that is due while the loop answers a group of requests
waits for it; the median is two milliseconds. Groups that are smaller would make it better and every
message dearer.""",
    "a delivery's CPU grows by": """\
The rounds differ by more than what is measured: from less than nothing to four times the target.
The median of many rounds is two to eight per cent.""",
}
"""By the beginning of the figure's name."""


def why(results: Mapping[str, Result]) -> Iterator[str]:
    """A paragraph for each reason of what is missed, in the report's order."""
    told: dict[str, list[str]] = {}
    for result in results.values():
        for figure in result.figures:
            if figure.met is False:
                reason = next(
                    (text for start, text in REASONS.items() if figure.name.startswith(start)), ""
                )
                told.setdefault(reason, []).append(f"{result.title}, {figure.name}")
    for reason, names in told.items():
        yield f"**{'; '.join(names)}.** {reason or 'Not looked into.'}"
