"""SIGTERM: nothing new, what is under way finishes, everything else waits in Redis."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from typing import Any

import pytest

from tests.acceptance.client import Load, fresh_text, fresh_user
from tests.acceptance.history import Post
from tests.acceptance.receiver import held, slow
from tests.acceptance.service import World, world
from tests.acceptance.waiting import (
    BUSY_S,
    wait_for_attempts,
    wait_for_end,
    wait_for_work,
    wait_until,
)

pytestmark = pytest.mark.process


def listens(port: int) -> bool:
    try:
        # A SYN that meets the closing of the listener is answered a second later.
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def half_sent(port: int, request: bytes) -> socket.socket:
    """A connection on which `request` has begun."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(request)
    return connection


def status_on(connection: socket.socket, rest: bytes) -> int | None:
    """The status of the answer after `rest` was sent; None when the other side has gone."""
    try:
        connection.sendall(rest)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    except OSError:
        return None
    return int(answer.split()[1]) if answer else None


def test_sigterm_under_load_loses_nothing_and_cuts_no_attempt_off() -> None:
    with world(AQ_WEBHOOK_TIMEOUT="3") as shared:
        shared.receiver.default = slow(0.3)
        load = Load(shared.client)
        with load.running():
            for _ in range(2):
                wait_for_work(shared.receiver, 30)
                wait_until(lambda: under_way(shared) > 2, "attempts are under way")
                assert shared.service.stop() == 0
                # All had been answered when the process was gone.
                assert under_way(shared) == 0
                assert all(attempt.status == 200 for attempt in shared.receiver.attempts)
                shared.service.start()
        shared.settle()
        # A graceful stop is no excuse for sending anything twice.
        shared.verify()
        assert len(shared.client.journal.accepted_texts()) > 60


def under_way(shared: World) -> int:
    return sum(attempt.ended is None for attempt in list(shared.receiver.attempts))


def test_while_it_drains_it_takes_nothing_new_and_finishes_what_it_began() -> None:
    with world(AQ_WEBHOOK_TIMEOUT="5") as shared:
        port, client = shared.service.port, shared.client
        gate = threading.Event()
        trying, later, begun = fresh_user("tentando"), fresh_user("depois"), fresh_user("metade")
        shared.receiver.script(trying, held(gate))
        client.accepted(trying, ttl=0)
        wait_for_attempts(shared.receiver, trying)
        client.accepted(later, ttl=0.2)
        text = fresh_text()
        body = json.dumps({"user": begun, "message": text, "ttl": 0.2}).encode()
        head = b"POST /api/message HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        head += b"content-length: %d\r\n\r\n" % len(body)
        with (
            half_sent(port, b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n") as probe,
            half_sent(port, head + body[:10]) as post,
        ):
            called = time.monotonic()
            # Whoever connected later has been heard; so have these two.
            assert shared.service.ready
            shared.service.signal()
            wait_until(lambda: not listens(port), "the listener closes")
            assert status_on(probe, b"connection: close\r\n\r\n") == 503
            assert status_on(post, body[10:]) == 202
            client.journal.add(Post(begun, text, 0.2, called, time.monotonic(), 202))
        assert shared.service.running.poll() is None, "an attempt is still under way"
        gate.set()
        assert shared.service.wait() == 0
        assert [attempt.status for attempt in shared.receiver.of(trying)] == [200]
        # Its time came while the service drained; it waited in Redis.
        assert not shared.receiver.of(later)
        shared.service.start()
        shared.settle()
        shared.verify()


def test_a_stream_of_many_messages_under_way_is_read_to_its_end() -> None:
    with world() as shared:
        user = fresh_user("corrente")
        lines = [
            json.dumps({"user": user, "message": fresh_text(), "ttl": 0.3}).encode() + b"\n"
            for _ in range(3)
        ]
        head = b"POST /api/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        head += b"content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
        with half_sent(shared.service.port, head + chunk(lines[0])) as stream:
            called = time.monotonic()
            wait_until(
                lambda: shared.receiver.of(user) or shared.client.state(user) == "collecting",
                "the first is kept",
            )
            shared.service.signal()
            wait_until(lambda: not listens(shared.service.port), "the listener closes")
            status, results = rest_of(stream, chunk(lines[1]) + chunk(lines[2]) + chunk(b""))
        assert status == 200
        assert len(results) == len(lines)
        for line, result in zip(lines, results, strict=True):
            kept = 202 if result.get("success") else result["status"]
            assert kept in (202, 503)
            text = json.loads(line)["message"]
            shared.client.journal.add(Post(user, text, 0.3, called, time.monotonic(), kept))
        assert results[0]["success"] is True
        assert shared.service.wait() == 0
        shared.service.start()
        shared.settle()
        shared.verify()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def rest_of(stream: socket.socket, rest: bytes) -> tuple[int, list[dict[str, Any]]]:
    """Status and results of a bulk request in lines, after its `rest` was sent."""
    stream.sendall(rest)
    answer = http.client.HTTPResponse(stream)
    answer.begin()
    with answer:
        return answer.status, [json.loads(line) for line in answer.read().splitlines()]


def test_after_a_graceful_stop_the_next_process_goes_on_without_delay() -> None:
    # With a lease of a minute, only one that was handed over lets the next one begin.
    with world(AQ_LEASE_TTL="60") as shared:
        user = fresh_user("seguinte")
        shared.client.accepted(user, ttl=0.5)
        assert shared.service.stop() == 0
        shared.service.start()
        ready_at = time.monotonic()
        (attempt,) = wait_for_end(shared.receiver, user)
        assert attempt.started < ready_at + 0.5 + BUSY_S
        shared.settle()
        shared.verify()


def test_an_attempt_that_hangs_delays_the_stop_no_longer_than_its_time_limit() -> None:
    with world(AQ_WEBHOOK_TIMEOUT="1") as shared:
        user, never = fresh_user("pendurado"), threading.Event()
        shared.receiver.script(user, held(never))
        shared.client.accepted(user, ttl=0)
        wait_for_attempts(shared.receiver, user)
        asked_at = time.monotonic()
        assert shared.service.stop() == 0
        assert time.monotonic() - asked_at < 1 + 2 * BUSY_S
        shared.service.start()
        shared.settle()
        first, second = shared.receiver.of(user)
        assert (first.status, first.webhook_id) == (None, second.webhook_id)
        shared.verify()


def test_a_second_sigterm_exits_at_once_and_loses_nothing() -> None:
    with world(AQ_WEBHOOK_TIMEOUT="2") as shared:
        user, never = fresh_user("pressa"), threading.Event()
        shared.receiver.script(user, held(never))
        shared.client.accepted(user, ttl=0)
        wait_for_attempts(shared.receiver, user)
        shared.service.signal()
        wait_until(lambda: not listens(shared.service.port), "the first signal is heard")
        shared.service.signal()
        asked_at = time.monotonic()
        assert shared.service.wait() != 0
        assert time.monotonic() - asked_at < 1.0
        shared.service.start()
        shared.settle()
        shared.verify(repeats=True)


def test_sigint_is_a_graceful_stop_too() -> None:
    with world() as shared:
        shared.client.accepted(fresh_user("ctrl-c"), ttl=60)
        shared.service.signal(signal.SIGINT)
        assert shared.service.wait() == 0


def test_stopped_while_it_waits_for_redis_it_exits_0() -> None:
    with world(start=False) as shared:
        shared.redis.kill()
        shared.service.start(ready=False)
        assert shared.service.stop() == 0
