"""Compressed bodies: decoded wherever their pieces end, and never more of them than is taken."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from actor_queue.core.codings import (
    PIECE_BYTES_MAX,
    Decoder,
    UnknownCoding,
    coded_bytes_max,
    coding_of,
    decoded,
)
from actor_queue.core.json_text import Refused

WBITS = {"gzip": 31, "zlib": 15, "raw": -15}
CODING = {"gzip": "gzip", "zlib": "deflate", "raw": "deflate"}
LIMIT = 1_000_000

bodies = st.one_of(
    st.binary(max_size=2_000),
    st.text(max_size=300).map(str.encode),
    st.builds(lambda unit, n: unit * n, st.binary(min_size=1, max_size=9), st.integers(0, 30_000)),
)
kinds = st.sampled_from(list(WBITS))
cuts = st.lists(st.integers(0, 100_000), max_size=12)
levels = st.integers(0, 9)
strategies = st.sampled_from(
    [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE]
)


def pack(
    body: bytes, kind: str, level: int = 6, strategy: int = 0, flushed: tuple[int, ...] = ()
) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, WBITS[kind], 8, strategy)
    marks = sorted({0, len(body), *(mark % (len(body) + 1) for mark in flushed)})
    packed = b""
    for start, end in pairwise(marks):
        packed += packer.compress(body[start:end]) + packer.flush(zlib.Z_SYNC_FLUSH)
    return packed + packer.flush()


def in_pieces(coding: str, data: bytes, ends: list[int]) -> bytes:
    marks = sorted({0, len(data), *(end % (len(data) + 1) for end in ends)})
    decoder, body = Decoder(coding), b""
    for start, end in pairwise(marks):
        for piece in decoder.feed(data[start:end]):
            assert 0 < len(piece) <= PIECE_BYTES_MAX
            body += piece
    decoder.finish()
    return body


def refusal(coding: str, data: bytes, limit: int = LIMIT) -> Refused:
    with pytest.raises(Refused) as caught:
        decoded(coding, data, limit)
    return caught.value


def came_or_status(coding: str, data: bytes) -> bytes | int:
    try:
        return decoded(coding, data, LIMIT)
    except Refused as refused:
        refused.detail.encode("ascii")
        return refused.status


@given(bodies, kinds, levels, strategies, cuts, cuts)
def test_what_was_compressed_comes_out_however_it_was_packed_and_wherever_it_is_cut(
    body: bytes, kind: str, level: int, strategy: int, flushed: list[int], ends: list[int]
) -> None:
    packed = pack(body, kind, level, strategy, tuple(flushed))
    assert decoded(CODING[kind], packed, LIMIT) == body
    assert in_pieces(CODING[kind], packed, ends) == body


@pytest.mark.parametrize("kind", WBITS)
def test_a_piece_that_is_full_when_all_input_is_read_is_not_the_last(kind: str) -> None:
    """A match may be copied in part when the input ends, and the rest of it still waits."""
    for more in range(-3, 300):
        body = bytes(PIECE_BYTES_MAX + more)
        packed = zlib.compress(body, 1, WBITS[kind])
        assert decoded(CODING[kind], packed, LIMIT) == body


@given(st.lists(bodies, min_size=1, max_size=4), cuts)
def test_gzip_members_may_follow_one_another(members: list[bytes], ends: list[int]) -> None:
    packed = b"".join(gzip.compress(member) for member in members)
    assert in_pieces("gzip", packed, ends) == b"".join(members)


@given(bodies, kinds, st.integers(0, 1_000_000), cuts)
def test_a_stream_that_ends_early_is_never_taken_for_a_whole_one(
    body: bytes, kind: str, end: int, ends: list[int]
) -> None:
    packed = pack(body, kind)
    with pytest.raises(Refused) as caught:
        in_pieces(CODING[kind], packed[: end % len(packed)], ends)
    assert (caught.value.status, caught.value.title) == (400, "Cannot be decoded")
    assert "ends before its end" in caught.value.detail


@given(st.text("\r\n", max_size=9), kinds, cuts)
def test_line_breaks_behind_the_end_are_ignored(end: str, kind: str, ends: list[int]) -> None:
    assert in_pieces(CODING[kind], pack(b"oi", kind) + end.encode(), ends) == b"oi"


@given(st.text("\r\n", max_size=3), st.binary(min_size=1, max_size=50), kinds, cuts)
def test_something_behind_the_end_is_refused(
    breaks: str, garbage: bytes, kind: str, ends: list[int]
) -> None:
    assume(garbage.strip(b"\r\n"))
    with pytest.raises(Refused) as caught:
        in_pieces(CODING[kind], pack(b"oi", kind) + breaks.encode() + garbage, ends)
    assert caught.value.status == 400


@given(bodies, kinds, st.integers(0, 1_000_000), st.integers(1, 255))
def test_damage_is_said_or_does_no_harm(body: bytes, kind: str, at: int, flip: int) -> None:
    packed = bytearray(pack(body, kind))
    packed[at % len(packed)] ^= flip
    came = came_or_status(CODING[kind], bytes(packed))
    # Only gzip and zlib have a check, and not on all of their head.
    assert came in (body, 400) or kind == "raw"


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_are_answered(data: bytes, coding: str) -> None:
    came = came_or_status(coding, data)
    assert isinstance(came, bytes) or came == 400


def test_the_limit_is_on_the_decoded_bytes() -> None:
    for kind in WBITS:
        assert len(decoded(CODING[kind], pack(b"x" * 5_000, kind), 5_000)) == 5_000
        assert refusal(CODING[kind], pack(b"x" * 5_001, kind), 5_000).status == 413
    # A body at the limit that does not shrink is not too long either.
    noise = bytes(n * 167 % 251 for n in range(5_000))
    assert len(pack(noise, "gzip", 0)) <= coded_bytes_max(5_000)


def test_a_bomb_costs_as_much_as_is_taken_of_it() -> None:
    bomb = pack(b"\0" * 60_000_000, "gzip")
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        assert refusal("gzip", bomb, 262_144).status == 413
        pieces = Decoder("gzip").feed(bomb)
        assert sum(len(next(pieces)) for _ in range(3)) == 3 * PIECE_BYTES_MAX
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (b"", None),
        (b" ", None),
        (b"identity", None),
        (b"Identity, ,", None),
        (b"gzip", "gzip"),
        (b" GZIP\t", "gzip"),
        (b"x-gzip", "gzip"),
        (b"deflate", "deflate"),
        (b"identity, gzip", "gzip"),
    ],
)
def test_the_codings_that_are_understood(header: bytes, coding: str | None) -> None:
    assert coding_of(header) == coding


@pytest.mark.parametrize(
    ("header", "named"),
    [
        (b"br", "br"),
        (b"zstd", "zstd"),
        (b"compress", "compress"),
        (b"gzip, gzip", "gzip, gzip"),
        (b"deflate,gzip", "deflate, gzip"),
        (b"aws-chunked, gzip", "aws-chunked, gzip"),
        (b"gzip;q=1", "gzip?q"),
        (b"\xff\r<script>", "???script?"),
        (b"x" * 500, "x" * 50),
    ],
)
def test_any_other_coding_is_refused_and_named(header: bytes, named: str) -> None:
    with pytest.raises(UnknownCoding) as caught:
        coding_of(header)
    assert caught.value.status == 415
    assert f"content-encoding {named}" in caught.value.detail
