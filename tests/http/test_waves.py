"""Many strangers at once: each waits for its turn, and a message waits for a few of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from actor_queue.core.api_keys import ApiKey
from actor_queue.core.message import Appended, Message
from actor_queue.core.settings import Settings
from actor_queue.http import lane
from actor_queue.http.guest import Leaving
from actor_queue.http.server import Limits, _Server
from tests.http.client import raw, read_all, read_answer, until
from tests.http.conftest import START_TIMEOUT_S, Served, served
from tests.http.memory_engine import MemoryEngine

KEY = "key-in"
WAVE = 120
ODD = b"GET /api/users/ana HTTP/1.1\r\nhost: localhost\r\nx-odd: \xe9\r\n\r\n"
"""A stranger's, and not plain."""
DOCS = b"GET /docs HTTP/1.1\r\nhost: localhost\r\n\r\n"


def message(text: str, *, chunked: bool = False) -> bytes:
    body = json.dumps({"user": "ana", "message": text}).encode()
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % len(body)
    if chunked:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    head = b"POST /api/message HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer key-in\r\n%b"
    return head % framing + b"\r\n\r\n" + body


@contextmanager
def standing_still(server: Served) -> Iterator[None]:
    """The server's event loop does nothing until the context ends; the kernel goes on."""
    stopped, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        stopped.set()
        go_on.wait(START_TIMEOUT_S)

    server._token.run_sync_soon(wait)
    assert stopped.wait(START_TIMEOUT_S)
    try:
        yield
    finally:
        go_on.set()


class Watching(MemoryEngine):
    """Notes at each push how many strangers had left the lane, and how many were answered in it."""

    server: Served
    left = 0
    lane: lane.Lane
    seen: list[tuple[int, int]]

    async def push(self, messages: Sequence[Message]) -> list[Appended]:
        answers = self.server.application.traffic.answers
        self.seen.append((self.left, answers["/docs", 200] + answers["/api/message", 401]))
        return await super().push(messages)


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watching]:
    engine = Watching(Settings(api_keys=(ApiKey("ingest", KEY),)))
    engine.seen = []
    leave, run = _Server._leave_lane, lane.Lane.run

    def count(self: _Server, leaving: Leaving) -> None:
        engine.left += b"x-odd" in leaving.came
        leave(self, leaving)

    async def note(self: lane.Lane, **options: Any) -> None:
        engine.lane = self
        await run(self, **options)

    monkeypatch.setattr(_Server, "_leave_lane", count)
    monkeypatch.setattr(lane.Lane, "run", note)
    with served(engine, limits=Limits(linger_s=0.2)) as server:
        engine.server = server
        server.prepare()
        yield engine


def test_a_wave_of_strangers_makes_a_message_wait_for_a_few_of_them(watching: Watching) -> None:
    server = watching.server
    with ExitStack() as stack:
        strangers = [stack.enter_context(raw(server.address)) for _ in range(WAVE)]
        sender = stack.enter_context(raw(server.address))
        until(lambda: server.application.traffic.connections_open == WAVE + 1)
        with standing_still(server):
            for sock in strangers:
                sock.sendall(ODD)
            sender.sendall(message("Oi"))
        assert read_answer(sender).startswith(b"HTTP/1.1 202 ")
        for sock in strangers:
            assert read_answer(sock).startswith(b"HTTP/1.1 401 ")
    [(left, _)] = watching.seen
    assert left < WAVE // 10
    assert watching.left == WAVE


def test_pages_that_nobody_reads_make_a_message_wait_for_a_few_of_them(watching: Watching) -> None:
    server = watching.server
    with ExitStack() as stack:
        strangers = [stack.enter_context(raw(server.address)) for _ in range(WAVE // 4)]
        sender = stack.enter_context(raw(server.address))
        until(lambda: server.application.traffic.connections_open == WAVE // 4 + 1)
        with standing_still(server):
            for sock in strangers:
                sock.sendall(DOCS * 20)
            sender.sendall(message("Oi"))
        assert read_answer(sender).startswith(b"HTTP/1.1 202 ")
        until(lambda: server.application.traffic.answers["/docs", 200] == WAVE // 4 * 20)
    [(_, given)] = watching.seen
    assert given < WAVE


def test_a_wave_of_refusals_makes_a_message_wait_for_a_few_of_them(watching: Watching) -> None:
    server = watching.server
    with ExitStack() as stack:
        strangers = [stack.enter_context(raw(server.address)) for _ in range(WAVE)]
        sender = stack.enter_context(raw(server.address))
        until(lambda: server.application.traffic.connections_open == WAVE + 1)
        with standing_still(server):
            for sock in strangers:
                sock.sendall(message("Oi").replace(b"Bearer key-in", b"Bearer wrong"))
            sender.sendall(message("Oi"))
        for sock in (sender, *strangers):
            assert read_answer(sock)
    [(_, refused)] = watching.seen
    assert refused < WAVE // 3
    assert server.application.traffic.answers["/api/message", 401] == WAVE


def test_the_order_of_arrival_holds_over_both_lanes_while_strangers_wait(
    watching: Watching,
) -> None:
    """Who is known is handed on before those that nobody knows, and in its own order."""
    server = watching.server
    with ExitStack() as stack:
        strangers = [stack.enter_context(raw(server.address)) for _ in range(WAVE)]
        senders = [stack.enter_context(raw(server.address)) for _ in range(10)]
        until(lambda: server.application.traffic.connections_open == WAVE + 10)
        with standing_still(server):
            for sock in strangers:
                sock.sendall(ODD)
            for number, sock in enumerate(senders):
                sock.sendall(message(str(number), chunked=number % 2 == 0))
        for sock in senders:
            assert read_answer(sock).startswith(b"HTTP/1.1 202 ")
        assert watching.left < WAVE
    came = sorted(watching.messages["ana"], key=lambda each: each.arrived_ns)
    assert [json.loads(each.body)["message"] for each in came] == [str(n) for n in range(10)]


def test_each_request_of_a_stranger_waits_for_a_turn_of_its_own(watching: Watching) -> None:
    with raw(watching.server.address) as sock:
        sock.sendall(ODD * 12)
        answers = b""
        while answers.count(b"HTTP/1.1 401 ") < 12 or not answers.endswith(b"}"):
            answers += sock.recv(65_536)
    assert watching.left == 12


@pytest.mark.parametrize("limit", ["WAITING_MAX", "WAITING_OF_ADDRESS_MAX"])
def test_when_many_strangers_wait_one_more_is_told_to_come_again(
    watching: Watching, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(lane, limit, 5)
    server = watching.server
    with ExitStack() as stack:
        strangers = [stack.enter_context(raw(server.address)) for _ in range(WAVE)]
        until(lambda: server.application.traffic.connections_open == WAVE)
        with standing_still(server):
            for sock in strangers:
                sock.sendall(ODD)
        answers = [read_answer(sock) for sock in strangers]
        busy = [each for each in answers if each.startswith(b"HTTP/1.1 503 ")]
        assert len(busy) == server.application.traffic.requests_put_off > WAVE // 2
        assert all(b"\r\nretry-after: 1\r\nconnection: close\r\n" in each for each in busy)
        assert len(answers) - len(busy) == watching.left
        assert any(each.startswith(b"HTTP/1.1 401 ") for each in answers)
        until(lambda: server.application.traffic.connections_open == watching.left)


def test_who_waits_for_its_turn_can_make_room(watching: Watching) -> None:
    """It is not known, so others need the place more; its turn is then nobody's."""
    server = watching.server
    with ExitStack() as stack:
        strangers = [stack.enter_context(raw(server.address)) for _ in range(10)]
        until(lambda: server.application.traffic.connections_open == 10)
        with standing_still(server):
            for sock in strangers:
                sock.sendall(ODD)

            def end_all() -> None:
                guests = list(watching.lane._guests.values())
                for guest in guests:
                    guest.cancel()

            server._token.run_sync_soon(end_all)
        for sock in strangers:
            read_all(sock)
        until(lambda: server.application.traffic.connections_open == 0)
    with raw(server.address) as sock:
        sock.sendall(message("Oi"))
        assert read_answer(sock).startswith(b"HTTP/1.1 202 ")
