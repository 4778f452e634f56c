"""How a platform's JSON is looked at: whatever is there or not, looking never fails.

Platforms change what they send without notice, and a webhook that is answered with an error is
sent again, or stops being sent at all. So a field that is missing or of another type is empty, and
the adapter decides what a message without it is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec

TEXT_OF_NUMBER_MAX: Final = 40
NUMBER_MAX: Final = 10**TEXT_OF_NUMBER_MAX
ID_CHARACTERS_MAX: Final = 1_000
"""A longer text is no id. An id stands in the names of all messages of an event, so a long one
would be copied once for each of them."""
MILLISECONDS_FROM: Final = 100_000_000_000
"""A time that is this great is in milliseconds: as seconds, it would be in the year 5138."""
YEAR_3000_S: Final = 32_503_680_000

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_URL_CHARACTERS_MAX: Final = 4_000


class Node(msgspec.Struct, gc=False):
    """A place in a JSON value. There may be nothing at it."""

    value: Any

    def __getitem__(self, name: str) -> Node:
        value = self.value
        if type(value) is dict and (found := value.get(name)) is not None:
            return Node(found)
        return NOTHING

    def __iter__(self) -> Iterator[Node]:
        """The elements of an array; none where there is no array."""
        if type(self.value) is list:
            yield from map(Node, self.value)

    def __bool__(self) -> bool:
        """Whether something is here: not null, not empty, not false."""
        return bool(self.value)

    def get(self, *path: str) -> Node:
        node = self
        for name in path:
            node = node[name]
        return node

    @property
    def each(self) -> list[Node]:
        """The elements of an array, or the one thing that stands in an array's place."""
        if type(self.value) is list:
            return list(self)
        return [self] if self.value is not None else []

    @property
    def last(self) -> Node:
        """The last element of an array."""
        return Node(self.value[-1]) if type(self.value) is list and self.value else NOTHING

    @property
    def names(self) -> list[str]:
        return list(self.value) if type(self.value) is dict else []

    @property
    def text(self) -> str:
        """A string, in which half of a surrogate pair is U+FFFD; else empty."""
        text = self.value
        if type(text) is not str:
            return ""
        return text if text.isascii() else _SURROGATE.sub("\ufffd", text)

    @property
    def id(self) -> str:
        """A name: a string of at most `ID_CHARACTERS_MAX` or a whole number, as text."""
        value = self.value
        if type(value) is str:
            text = (value if value.isascii() else self.text).strip()
            return text if len(text) <= ID_CHARACTERS_MAX else ""
        if type(value) is int and -NUMBER_MAX < value < NUMBER_MAX:
            return str(value)
        return ""

    @property
    def true(self) -> bool:
        return self.value is True

    @property
    def number(self) -> float | None:
        """A number, its text, or what JavaScript's Long is in JSON: `{"low": …, "high": …}`."""
        value = self.value
        if type(value) is dict:
            low, high = self["low"].value, self["high"].value
            if type(low) is not int or type(high) is not int:
                return None
            return _finite((high << 32) + (low & 0xFFFF_FFFF))
        if type(value) is str and _NUMBER.fullmatch(value):
            return _finite(float(value))
        return _finite(value) if type(value) in (int, float) else None

    @property
    def size(self) -> int | None:
        number = self.number
        return None if number is None or number < 0 else int(number)

    @property
    def unix_s(self) -> int | None:
        """A moment in whole Unix seconds: seconds, milliseconds, or ISO 8601 (UTC if no zone)."""
        number = self.number
        if number is None:
            return _seconds_of(self.text)
        seconds = number / 1000 if number >= MILLISECONDS_FROM else number
        return int(seconds) if 0 < seconds < YEAR_3000_S else None

    @property
    def url(self) -> str | None:
        """An address that can be fetched and has no password in it."""
        text = self.text
        if not text.startswith(("https://", "http://")) or len(text) > _URL_CHARACTERS_MAX:
            return None
        try:
            return None if "@" in urlsplit(text).netloc else text
        except ValueError:
            return None


NOTHING: Final = Node(None)


def read(body: bytes) -> Node:
    """The JSON value of a body; nothing where it is none.

    What msgspec refuses (half of a surrogate pair, NaN, UTF-16) the slower reader may still take.
    """
    try:
        return Node(msgspec.json.decode(body))
    except (ValueError, RecursionError):
        pass
    try:
        return Node(json.loads(body))
    except (ValueError, RecursionError):
        return NOTHING


def some(text: str) -> str | None:
    return text or None


def _finite(number: object) -> float | None:
    try:
        value = float(cast(float, number))
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _seconds_of(text: str) -> int | None:
    if not text or len(text) > TEXT_OF_NUMBER_MAX:
        return None
    try:
        moment = datetime.fromisoformat(text.removesuffix(" UTC"))
        return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())
    except (ValueError, OverflowError):
        return None
