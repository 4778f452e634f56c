"""The order of arrival holds while strangers wait for their turns, over both lanes."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack

import pytest

from actor_queue.core.api_keys import ApiKey
from actor_queue.http.arrivals import Reader
from actor_queue.http.bulk import SHORT_BYTES_MAX
from actor_queue.http.guest import Leaving
from actor_queue.http.server import _Server
from tests.http.client import raw
from tests.http.conftest import served
from tests.http.test_arrival_order import LATER_S, opened
from tests.servers import Server

KEY = "key-in"
STRANGERS = 40
HEAD = "POST /api/{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n{framing}"
REFUSED = HEAD.format(path="message", key="wrong", framing="content-length: 0\r\n\r\n").encode()
ODD = REFUSED.replace(b"host:", b"x-odd: \xe9\r\nhost:")


def message(user: str, number: int) -> bytes:
    """By turns plain, chunked, and of many messages in a long request."""
    body = json.dumps({"user": user, "message": str(number), "ttl": LATER_S}).encode()
    path, framing = "message", f"content-length: {len(body)}"
    if number % 3 == 1:
        framing = "transfer-encoding: chunked"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    elif number % 3 == 2:
        path = "messages"
        body = b"[%b%b]" % (body, b" " * SHORT_BYTES_MAX)
        framing = f"content-length: {len(body)}"
    return HEAD.format(path=path, key=KEY, framing=framing + "\r\n\r\n").encode() + body


def test_who_is_known_is_appended_in_order_though_strangers_came_before(
    valkey_server: Server,
) -> None:
    with opened(valkey_server, api_keys=(ApiKey("ingest", KEY),)) as door, ExitStack() as stack:
        strangers = [stack.enter_context(raw(door.address)) for _ in range(STRANGERS)]
        senders = [stack.enter_context(raw(door.address)) for _ in range(12)]
        for turn in range(5):
            user = f"wave-{turn}-{time.monotonic_ns()}"
            with door.frozen():
                for number, sock in enumerate(strangers):
                    sock.sendall(ODD if number % 2 else REFUSED)
                for number, sock in enumerate(senders):
                    sock.sendall(message(user, number))
            for sock in (*senders, *strangers):
                assert sock.recv(65_536)
            assert door.waiting(user) == [str(number) for number in range(len(senders))]


def test_a_message_waits_for_those_that_left_the_lane_but_for_no_stranger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[bool, bool]] = []
    attend = _Server._attend

    async def note(
        self: _Server, reader: Reader, peer: socket.socket, leaving: Leaving | None
    ) -> None:
        seen.append((reader.awaited, reader in self._arrivals._in_hand))
        await attend(self, reader, peer, leaving)

    monkeypatch.setattr(_Server, "_attend", note)
    with served(api_keys=(ApiKey("ingest", KEY),)) as server:
        for key in (b"wrong", KEY.encode()):
            with raw(server.address) as sock:
                sock.sendall(ODD.replace(b"wrong", key))
                assert sock.recv(65_536)
    assert seen == [(False, False), (True, True)]
