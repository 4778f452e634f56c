"""How answers are read: what they may look like, wherever the network cuts them in pieces."""

from __future__ import annotations

from collections.abc import Iterable

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actor_queue.webhook import answer as answer_module
from actor_queue.webhook.answer import HEAD_BYTES_MAX, Answer, Disconnected

PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = (
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\ntrailer: t\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
UNTIL_CLOSED = b"HTTP/1.0 200 OK\r\n\r\nsome"


def read(pieces: Iterable[bytes]) -> tuple[Answer, bytes]:
    """Stops where the answer ends, as a connection does."""
    answer = Answer()
    body = b""
    for piece in pieces:
        body += answer.receive(piece)
        if answer.ended:
            break
    return answer, body


def cuts(data: bytes) -> Iterable[list[bytes]]:
    """Whole, in two at every place, and byte by byte."""
    yield [data]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]
    yield [data[at : at + 1] for at in range(len(data))]


def summary(data: bytes) -> tuple[object, ...]:
    """All there is to say of `data` that came in one piece."""
    answer = Answer()
    try:
        body = answer.receive(data)
    except httpx.TransportError as error:
        return (type(error),)
    headers = [(name.lower(), value) for name, value in answer.headers]
    return answer.status, headers, body, answer.ended, answer.reusable


# Whole answers


@pytest.mark.parametrize(
    ("data", "status", "body"),
    [
        (PLAIN, 200, b"ok"),
        (CHUNKED, 201, b"abc0123456789"),
        (INTERIM + PLAIN, 200, b"ok"),
        (INTERIM + CHUNKED, 201, b"abc0123456789"),
        (b"HTTP/1.1 102 Processing\r\ncontent-length: 0\r\n\r\n" + PLAIN, 200, b"ok"),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 40\r\n\r\n" + PLAIN, 503, PLAIN),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, b""),
        (b"HTTP/1.1 503\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n", 503, b""),
        (b"HTTP/1.1 200 OK\r\nx: a\r\n  b\r\ncontent-length: 1\r\n\r\n1", 200, b"1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", 200, b"ok"),
    ],
)
def test_an_answer_is_the_same_wherever_it_is_cut(data: bytes, status: int, body: bytes) -> None:
    for pieces in cuts(data):
        answer, received = read(pieces)
        assert (answer.status, received) == (status, body)
        assert answer.ended
        assert answer.reusable
        assert answer.received_bytes == len(data)


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        PLAIN.replace(b"\r\n\r\n", b"\r\nconnection: x, Close\r\n\r\n"),
        CHUNKED.replace(b"\r\n\r\n3", b"\r\nConnection: close\r\n\r\n3"),
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
    ],
)
def test_a_connection_that_will_be_closed_is_not_used_again(data: bytes) -> None:
    for pieces in cuts(data):
        answer, _ = read(pieces)
        assert answer.ended
        assert not answer.reusable


@pytest.mark.parametrize("data", [PLAIN, CHUNKED, INTERIM + PLAIN, b"HTTP/1.1 204 No\r\n\r\n"])
@pytest.mark.parametrize("more", [b"x", b"\r\n", PLAIN])
def test_a_connection_with_more_on_it_than_the_answer_is_not_used_again(
    data: bytes, more: bytes
) -> None:
    answer, body = read([data + more])
    assert answer.ended
    assert not answer.reusable
    assert body == read([data])[1]
    answer, _ = read([data[:-1], data[-1:] + more])
    assert answer.ended
    assert not answer.reusable


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    for pieces in cuts(UNTIL_CLOSED):
        answer, body = read([*pieces, b""])
        assert (answer.status, body, answer.ended) == (200, b"some", True)
        assert not answer.reusable


@pytest.mark.parametrize("data", [PLAIN, CHUNKED, INTERIM + PLAIN])
def test_a_connection_that_ends_too_soon_is_told_from_a_bad_answer(data: bytes) -> None:
    for length in range(len(data)):
        answer = Answer()
        if length:
            answer.receive(data[:length])
        expected = httpx.RemoteProtocolError if answer.status else Disconnected
        with pytest.raises(expected):
            answer.receive(b"")
        assert not answer.reusable


# Limits


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", INTERIM])
@pytest.mark.parametrize("line", [b"x", b"x: y\r\n", INTERIM])
def test_a_head_without_end_is_given_up(start: bytes, line: bytes) -> None:
    piece = line * (1_000 // len(line))
    pieces = [start, *[piece] * (2 * HEAD_BYTES_MAX // len(piece))]
    with pytest.raises(httpx.RemoteProtocolError):
        read(filter(None, pieces))


@pytest.mark.parametrize("start", [b"1;", b"0\r\n", b"0\r\nx: "])
def test_what_frames_a_chunk_has_a_limit_too(start: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    with pytest.raises(httpx.RemoteProtocolError):
        read([head + start, *[b"x" * 1_000] * (HEAD_BYTES_MAX // 1_000 + 1)])


@pytest.mark.parametrize(
    "fields",
    [
        b"content-length: 1\r\ncontent-length: 2\r\n",
        b"content-length: 1, 2\r\n",
        b"content-length: -1\r\n",
        b"content-length: +1\r\n",
        b"content-length: 1_0\r\n",
        b"content-length:\r\n",
        b"content-length: " + b"9" * 30 + b"\r\n",
        b"content-length: " + b"9" * 5_000 + b"\r\n",
        b"transfer-encoding: gzip\r\n",
        b"transfer-encoding: gzip, chunked\r\n",
        b"no colon\r\n",
        b"name : x\r\n",
        b"x: \0\r\n",
        b": x\r\n",
        b" x: folded onto nothing\r\n",
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(fields: bytes) -> None:
    for extra in (b"", b"date: x\r\n"):
        with pytest.raises(httpx.RemoteProtocolError):
            Answer().receive(b"HTTP/1.1 200 OK\r\n" + fields + extra + b"\r\n")


@pytest.mark.parametrize(
    "chunk", [b"g\r\n", b"-1\r\n", b"\r\n", b"1" * 21 + b"\r\n", b"1\r\nxx\r\n"]
)
def test_a_chunk_that_makes_no_sense_is_refused(chunk: bytes) -> None:
    answer = Answer()
    answer.receive(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    with pytest.raises(httpx.RemoteProtocolError):
        answer.receive(chunk + b"\r\n")
    assert not answer.reusable


# The quick reading and h11's


@pytest.mark.parametrize(
    "fields",
    [
        b"content-length: 0\r\n",
        b'Content-Length: 21\r\nX-Powered-By: Express\r\nETag: W/"15-a"\r\n'
        b"Date: Thu, 30 Jan 2025 01:19:45 GMT\r\nConnection: keep-alive\r\n"
        b"Keep-Alive: timeout=5\r\n",
        b"Server: nginx/1.27.0\r\nContent-Type: application/json; charset=utf-8\r\n"
        b"Content-Length: 2\r\nConnection: Keep-Alive\r\nset-cookie: a=b; Path=/\r\n",
        b"date: x\r\nserver: hypercorn-h11\r\ncontent-length: 2\r\n",
    ],
)
def test_what_most_receivers_answer_is_read_quickly(fields: bytes) -> None:
    answer = Answer()
    answer.receive(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
    assert answer.status == 200
    assert answer._h11 is None


NAMES = [b"Content-Length", b"content-length", b"Transfer-Encoding", b"Connection", b"x", b"Date"]
VALUES = [b"2", b"0", b"02", b"1, 1", b"chunked", b"Chunked", b"identity", b"keep-alive"]
VALUES += [b"close", b"Keep-Alive, x", b"upgrade", b"", b" ", b"a  b", b"\xe9", b"\t2\t"]
FIELDS = st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES) | st.binary(max_size=3))
HEADS = st.builds(
    lambda version, status, fields, end: b"".join(
        [
            b"HTTP/",
            version,
            b" ",
            status,
            b"\r\n",
            *(n + b":" + v + b"\r\n" for n, v in fields),
            end,
        ]
    ),
    st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0", b"2.0", b"1"]),
    st.sampled_from([b"200 OK", b"204", b"304 x", b"503 ", b"100 x", b"600 x", b"200 \xe9"]),
    st.lists(FIELDS, max_size=4),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b""]),
)


@given(HEADS, st.sampled_from([b"", b"o", b"ok", b"ok!", b"0\r\n\r\n", PLAIN]))
@example(b"HTTP/1.1 200 OK\r\nx: y \t\r\ncontent-length:  2 \r\n\r\n", b"ok")
@example(b"HTTP/1.1 200\r\ncontent-length: 2\r\nCONTENT-LENGTH: 3\r\n\r\n", b"ok")
def test_the_quick_reading_finds_what_h11_finds(head: bytes, body: bytes) -> None:
    quick = summary(head + body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_module, "_plain", lambda _: None)
        assert summary(head + body) == quick
