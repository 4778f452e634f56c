"""One verb for many: which users or dead letters, and how many it was or would be."""

from __future__ import annotations

from typing import Annotated

from actor_queue.core.doors import HOLD_MAX_S
from actor_queue.http.models.dead import DeadFilter
from actor_queue.http.models.deeds import Why
from actor_queue.http.models.kinds import FLAG, Count, Model, Success, about, span, whole
from actor_queue.http.models.lists import After, Cursor
from actor_queue.http.models.users import HOLD_DEFAULT_S, UserFilter
from actor_queue.runtime.many import ACTED_ON_MAX
from actor_queue.store.replay_api import PER_SECOND_MAX

DryRun = Annotated[bool, FLAG, about("Only say how many it would be.")]
Most = Annotated[
    int, whole(1, ACTED_ON_MAX), about("With how many something is done by this request, at most.")
]
PassedOver = Annotated[
    Count,
    about(
        "Those that the filters let through and with whom there is nothing to do: nothing waits, a "
        "hold forbids it or there is none to end, a replay is queued already, or it is gone."
    ),
]
Onwards = Annotated[
    Cursor, about("There are more: send the same request with it. Null when all were met.")
]


class Would(Model, frozen=True):
    """Of a dry run. Nothing was changed."""

    would: Annotated[Count, about("How many it would be, of up to 10,000 that were looked at.")]
    messages: Annotated[Count, about("How many messages they have.")]
    passed_over: PassedOver
    cursor: Onwards


class Done(Model, frozen=True):
    success: Success
    done: Annotated[Count, about("With how many it was done.")]
    messages: Annotated[Count, about("How many messages they had.")]
    passed_over: PassedOver
    cursor: Onwards


class ManyUsers(UserFilter, frozen=True, kw_only=True):
    """Which users. A field that is not to count is left out: null or an empty text is refused."""

    dry_run: DryRun = False
    limit: Most = ACTED_ON_MAX
    cursor: After = None
    reason: Why = None


class HoldMany(ManyUsers, frozen=True, kw_only=True):
    """Which users, and for how long. A field that is not to count is left out."""

    seconds: Annotated[
        int | None,
        span(HOLD_MAX_S),
        about("How long at most, also as text.", default=HOLD_DEFAULT_S),
    ] = None


class ManyDead(DeadFilter, frozen=True, kw_only=True):
    """Which dead letters. A field that is not to count is left out: null or an empty text is
    refused."""

    dry_run: DryRun = False
    limit: Most = ACTED_ON_MAX
    cursor: After = None


class ReplayMany(DeadFilter, frozen=True, kw_only=True):
    """Which dead letters, all of them where nothing is said. A field that is not to count is left
    out: null or an empty text is refused."""

    dry_run: DryRun = False
    per_second: Annotated[
        int, whole(1, PER_SECOND_MAX), about("How many are sent again in a second, at most.")
    ] = PER_SECOND_MAX
    cursor: Annotated[After, about("From the dry run before.")] = None
