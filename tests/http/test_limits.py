"""What a peer may take: time, bytes, connections; and what is not spoken at all."""

from __future__ import annotations

import errno
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
import trio

from actor_queue.http.protocol import HEAD_BYTES_MAX
from actor_queue.http.server import Limits
from tests.http.client import ask, post, raw, read_all, read_answer, send_raw, stuff, until
from tests.http.conftest import Served, served

QUICK = Limits(idle_s=0.6, head_s=0.4, body_idle_s=0.4, send_idle_s=0.4, linger_s=0.3)
BODY = json.dumps({"user": "ana", "message": "oi"}).encode()
POST = b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(BODY)
CHUNKED = b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def quick_server() -> Iterator[Served]:
    with served(limits=QUICK) as server:
        yield server


@pytest.fixture
def quick(quick_server: Served) -> Served:
    quick_server.engine.__post_init__()
    return quick_server


@contextmanager
def taking(at_least_s: float, at_most_s: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    took_s = time.monotonic() - began
    assert at_least_s <= took_s <= at_most_s, f"it took {took_s:.2f} s"


# Time


def test_a_connection_that_asks_nothing_is_closed_in_silence(quick: Served) -> None:
    with taking(0.5, 5.0):
        assert send_raw(quick.address, b"") == b""


def test_a_connection_kept_alive_is_closed_when_idle(quick: Served) -> None:
    with raw(quick.address) as sock:
        sock.sendall(GET)
        assert read_answer(sock).startswith(b"HTTP/1.1 200 ")
        with taking(0.5, 5.0):
            assert read_all(sock) == b""


def test_a_head_that_drips_is_cut_however_steadily_it_does(quick: Served) -> None:
    with raw(quick.address) as sock, taking(0.3, 5.0):
        received = drip(sock, GET[:-2] + b"x-y: z\r\n" * 1_000)
    assert received.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_stands_still_is_cut(quick: Served) -> None:
    with raw(quick.address) as sock, taking(0.3, 5.0):
        sock.sendall(POST + BODY[:10])
        assert read_all(sock).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_drips_for_too_long_is_cut_in_the_end(
    quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actor_queue.http.request.BODY_TOTAL_S", 0.5)
    head = POST.replace(b"content-length: %d" % len(BODY), b"content-length: 100000")
    with raw(quick.address) as sock, taking(0.4, 5.0):
        sock.sendall(head)
        assert drip(sock, b" " * 100_000).startswith(b"HTTP/1.1 408 ")


def test_a_bulk_body_may_take_its_time_as_long_as_it_keeps_the_pace(quick: Served) -> None:
    line = json.dumps({"user": "ana", "message": "x" * 400}).encode() + b"\n"
    with raw(quick.address) as sock:
        sock.sendall(
            b"POST /api/messages HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/x-ndjson\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            % (len(line) * 8)
        )
        with taking(1.0, 10.0):
            for _ in range(8):
                time.sleep(0.15)
                sock.sendall(line)
            answer = read_all(sock)
    assert answer.count(b'"success": true') == 8


def test_an_answer_that_nobody_reads_ends_the_connection(quick: Served) -> None:
    request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.settimeout(1.0)
        sock.connect(quick.address)
        slow = quick.application.traffic.peers_too_slow["answer"]
        stuff(sock, request * 1_000)
        until(lambda: quick.application.traffic.connections_open == 0)
        assert quick.application.traffic.peers_too_slow["answer"] == slow + 1


# Bytes


@pytest.mark.parametrize("pieces", [1, 10])
def test_a_head_over_the_limit_is_431_in_one_piece_or_many(quick: Served, pieces: int) -> None:
    request = GET[:-2] + b"x-long: " + b"y" * HEAD_BYTES_MAX + b"\r\n\r\n"
    step = len(request) // pieces + 1
    with raw(quick.address) as sock:
        for start in range(0, len(request), step):
            sock.sendall(request[start : start + step])
            time.sleep(0.01)
        assert read_all(sock).startswith(b"HTTP/1.1 431 ")


def test_a_head_within_the_limit_is_served(quick: Served) -> None:
    request = GET[:-2] + b"x-long: " + b"y" * (HEAD_BYTES_MAX - 100) + b"\r\n\r\n"
    with raw(quick.address) as sock:
        sock.sendall(request)
        assert read_answer(sock).startswith(b"HTTP/1.1 200 ")


def test_too_many_headers_are_431(quick: Served) -> None:
    assert send_raw(quick.address, GET[:-2] + b"a: b\r\n" * 101 + b"\r\n").startswith(
        b"HTTP/1.1 431 "
    )


# What is not spoken


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (POST[:-2] + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST[:-2] + b"transfer-encoding: gzip\r\n\r\n", 501),
        (POST[:-2] + b"content-length: 7\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/3.0\r\nhost: localhost\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: y\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\n a: folded\r\nb\x00: c\r\n\r\n", 400),
        (CHUNKED + b"zz\r\n", 400),
    ],
)  # fmt: skip
def test_what_is_not_plain_http_is_refused_and_the_connection_closed(
    quick: Served, request_bytes: bytes, status: int
) -> None:
    answer = send_raw(quick.address, request_bytes)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == status
    assert b"connection: close" in head.lower()
    assert quick.engine.pushes == []


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c", b"TLS/1.0"])
def test_an_upgrade_is_ignored_and_the_request_answered(quick: Served, upgrade: bytes) -> None:
    request = (
        GET[:-2]
        + (
            b"connection: upgrade, http2-settings\r\nupgrade: %s\r\nhttp2-settings: AAAA\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        )
        % upgrade
    )
    with raw(quick.address) as sock:
        sock.sendall(request)
        assert read_answer(sock).startswith(b"HTTP/1.1 200 ")
        sock.sendall(GET)
        assert read_answer(sock).startswith(b"HTTP/1.1 200 ")


def test_connect_is_no_tunnel(quick: Served) -> None:
    answer = send_raw(
        quick.address, b"CONNECT x:1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_a_request_through_a_proxy_names_the_host_in_its_target(quick: Served) -> None:
    request = GET.replace(b"/healthz", b"http://localhost:8000/healthz?y=z")
    with raw(quick.address) as sock:
        sock.sendall(request)
        assert read_answer(sock).startswith(b"HTTP/1.1 200 ")


def test_http_1_0_is_served_and_closed(quick: Served) -> None:
    answer = send_raw(quick.address, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


# Connections


def test_at_the_limit_the_longest_idle_connection_makes_room(
    start: Callable[..., Served],
) -> None:
    server = start(limits=Limits(connections_max=5))
    with ExitStack() as stack:
        socks = [stack.enter_context(raw(server.address)) for _ in range(5)]
        until(lambda: server.application.traffic.connections_open == 5)
        for sock in reversed(socks):
            sock.sendall(GET)
            read_answer(sock)
        assert ask(server.address, "GET", "/healthz").status == 200
        assert read_all(socks[-1]) == b""
        socks[0].sendall(GET)
        assert read_answer(socks[0]).startswith(b"HTTP/1.1 200 ")
    assert server.application.traffic.connections_evicted == 1


def test_a_connection_beyond_the_limit_is_served_when_one_ends(
    start: Callable[..., Served],
) -> None:
    server = start(limits=Limits(connections_max=2))
    pause = server.engine.pause = server.run(trio.Event)
    with ExitStack() as stack:
        busy = [stack.enter_context(raw(server.address)) for _ in range(2)]
        for sock in busy:
            sock.sendall(POST + BODY)  # whose answer is ours to give, so it makes no room
        until(lambda: server.application.traffic.connections_open == 2)
        late = stack.enter_context(raw(server.address, timeout_s=0.8))
        late.sendall(GET)
        with pytest.raises(TimeoutError):
            late.recv(1)
        server.run(pause.set)
        for sock in busy:
            assert read_answer(sock).startswith(b"HTTP/1.1 202 ")
        late.settimeout(5.0)
        assert read_answer(late).startswith(b"HTTP/1.1 200 ")


SLOW_PEERS = {
    "say nothing": b"",
    "begin a head": b"POST /api/message HTTP/1.1\r\nhost: local",
    "begin a body": POST + BODY[:5],
    "begin a chunk": CHUNKED + b"5\r\nab",
    "begin a stream": b"POST /api/messages HTTP/1.1\r\nhost: localhost\r\n"
    b"content-type: application/x-ndjson\r\ncontent-length: 90000\r\n\r\n{",
    "never read": b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n" * 40,
    "go on after a refusal": b"POST /api/message HTTP/1.1\r\nhost: localhost\r\n"
    b"content-length: 99999999\r\n\r\nabc",
}


@pytest.mark.parametrize("kind", SLOW_PEERS)
def test_slow_peers_that_fill_all_connections_keep_nobody_out(
    start: Callable[..., Served], kind: str
) -> None:
    server = start(limits=Limits(connections_max=10))
    with ExitStack() as stack:
        kept = stack.enter_context(raw(server.address))
        kept.sendall(GET)
        read_answer(kept)
        for _ in range(40):
            sock = stack.enter_context(raw(server.address))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            with suppress(ConnectionError):
                sock.sendall(SLOW_PEERS[kind])
        for _ in range(5):
            assert post(server.address, {"user": "ana", "message": "oi"}).status == 202
            kept.sendall(GET)
            assert read_answer(kept).startswith(b"HTTP/1.1 200 ")
    assert server.application.traffic.connections_evicted >= 30


def test_who_keeps_the_pace_is_not_taken_for_slow(start: Callable[..., Served]) -> None:
    """An upload that lasts is younger than peers who have only just begun nothing."""
    server = start(limits=Limits(connections_max=4))
    lines = [json.dumps({"user": "ana", "message": "x" * 400}).encode() + b"\n"] * 12
    with ExitStack() as stack:
        upload = stack.enter_context(raw(server.address))
        upload.sendall(
            b"POST /api/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            b"content-type: application/x-ndjson\r\ncontent-length: %d\r\n\r\n"
            % sum(map(len, lines))
        )
        for line in lines:
            upload.sendall(line)
            stack.enter_context(raw(server.address))
            time.sleep(0.1)  # the pace is what is tested
        assert read_all(upload).count(b'"success": true') == len(lines)
    assert server.application.traffic.connections_evicted >= 5


def test_a_connection_lives_through_thousands_of_requests(quick: Served) -> None:
    with raw(quick.address) as sock:
        for _ in range(15):
            sock.sendall(GET * 100)
            received = b""
            while received.count(b"HTTP/1.1 200 ") < 100 or not received.endswith(b'"ok"}'):
                received += sock.recv(65_536)


def test_running_out_of_descriptors_is_survived(
    start: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start()
    failures = [OSError(errno.EMFILE, "x"), OSError(errno.ENOMEM, "x")]
    accept = socket.socket.accept

    def failing(listener: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise failures.pop()
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", failing)
    for _ in range(3):
        assert post(server.address, {"user": "a", "message": "b"}).status == 202
    assert server.application.traffic.accept_errors == 2


def drip(sock: socket.socket, data: bytes) -> bytes:
    """Send a byte at a time until the server has had enough; what it said."""
    sock.settimeout(0.01)
    for position in range(len(data)):
        try:
            sock.sendall(data[position : position + 1])
            if received := sock.recv(65_536):
                sock.settimeout(5.0)
                return received + read_all(sock)
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return b""
