"""WhatsApp's own addresses, as Evolution and WAHA hand them on.

`5511999990000:12@s.whatsapp.net` is a person's twelfth device; WAHA writes `@c.us`. `@lid` is the
same person under an id that hides the phone. `@g.us` is a group.
"""

from __future__ import annotations

from typing import Final

from actor_queue.doors.vocabulary import Ignore

PHONES: Final = frozenset({"s.whatsapp.net", "c.us"})


def bare(jid: str) -> str:
    """The address without the device."""
    name, at, server = jid.partition("@")
    return name.partition(":")[0] + at + server


def server(jid: str) -> str:
    return jid.partition("@")[2]


def is_group(jid: str) -> bool:
    return server(jid) == "g.us"


def is_phone(jid: str) -> bool:
    return server(jid) in PHONES


def hides_the_phone(jid: str) -> bool:
    return server(jid) == "lid"


def nobodys(jid: str) -> Ignore | None:
    """Why an address is nobody's whom a bot could answer; None if it is somebody's."""
    name, _, where = jid.partition("@")
    if where == "broadcast":
        return Ignore("broadcast")
    if where == "newsletter":
        return Ignore("newsletter")
    return None if name and where else Ignore("unnamed")


def of_person(*candidates: str) -> tuple[str, str]:
    """Whom several addresses of one person name, and the other address, if there is one.

    The phone is preferred. Where an event has both, the `@lid` leads to the phone from then on.
    """
    known = list(dict.fromkeys(bare(each) for each in candidates if each))
    known.sort(key=lambda jid: not is_phone(jid))
    first = known[0] if known else ""
    return first, next((each for each in known[1:] if server(each) != server(first)), "")
