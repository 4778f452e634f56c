"""Taking a server's reply apart. Whatever comes back may be anything: what does not fit the
description of the call is `Unreadable`, and never a crash.
"""

from __future__ import annotations

from types import TracebackType

from actor_queue.transport.errors import StoreUnavailable

UNREADABLE = "Redis answered with something that this release cannot read"
"""All that is said of it: what Redis sent is quoted nowhere."""


class Unreadable(StoreUnavailable):
    """What Redis answered, or what somebody wrote into it, is not what the service keeps there."""

    def __init__(self) -> None:
        super().__init__(UNREADABLE, executed=None)


class _Reading:
    """Around whatever takes a reply apart: what does not fit is `Unreadable`, and no crash.

    The first error is not its cause, because its text may quote what Redis sent.
    """

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, _MISFITS):
            raise Unreadable from None


_MISFITS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
READING = _Reading()


def expect(*conditions: bool) -> None:
    """Of what was read. Raises `Unreadable` unless all are true."""
    if not all(conditions):
        raise Unreadable


def listed(reply: object) -> list[object]:
    """A reply that is a list by the script's header. Raises `Unreadable`."""
    if not isinstance(reply, list):
        raise Unreadable
    return reply


def number(value: object) -> int:
    """A reply element that is a number, or its text. Raises `Unreadable`."""
    if isinstance(value, int):
        return value
    with READING:
        if isinstance(value, bytes | str):
            return int(value)
    raise Unreadable


def text(value: object) -> str:
    """A reply element that is text. Raises `Unreadable` for bytes that are not UTF-8."""
    if isinstance(value, bytes):
        with READING:
            return value.decode()
    return str(value)


def octets(value: object) -> bytes:
    """A reply element that is bytes. Raises `Unreadable`."""
    if not isinstance(value, bytes):
        raise Unreadable
    return value


def shown(value: object) -> str:
    """As `text`, for a name that is only shown: bytes that are not UTF-8 are replaced."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else text(value)


def pairs(reply: object) -> list[tuple[object, object]]:
    """A reply that is a flat list of pairs by the script's header. Raises `Unreadable`."""
    flat = listed(reply)
    with READING:
        return list(zip(flat[::2], flat[1::2], strict=True))
