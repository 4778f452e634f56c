"""The webhooks of chat platforms as they are: bytes and headers in, actions out.

An adapter does no I/O and reads no clock. It never raises, and it pushes nothing that it cannot
name: without a chat, an id and something to read, an event is ignored, with the reason.

Adding a platform is one module here, one folder of fixtures in `tests/doors/fixtures`, one line in
`PLATFORMS` and its kind in `core.doors`; docs/doors.md says how.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from actor_queue.core.doors import Door, Platform
from actor_queue.doors import chatwoot, cloud, evolution, reading, telegram, waha
from actor_queue.doors.platform import Adapter, Request
from actor_queue.doors.vocabulary import Action, Ignore

__all__ = ["PLATFORMS", "Adapter", "Request", "understand", "verified"]

PLATFORMS: Final[Mapping[Platform, Adapter]] = {
    "evolution": Adapter(evolution.verify, evolution.read),
    "waha": Adapter(waha.verify, waha.read),
    "cloud": Adapter(cloud.verify, cloud.read),
    "chatwoot": Adapter(chatwoot.verify, chatwoot.read),
    "telegram": Adapter(telegram.verify, telegram.read),
}


def verified(request: Request, door: Door, now_s: float) -> bool | None:
    """Whether the platform itself has signed this. None: it did not, or the door knows no secret;
    then a key has to open the door."""
    return PLATFORMS[door.kind].verify(request, door, now_s) if door.secrets else None


def understand(body: bytes, door: Door, now_s: float) -> Iterator[Action]:
    """What a verified body asks for, in order; never nothing. `now_s` is in Unix seconds.

    An event may ask for a million things, so each is worked out when it is taken.
    """
    event = reading.read(body)
    if type(event.value) is not dict:
        yield Ignore("malformed")
        return
    nothing = True
    for action in PLATFORMS[door.kind].read(event, door, now_s):
        nothing = False
        yield action
    if nothing:
        yield Ignore("unknown_event")
