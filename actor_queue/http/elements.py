"""Cutting a stream of bytes into messages, as it comes: lines, or the elements of an array.

Sans-IO. `Cutter` decodes on the way what comes compressed. Neither splitter judges what it
cuts out: an element that is no JSON is handed on like any other, so that it spoils nothing but
itself. Each holds at most one unfinished element, and of one that is over the limit only so
much that it is seen to be over it.
Every byte is looked at a bounded number of times, however small the pieces are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Protocol

from actor_queue.core.codings import Decoder
from actor_queue.core.json_text import BYTE_ORDER_MARK, Refused

BEGINNING_BYTES: Final = 1_024
"""As much of a body is kept for whoever wants to know what was meant by it."""
NOTHING_FOUND_BYTES: Final = 1024 * 1024
"""What a compressed body may decode to without a message in it, beyond four times the largest
message: one that is somewhat too large spoils only itself. In a plain body the sender pays for such
bytes, here a kilobyte makes a megabyte of them."""
_WHITESPACE: Final = b" \t\r\n"
_QUOTE, _COMMA, _CLOSE_ARRAY, _CLOSE_OBJECT = b'",]}'

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_FLAT_OBJECT = rb'\{(?:[^"{}\[\]]++|' + _STRING + rb")*+\}"
_TOKEN: Final = re.compile(_FLAT_OBJECT + rb"|" + _STRING + rb'|["\[\]{},]', re.DOTALL)
"""A whole object without others in it, a whole string, or one character of structure."""
_REST_OF_STRING: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)


class Splitter(Protocol):
    """`feed` gives the elements that are complete, `end` one that waited for nothing else."""

    @property
    def fault(self) -> str | None:
        """What is wrong with the body as a whole, as soon as it is known. Nothing comes after."""
        ...

    def feed(self, data: bytes) -> list[bytes]: ...

    def end(self) -> list[bytes]: ...


class Cutter:
    """A body of many messages as it comes, compressed or not, cut into its elements."""

    def __init__(self, splitter: Splitter, coding: str | None, bytes_max: int) -> None:
        self._splitter = splitter
        self._decoder = None if coding is None else Decoder(coding)
        self._found_nothing_bytes_max = 4 * bytes_max + NOTHING_FOUND_BYTES
        self._found_nothing_bytes = 0
        self._fault: Refused | None = None
        self.beginning = b""
        """The first `BEGINNING_BYTES` of the decoded body, or a little more."""

    @property
    def fault(self) -> Refused | None:
        """What is wrong with the body as a whole, as soon as it is known. Nothing comes after."""
        if self._fault is None and self._splitter.fault is not None:
            self._fault = Refused(400, "", self._splitter.fault)
        return self._fault

    def feed(self, data: bytes, *, last: bool) -> Iterator[list[bytes]]:
        """The elements that are complete with `data`; of a compressed body a few at a time, and
        nothing is decoded before the next are asked for. A list may be empty."""
        if self._decoder is None:
            elements = self._take(data)
            yield elements + self._splitter.end() if last else elements
            return
        try:
            for piece in self._decoder.feed(data):
                yield self._cut(piece)
                if self.fault is not None:
                    return
            if last:
                self._decoder.finish()
        except Refused as refused:
            self._fault = refused
            return
        if last:
            yield self._splitter.end()

    def _take(self, piece: bytes) -> list[bytes]:
        if len(self.beginning) < BEGINNING_BYTES:
            self.beginning += piece[:BEGINNING_BYTES]
        return self._splitter.feed(piece)

    def _cut(self, piece: bytes) -> list[bytes]:
        elements = self._take(piece)
        self._found_nothing_bytes = 0 if elements else self._found_nothing_bytes + len(piece)
        if self._found_nothing_bytes > self._found_nothing_bytes_max:
            self._fault = Refused(
                413,
                "Too large",
                f"The body decodes to {self._found_nothing_bytes_max} bytes without a message.",
            )
        return elements


class Lines:
    """NDJSON: one element a line. Blank lines are none; the last line needs no newline."""

    fault: str | None = None

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._pieces: list[bytes] = []
        self._size = 0
        self._mark = _Mark()

    def feed(self, data: bytes) -> list[bytes]:
        data = self._mark.dropped(data)
        first, newline, others = data.partition(b"\n")
        self._keep(first)
        if not newline:
            return []
        *lines, last = others.split(b"\n")
        lines.insert(0, self._take())
        self._keep(last)
        return [line.removesuffix(b"\r") for line in lines if line and not line.isspace()]

    def end(self) -> list[bytes]:
        self._keep(self._mark.rest())
        line = self._take()
        return [line.removesuffix(b"\r")] if line.strip() else []

    def _keep(self, piece: bytes) -> None:
        room = self._bytes_max + 2 - self._size  # over the limit even without its "\r"
        if room > 0 and piece:
            self._pieces.append(piece[:room])
            self._size += min(len(piece), room)

    def _take(self) -> bytes:
        line = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return line


class Array:
    """A JSON array's elements, without the whitespace around them."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._rest = b""
        """The unfinished element so far."""
        self._scanned = 0
        """How much of `_rest` has been looked at."""
        self._depth = 0
        self._in_string = False
        self._cut = False
        """Whether `_rest` lacks bytes, being over the limit already."""
        self._opened = self._closed = False
        self._any = False
        self._mark = _Mark()
        self.fault: str | None = None

    def feed(self, data: bytes) -> list[bytes]:
        if self.fault is not None:
            return []
        self._rest += self._mark.dropped(data)
        if not self._opened and not self._open():
            return []
        elements = [] if self._closed else self._elements()
        if self._closed and self._rest.strip(_WHITESPACE):
            self.fault = "something follows the end of the array"
        if self._closed or self.fault is not None:
            self._rest = b""
        self._shorten()
        return elements

    def end(self) -> list[bytes]:
        self.feed(self._mark.rest())
        if self.fault is None and not self._opened:
            self.fault = "the body is empty; it should be a JSON array"
        if self.fault is None and not self._closed:
            self.fault = "the body ended before the array did"
        return []

    def _open(self) -> bool:
        self._rest = self._rest.lstrip(_WHITESPACE)
        if not self._rest:
            return False
        if not self._rest.startswith(b"["):
            self.fault = "the body is no JSON array; for lines, say application/x-ndjson"
            self._rest = b""
            return False
        self._rest = self._rest[1:]
        self._opened = True
        return True

    def _elements(self) -> list[bytes]:
        """Cut complete elements off `_rest`, as far as it goes."""
        elements: list[bytes] = []
        buffer, start = self._rest, 0
        position = self._skip_string(buffer)
        for token in () if self._in_string else _TOKEN.finditer(buffer, position):
            mark = buffer[token.start()]
            if mark == _QUOTE:
                if token.end() - token.start() == 1:
                    self._in_string = True
                    position = _end_of_string_so_far(buffer, token.end())
                    break
            elif mark == _COMMA:
                if self._depth == 0:
                    elements.append(self._element(buffer[start : token.start()]))
                    start = token.end()
            elif mark == _CLOSE_ARRAY and self._depth == 0:
                self._close(buffer[start : token.start()], elements)
                start = token.end()
                break
            elif mark in (_CLOSE_ARRAY, _CLOSE_OBJECT):
                self._depth = max(0, self._depth - 1)
            elif token.end() - token.start() == 1:
                self._depth += 1
        if not self._in_string:
            position = len(buffer)
        self._rest, self._scanned = buffer[start:], position - start
        return elements

    def _skip_string(self, buffer: bytes) -> int:
        """Go on in a string that began in a former piece; where to look for tokens then."""
        if not self._in_string:
            return self._scanned
        position = _end_of_string_so_far(buffer, self._scanned)
        if position < len(buffer) and buffer[position] == _QUOTE:
            self._in_string = False
            return position + 1
        return position

    def _close(self, last: bytes, elements: list[bytes]) -> None:
        self._closed = True
        if self._any or self._cut or last.strip(_WHITESPACE):
            elements.append(self._element(last))

    def _element(self, element: bytes) -> bytes:
        self._any = True
        if self._cut:
            self._cut = False
            return element
        return element.strip(_WHITESPACE)

    def _shorten(self) -> None:
        """Hold no more of an element than shows that it is too large."""
        if not self._cut and self._rest[:1].isspace():
            before = len(self._rest)
            self._rest = self._rest.lstrip(_WHITESPACE)
            self._scanned = max(0, self._scanned - (before - len(self._rest)))
        if len(self._rest) > self._bytes_max:
            unscanned = self._rest[self._scanned :]
            self._cut = True
            self._rest = self._rest[: self._bytes_max + 1] + unscanned
            self._scanned = self._bytes_max + 1


def _end_of_string_so_far(buffer: bytes, position: int) -> int:
    """Where the string's closing quote is, or a backslash whose character has not come yet."""
    found = _REST_OF_STRING.match(buffer, position)
    assert found is not None, "the pattern matches nothing, too"
    return found.end()


class _Mark:
    """Drops a byte order mark from the beginning of a stream, however small its pieces are."""

    def __init__(self) -> None:
        self._begun: bytes | None = b""

    def dropped(self, data: bytes) -> bytes:
        if self._begun is None:
            return data
        self._begun += data
        if len(self._begun) < len(BYTE_ORDER_MARK) and BYTE_ORDER_MARK.startswith(self._begun):
            return b""
        return self.rest().removeprefix(BYTE_ORDER_MARK)

    def rest(self) -> bytes:
        """What was held back, should nothing follow it."""
        begun, self._begun = self._begun or b"", None
        return begun
