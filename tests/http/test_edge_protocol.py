"""What `actor-queue edge` reads at once and what h11 reads are answered alike and in order."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import anyio
import pytest

from actor_queue.core.message import Appended, Message
from actor_queue.http import edge as module
from actor_queue.store.api import StoreUnavailable
from tests.http.client import raw, read_all, read_answer, until
from tests.http.hosts import Hosted, edge_on

ODD = "te: trailers"
"""With this header a request is for h11, and means the same."""
OK = '{"user": "ana", "message": "oi", "message_id": "m-1"}'


def _request(text: str, *more: str) -> bytes:
    return _with_body(f'{{"user": "ana", "message": "{text}"}}', *more)


def _with_body(body: str, *more: str, start: str = "POST /api/message") -> bytes:
    host = () if any(line.startswith("host:") for line in more) else ("host: localhost",)
    lines = [f"{start} HTTP/1.1", *host, f"content-length: {len(body)}", *more]
    return "\r\n".join([*lines, "", body]).encode()


def _asked(edge: Hosted, request: bytes) -> bytes:
    with raw(edge.address) as sock:
        sock.sendall(request)
        return read_answer(sock)


def _was_plain(answer: bytes) -> bool:
    """h11 writes a reason phrase."""
    return re.match(rb"HTTP/1.1 \d{3} \r\n", answer) is not None


def _parts(answer: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Its status, its headers but the date, and its body, without what differs each time."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    kept = sorted(field for field in fields if not field.startswith((b"date:", b"content-length:")))
    return status[:12], kept, re.sub(rb'"pending": \d+|"message_id": "[^"]*"', b"", body)


@pytest.mark.parametrize("odd", [(), (ODD,)])
def test_requests_behind_a_plain_one_wait_for_its_answer(odd: tuple[str, ...]) -> None:
    with edge_on("uvicorn") as edge, raw(edge.address) as sock:
        for text in "abc":
            sock.sendall(_request(text, *(odd if text == "b" else ())))
        came = b""
        while came.count(b'"duplicate"') < 3:
            piece = sock.recv(65_536)
            assert piece, f"the edge closed after {came!r}"
            came += piece
    assert re.findall(rb'"pending": (\d+),', came) == [b"1", b"2", b"3"]
    assert came.count(b"HTTP/1.1 202 ") == 3


def test_a_connection_is_plain_again_after_h11_has_read_from_it() -> None:
    long = _with_body(json.dumps({"user": "ana", "message": "x" * 90_000}))
    with edge_on("uvicorn", max_body_bytes=80_000) as edge, raw(edge.address) as sock:
        for request in (_request("a"), _request("b", ODD), long):
            for piece in (request[:9], request[9:70], request[70:]):
                with raw(edge.address) as other:  # so the piece before has been read
                    sock.sendall(piece)
                    other.sendall(_request("o"))
                    read_answer(other)
            read_answer(sock)
            sock.sendall(_request("p"))
            assert _was_plain(read_answer(sock))


# The same answers


KEYS = {"api_keys": (("ingest", "in-key"), ("read", "read-key"))}
LISTED = {"cors_origins": ("https://chat.example",)}
BY_KEY = "authorization: Bearer in-key"
TABLE: list[tuple[dict[str, Any], str, tuple[str, ...], bool]] = [
    ({}, OK, (), True),
    ({}, OK, ("idempotency-key: k",), True),
    ({}, OK, ("content-type: application/json",), True),
    ({}, OK, ("content-type: text/plain",), True),
    ({}, OK, ("content-type: application/x-www-form-urlencoded",), True),
    ({}, "", (), True),
    ({}, "{", (), True),
    ({}, "[]", (), True),
    ({}, '{"user": "ana"}', (), True),
    ({}, '{"user": "ana", "message": 1}', (), True),
    ({"max_body_bytes": 64}, OK + " " * 60, (), True),
    ({}, OK, ("host: evil.example",), False),
    ({}, OK, ("origin: https://evil.example",), False),
    (LISTED, OK, ("origin: https://chat.example",), False),
    (LISTED, OK, ("origin: https://evil.example",), False),
    (KEYS, OK, (), True),
    (KEYS, OK, ("authorization: Bearer no",), True),
    (KEYS, OK, ("authorization: Basic no",), True),
    (KEYS, OK, ("authorization: Bearer read-key",), True),
    (KEYS, OK, (BY_KEY,), True),
    (KEYS, OK, (BY_KEY, "host: evil.example"), True),
]


def _fields_of(settings: str) -> dict[str, Any]:
    return next(row[0] for row in TABLE if repr(row[0]) == settings)


@pytest.fixture(scope="module")
def edges() -> Iterator[dict[str, Hosted]]:
    with ExitStack() as stack:
        yield {
            settings: stack.enter_context(edge_on("uvicorn", **_fields_of(settings)))
            for settings in {repr(row[0]) for row in TABLE}
        }


@pytest.mark.parametrize(("settings", "body", "more", "plain"), TABLE)
def test_a_request_is_answered_as_h11_would_have_it_answered(
    edges: dict[str, Hosted],
    settings: dict[str, Any],
    body: str,
    more: tuple[str, ...],
    plain: bool,
) -> None:
    edge = edges[repr(settings)]
    _asked(edge, _with_body(OK, BY_KEY))  # so a duplicate is one on both
    at_once = _asked(edge, _with_body(body, *more))
    by_h11 = _asked(edge, _with_body(body, *more, ODD))
    assert (_was_plain(at_once), _was_plain(by_h11)) == (plain, False)
    assert _parts(at_once) == _parts(by_h11)


def test_what_the_store_says_is_answered_alike() -> None:
    with edge_on("uvicorn") as edge:
        for trouble in ("full", "away", "broken", "reason"):
            if trouble == "full":
                edge.engine.full.add("ana")
            elif trouble == "broken":
                edge.engine.broken = RuntimeError("planted")
            else:
                setattr(edge.engine, trouble, "Redis is away")
            answers = [_asked(edge, _request("a", *odd)) for odd in ((), (ODD,))]
            assert [_was_plain(answer) for answer in answers] == [True, False]
            assert _parts(answers[0]) == _parts(answers[1])
            assert not answers[0].startswith(b"HTTP/1.1 202")
            edge.engine.full.clear()
            edge.engine.broken = edge.engine.away = edge.engine.reason = None


def test_what_anybody_could_have_sent_is_refused_on_both_ways(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with edge_on("uvicorn") as edge:
        monkeypatch.setattr(module, "_is_loopback", lambda _: False)
        for odd in ((), (ODD,)):
            assert _asked(edge, _request("a", *odd)).startswith(b"HTTP/1.1 403 ")
        assert _asked(edge, _with_body("", start="GET /healthz")).startswith(b"HTTP/1.1 200 ")
        assert edge.engine.pushes == []


# Order, and the end


def test_what_is_read_in_one_pass_reaches_the_store_in_the_order_of_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with edge_on("uvicorn") as edge, ExitStack() as stack:
        reached: list[str] = []
        push, held, go_on = edge.engine.push, threading.Event(), threading.Event()

        async def noting(messages: Sequence[Message]) -> list[Appended]:
            reached.extend(json.loads(message.body)["message"] for message in messages)
            return await push(messages)

        async def noting_each(
            messages: Sequence[Message],
        ) -> list[Appended | StoreUnavailable]:
            reached.extend(json.loads(message.body)["message"] for message in messages)
            return [*await push(messages)]

        new_id = edge.engine.new_id

        def holding() -> str:
            if not held.is_set():
                held.set()
                assert go_on.wait(10)
            return new_id()

        socks = [stack.enter_context(raw(edge.address)) for _ in range(6)]
        for sock in socks:
            sock.sendall(_with_body("", start="GET /healthz"))
            read_answer(sock)
        monkeypatch.setattr(edge.engine, "push", noting)
        monkeypatch.setattr(edge.engine, "push_each", noting_each)
        monkeypatch.setattr(edge.engine, "new_id", holding)
        socks[0].sendall(_request("first"))
        assert held.wait(10)  # the loop stands still until all others have been sent
        for place, sock in enumerate(socks[1:]):
            sock.sendall(_request(str(place), *((ODD,) if place in (1, 3) else ())))
        go_on.set()
        for sock in socks:
            assert read_answer(sock).startswith(b"HTTP/1.1 202 ")
    assert reached == ["first", "0", "1", "2", "3", "4"]


@pytest.mark.parametrize("odd", [(), (ODD,)])
def test_a_request_that_is_under_way_at_the_end_is_answered(odd: tuple[str, ...]) -> None:
    with ExitStack() as stack:
        edge = stack.enter_context(edge_on("uvicorn"))
        entered, go_on = threading.Event(), threading.Event()
        push = edge.engine.push

        async def waiting(messages: Sequence[Message]) -> list[Appended]:
            entered.set()
            while not go_on.is_set():
                await anyio.sleep(0.001)
            return await push(messages)

        edge.engine.push = waiting  # type: ignore[method-assign]
        with raw(edge.address) as sock:
            sock.sendall(_request("a", *odd))
            assert entered.wait(10)
            ending = threading.Thread(target=stack.close)
            ending.start()
            until(lambda: _refuses(edge.address))
            go_on.set()
            answer = read_all(sock)
            ending.join(10)
    assert not ending.is_alive()
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert (b"\r\nconnection: close\r\n" in answer) == (not odd)


def _refuses(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return True
    return False


def test_a_probe_does_not_wait_for_the_store() -> None:
    with edge_on("uvicorn") as edge:
        answer = _asked(edge, _with_body("", start="GET /healthz"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert not _was_plain(answer)
