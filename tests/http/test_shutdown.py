"""Starting and stopping: addresses, requests under way, peers who would hold it up."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from actor_queue.http import protocol
from actor_queue.http.server import Limits, open_sockets, serve
from tests.http.client import ask, raw, read_all, read_answer, stuff, until
from tests.http.conftest import Served

BODY = json.dumps({"user": "ana", "message": "oi"}).encode()
POST = b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(BODY)
IPV6 = socket.has_ipv6 and Path("/proc/net/if_inet6").exists()
GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


def test_a_request_under_way_finishes_and_the_listener_is_closed_meanwhile(
    start: Callable[..., Served],
) -> None:
    server = start()
    pause = server.engine.pause = server.run(trio.Event)
    with raw(server.address) as sock:
        sock.sendall(POST + BODY)
        until(lambda: server.application.traffic.connections_total == 1)
        server.stop()
        until(lambda: refused(server))
        server.run(pause.set)
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert b"connection: close" in answer.lower()
    server.join()


def test_a_body_that_is_still_coming_is_awaited(start: Callable[..., Served]) -> None:
    server = start()
    with raw(server.address) as sock:
        sock.sendall(POST + BODY[:5])
        until(lambda: server.application.traffic.connections_total == 1)
        time.sleep(0.05)  # the head is being read: there is nothing outside to see it by
        # As the service does it: not ready first, then the stop.
        server.engine.reason = "draining"
        server.stop()
        until(lambda: refused(server))
        sock.sendall(BODY[5:])
        assert read_all(sock).startswith(b"HTTP/1.1 202 ")
    server.join()


def test_idle_connections_are_closed_at_once(start: Callable[..., Served]) -> None:
    server = start(grace_s=60.0)
    with ExitStack() as stack:
        fresh, kept = (stack.enter_context(raw(server.address)) for _ in range(2))
        kept.sendall(GET)
        read_answer(kept)
        until(lambda: server.application.traffic.connections_open == 2)
        server.stop()
        assert read_all(fresh) == read_all(kept) == b""
        server.join(5.0)


def test_an_event_stream_ends_with_the_server(start: Callable[..., Served]) -> None:
    server = start(grace_s=60.0)
    with raw(server.address) as sock:
        sock.sendall(GET.replace(b"/healthz", b"/api/events"))
        assert b"200" in sock.recv(1_000)
        server.stop()
        assert read_all(sock).endswith(b"0\r\n\r\n")
        server.join(5.0)


def test_a_peer_that_reads_nothing_cannot_hold_up_the_shutdown(
    start: Callable[..., Served],
) -> None:
    server = start(grace_s=0.3, limits=Limits(send_idle_s=3_600.0))
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.settimeout(0.5)
        sock.connect(server.address)
        stuff(sock, GET.replace(b"/healthz", b"/") * 1_000)
        server.stop()
        server.join(5.0)


def test_a_handler_that_never_ends_cannot_hold_up_the_shutdown(
    start: Callable[..., Served],
) -> None:
    server = start(grace_s=0.2)
    server.engine.pause = server.run(trio.Event)
    with raw(server.address) as sock:
        sock.sendall(POST + BODY)
        until(lambda: server.application.traffic.connections_total == 1)
        server.stop()
        assert read_all(sock) == b""
    server.join(5.0)


def test_a_fault_in_the_application_ends_one_request_only(start: Callable[..., Served]) -> None:
    def wrap(app: Any) -> Any:
        async def faulty(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/raise":
                raise RuntimeError("x")
            if scope["path"] == "/group":
                raise ExceptionGroup("x", [RuntimeError("x")])
            if scope["path"] == "/silent":
                return
            if scope["path"] == "/half":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"half", "more_body": True})
                raise RuntimeError("x")
            if scope["path"] == "/wrong":
                await send(
                    {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\x00")]}
                )
            await app(scope, receive, send)

        return faulty

    server = start(wrap=wrap)
    for path in ("/raise", "/group", "/silent"):
        assert ask(server.address, "GET", path).status == 500
    with raw(server.address) as sock:
        sock.sendall(GET.replace(b"/healthz", b"/half"))
        answer = read_all(sock)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert not answer.endswith(b"0\r\n\r\n"), "half an answer must not look like a whole one"
    with raw(server.address) as sock:
        sock.sendall(GET.replace(b"/healthz", b"/wrong"))
        assert b"200" not in read_all(sock)
    assert ask(server.address, "GET", "/healthz").status == 200


@pytest.mark.parametrize("fault", [RuntimeError("x"), ExceptionGroup("x", [RuntimeError("x")])])
def test_a_fault_in_the_protocol_ends_one_connection_only(
    start: Callable[..., Served], monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    server = start()
    judge = protocol._unacceptable

    def faulty(request: Any, headers: Any) -> int | None:
        if request.target == b"/fault":
            raise fault
        return judge(request, headers)

    monkeypatch.setattr(protocol, "_unacceptable", faulty)
    with raw(server.address) as sock:
        sock.sendall(GET.replace(b"/healthz", b"/fault"))
        assert read_all(sock) == b""
    assert ask(server.address, "GET", "/healthz").status == 200
    assert server.application.traffic.connections_failed == 1


# Addresses


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        ("127.0.0.1:0", "127.0.0.1:"),
        ("localhost:0", ":"),
        ("[::1]:0", "[::1]:"),
        (":0", ":"),
    ],
)
def test_an_address_is_bound_and_reported(bind: str, expected: str) -> None:
    if "::1" in bind and not IPV6:
        pytest.skip("this machine has no IPv6")
    addresses = serve_once(bind)
    assert expected in addresses[0]
    assert not addresses[0].endswith(":0")


@pytest.mark.parametrize(
    "bind", ["", "8000", "localhost", "a:b", "::1:80", "127.0.0.1:65536", "x:-1", "x:\u0661"]
)
def test_what_is_no_address_is_a_value_error(bind: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|brackets"):
        open_sockets(bind)


def test_a_taken_port_is_an_os_error() -> None:
    [taken] = open_sockets("127.0.0.1:0")
    with taken, pytest.raises(OSError, match="in use"):
        open_sockets(f"127.0.0.1:{taken.getsockname()[1]}")


def test_a_unix_socket_is_served_replaced_when_stale_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    received: list[bytes] = []

    async def use(addresses: list[str]) -> None:
        assert addresses == [f"unix:{path}"]
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        with pytest.raises(OSError, match="in use"):
            open_sockets(f"unix:{path}")
        async with await trio.open_unix_socket(str(path)) as stream:
            await stream.send_all(GET)
            received.append(await stream.receive_some())

    serve_once(f"unix:{path}", use)
    assert received[0].startswith(b"HTTP/1.1 500 ")
    assert not path.exists()


def test_sockets_can_be_given_bound_already() -> None:
    sockets = open_sockets("127.0.0.1:0")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            shutdown = trio.Event()

            async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
                await serve(silent, sockets=sockets, shutdown=shutdown, task_status=task_status)

            assert len(await nursery.start(run)) == 1
            shutdown.set()

    trio.run(main)
    assert sockets[0].fileno() == -1


async def silent(scope: object, receive: object, send: object) -> None:
    """An application that answers nothing, which is a 500."""


async def nothing(addresses: list[str]) -> None:
    await trio.lowlevel.checkpoint()


def serve_once(bind: str, use: Callable[[list[str]], Awaitable[None]] = nothing) -> list[str]:
    """Serve `silent` while `use` runs; the addresses."""
    reported: list[str] = []

    async def main() -> None:
        shutdown = trio.Event()
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
                await serve(silent, bind=bind, shutdown=shutdown, task_status=task_status)

            reported.extend(await nursery.start(run))
            await use(reported)
            shutdown.set()

    trio.run(main)
    return reported


def refused(server: Served) -> bool:
    try:
        # A SYN that arrives while the listener is being closed gets no answer; the next one, a
        # second later, does.
        socket.create_connection(server.address, timeout=5.0).close()
    except (ConnectionRefusedError, ConnectionResetError):
        # Reset: it was in the listener's queue when that was closed.
        return True
    return False
