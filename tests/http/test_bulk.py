"""`POST /api/messages`: a result per message, in order, streamed, whatever one of them is."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import trio

from actor_queue.http.bulk import REQUESTS_MAX, SHORT_BYTES_MAX
from actor_queue.http.chunks import CHUNK_MESSAGES_MAX
from tests.http.client import TIMEOUT_S, Answer, ask, raw, read_all, stuff, until
from tests.http.conftest import Served

NDJSON = {"content-type": "application/x-ndjson"}
JSON = {"content-type": "application/json"}


def message(number: int, **fields: object) -> dict[str, object]:
    return {"user": f"u{number % 7}", "message": f"text {number}", **fields}


def send(server: Served, messages: list[Any], *, lines: bool) -> tuple[Answer, list[Any]]:
    texts = [m if isinstance(m, str) else json.dumps(m) for m in messages]
    body = "\n".join(texts) if lines else "[" + ", ".join(texts) + "]"
    answer = ask(server.address, "POST", "/api/messages", body, NDJSON if lines else JSON)
    assert answer.status == 200, answer
    results = [json.loads(line) for line in answer.body.splitlines()] if lines else answer.json
    return answer, results


@pytest.mark.parametrize("lines", [True, False])
def test_every_message_gets_its_result_in_order(server: Served, lines: bool) -> None:
    messages = [message(n, message_id=f"id-{n}") for n in range(3 * CHUNK_MESSAGES_MAX + 5)]
    answer, results = send(server, messages, lines=lines)
    assert answer.headers["content-type"] == (NDJSON if lines else JSON)["content-type"]
    assert [result["message_id"] for result in results] == [f"id-{n}" for n in range(len(messages))]
    assert results[0] == {
        "success": True,
        "user": "u0",
        "message_id": "id-0",
        "pending": 1,
        "fires_in": 15.0,
        "duplicate": False,
    }


@pytest.mark.parametrize("lines", [True, False])
def test_a_users_messages_keep_their_order(server: Served, lines: bool) -> None:
    send(server, [message(n) for n in range(1_000)], lines=lines)
    for number in range(7):
        texts = [json.loads(m.body)["message"] for m in server.engine.messages[f"u{number}"]]
        assert texts == [f"text {n}" for n in range(1_000) if n % 7 == number]


@pytest.mark.parametrize("lines", [True, False])
def test_one_bad_message_does_not_spoil_the_others(server: Served, lines: bool) -> None:
    server.engine.full.add("full")
    limit = server.engine.settings.max_body_bytes
    messages: list[Any] = [
        message(0),
        "{bad}",
        message(1, ttl=-1),
        "[1, 2]",
        message(2, user="full"),
        {"user": "a", "message": "x" * limit},
        message(3),
    ]
    _, results = send(server, messages, lines=lines)
    statuses = [result.get("status", 202) for result in results]
    assert statuses == [202, 400, 422, 400, 429, 413, 202]
    assert results[2]["field"] == "ttl"
    assert server.application.traffic.bulk_messages[413] >= 1


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"[]", JSON, b"[]"),
        (b" [ ] ", {}, b"[]"),
        (b"", NDJSON, b""),
        (b"\n\n", NDJSON, b""),
    ],
)
def test_no_messages_are_no_results(
    server: Served, body: bytes, headers: dict[str, str], expected: bytes
) -> None:
    answer = ask(server.address, "POST", "/api/messages", body, headers)
    assert (answer.status, answer.body) == (200, expected)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"user":"a","message":"b"}', b"oi", b"["])
def test_a_body_that_is_no_array_is_one_problem(server: Served, body: bytes) -> None:
    answer = ask(server.address, "POST", "/api/messages", body, JSON)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("end", ["", ", {", "] x"])
def test_a_fault_after_the_first_message_is_one_more_result(server: Served, end: str) -> None:
    body = (
        "["
        + json.dumps(message(0))
        + ", "
        + json.dumps(message(1))
        + ("," if not end else "")
        + end
    )
    answer = ask(server.address, "POST", "/api/messages", body, JSON)
    statuses = [result.get("status", 202) for result in answer.json]
    assert (answer.status, statuses) == (200, [202, 202, 400])


def test_results_come_while_messages_are_still_being_sent(server: Served) -> None:
    line = json.dumps(message(0)).encode() + b"\n"
    with raw(server.address) as sock:
        sock.sendall(
            b"POST /api/messages HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
            b"content-type: application/x-ndjson\r\nconnection: close\r\n\r\n"
        )
        received = b""
        for count in range(1, 4):
            sock.sendall(b"%x\r\n%s\r\n" % (len(line), line))
            while received.count(b'"success": true') < count:
                received += sock.recv(65_536)
        sock.sendall(b"0\r\n\r\n")
        assert read_all(sock).endswith(b"0\r\n\r\n")


def test_what_came_before_the_client_went_away_is_kept(start: Callable[..., Any]) -> None:
    server: Served = start()
    line = json.dumps(message(0)).encode() + b"\n"
    with raw(server.address) as sock:
        sock.sendall(
            b"POST /api/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n"
            b"content-type: application/x-ndjson\r\n\r\n" + line * 3 + line[:10]
        )
        until(lambda: len(server.engine.messages["u0"]) == 3)
    until(lambda: server.application.traffic.connections_open == 0)
    assert len(server.engine.messages["u0"]) == 3


@pytest.mark.parametrize("lines", [True, False])
def test_once_the_store_has_failed_the_rest_is_503_untried(server: Served, lines: bool) -> None:
    server.engine.away_after_pushes = 1
    count = 4 * CHUNK_MESSAGES_MAX
    messages: list[Any] = [message(n) for n in range(count)]
    messages[-1] = "{bad}"
    _, results = send(server, messages, lines=lines)
    statuses = [result.get("status", 202) for result in results]
    accepted = statuses.count(202)
    assert 0 < accepted <= CHUNK_MESSAGES_MAX
    assert statuses == [202] * accepted + [503] * (count - accepted - 1) + [400]
    assert len(server.engine.pushes) == 1


def test_the_next_chunk_waits_until_the_last_was_accepted(start: Callable[..., Any]) -> None:
    server: Served = start()
    pause = server.engine.pause = server.run(trio.Event)

    def feed() -> Iterator[bytes]:
        for n in range(20 * CHUNK_MESSAGES_MAX):
            yield json.dumps(message(n)).encode() + b"\n"
            if n == 15 * CHUNK_MESSAGES_MAX:
                assert server.engine.pushes == []
                server.run(pause.set)

    answer = ask(server.address, "POST", "/api/messages", feed(), NDJSON)
    assert len(answer.body.splitlines()) == 20 * CHUNK_MESSAGES_MAX
    assert max(len(messages) for messages in server.engine.pushes) <= CHUNK_MESSAGES_MAX


def test_a_client_that_sends_all_before_it_reads_gets_all_its_results(server: Served) -> None:
    count = 50_000
    body = b"".join(json.dumps(message(n)).encode() + b"\n" for n in range(count))
    answer = ask(server.address, "POST", "/api/messages", body, NDJSON)
    assert len(answer.body.splitlines()) == count


@pytest.mark.parametrize("trouble", ["reason", "away"])
def test_trouble_before_the_first_message(server: Served, trouble: str) -> None:
    setattr(server.engine, trouble, "the store is away")
    answer = ask(server.address, "POST", "/api/messages", json.dumps([message(0)]), JSON)
    if trouble == "reason":
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    else:
        assert [result["status"] for result in answer.json] == [503]


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [("GET", {}, 405), ("PUT", {}, 405), ("POST", {"content-type": "multipart/form-data"}, 415)],
)
def test_what_is_no_bulk_request_is_refused(
    server: Served, method: str, headers: dict[str, str], status: int
) -> None:
    assert ask(server.address, method, "/api/messages", b"x", headers).status == status


def test_answers_that_nobody_reads_stop_the_reading_and_not_the_service(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actor_queue.http.bulk.ANSWERS_BYTES_MAX", 100_000)
    server: Served = start()
    lines = (json.dumps(message(0)).encode() + b"\n") * 1_000
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.settimeout(1.0)
        sock.connect(server.address)
        sock.sendall(
            b"POST /api/messages HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
            b"content-type: application/x-ndjson\r\n\r\n"
        )
        sent = stuff(sock, b"%x\r\n%s\r\n" % (len(lines), lines), at_most=500)
        assert sent < 500, "everything was read, and its answers kept"
        assert ask(server.address, "GET", "/healthz").status == 200
    until(lambda: server.application.traffic.connections_open == 0, TIMEOUT_S)


@contextmanager
def places_taken(server: Served) -> Iterator[ExitStack]:
    """As many streams as may be under way, each with one message taken; closed at the end. None
    is so far behind its pace that it gives way, however busy the machine is."""
    line = json.dumps(message(0)).encode() + b"\n"
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr("actor_queue.http.bulk.SPARED_S", 3_600.0)
        for _ in range(REQUESTS_MAX):
            sock = stack.enter_context(raw(server.address))
            sock.sendall(
                b"POST /api/messages HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
                b"content-type: application/x-ndjson\r\n\r\n%x\r\n%s\r\n" % (len(line), line)
            )
            received = b""
            while b"success" not in received:
                received += sock.recv(65_536)
        yield stack


def head_of(body: bytes, *headers: bytes) -> bytes:
    fields = b"".join(header + b"\r\n" for header in headers)
    return (
        b"POST /api/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        b"%scontent-length: %d\r\n\r\n" % (fields, len(body))
    )


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_a_short_request_is_taken_however_many_long_ones_are_under_way(
    start: Callable[..., Any],
) -> None:
    server: Served = start()
    few = json.dumps([message(n) for n in range(3)]).encode()
    packed = gzip.compress(few)
    with places_taken(server):
        answer = ask(server.address, "POST", "/api/messages", few, JSON)
        assert [result.get("success") for result in answer.json] == [True] * 3
        with raw(server.address) as sock:
            sock.sendall(head_of(packed, b"content-encoding: gzip") + packed)
            assert status_of(read_all(sock)) == 200
        with raw(server.address) as sock:  # the network brings it in three parts
            sock.sendall(head_of(few) + few[:20])
            assert ask(server.address, "GET", "/healthz").status == 200
            sock.sendall(few[20:40])
            assert ask(server.address, "GET", "/healthz").status == 200
            sock.sendall(few[40:])
            answered = read_all(sock)
            assert (status_of(answered), answered.count(b'"success": true')) == (200, 3)


def test_one_long_request_too_many_is_refused_until_another_has_ended(
    start: Callable[..., Any],
) -> None:
    server: Served = start()
    many = json.dumps([message(n) for n in range(CHUNK_MESSAGES_MAX + 1)]).encode()
    assert len(many) <= SHORT_BYTES_MAX
    packed = gzip.compress(b"[" + b" " * 1_000_000 + b"]")
    with places_taken(server):
        pushes = len(server.engine.pushes)
        answer = ask(server.address, "POST", "/api/messages", many, JSON)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        with raw(server.address) as sock:
            sock.sendall(head_of(packed, b"content-encoding: gzip") + packed)
            assert status_of(read_all(sock)) == 503
        with raw(server.address) as sock:
            sock.sendall(head_of(b" " * (SHORT_BYTES_MAX + 1)) + b"[" + b" " * 1_000)
            assert status_of(read_all(sock)) == 503
        assert len(server.engine.pushes) == pushes
    until(lambda: server.application.traffic.connections_open == 0)
    assert ask(server.address, "POST", "/api/messages", many, JSON).status == 200
