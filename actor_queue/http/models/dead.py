"""What is said of dead letters, and of the job that replays them."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Raw

from actor_queue.core.message import USER_BYTES_MAX
from actor_queue.http.models.kinds import (
    Count,
    MaybeMoment,
    Model,
    Moment,
    Parameters,
    Success,
    about,
    beginning,
    whole,
)
from actor_queue.http.models.lists import (
    LIMIT_DEFAULT,
    After,
    Cursor,
    Limit,
    OfRoute,
    Route,
    Since,
)
from actor_queue.http.models.users import (
    MaybeAnswer,
    MaybeDuration,
    MaybeReplica,
    MaybeStatus,
)
from actor_queue.store import lists_api
from actor_queue.store.replay_api import ReplayState

WEBHOOK: Final = "#/components/schemas/Webhook"
REASON_BYTES_MAX: Final = 300
GROUPED_MAX: Final = lists_api.LOOKED_AT_MAX
"""Letters in one answer of groups: as many as one page of a filtered list looks at."""
GROUP_PAGES_MAX: Final = 5
"""Pages that one answer of groups reads, where a filter lets few letters through."""


class DeadLetter(Model, frozen=True):
    id: Annotated[str, about("The webhook-id.")]
    user: str
    route: Route
    died_at: Moment
    attempts: Count
    reason: str
    status: MaybeStatus
    answer: MaybeAnswer
    replica: MaybeReplica
    duration_ms: MaybeDuration
    messages: Count
    queued: Annotated[bool, about("A replay is on its way.")]
    expires_at: Annotated[
        str | None,
        about(
            "When AQ_DEAD_RETENTION deletes it, unless a replay is on its way then; null: never.",
            format="date-time",
        ),
    ]


class DeadLetterDetail(DeadLetter, frozen=True):
    # The webhook's own bytes.
    batch: Annotated[
        Raw | None,
        Meta(
            description="The webhook's body; null where the texts are masked.",
            extra_json_schema={"oneOf": [{"$ref": WEBHOOK}, {"type": "null"}]},
        ),
    ]


class DeadList(Model, frozen=True):
    dead: list[DeadLetter]
    cursor: Cursor
    unreadable: Annotated[
        Count,
        about(
            "Letters among those looked at that are gone or cannot be read, and so in no list;"
            " the doctor names them."
        ),
    ]


class DeadGroup(Model, frozen=True):
    """Letters that died of the same thing on the same route."""

    route: Route
    reason: str
    status: MaybeStatus
    letters: Count
    queued: Annotated[Count, about("Of these, with a replay on its way.")]
    messages: Count
    oldest: Moment
    newest: Moment


class DeadGroups(Model, frozen=True):
    groups: Annotated[list[DeadGroup], about("The largest first.")]
    letters: Annotated[Count, about("In all groups: those that were looked at, newest first.")]
    cursor: Annotated[str | None, about("Where the letters go on; null: all are counted.")]
    unreadable: Annotated[Count, about("As in the list.")]


class DeadGone(Model, frozen=True):
    success: Success
    id: str


class ReplayJob(Model, frozen=True):
    job: str
    state: Annotated[
        ReplayState,
        about(
            "abandoned: the replica that did it is gone; another one takes it up within seconds,"
            " under another id, and goes on counting."
        ),
    ]
    total: Annotated[int | None, about("Null until they are counted.")]
    replayed: Count
    passed_over: Annotated[Count, about("Gone meanwhile, or not to be read.")]
    user: Annotated[str | None, about("The filters that it was begun with; null for none.")]
    reason: str | None
    status: int | None
    since: MaybeMoment
    route: str | None
    per_second: Annotated[Count, about("How many it sends again in a second, at most.")]


# What is asked


class DeadFilter(Parameters, frozen=True, kw_only=True):
    """Which dead letters."""

    user: Annotated[
        str | None, beginning(USER_BYTES_MAX), about("Only those of users that begin with this.")
    ] = None
    reason: Annotated[
        str | None, beginning(REASON_BYTES_MAX), about("Only those whose reason begins with this.")
    ] = None
    status: Annotated[
        int | None, whole(100, 999), about("Only those whose receiver answered this last.")
    ] = None
    since: Since = None
    route: OfRoute = None

    def wanted(self) -> lists_api.DeadFilter:
        return lists_api.DeadFilter(
            self.user or "", self.reason or "", self.status, self.since, self.route
        )


class GroupDead(DeadFilter, frozen=True, kw_only=True):
    """`GET /api/dead/groups`."""

    cursor: After = None


class ListDead(DeadFilter, frozen=True, kw_only=True):
    """`GET /api/dead`."""

    limit: Limit = LIMIT_DEFAULT
    cursor: After = None
