"""The routes, as whoever runs the service sees them."""

from __future__ import annotations

from typing import Annotated, Literal

from actor_queue.http.models.kinds import Count, MaybeMoment, MaybeSeconds, Model, about
from actor_queue.runtime.receivers import StateOfRoute


class AnswerTimes(Model, frozen=True):
    p50: Annotated[int, about("Milliseconds; half of the attempts took no longer.")]
    p99: int


class Route(Model, frozen=True):
    route: str
    state: Annotated[
        StateOfRoute,
        about(
            "closed: attempts are made; open: the receiver fails, and only a probe goes from time "
            "to time; paused: by hand; missing: conversations wait for a route that is not "
            "configured."
        ),
    ]
    since: Annotated[MaybeMoment, about("When it was opened, or paused.")]
    reason: Annotated[str | None, about("Why: how the receiver failed, or what was said.")]
    by: Annotated[str | None, about("The name of the key that paused it.")]
    next_probe_in: Annotated[MaybeSeconds, about("Until the next attempt of an open route.")]
    attempts: Annotated[
        Count, about("That ended within the last minute, as far as the history has them.")
    ]
    failed: Annotated[Count, about("Of these attempts.")]
    answer_ms: Annotated[AnswerTimes | None, about("How long these attempts took.")]
    waiting: Annotated[Count, about("Users of this route who wait, of those that were counted.")]


class Routes(Model, frozen=True):
    routes: Annotated[list[Route], about("In the order of their names.")]
    complete: Annotated[bool, about("Whether everybody who waits has been counted.")]


class Trial(Model, frozen=True):
    """What came of a test batch."""

    route: str
    level: Annotated[
        Literal["ok", "warn", "fail"],
        about("ok: answered 2xx; warn: and took more than a third of the route's time limit."),
    ]
    text: Annotated[str, about("What the receiver did, and what to do unless it is ok.")]
