"""Headers that the operator adds to each webhook: which may be, and how they are written down."""

from __future__ import annotations

import json
import re

from actor_queue.core.setting_kinds import Kind
from actor_queue.core.url import Unusable

HEADERS_MAX = 50
BYTES_MAX = 8_192

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?", re.ASCII)
_OURS = frozenset(
    (
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"),
        *("upgrade", "expect", "host", "content-encoding", "content-length", "content-type"),
        "idempotency-key",
    )
)
"""What belongs to the message or to the connection, so that another value would break either."""
_OUR_PREFIXES = ("webhook-", "aq-")


def read(text: str) -> tuple[tuple[str, str], ...]:
    """(name in small letters, value) in the order of the text. Raises `ValueError`; no error quotes
    a value."""
    try:
        members = json.loads(text, object_pairs_hook=_Members)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(members, _Members):
        raise Unusable("it is JSON, but no object")
    if len(members) > HEADERS_MAX:
        raise Unusable(f"it has {len(members)} headers")
    headers = tuple(_header(name, value) for name, value in members)
    names = [name for name, _ in headers]
    for name in names:
        if names.count(name) > 1:
            raise Unusable(f"{name} is there twice")
    if sum(len(name) + len(value) for name, value in headers) > BYTES_MAX:
        raise Unusable("it is too long")
    return headers


class _Members(list[tuple[str, object]]):
    """Of a JSON object, with every name as often as it stands there."""


def _header(name: str, value: object) -> tuple[str, str]:
    if not _NAME.fullmatch(name):
        raise Unusable("one of the names is none that a header can have")
    name = name.lower()
    if name in _OURS or name.startswith(_OUR_PREFIXES):
        raise Unusable(f"{name} is set by the service itself")
    if not isinstance(value, str):
        raise Unusable(f"the value of {name} is not a text")
    if "\n" in value or "\r" in value:
        raise Unusable(f"the value of {name} has a line break")
    if not value.isascii():
        raise Unusable(f"the value of {name} is not ASCII")
    if not _VALUE.fullmatch(value):
        raise Unusable(
            f"the value of {name} is empty, or has blanks around it or control characters"
        )
    return name, value


def _write(value: object) -> str:
    if not isinstance(value, tuple | list) or not all(
        isinstance(each, tuple | list)
        and len(each) == 2
        and all(type(part) is str for part in each)
        for each in value
    ):
        raise TypeError("not a tuple of pairs of texts")
    return "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(text)}" for name, text in value) + "}"


WEBHOOK_HEADERS = Kind(
    read,
    f"a JSON object of at most {HEADERS_MAX} texts, for example"
    ' {"authorization": "Bearer …"}, without line breaks and in ASCII',
    write=_write,
    typed=f"a tuple of at most {HEADERS_MAX} pairs (name, value), without line breaks and in ASCII",
)
