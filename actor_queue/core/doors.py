"""A door: how the webhook of one chat platform is taken, and the doors that are always there.

A door has a name, which stands in its path `/in/{door}`, and a kind, which says what platform it
understands. More of them, or other ones of the same names, stand in the file of AQ_CONFIG
(`core/config_file.py`). What each platform's webhook means is in `actor_queue.doors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from actor_queue.core.conversation import DEFAULT_ROUTE, Conversation
from actor_queue.core.settings import Settings

Platform = Literal["evolution", "waha", "cloud", "chatwoot", "telegram"]
Groups = Literal["ignore", "chat", "sender"]
"""What a message in a group is: nothing; one conversation of all in the group; one of each."""
OwnMessages = Literal["hold", "ignore"]
"""What it means that a person answers in the bot's place, or takes the conversation over."""

DOORS_MAX: Final = 1_000
HOLD_MS: Final = 3_600_000
HOLD_MAX_S: Final = 7 * 86_400
"""No hold may be longer, whoever asks for it."""
REMEMBERED_MS: Final = 86_400_000
"""A platform's message id is remembered for a day at least: Telegram repeats for as long."""
DAY_S: Final = 86_400
RECONNECT_S: Final = 1_800
"""Evolution and WAHA send old messages as new ones when a phone comes back. The greatest age has to
be longer than their own repetitions of a webhook go on: 25 minutes, with Evolution's defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One door. `repr` shows no secret."""

    name: str
    kind: Platform
    route: str = DEFAULT_ROUTE
    """Whose receiver everything that comes in here is for."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What the platform signs or shows; any of them opens, so that one can be rotated."""
    verify_token: str = field(default="", repr=False)
    """What Meta shows when the address is entered there."""
    groups: Groups = "ignore"
    own_messages: OwnMessages = "hold"
    hold_ms: int = HOLD_MS
    max_age_s: int = DAY_S
    """A message that was older than this when it came is ignored. Past a day, nobody could say
    whether it had been taken before."""

    def conversation(self, user: str) -> str:
        """What the user is called in the queue (`Conversation.key`)."""
        return Conversation(self.route, user).key


class DoorTable:
    """The doors as they are now, as `core.routes.RouteTable` has the routes."""

    def __init__(self, doors: Iterable[Door]) -> None:
        self._doors: Mapping[str, Door] = MappingProxyType({})
        self.version = 0
        """Another one after each change."""
        self.replace(doors)

    @classmethod
    def of(cls, settings: Settings) -> DoorTable:
        """With those that are always there."""
        return cls(doors_of(settings).values())

    def replace(self, doors: Iterable[Door]) -> None:
        """All at once."""
        self._doors = MappingProxyType({door.name: door for door in doors})
        self.version += 1

    def get(self, name: str) -> Door | None:
        return self._doors.get(name)

    def __iter__(self) -> Iterator[Door]:
        return iter(self._doors.values())


def max_age_of(kind: Platform) -> int:
    """In seconds, of a door that says nothing else."""
    return RECONNECT_S if kind in ("evolution", "waha") else DAY_S


def doors_of(settings: Settings) -> Mapping[str, Door]:
    """The doors by name: one for each platform, with the secrets of the settings."""
    doors = (
        Door(
            name="evolution",
            kind="evolution",
            secrets=settings.door_evolution_secrets,
            max_age_s=max_age_of("evolution"),
        ),
        Door(
            name="waha",
            kind="waha",
            secrets=settings.door_waha_secrets,
            max_age_s=max_age_of("waha"),
        ),
        Door(
            name="cloud",
            kind="cloud",
            secrets=settings.door_cloud_secrets,
            verify_token=settings.door_cloud_verify_token or "",
        ),
        Door(name="chatwoot", kind="chatwoot", secrets=settings.door_chatwoot_secrets),
        Door(name="telegram", kind="telegram", secrets=settings.door_telegram_secrets),
    )
    return {door.name: door for door in doors}
