"""Line breaks that belong to no request are ignored; what is a request is not changed by them."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http.client import raw, read_all, read_answer
from tests.http.conftest import Served

BODY = json.dumps({"user": "ana", "message": "oi"}).encode()
BREAKS = (b"\r\n", b"\n", b"\r\n\r\n", b"\n\n\r\n")


def post(*headers: bytes, version: bytes = b"1.1", length: int = len(BODY)) -> bytes:
    lines = [b"POST /api/message HTTP/" + version, b"host: localhost"]
    lines += [b"content-length: %d" % length, *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


@pytest.mark.parametrize("line_break", BREAKS)
def test_line_breaks_behind_a_body_are_ignored_on_a_kept_connection(
    shared: Served, line_break: bytes
) -> None:
    with raw(shared.address) as sock:
        for _ in range(3):
            sock.sendall(post() + BODY + line_break)
            assert read_answer(sock).startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize("line_break", BREAKS)
@pytest.mark.parametrize("last", [post(b"connection: close"), post(version=b"1.0")])
def test_line_breaks_behind_the_last_body_do_not_refuse_its_message(
    shared: Served, last: bytes, line_break: bytes
) -> None:
    with raw(shared.address) as sock:
        sock.sendall(last + BODY + line_break)
        assert read_all(sock).startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize("line_break", BREAKS)
def test_empty_lines_before_a_request_line_are_ignored(shared: Served, line_break: bytes) -> None:
    with raw(shared.address) as sock:
        sock.sendall(line_break + post() + BODY)
        assert read_answer(sock).startswith(b"HTTP/1.1 202 ")


def test_line_breaks_that_come_later_and_one_byte_at_a_time_are_ignored(shared: Served) -> None:
    with raw(shared.address) as sock:
        for _ in range(2):
            sock.sendall(post() + BODY)
            assert read_answer(sock).startswith(b"HTTP/1.1 202 ")
            for byte in (b"\r", b"\n", b"\n"):
                sock.sendall(byte)
                time.sleep(0.02)  # so that each is read by itself; there is nothing to see it by


def test_a_carriage_return_alone_is_no_line_break(shared: Served) -> None:
    with raw(shared.address) as sock:
        sock.sendall(b"\r" + post() + BODY)
        assert read_all(sock).startswith(b"HTTP/1.1 400 ")


def test_what_follows_the_last_body_and_is_no_line_break_is_refused(shared: Served) -> None:
    with raw(shared.address) as sock:
        sock.sendall(post(b"connection: close") + BODY + b"\r\nGET / HTTP/1.1\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 400 ")


@given(st.lists(st.sampled_from([b"", *BREAKS]), min_size=3, max_size=6), st.data())
def test_requests_with_line_breaks_between_them_are_the_same_requests(
    shared: Served, between: list[bytes], data: st.DataObject
) -> None:
    sent = b"".join(line_break + post() + BODY for line_break in between)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=4)))
    with raw(shared.address) as sock:
        for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            sock.sendall(sent[start:end])
        answers = b""
        while answers.count(b'"duplicate"') < len(between):
            piece = sock.recv(65_536)
            assert piece, answers
            answers += piece
    assert answers.count(b"HTTP/1.1 202 ") == len(between)
