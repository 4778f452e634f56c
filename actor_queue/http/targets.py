"""Where a request says that it goes: its target and its `Host`.

A proxy in front decides by path and by host. So a request whose target or `Host` two programs could
read in two ways is refused here, and a path is served only as it is written: nothing is decoded,
joined or cut on the way to a name of ours. Only the segments that name a user and a message may be
percent-encoded, because only these have names that need it.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final

HOSTS_REMEMBERED: Final = 256
PORT_MAX: Final = 65_535

USERS: Final = b"/api/users/"

_HOST = re.compile(
    rb"(?:\[(?P<literal>[^\[\]]+)\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)"
    rb"(?::(?P<port>[0-9]{0,5}))?"
)
_FUTURE = re.compile(rb"[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)


@lru_cache(HOSTS_REMEMBERED)
def is_host(value: bytes) -> bool:
    """Whether this is `uri-host [":" port]` (RFC 9112, section 3.2) and names a host at all.

    An empty host would be right for a target without an authority only, and there is none in HTTP
    (RFC 9110, section 4.2.1).
    """
    parts = _HOST.fullmatch(value)
    if parts is None or int(parts["port"] or 0) > PORT_MAX:
        return False
    literal = parts["literal"]
    if literal is None or _FUTURE.fullmatch(literal):
        return True
    try:
        # `ip_address` also takes a zone, which a URI has no place for.
        return b"%" not in literal and ipaddress.ip_address(literal.decode()).version == 6
    except ValueError:
        return False


def is_target(target: bytes) -> bool:
    """Whether this is a target that can be read in one way only: no fragment, and in the absolute
    form a host, without a user in front of it (RFC 9110, section 4.2.4)."""
    if b"#" in target:
        return False
    absolute = _ABSOLUTE.fullmatch(target)
    return absolute is None or is_host(absolute[1])


def origin_form(target: bytes) -> tuple[bytes, bytes | None]:
    """`http://host/path` means `/path` at `host`, whatever `Host` says (RFC 9112, section 3.2.2).

    None where the target names no host. `target` is one that `is_target` takes.
    """
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        return target, None
    host, path = absolute.groups()
    return path if path.startswith(b"/") else b"/" + path, host


def is_as_written(path: bytes) -> bool:
    """Whether decoding the path makes no other path of it.

    Proxies differ in what they decode and join before they look at a path: `//api/dead`,
    `/api%2Fdead` and `/%61pi/dead` may pass a rule about `/api/dead`, so none of them is served
    as it. Dots are segments like any other: nothing is reached by going up.
    """
    if not path.startswith(b"/") or path.startswith(b"//"):
        return False
    # Behind a user's name stands a verb, a message or nothing, and verbs are compared as they are
    # written.
    return path.startswith(USERS) or b"%" not in path
