"""Thousands of broken requests: none ends the process, and it serves afterwards."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from actor_queue.http.server import Limits
from tests.http.client import Address, ask, post, until
from tests.http.conftest import Served, served

SEEDS = range(6)
REQUESTS_PER_SEED = 700
QUICK = Limits(
    connections_max=64, idle_s=0.5, head_s=0.3, body_idle_s=0.3, send_idle_s=0.3, linger_s=0.1
)
ONE = json.dumps({"user": "ana", "message": "oi", "ttl": 3}).encode()
MANY = b"[" + b", ".join([ONE] * 5) + b"]"
LINES = b"\n".join([ONE] * 5)

WEBSOCKET = (
    b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
)
H2C = (
    b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n"
    b"http2-settings: AAMAAABkAAQAAP__\r\n\r\n"
)
SEED_REQUESTS = [
    b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /api/users?limit=3 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /api/users/a%2Fb HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /metrics HTTP/1.0\r\n\r\n",
    b"DELETE /api/users/ana HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"POST /api/users/ana/hold HTTP/1.1\r\nhost: localhost\r\ncontent-length: 13\r\n\r\n"
    b'{"seconds":5}',
    b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%s"
    % (len(ONE), ONE),
    b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    b"%x\r\n%s\r\n0\r\n\r\n" % (len(ONE), ONE),
    b"POST /api/message HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(ONE), ONE),
    b"POST /api/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%s"
    % (len(MANY), MANY),
    b"POST /api/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(LINES), LINES),
    WEBSOCKET,
    WEBSOCKET + b"\x81",
    H2C,
    H2C + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n"
    b"transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
]
WORDS = [
    b"\r\n", b"\r\n\r\n", b"\x00", b"\xff", b":", b" ", b"\n", b"\r", b"%", b"0", b"-1", b"chunked",
    b"content-length: 0\r\n", b"content-length: 99999999999999999999\r\n", b"connection: close\r\n",
    b"transfer-encoding: chunked\r\n", b"upgrade: websocket\r\n", b"HTTP/2.0", b"HTTP/0.9",
    b"[" * 300, b'{"', b"\\ud800", b"x" * 20_000, b"expect: 100-continue\r\n",
]  # fmt: skip


@pytest.fixture(scope="module")
def target() -> Iterator[Served]:
    with served(limits=QUICK) as server:
        assert ask(server.address, "GET", "/").status == 200
        yield server


def mutated(chance: random.Random) -> bytes:
    data = bytearray(b"".join(chance.choices(SEED_REQUESTS, k=chance.choice([1, 1, 1, 2, 4]))))
    for _ in range(chance.choice([0, 1, 1, 2, 3, 8])):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                del data[place : place + chance.choice([1, 2, 30])]
            case 1:
                data[place:place] = chance.choice(WORDS)
            case 2:
                data[place : place + 1] = chance.randbytes(1)
            case 3:
                data[place:place] = data[place : place + chance.randrange(60)]
            case _:
                del data[place:]
        if not data:
            break
    return bytes(data)


def throw(address: Address, chance: random.Random) -> None:
    """Send one broken conversation in one of several rude ways."""
    data = mutated(chance)
    try:
        with socket.create_connection(address, timeout=0.5) as sock:
            manner = chance.randrange(8)
            cut = chance.randrange(len(data) + 1)
            sock.sendall(data[:cut] if manner < 4 else data)
            if manner < 3:
                sock.sendall(data[cut:])
            if manner == 5:
                return  # closed with the answer unread, which is a reset
            if manner == 6:
                sock.shutdown(socket.SHUT_WR)
            sock.settimeout(0.02)
            for _ in range(3):
                if not sock.recv(65_536):
                    return
    except OSError:
        return


@pytest.mark.parametrize("seed", SEEDS)
def test_no_bytes_end_the_service(target: Served, seed: int) -> None:
    chance = random.Random(seed)
    with ThreadPoolExecutor(16) as pool:
        chances = [random.Random(chance.random()) for _ in range(REQUESTS_PER_SEED)]
        list(pool.map(throw, [target.address] * REQUESTS_PER_SEED, chances))
    assert post(target.address, {"user": "after", "message": "oi"}).status == 202
    assert ask(target.address, "GET", "/api/users/after").status == 200
    traffic = target.application.traffic
    assert (traffic.connections_failed, traffic.requests_failed) == (0, 0)


@pytest.mark.parametrize("request_bytes", [WEBSOCKET, H2C])
@pytest.mark.parametrize("byte", [b"\x81", b"\x00", b"P", b"\r\n"])
def test_an_upgrade_and_one_byte_more_is_harmless(
    target: Served, request_bytes: bytes, byte: bytes
) -> None:
    with socket.create_connection(target.address, timeout=2.0) as sock:
        sock.sendall(request_bytes)
        sock.sendall(byte)
        assert sock.recv(1_000).startswith(b"HTTP/1.1 200 ")
    assert ask(target.address, "GET", "/healthz").status == 200


def test_afterwards_no_connection_is_left_behind(target: Served) -> None:
    for seed in range(3):
        throw(target.address, random.Random(seed))
    until(lambda: target.application.traffic.connections_open == 0)
