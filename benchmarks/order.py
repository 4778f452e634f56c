"""Bursts of one user over many connections: how many are appended in another order than sent."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack

import redis

from actor_queue.core.shard import shard_of
from actor_queue.store.keys import Keys
from benchmarks import processes
from benchmarks.figures import Result, Target

CONNECTIONS = 20
BURSTS = 1_000
GAPS_MS = (0.0, 0.5, 1.0, 3.0, 10.0)
SHARDS = 4
TIMEOUT_S = 10.0

METHOD = f"""\
{CONNECTIONS} connections are open; request *i* of one user is written to connection *i*, so many
milliseconds after the one before. When all are answered, the order of the user's messages is
read from Redis. A burst counts as wrong if one message stands elsewhere than where it was sent.
One replica keeps the order. Two workers do not know of each other's connections, and the rows
about them say what that costs a sender that does not wait for its answers."""


def run(quick: bool) -> Result:
    """One replica: none wrong from half a millisecond on, under 1 % with no distance at all."""
    result = Result("Order of arrival", METHOD)
    for workers in (1, 2):
        bursts = BURSTS if workers == 1 and not quick else BURSTS // 10
        with (
            processes.valkey() as valkey,
            processes.service(
                valkey.url, processes.free_port(), AQ_WORKERS=str(workers), AQ_SHARDS=str(SHARDS)
            ) as service,
            redis.Redis.from_url(valkey.url) as eye,
        ):
            _wait_for_all(service.port)
            for gap_ms in GAPS_MS:
                wrong = _wrong(service.port, eye, bursts, gap_ms)
                limit = Target("at most", 0) if gap_ms else Target("under", 1)
                result.add(
                    f"{workers} worker(s), {gap_ms:g} ms apart: wrong",
                    "% of bursts",
                    [100 * wrong / bursts],
                    limit if workers == 1 else None,
                )
    return result


def _wait_for_all(port: int) -> None:
    """Until every worker is ready: which of them takes a connection is chance."""
    ready, deadline = 0, time.monotonic() + TIMEOUT_S
    while ready < 2 * CONNECTIONS:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as sock:
            sock.sendall(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            ready = ready + 1 if sock.recv(65_536).startswith(b"HTTP/1.1 200 ") else 0
        if time.monotonic() > deadline:
            raise RuntimeError("not every worker becomes ready")


def _wrong(port: int, eye: redis.Redis, bursts: int, gap_ms: float) -> int:
    """How many of so many bursts are in another order than they were sent in."""
    wanted = [str(i) for i in range(CONNECTIONS)]
    wrong = 0
    with ExitStack() as stack:
        socks = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), TIMEOUT_S))
            for _ in range(CONNECTIONS)
        ]
        for sock in socks:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for burst in range(bursts):
            user = f"joao-{gap_ms}-{burst}"
            for text, sock in zip(wanted, socks, strict=True):
                sock.sendall(_request(user, text))
                if gap_ms:
                    time.sleep(gap_ms / 1000)
            for sock in socks:
                _read_answer(sock)
            wrong += _waiting(eye, user) != wanted
    return wrong


def _request(user: str, text: str) -> bytes:
    body = json.dumps({"user": user, "message": text, "ttl": 3_600}).encode()
    return (
        b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )


def _read_answer(sock: socket.socket) -> None:
    received = b""
    while b'"duplicate"' not in received:
        piece = sock.recv(65_536)
        received += piece
        if not piece or not received.startswith(b"HTTP/1.1 202 "[: len(received)]):
            raise RuntimeError(f"the service answered {received!r}")


def _waiting(eye: redis.Redis, user: str) -> list[str]:
    keys = Keys("aq", SHARDS).shards[shard_of(user, SHARDS)].of(user)
    items = eye.lrange(keys.pending.decode(), 0, -1)
    return [json.loads(item)[-1]["message"] for item in items]
