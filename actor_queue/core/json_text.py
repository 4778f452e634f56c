"""One JSON object as senders write it: bytes become a text that can be kept, and its fields.

Owns what is true of every JSON body, whatever its fields mean: a byte order mark in front is
dropped, half of a surrogate pair becomes U+FFFD, and what makes a text unusable as JSON
elsewhere is refused (NaN, 1e999, a name that occurs twice, more than `DEPTH_MAX` levels,
numbers of more than `NUMBER_CHARACTERS_MAX` characters). Refusals never quote the text.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import NoReturn, cast

DEPTH_MAX = 64
"""Levels of objects and arrays, the outermost included."""
NUMBER_CHARACTERS_MAX = 1_000
NAME_CHARACTERS_SHOWN = 50
"""A field's name in a refusal is cut to this."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
REPLACEMENT = rb"\ufffd"

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_PAIR_OR_HALF_OR_OTHER = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""Every escape, so that `\\\\ud800` is a backslash and a word; group 1 is half of a pair."""
_BLANKS = re.compile(r"[ \t\r\n]*")


class Refused(Exception):
    """The input is refused: the parts of an RFC 9457 problem."""

    def __init__(self, status: int, title: str, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.field = field


def read_object(body: bytes) -> tuple[bytes, dict[str, object]]:
    """The JSON text to keep, in UTF-8, and its fields. Raises `Refused` with 400 or 422.

    The text is `body` byte for byte, except for a byte order mark and halves of pairs.
    """
    if body.startswith(BYTE_ORDER_MARK):
        body = body[len(BYTE_ORDER_MARK) :]
    # This and the depth cost more than they are worth unless a glance says that they may matter.
    if b"\\u" in body and _SURROGATE_ESCAPE.search(body):
        body = _PAIR_OR_HALF_OR_OTHER.sub(_whole, body)
    try:
        value = _DECODER.decode(body.decode())
    except UnicodeDecodeError as error:
        raise Refused(400, "Not UTF-8", f"Byte {error.start} of the body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        what = error.msg.rstrip(": ").removesuffix(" at")
        where = f"line {error.lineno}, column {error.colno}"
        raise Refused(400, "Not JSON", f"The body is not JSON: {what} at {where}.") from None
    except RecursionError:
        _refuse_depth()
    if type(value) is not dict:
        raise Refused(400, "Not an object", "The body is JSON, but not an object.")
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX:
        _require_shallow(value)
    return body, value


def with_text(body: bytes, name: str) -> bytes:
    """`body`, where the value of the outermost field `name` is a string of its own characters.

    `body` is a text from `read_object` that has the field. A number keeps its digits as they
    were written, and null becomes an empty string.
    """
    text = body.decode()
    start, end = _place_of_value(text, name)
    value = text[start:end]
    quoted = '""' if value == "null" else json.dumps(value, ensure_ascii=False)
    return (text[:start] + quoted + text[end:]).encode()


def refuse_field(field: str, detail: str) -> NoReturn:
    raise Refused(422, "Invalid field", detail, field)


def _whole(escape: re.Match[bytes]) -> bytes:
    return REPLACEMENT if escape[1] is not None else escape[0]


def _place_of_value(text: str, name: str) -> tuple[int, int]:
    at = text.index("{") + 1
    while True:
        key, at = _DECODER.raw_decode(text, text.index('"', at))
        start = _end_of_blanks(text, text.index(":", at) + 1)
        _, at = _DECODER.raw_decode(text, start)
        if key == name:
            return start, at
        at = text.index(",", at) + 1


def _end_of_blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    assert blanks is not None, "the pattern matches nothing, too"
    return blanks.end()


# What the decoder calls


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        if len(name) > NAME_CHARACTERS_SHOWN:
            name = name[: NAME_CHARACTERS_SHOWN - 1] + "…"
        refuse_field(name, "A field occurs twice in the same object.")
    return fields


def _integer(text: str) -> int:
    if len(text) > NUMBER_CHARACTERS_MAX:
        _refuse_long_number()
    return int(text)


def _finite(text: str) -> float:
    if len(text) > NUMBER_CHARACTERS_MAX:
        _refuse_long_number()
    number = float(text)
    if math.isinf(number):
        raise Refused(400, "Not JSON", "A number in the body is too large for any receiver.")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise Refused(400, "Not JSON", f"The body is not JSON: it contains {name}.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_distinct,
    parse_int=_integer,
    parse_float=_finite,
    parse_constant=_refuse_constant,
)


# Limits


def _require_shallow(value: object) -> None:
    """Level by level and not by recursion: the depth is what is in doubt."""
    level = [value]
    for _ in range(DEPTH_MAX):
        below: list[object] = []
        for container in level:
            children = (
                container.values() if type(container) is dict else cast(list[object], container)
            )
            below += [child for child in children if type(child) is dict or type(child) is list]
        if not below:
            return
        level = below
    _refuse_depth()


def _refuse_depth() -> NoReturn:
    raise Refused(
        400, "Too deep", f"The body has more than {DEPTH_MAX} levels of objects and arrays."
    ) from None


def _refuse_long_number() -> NoReturn:
    raise Refused(
        400, "Number too long", f"A number has more than {NUMBER_CHARACTERS_MAX} characters."
    )
