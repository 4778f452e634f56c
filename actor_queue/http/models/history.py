"""What is said of all attempts, and what may be asked about them."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from actor_queue.core.history import AttemptFilter, PastOutcome
from actor_queue.core.message import USER_BYTES_MAX
from actor_queue.http.models.kinds import (
    Count,
    Model,
    Moment,
    Parameters,
    about,
    beginning,
    one_of,
    whole,
)
from actor_queue.http.models.lists import (
    LIMIT_DEFAULT,
    After,
    Cursor,
    ItsRoute,
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

ID_BYTES_MAX: Final = 1_024
Where = Literal[
    "waiting", "delivering", "retrying", "delivered", "dead", "queued", "divided", "gone"
]
Matched = Literal["webhook_id", "message_id"]


class PastAttempt(Model, frozen=True):
    """One attempt that has ended."""

    at: Annotated[Moment, about("When it ended.")]
    user: str
    route: Annotated[str, about("The receiver.")]
    batch_id: Annotated[str, about("The webhook-id.")]
    attempt: Annotated[Count, about("1 for the batch's first.")]
    outcome: Annotated[
        PastOutcome, about("dead: it failed, and its batch is a dead letter since then.")
    ]
    status: MaybeStatus
    reason: Annotated[str | None, about("Why it failed, at most 60 characters.")]
    duration_ms: MaybeDuration
    messages: Annotated[Count, about("How many the batch has.")]
    bytes: Annotated[
        Count,
        about(
            "Of the batch's messages as they are kept; 0 in the entry of a receiver that answered "
            "202 and said later that it failed."
        ),
    ]
    replica: Annotated[str, about("Who made the attempt.")]


class AttemptList(Model, frozen=True):
    """A page may be empty and still have a cursor: the filters are applied to what was read, and
    one request reads at most 2,000 attempts."""

    attempts: list[PastAttempt]
    cursor: Cursor


# What is asked


class AttemptsWanted(Parameters, frozen=True, kw_only=True):
    """Which attempts."""

    route: OfRoute = None
    user: Annotated[
        str | None, beginning(USER_BYTES_MAX), about("Only those of users that begin with this.")
    ] = None
    outcome: Annotated[
        PastOutcome | None, one_of(get_args(PastOutcome)), about("Only those that ended so.")
    ] = None
    status: Annotated[
        int | None, whole(100, 999), about("Only those that the receiver answered so.")
    ] = None
    since: Since = None

    def wanted(self) -> AttemptFilter:
        return AttemptFilter(self.user or "", self.outcome, self.status, self.since, self.route)


class ListAttempts(AttemptsWanted, frozen=True, kw_only=True):
    limit: Limit = LIMIT_DEFAULT
    cursor: After = None


# One id


class FoundAttempt(Model, frozen=True):
    at: Annotated[Moment, about("When it ended.")]
    attempt: Annotated[Count, about("1 for the batch's first; a replay counts from 1 again.")]
    outcome: Annotated[
        str,
        about(
            "As in the user's own history where that has it (delivered, retry, divided, dead, "
            "failed, unknown), else as in the list of all (delivered, failed, dead)."
        ),
    ]
    status: MaybeStatus
    reason: str | None
    answer: MaybeAnswer
    replica: MaybeReplica
    duration_ms: MaybeDuration
    messages: Count


class Found(Model, frozen=True):
    """A batch, or a message that is in none yet."""

    user: str
    route: Route
    batch_id: Annotated[str | None, about("The webhook-id; null while the batch is not closed.")]
    matched: Annotated[
        Matched,
        about(
            "Which id it was found by. A delivered message is found by a checksum of its id, which "
            "one in four thousand million others has, too."
        ),
    ]
    where: Annotated[
        Where,
        about(
            "queued: a dead letter whose replay is on its way. gone: dropped, or replayed, or the "
            "attempts that would tell are not remembered any more."
        ),
    ]
    attempts: Annotated[list[FoundAttempt], about("Oldest first.")]


class LookUp(Model, frozen=True):
    id: str
    found: list[Found]
    remembered: Annotated[
        bool | None,
        about(
            "Whether the user's message of this id was accepted within AQ_DEDUP_WINDOW; null where "
            "no user was given, or the id is a webhook-id."
        ),
    ]
    complete: Annotated[bool, about("False: there is more than one look-up reads.")]


class Find(Parameters, frozen=True, kw_only=True):
    id: Annotated[
        str | None,
        beginning(ID_BYTES_MAX),
        about("A webhook-id, or a message_id.", required=True, minLength=1),
    ] = None
    user: Annotated[
        str | None,
        beginning(USER_BYTES_MAX),
        about("Whose it is, the whole name: finds messages that wait, and looks at less."),
    ] = None
    route: ItsRoute = None
