"""Content codings of a body (RFC 9110, section 8.4): gzip and deflate, decoded as they come.

Sans-IO. What comes out is bounded by whoever takes it: the decoder hands over at most
`PIECE_BYTES_MAX` at a time and does nothing until it is asked for the next piece, so a body
that would decode to gigabytes costs as much as was taken of it.

Decided here where the specifications leave it open: `deflate` may be the zlib format that its
name stands for, or raw deflate, which many senders mean by it; gzip members may follow one
another; line breaks behind the last stream are ignored, because some senders end a body with one;
anything else after the end of a stream is an error, and so is a stream without one.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Final, NoReturn

from actor_queue.core.json_text import Refused

ACCEPTED: Final = "gzip, deflate"
PIECE_BYTES_MAX: Final = 65_536
CODING_CHARACTERS_SHOWN: Final = 50

_NAMES: Final = {b"gzip": "gzip", b"x-gzip": "gzip", b"deflate": "deflate"}
_NO_TOKEN = re.compile(rb"[^A-Za-z0-9!#$%&'*+.^_`|~, -]")
_GZIP_BEGINS: Final = 0x1F
_WBITS_GZIP, _WBITS_ZLIB, _WBITS_RAW = 31, 15, -15


class UnknownCoding(Refused):
    """415: the body has a coding that cannot be decoded here; `ACCEPTED` can."""


def coding_of(header: bytes) -> str | None:
    """What `Content-Encoding` says: "gzip", "deflate", or None for none. Raises `UnknownCoding`."""
    names = [name.strip(b" \t").lower() for name in header.split(b",")]
    names = [name for name in names if name not in (b"", b"identity")]
    if not names:
        return None
    if len(names) == 1 and names[0] in _NAMES:
        return _NAMES[names[0]]
    shown = _NO_TOKEN.sub(b"?", b", ".join(names)[:CODING_CHARACTERS_SHOWN]).decode("ascii")
    raise UnknownCoding(
        415,
        "Unsupported content coding",
        f"The content-encoding {shown} is not understood here: send gzip, deflate or none.",
    )


def coded_bytes_max(bytes_max: int) -> int:
    """How long a body that decodes to at most `bytes_max` may be: what does not shrink grows."""
    return 2 * bytes_max + 1_024


def decoded(coding: str, body: bytes, bytes_max: int) -> bytes:
    """The whole of a body. Raises `Refused` with 400, or 413 as soon as it is over `bytes_max`."""
    decoder, whole = Decoder(coding), bytearray()
    for piece in decoder.feed(body):
        whole += piece
        if len(whole) > bytes_max:
            refuse_size(bytes_max)
    decoder.finish()
    return bytes(whole)


def refuse_size(bytes_max: int) -> NoReturn:
    raise Refused(413, "Too large", f"The decoded body may have {bytes_max} bytes, no more.")


class Decoder:
    """One body. Every method raises `Refused` with 400 once the body is known to be broken."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._stream: zlib._Decompress | None = None
        self._streams_ended = 0
        self._line_broken = False
        """Nothing but line breaks may come any more."""
        self._held = b""
        """A first byte that does not tell yet which kind of deflate it is."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` decodes to, in pieces; to be taken to its end before the next `feed`."""
        data = self._held + data
        self._held = b""
        full = False
        while data or full:
            if self._stream is None:
                data = self._without_line_breaks(data)
                if not data:
                    return
                self._stream = self._begin(data)
                if self._stream is None:
                    self._held = data
                    return
            try:
                piece = self._stream.decompress(data, PIECE_BYTES_MAX)
            except zlib.error:
                self._refuse("is damaged")
            if piece:
                yield piece
            # All input may be consumed while a full piece's worth of output still waits.
            full = len(piece) == PIECE_BYTES_MAX and not self._stream.eof
            data = self._stream.unconsumed_tail
            if self._stream.eof:
                data = self._stream.unused_data
                self._stream = None
                self._streams_ended += 1

    def finish(self) -> None:
        """To be called when nothing more comes."""
        if self._stream is not None or self._held or not self._streams_ended:
            self._refuse("ends before its end")

    def _without_line_breaks(self, data: bytes) -> bytes:
        """What `data` has of a next stream. Raises `Refused` if a line break came before it."""
        if not self._streams_ended:
            return data
        rest = data.lstrip(b"\r\n")
        self._line_broken = self._line_broken or len(rest) < len(data)
        if rest and self._line_broken:
            self._refuse("is followed by something else")
        return rest

    def _begin(self, data: bytes) -> zlib._Decompress | None:
        """For the stream that `data` begins with; None if more must come to tell its kind."""
        if self._coding == "gzip":
            if self._streams_ended and data[0] != _GZIP_BEGINS:
                self._refuse("is followed by something else")
            return zlib.decompressobj(_WBITS_GZIP)
        if self._streams_ended:
            self._refuse("is followed by something else")
        if len(data) < 2:
            return None
        return zlib.decompressobj(_WBITS_ZLIB if _is_zlib(data) else _WBITS_RAW)

    def _refuse(self, what: str) -> NoReturn:
        raise Refused(
            400, "Cannot be decoded", f"The body's {self._coding} stream {what}."
        ) from None


def _is_zlib(data: bytes) -> bool:
    """RFC 1950, section 2.2: method 8, a window of at most 32 KiB, and a check on both bytes."""
    return data[0] & 0x0F == 8 and data[0] >> 4 <= 7 and (data[0] << 8 | data[1]) % 31 == 0
