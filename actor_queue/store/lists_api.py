"""Which users, and which dead letters, a list or a verb for many is about; and the two lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from actor_queue.core.conversation import conversation_of

if TYPE_CHECKING:
    from actor_queue.store.api import DeadLetter, DeadPage, UserPage, UserState, UserView

HISTORY_MAX: Final = 20
"""Lines of history that are kept of a user."""
PAGE: Final = 100
"""Entries that are read together where not all of them are wanted."""
LOOKED_AT_MAX: Final = 1_000
"""Entries that one page of a list with a filter looks through. A page may be empty for that, and
has a cursor all the same."""


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Everything that is None, or empty, fits everybody."""

    user: str = ""
    """What the user begins with."""
    state: UserState | None = None
    since_ms: int | None = None
    """Their oldest message that waits was kept no sooner than this, in ms of the store's clock."""
    route: str | None = None

    @property
    def narrow(self) -> bool:
        return self != EVERYBODY

    def names(self, user: str) -> bool:
        """Whether a conversation of this key may fit."""
        return _names(user, self.user, self.route)

    def fits(self, view: UserView) -> bool:
        return (
            self.names(view.user)
            and self.state in (None, view.state)
            and (
                self.since_ms is None
                or (view.waiting_since_ms is not None and view.waiting_since_ms >= self.since_ms)
            )
        )


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """As `UserFilter`, for dead letters."""

    user: str = ""
    reason: str = ""
    """What the reason begins with."""
    status: int | None = None
    since_ms: int | None = None
    """They died no sooner than this."""
    route: str | None = None

    @property
    def narrow(self) -> bool:
        return self != EVERY_LETTER

    def fits(self, letter: DeadLetter) -> bool:
        return (
            _names(letter.user, self.user, self.route)
            and letter.reason.startswith(self.reason)
            and self.status in (None, letter.status)
            and (self.since_ms is None or letter.died_at_ms >= self.since_ms)
        )


def _names(key: str, beginning: str, route: str | None) -> bool:
    """Whether a conversation is one of `route`, and its user begins so."""
    its_route, user = conversation_of(key)
    return user.startswith(beginning) and route in (None, its_route)


EVERYBODY: Final = UserFilter()
EVERY_LETTER: Final = DeadFilter()


class ListStore(Protocol):
    """Both may raise `StoreUnavailable`, and ValueError for a cursor that is not ours.

    One page asks each shard for a few entries and reads those that it looks at: at most `limit`,
    and with a filter at most `LOOKED_AT_MAX`. Such a page may be short, or empty, and has a cursor
    all the same.
    """

    async def users(
        self,
        wanted: UserFilter | None,
        limit: int,
        cursor: str | None,
        *,
        latest_first: bool = False,
        history: int = HISTORY_MAX,
    ) -> UserPage:
        """Who waits, soonest first or the other way round, each with so many lines of history."""
        ...

    async def dead(
        self, limit: int, cursor: str | None, wanted: DeadFilter | None = None
    ) -> DeadPage:
        """Dead letters without their messages, newest first."""
        ...
