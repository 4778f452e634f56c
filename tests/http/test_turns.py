"""Strangers who ask for many pages: what is made for them, and who waits for whom."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from actor_queue.http.traffic import Traffic
from actor_queue.http.turns import AT_ONCE, WAITING_MAX, WAITING_OF_ADDRESS_MAX, Turns
from tests.http.client import until
from tests.http.conftest import Served

PAGE = b"GET /docs HTTP/1.1\r\nhost: localhost\r\n\r\n"
PAGES = 200


def test_what_a_peer_does_not_read_is_not_made_and_not_lost(start: Callable[..., Served]) -> None:
    server = start()
    made = server.application.traffic.answers
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        sock.settimeout(30)
        sock.connect(server.address)
        sock.sendall(
            PAGE * (PAGES - 1) + PAGE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        )
        until(lambda: made["/docs", 200] > 0)
        before = -1
        while before != made["/docs", 200]:
            before = made["/docs", 200]
            time.sleep(0.1)  # long enough for a page more; with less the test only sees less
        assert before < PAGES // 4
        answers = b""
        while data := sock.recv(65_536):
            answers += data
    assert answers.count(b"HTTP/1.1 200 ") == PAGES


class Stage:
    """`Turns` before an application that works on each request until `go_on`."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.turns = Turns(self._work, lambda scope: scope["path"] == "/known", self.traffic)
        self.begun = 0
        self.go_on = trio.Event()
        self.reads = trio.Event()
        self.statuses: list[int] = []

    async def _work(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun += 1
        if scope["path"] == "/body":
            await receive()
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask(self, path: str = "/", address: str = "", *, slow: bool = False) -> None:
        async def receive() -> Any:
            await self.reads.wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(event: Any) -> None:
            if event["type"] == "http.response.start":
                self.statuses.append(event["status"])
                if slow:
                    await self.reads.wait()

        headers = [(b"content-length", b"1")] if path == "/body" else []
        guest = type("Guest", (), {"address": address})()
        scope = {"path": path, "headers": headers, "state": {"guest": guest}}
        await self.turns(scope, receive, send)  # type: ignore[arg-type]


def run(story: Callable[[Stage, trio.Nursery], Awaitable[None]]) -> None:
    async def main() -> None:
        stage = Stage()
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                await story(stage, nursery)
                stage.go_on.set()
                stage.reads.set()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


def test_a_few_strangers_are_worked_for_at_once_and_whoever_is_known_waits_for_nobody() -> None:
    async def story(stage: Stage, nursery: trio.Nursery) -> None:
        for _ in range(AT_ONCE + 5):
            nursery.start_soon(stage.ask)
        await trio.testing.wait_all_tasks_blocked()
        assert stage.begun == AT_ONCE
        nursery.start_soon(stage.ask, "/known")
        await trio.testing.wait_all_tasks_blocked()
        assert stage.begun == AT_ONCE + 1
        stage.go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        assert stage.statuses == [200] * (AT_ONCE + 6)

    run(story)


def test_who_sends_or_reads_slowly_holds_no_turn() -> None:
    async def story(stage: Stage, nursery: trio.Nursery) -> None:
        for _ in range(AT_ONCE):
            nursery.start_soon(stage.ask, "/body")
        await trio.testing.wait_all_tasks_blocked()
        stage.go_on.set()
        for _ in range(AT_ONCE):
            nursery.start_soon(lambda: stage.ask(slow=True))
        await trio.testing.wait_all_tasks_blocked()
        await stage.ask()
        assert stage.statuses == [200] * (AT_ONCE + 1)
        stage.reads.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len(stage.statuses) == 2 * AT_ONCE + 1
        await stage.ask()

    run(story)


@pytest.mark.parametrize(
    ("address", "most"), [("", WAITING_MAX), ("192.0.2.1", WAITING_OF_ADDRESS_MAX)]
)
def test_when_too_many_wait_one_more_is_told_to_come_again(address: str, most: int) -> None:
    async def story(stage: Stage, nursery: trio.Nursery) -> None:
        for count in (AT_ONCE, most):
            for _ in range(count):
                nursery.start_soon(stage.ask, "/", address)
            await trio.testing.wait_all_tasks_blocked()
        await stage.ask("/", address)
        assert stage.statuses == [503]
        assert stage.traffic.requests_put_off == 1
        if address:
            nursery.start_soon(stage.ask, "/", "192.0.2.2")
            await trio.testing.wait_all_tasks_blocked()
            assert stage.statuses == [503]
        stage.go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        await stage.ask("/", address)
        assert stage.statuses.count(200) == AT_ONCE + most + 1 + bool(address)

    run(story)
