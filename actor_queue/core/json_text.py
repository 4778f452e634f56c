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
from collections.abc import Iterable
from typing import Final, NoReturn, cast

import msgspec

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
_NUMBER_BITS_MAX: Final = 3_000
"""An integer of more bits may have more than `NUMBER_CHARACTERS_MAX` characters."""


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
    plain = _plain_fields(body)
    if plain is not None:
        return body, plain
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


def _plain_fields(body: bytes) -> dict[str, object] | None:
    """The fields of an object about which there is no doubt; None where `_DECODER` has to say.

    msgspec takes a tenth of the time, and says the same of everything but a name that occurs twice
    and a number with too many characters. A text has two quotes, so where no quote is escaped there
    are twice as many as there are names and texts, unless a name occurs twice.
    """
    if b'\\"' in body:
        return None
    try:
        value = _QUICK_DECODER.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if type(value) is not dict:
        return None
    texts = _texts_in(value, numbers_may_be_long=len(body) > NUMBER_CHARACTERS_MAX)
    if body.count(b'"') != 2 * texts or body.count(b"{") + body.count(b"[") > DEPTH_MAX:
        return None
    return value


def _texts_in(value: dict[str, object], *, numbers_may_be_long: bool) -> int:
    """How many names and texts there are, at any level; -1 where a number has to be looked at."""
    texts = 0
    containers: list[object] = [value]
    for container in containers:  # it grows meanwhile
        children = cast(Iterable[object], container)
        if type(container) is dict:
            texts += len(container)
            children = container.values()
        kinds = list(map(type, children))
        texts += kinds.count(str)
        if dict in kinds or list in kinds:
            containers += [child for child in children if type(child) in (dict, list)]
        if numbers_may_be_long and any(map(_may_be_long, children)):
            return -1
    return texts


def _may_be_long(value: object) -> bool:
    kind = type(value)
    return kind is float or (kind is int and cast(int, value).bit_length() > _NUMBER_BITS_MAX)


def with_text(body: bytes, name: str) -> bytes:
    """`body`, where the value of the outermost field `name` is a string of its own characters.

    `body` is a text from `read_object` that has the field. A number keeps its digits as they
    were written, and null becomes an empty string.
    """
    text = body.decode()
    _, start, end = _place(text, name)
    value = text[start:end]
    return _with(text, start, end, "" if value == "null" else value)


def with_string(body: bytes, name: str, value: str) -> bytes:
    """`body`, where the value of the outermost field `name` is `value`, and nothing else differs.

    `body` is a text from `read_object` that has the field. `value` can be encoded as UTF-8.
    """
    text = body.decode()
    return _with(text, *_place(text, name)[1:], value)


def without_field(body: bytes, name: str) -> bytes:
    """`body` without its outermost field `name`; as in `with_text`."""
    text = body.decode()
    begin, _, end = _place(text, name)
    following = _end_of_blanks(text, end)
    if text[begin] != ",":
        # The first field: the comma behind it goes, if there is one.
        end = following + 1 if text[following] == "," else end
    return (text[:begin] + text[end:]).encode()


def refuse_field(field: str, detail: str) -> NoReturn:
    raise Refused(422, "Invalid field", detail, field)


def _whole(escape: re.Match[bytes]) -> bytes:
    return REPLACEMENT if escape[1] is not None else escape[0]


def _with(text: str, start: int, end: int, value: str) -> bytes:
    return (text[:start] + json.dumps(value, ensure_ascii=False) + text[end:]).encode()


def _place(text: str, name: str) -> tuple[int, int, int]:
    """Where the outermost field `name` begins (with the comma before it, if there is one), where
    its value does, and where that ends."""
    begin = at = text.index('"', text.index("{"))
    while True:
        key, at = _DECODER.raw_decode(text, at)
        start = _end_of_blanks(text, text.index(":", at) + 1)
        _, at = _DECODER.raw_decode(text, start)
        if key == name:
            return begin, start, at
        begin = text.index(",", at)
        at = text.index('"', begin)


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


_QUICK_DECODER = msgspec.json.Decoder()


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
