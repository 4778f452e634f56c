"""Peers that are slow on purpose: what they are asked for, and who makes room for others."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest
import trio

from actor_queue.core.settings import Settings
from actor_queue.http.bulk import REQUESTS_MAX
from actor_queue.http.pace import Pace
from actor_queue.http.room import AT_ONCE, MANY, Room
from actor_queue.http.server import Limits
from tests.http.client import ask, raw, read_all, read_answer, until
from tests.http.conftest import Served, served
from tests.http.test_limits import BODY, GET, POST, QUICK, drip, taking

STREAM = (
    b"POST /api/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    b"content-type: application/x-ndjson\r\ncontent-length: %d\r\n\r\n"
)


@dataclass(slots=True)
class Peer:
    """A connection as the room sees it: slow, and without a key."""

    address: str
    behind_s: float
    pace: Pace = None  # type: ignore[assignment]  # needs Trio's clock
    idle: bool = False
    served: bool = False
    known: bool = False


@pytest.fixture
def quick() -> Iterator[Served]:
    with served(limits=QUICK) as server:
        yield server


def _has_answer(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0]) and b"408" in sock.recv(
        65_536, socket.MSG_PEEK
    )


def _asks_many(server: Served, line: bytes) -> int:
    """A request with many messages that is long, and does not drip."""
    lines = (line * 2_000).decode()
    kind = {"content-type": "application/x-ndjson"}
    return ask(server.address, "POST", "/api/messages", lines, kind).status


def test_a_body_that_moves_is_cut_all_the_same_once_it_is_too_far_behind(quick: Served) -> None:
    head = POST.replace(b"content-length: %d" % len(BODY), b"content-length: 100000")
    slow = quick.application.traffic.peers_too_slow["body"]
    with raw(quick.address) as sock, taking(0.3, 5.0):
        sock.sendall(head)
        assert drip(sock, b" " * 100_000).startswith(b"HTTP/1.1 408 ")
    assert quick.application.traffic.peers_too_slow["body"] == slow + 1


def test_without_a_pace_any_byte_is_enough(start: Callable[..., Served]) -> None:
    server = start(limits=replace(QUICK, pace_bytes_per_s=0))
    with raw(server.address) as sock, taking(1.0, 10.0):
        sock.sendall(POST)
        for index in range(len(BODY)):
            time.sleep(0.05)  # the pace is what is tested
            sock.sendall(BODY[index : index + 1])
        assert read_answer(sock).startswith(b"HTTP/1.1 202 ")


def test_the_time_that_the_store_takes_is_no_lateness_of_the_peer(quick: Served) -> None:
    line = BODY + b"\n"
    pause = quick.engine.pause = quick.run(trio.Event)
    with raw(quick.address) as sock:
        sock.sendall(STREAM % (len(line) * 600 + len(line)) + line * 600)
        time.sleep(1.0)  # more than twice what a body may be behind
        quick.run(pause.set)
        sock.sendall(line)
        assert read_all(sock).count(b'"success": true') == 601


def test_long_requests_that_drip_give_their_places_to_one_that_does_not(
    start: Callable[..., Served],
) -> None:
    server = start()
    line = BODY + b"\n"
    with ExitStack() as stack:
        slow = [stack.enter_context(raw(server.address)) for _ in range(REQUESTS_MAX)]
        for sock in slow:
            sock.sendall(STREAM % 100_000 + line)
        until(lambda: len(server.engine.pushes) >= REQUESTS_MAX)
        until(lambda: _asks_many(server, line) == 200)
        gone = next(sock for sock in slow if _has_answer(sock))
        told = read_all(gone)
        assert told.count(b'"success": true') == 1
        assert b'"status": 408' in told
    assert server.application.traffic.peers_too_slow["stream"] >= 1


def test_at_the_limit_those_without_a_key_go_before_those_with_one(
    start: Callable[..., Served],
) -> None:
    server = start(limits=Limits(connections_max=6), api_keys=(("ingest", "a-key"),))
    keyed = POST.replace(b"\r\n\r\n", b"\r\nauthorization: Bearer a-key\r\n\r\n")
    with ExitStack() as stack:
        known = [stack.enter_context(raw(server.address)) for _ in range(3)]
        for sock in known:
            sock.sendall(keyed + BODY)
            read_answer(sock)
            sock.sendall(keyed + BODY[:3])  # slow, and the oldest of all
        for _ in range(20):
            stack.enter_context(raw(server.address)).sendall(GET[:-3])
        until(lambda: server.application.traffic.connections_evicted >= 17)
        for sock in known:
            sock.sendall(BODY[3:])
            assert read_answer(sock).startswith(b"HTTP/1.1 202 ")


def test_an_address_with_more_than_its_share_makes_room_before_others() -> None:
    places = 2 * MANY
    room = Room(places)
    few = [Peer("10.0.0.1", behind_s=9.0)]
    many = [Peer("10.0.0.2", behind_s=1.0 + n / 10) for n in range(places // MANY + 1)]

    async def main() -> None:
        scopes: list[trio.CancelScope] = []
        for guest in few + many:
            guest.pace = Pace()
            guest.pace.since -= guest.behind_s
            scopes.append(trio.CancelScope())
            room.enter(scopes[-1], guest)
        room.make()
        assert [scope.cancel_called for scope in scopes] == [False, False, False, True]
        room.leave(scopes.pop())
        room.make()  # they have their share now, and the others are further behind
        assert [scope.cancel_called for scope in scopes] == [True, False, False]

    trio.run(main)


def test_of_idle_strangers_many_make_room_at_once_and_of_known_ones_one() -> None:
    places = 2 * AT_ONCE
    room = Room(places)

    async def main() -> None:
        scopes = []
        for number in range(places):
            guest = Peer("", behind_s=1.0, idle=True, served=True, known=number >= 3)
            guest.pace = Pace()
            scopes.append(trio.CancelScope())
            room.enter(scopes[-1], guest)
        gone = []
        for _ in range(4):
            room.make()
            gone.append(sum(scope.cancel_called for scope in scopes))
        assert gone == [2, 3, 4, 5]
        assert all(scope.cancel_called for scope in scopes[:3])

    trio.run(main)


def test_a_known_peer_stays_though_it_is_the_furthest_behind_of_all() -> None:
    room = Room(2 * MANY)

    async def main() -> None:
        scopes = []
        for guest in (Peer("10.0.0.1", behind_s=9.0, known=True), Peer("10.0.0.2", behind_s=1.0)):
            guest.pace = Pace()
            guest.pace.since -= guest.behind_s
            scopes.append(trio.CancelScope())
            room.enter(scopes[-1], guest)
        room.make()
        assert [scope.cancel_called for scope in scopes] == [False, True]
        room.make()  # but not at any price
        assert [scope.cancel_called for scope in scopes] == [True, True]

    trio.run(main)


def test_what_peers_may_take_is_a_setting() -> None:
    settings = Settings(max_connections=20, max_per_address=3, min_pace=0)
    limits = Limits.of(settings)
    assert (limits.connections_max, limits.share_max, limits.pace_bytes_per_s) == (20, 3, 0)


def test_peers_that_were_too_slow_are_counted_by_what_was(quick: Served) -> None:
    for beginning in (GET[:-3], POST + BODY[:3]):
        with raw(quick.address) as sock:
            sock.sendall(beginning)
            assert read_all(sock).startswith(b"HTTP/1.1 408 ")
    lines = ask(quick.address, "GET", "/metrics").body.decode().splitlines()
    counted = [line for line in lines if line.startswith("actor_queue_http_peers_too_slow_total")]
    assert [line.partition("part=")[2] for line in counted] == [
        '"head"} 1.0',
        '"body"} 1.0',
        '"answer"} 0.0',
        '"stream"} 0.0',
    ]


def test_the_pace_of_long_requests_is_the_one_that_is_set(
    start: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    paces: list[float] = []

    def noted(bytes_per_s: float) -> Pace:
        paces.append(bytes_per_s)
        return Pace(bytes_per_s)

    monkeypatch.setattr("actor_queue.http.bulk.Pace", noted)
    server = start(min_pace=7)
    assert _asks_many(server, BODY + b"\n") == 200
    assert paces == [7]
