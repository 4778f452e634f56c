"""What is said of users, and what may be asked about them."""

from __future__ import annotations

from typing import Annotated, Final, get_args

from actor_queue.core.batch import Reason
from actor_queue.core.doors import HOLD_MAX_S
from actor_queue.core.message import USER_BYTES_MAX
from actor_queue.http.models.deeds import Why
from actor_queue.http.models.kinds import (
    FLAG,
    Count,
    MaybeMoment,
    MaybeSeconds,
    Model,
    Moment,
    Parameters,
    Success,
    WrittenObject,
    about,
    beginning,
    one_of,
    span,
)
from actor_queue.http.models.lists import (
    CURSOR,
    LIMIT_DEFAULT,
    After,
    Cursor,
    ItsRoute,
    Limit,
    OfRoute,
    Route,
    Since,
)
from actor_queue.runtime.receivers import Blocked
from actor_queue.store import lists_api
from actor_queue.store.api import AttemptOutcome, UserState

HOLD_DEFAULT_S: Final = 3_600

MaybeStatus = Annotated[int | None, about("The receiver's HTTP status.", minimum=100, maximum=999)]
MaybeAnswer = Annotated[
    str | None,
    about(
        "The first 300 bytes of what a failing receiver answered, as text. It may repeat what a "
        "person wrote."
    ),
]
MaybeReplica = Annotated[str | None, about("Who made the attempt.")]
MaybeDuration = Annotated[
    int | None,
    about("From the start of the attempt to its end, in milliseconds.", minimum=0),
]


class Batch(Model, frozen=True):
    id: Annotated[str, about("The webhook-id.")]
    seq: Annotated[Count, about("Counts the user's batches.")]
    reason: Annotated[Reason, about("Why it was closed.")]
    messages: Count
    attempts: Count
    closed_at: Moment
    retry_in: Annotated[MaybeSeconds, about("Null while an attempt is under way.")]
    answer_in: Annotated[
        MaybeSeconds,
        about("How long its receiver, which answered 202, has to say that it is done; else null."),
    ]
    attempt_for: Annotated[
        MaybeSeconds,
        about(
            "Since the attempt under way began, where all replicas have the same "
            "AQ_WEBHOOK_TIMEOUT; null while none is. `fires_in` is then how long it may take more."
        ),
    ]
    failure: Annotated[str | None, about("Why the last attempt failed; null if none has.")]


class Attempt(Model, frozen=True):
    batch_id: str
    attempt: Annotated[Count, about("1 for the first.")]
    at: Moment
    outcome: AttemptOutcome
    status: MaybeStatus
    reason: str | None
    answer: MaybeAnswer
    replica: MaybeReplica
    duration_ms: MaybeDuration
    messages: Count


class User(Model, frozen=True):
    user: str
    route: Route
    state: UserState
    pending: Count
    blocked: Annotated[
        Blocked | None,
        about(
            "Why nothing goes, whatever `fires_in` says: the route is not configured (missing), "
            "was paused by hand (paused), or its receiver fails and only a probe goes from time "
            "to time (open). As this replica knows it; null: it is not the route."
        ),
    ]
    fires_in: Annotated[MaybeSeconds, about("Seconds until the next thing happens.")]
    held_for: MaybeSeconds
    waiting_since: Annotated[
        MaybeMoment, about("When the oldest message was kept that waits, or is in flight.")
    ]
    batch: Annotated[Batch | None, about("The batch under way.")]


class UserDetail(User, frozen=True):
    recent: Annotated[list[Attempt], about("The last attempts, newest first.")]
    logged_as: Annotated[str, about("How the log names this user, unless AQ_LOG_USERS.")]


class TypingAnswer(UserDetail, frozen=True):
    extended: Annotated[bool, about("False: no window was open, nothing changed.")]


class Request(Model, frozen=True):
    """What the receiver of the batch under way is sent."""

    batch_id: Annotated[str, about("The webhook-id.")]
    body: Annotated[str, about("The webhook's body, byte for byte.")]


class UserTexts(UserDetail, frozen=True):
    """Of `texts=true`."""

    messages: Annotated[
        list[WrittenObject],
        about("What is kept of this user's messages, the oldest first, up to 1 MiB."),
    ]
    complete: Annotated[bool, about("False: there are more than `messages` has.")]
    request: Annotated[
        Request | None,
        about("Of the batch under way; null where there is none, or `messages` has not all of it."),
    ]


class UserList(Model, frozen=True):
    users: list[User]
    cursor: Cursor


class Dropped(Model, frozen=True):
    success: Success
    user: str
    route: Route
    dropped: Annotated[Count, about("How many messages.")]
    batch: Annotated[str | None, about("The batch that waited for its retry, if any.")]
    complete: Annotated[
        bool, about("False: `messages` has only a part of those that were dropped.")
    ]
    messages: Annotated[
        list[WrittenObject],
        about(
            "The original objects with seq, message_id and received_at, oldest first, up to 1 MiB "
            "of them. Where the texts are masked, only these three."
        ),
    ]


class Erased(Model, frozen=True):
    """The numbers are of this call alone."""

    success: Success
    user: str
    route: Route
    dropped: Annotated[Count, about("Messages that waited.")]
    batch: Annotated[str | None, about("The batch that waited for its retry, if any.")]
    dead: Annotated[Count, about("Dead letters.")]
    attempts: Annotated[Count, about("Entries of the list of all attempts.")]
    ids: Annotated[
        Count, about("Message ids that were remembered: a message that is sent again is new.")
    ]
    under_way: Annotated[
        str | None,
        about(
            "The batch whose attempt is under way. It is not attempted again, and what there is of "
            "it goes within seconds after the attempt has ended."
        ),
    ]
    complete: Annotated[bool, about("False: ask again, with `cursor`.")]
    cursor: Annotated[
        str | None, about("Where the next call goes on; null when nothing is left to look at.")
    ]


# What is asked


class ShowTexts(Parameters, frozen=True, kw_only=True):
    """Whether an answer has what people wrote."""

    texts: Annotated[
        bool | None,
        FLAG,
        about("Whether to show what was written; true needs the scope admin and is logged."),
    ] = None


class OneUser(Parameters, frozen=True, kw_only=True):
    """Whose user a path names."""

    route: ItsRoute = None


class RevokeMessage(OneUser, frozen=True, kw_only=True):
    """`DELETE` of a message."""

    reason: Why = None


class ShowUser(ShowTexts, frozen=True, kw_only=True):
    """`GET /api/users/{user}`."""

    deeds: Annotated[
        bool | None, FLAG, about("Whether to show, instead, what was done to the user by hand.")
    ] = None
    route: ItsRoute = None


class DropUser(Parameters, frozen=True, kw_only=True):
    """`DELETE /api/users/{user}`."""

    reason: Why = None

    texts: Annotated[
        bool | None,
        FLAG,
        about("Whether to show what was written; true needs the scope admin and is logged."),
    ] = None
    everything: Annotated[
        bool | None,
        FLAG,
        about(
            "Whether to erase the user: dead letters, attempts and message ids too, and a batch "
            "under way once its attempt has ended."
        ),
    ] = None
    cursor: Annotated[str | None, CURSOR, about("With `everything`: from the call before.")] = None
    route: ItsRoute = None


class UserFilter(Parameters, frozen=True, kw_only=True):
    """Which users."""

    user: Annotated[
        str | None, beginning(USER_BYTES_MAX), about("Only those whose name begins with this.")
    ] = None
    state: Annotated[
        UserState | None, one_of(get_args(UserState)), about("Only those in this state.")
    ] = None
    since: Since = None
    route: OfRoute = None

    def wanted(self) -> lists_api.UserFilter:
        return lists_api.UserFilter(self.user or "", self.state, self.since, self.route)


class ListUsers(UserFilter, frozen=True, kw_only=True):
    """`GET /api/users`."""

    limit: Limit = LIMIT_DEFAULT
    cursor: After = None


class Typing(Parameters, frozen=True, kw_only=True):
    # The most that it may be is the service's own AQ_MAX_TTL.
    ttl: Annotated[
        int | None,
        span(),
        about(
            "Seconds from now, also as text; without it, or with an empty text, the ttl of the "
            "user's last message.",
            examples=[10],
        ),
    ] = None


class Hold(Parameters, frozen=True, kw_only=True):
    seconds: Annotated[
        int | None,
        span(HOLD_MAX_S),
        about("How long at most, also as text.", default=HOLD_DEFAULT_S),
    ] = None
    reason: Why = None
