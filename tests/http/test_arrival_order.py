"""What reached the machine first is appended first, over any number of connections.

The service's own server, engine and Redis, in a Trio thread of their own. The order is read from
Redis, where the messages wait: nothing is due within these tests.
"""

from __future__ import annotations

import json
import queue
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actor_queue import ActorQueue, Batch, Settings
from actor_queue.core.shard import shard_of
from actor_queue.http import lane
from actor_queue.http.arrivals import FOREVER, Arrivals, Listener, Reader, note_arrivals
from actor_queue.http.asgi import Application
from actor_queue.http.bulk import REQUESTS_MAX
from actor_queue.http.server import serve
from actor_queue.http.traffic import Traffic
from actor_queue.store.keys import Keys
from tests.http.client import Address, raw, read_answer
from tests.servers import Server, delete_namespace, fresh_namespace

START_TIMEOUT_S = 20.0
CONNECTIONS = 20
LATER_S = 3_600


@dataclass
class Door:
    """A service that keeps messages and sends none while a test lasts."""

    address: Address
    settings: Settings
    eye: redis.Redis
    token: trio.lowlevel.TrioToken

    def waiting(self, user: str) -> list[str]:
        """The texts that wait for this user, in the order in which they were appended."""
        keys = Keys(self.settings.namespace, self.settings.shards)
        pending = keys.shards[shard_of(user, self.settings.shards)].of(user).pending
        items = self.eye.lrange(pending.decode(), 0, -1)
        return [json.loads(b"[" + item.split(b",", 2)[2])[-1]["message"] for item in items]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The service's event loop does nothing until the context ends; the kernel goes on."""
        stopped, thaw = threading.Event(), threading.Event()

        def wait() -> None:
            stopped.set()
            thaw.wait(START_TIMEOUT_S)

        self.token.run_sync_soon(wait)
        assert stopped.wait(START_TIMEOUT_S)
        try:
            yield
        finally:
            thaw.set()


async def ignore(batch: Batch) -> None:
    del batch


async def _run(config: Settings, started: queue.Queue[object], stop: trio.Event) -> None:
    arrivals = Arrivals()
    async with (
        ActorQueue(config, deliver=ignore, settle=arrivals.settle) as service,
        trio.open_nursery() as nursery,
    ):

        async def listen(*, task_status: trio.TaskStatus[list[str]]) -> None:
            application = Application(service.engine)
            await serve(
                application,
                bind="127.0.0.1:0",
                shutdown=stop,
                arrivals=arrivals,
                plain=application.plain,
                task_status=task_status,
            )

        [bound] = await nursery.start(listen)
        host, _, port = bound.rpartition(":")
        started.put(((host, int(port)), trio.lowlevel.current_trio_token(), stop))


@pytest.fixture(scope="module")
def door(valkey_server: Server) -> Iterator[Door]:
    with opened(valkey_server) as door:
        yield door


@contextmanager
def opened(server: Server, **options: Any) -> Iterator[Door]:
    """A service at `server`, with these settings."""
    config = Settings(redis_url=server.url, namespace=fresh_namespace(), shards=4, **options)
    started: queue.Queue[object] = queue.Queue()

    async def main() -> None:
        await _run(config, started, trio.Event())

    def thread() -> None:
        try:
            trio.run(main)
        except BaseException as error:  # noqa: BLE001  # shown to the test, whatever it is
            started.put(error)

    runner = threading.Thread(target=thread, daemon=True)
    runner.start()
    outcome = started.get(timeout=START_TIMEOUT_S)
    assert isinstance(outcome, tuple), outcome
    address, token, stop = outcome
    with server.client() as eye:
        yield Door(address, config, eye, token)
        token.run_sync_soon(stop.set)
        runner.join(START_TIMEOUT_S)
        delete_namespace(eye, config.namespace)


def request(user: str, *texts: str, many: bool = False, chunked: bool = False) -> bytes:
    messages = [{"user": user, "message": text, "ttl": LATER_S} for text in texts]
    body = json.dumps(messages if many else messages[0]).encode()
    path = b"/api/messages" if many else b"/api/message"
    if chunked:
        return (
            b"POST %b HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
            b"%x\r\n%b\r\n0\r\n\r\n" % (path, len(body), body)
        )
    return b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (
        path,
        len(body),
        body,
    )


def read_answers(socks: list[socket.socket]) -> None:
    for sock in socks:
        read_answer(sock)


@pytest.fixture(params=[None, 0.0, 0.99], ids=["any order", "reversed", "as they came"])
def coin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trio reverses each batch of tasks or does not, by a number that it draws."""
    if request.param is not None:
        from trio._core import _run

        monkeypatch.setattr(_run._r, "random", lambda: request.param)


@pytest.mark.usefixtures("coin")
@pytest.mark.parametrize("gap_s", [0.0, 0.0005, 0.003])
def test_a_burst_over_many_connections_is_appended_in_the_order_of_its_arrival(
    door: Door, gap_s: float
) -> None:
    with ExitStack() as stack:
        socks = [stack.enter_context(raw(door.address)) for _ in range(CONNECTIONS)]
        for burst in range(10):
            user = f"burst-{burst}-{time.monotonic_ns()}"
            for i, sock in enumerate(socks):
                sock.sendall(request(user, str(i)))
                time.sleep(gap_s)  # the distance between two messages is what is tested
            read_answers(socks)
            assert door.waiting(user) == [str(i) for i in range(CONNECTIONS)]


@pytest.mark.usefixtures("coin")
def test_a_burst_whose_every_message_opens_a_connection_keeps_its_order(door: Door) -> None:
    for burst in range(10):
        user = f"new-{burst}-{time.monotonic_ns()}"
        with ExitStack() as stack:
            socks = []
            for i in range(CONNECTIONS):
                socks.append(stack.enter_context(raw(door.address)))
                socks[-1].sendall(request(user, str(i)))
            read_answers(socks)
        assert door.waiting(user) == [str(i) for i in range(CONNECTIONS)]


@pytest.mark.parametrize("read_at_once", [1, lane.EVENTS_MAX])
def test_the_last_byte_decides_though_only_some_connections_are_read_at_once(
    door: Door, read_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where more are readable than are read before others have their turn."""
    monkeypatch.setattr(lane, "EVENTS_MAX", read_at_once)
    with ExitStack() as stack:
        socks = [stack.enter_context(raw(door.address)) for _ in range(CONNECTIONS)]
        for burst in range(3):
            user = f"in-parts-{burst}-{time.monotonic_ns()}"
            with door.frozen():
                for i, sock in enumerate(socks):
                    sock.sendall(request(user, str(i))[:20])
                for i, sock in reversed(list(enumerate(socks))):
                    sock.sendall(request(user, str(i))[20:])
            read_answers(socks)
            assert door.waiting(user) == [str(i) for i in reversed(range(CONNECTIONS))]


@pytest.mark.usefixtures("coin")
def test_a_burst_of_short_requests_with_many_messages_is_taken_whole_and_in_order(
    door: Door,
) -> None:
    """More at once than long ones may be under way."""
    user = f"gateway-{time.monotonic_ns()}"
    count = 4 * REQUESTS_MAX
    with ExitStack() as stack:
        socks = [stack.enter_context(raw(door.address)) for _ in range(count)]
        with door.frozen():
            for i, sock in enumerate(socks):
                sock.sendall(request(user, str(i), many=True))
        for sock in socks:
            read_any_answer(sock)
    assert door.waiting(user) == [str(i) for i in range(count)]


SENDERS = st.lists(
    st.tuples(
        st.sampled_from(["kept", "new", "many", "chunked"]),
        st.integers(0, 1_000),  # where the request is cut in two, if it is as long
        st.sampled_from([0, 0, 0, 30_000]),  # how much longer the text is
    ),
    min_size=2,
    max_size=12,
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(senders=SENDERS, data=st.data())
def test_however_busy_the_service_is_the_last_byte_of_a_request_decides(
    door: Door, senders: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    """All of it arrives while the service does nothing: it finds everything readable at once."""
    last = data.draw(st.permutations(range(len(senders))), label="order of the last bytes")
    user = f"frozen-{time.monotonic_ns()}"
    with ExitStack() as stack:
        kept = [kind == "kept" for kind, _, _ in senders]
        socks = [stack.enter_context(raw(door.address)) if early else None for early in kept]
        time.sleep(0.001)  # most of the early ones have been accepted; it holds for all
        with door.frozen():
            parts = []
            for i, (kind, cut, longer) in enumerate(senders):
                sent = request(
                    user, f"{i:03}" + "x" * longer, many=kind == "many", chunked=kind == "chunked"
                )
                parts.append((sent[:cut], sent[cut:]))
                if socks[i] is None:
                    socks[i] = stack.enter_context(raw(door.address))
            for sock, (first, _) in zip(socks, parts, strict=True):
                assert sock is not None
                sock.sendall(first)
            order = [i for i in last if parts[i][1]]
            for i in order:
                sock = socks[i]
                assert sock is not None
                sock.sendall(parts[i][1])
        for sock in socks:
            assert sock is not None
            read_any_answer(sock)
    whole_at_once = [i for i in range(len(senders)) if i not in order]
    assert [int(text[:3]) for text in door.waiting(user)] == whole_at_once + order


def read_any_answer(sock: socket.socket) -> None:
    """With a Content-Length, or in chunks."""
    received = b""
    while b'"success": true' not in received:
        piece = sock.recv(65_536)
        assert piece, received
        received += piece


def test_a_socket_that_nobody_reads_delays_a_group_a_little_and_is_counted() -> None:
    traffic = Traffic()

    async def main() -> None:
        arrivals = Arrivals(traffic)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            reader = Reader(ours, arrivals)
            assert await arrivals.settle() == FOREVER
            theirs.sendall(b"x")
            sent_ns = time.time_ns()
            assert sent_ns <= await arrivals.settle() < FOREVER
            assert traffic.groups_unsettled == 1
            assert await reader.receive_some() == b"x"
            assert await arrivals.settle() == FOREVER
            theirs.sendall(b"y")  # its owner is busy: what it has not read is its own affair
            assert await arrivals.settle() == FOREVER
            assert await reader.receive_some() == b"y"
            assert traffic.groups_unsettled == 1
            reader.close()

    trio.run(main)


def test_what_arrives_later_on_other_connections_makes_nobody_wait() -> None:
    """Thousands of peers that send a byte now and then always have one unread."""
    traffic = Traffic()

    async def main() -> None:
        arrivals = Arrivals(traffic)
        with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
            note_arrivals(listener)
            theirs = stack.enter_context(socket.create_connection(listener.getsockname()))
            ours, _ = listener.accept()
            stack.enter_context(ours).setblocking(False)
            reader = Reader(ours, arrivals)
            before_ns = time.time_ns()
            theirs.sendall(b"x")
            select.select([ours], [], [])
            after_ns = time.time_ns()
            assert not arrivals.unread(before_ns)
            assert arrivals.unread(after_ns)
            assert await reader.receive_some() == b"x"
            assert not arrivals.unread(time.time_ns())
            theirs.close()
            select.select([ours], [], [])
            assert not arrivals.unread(time.time_ns())
            reader.close()

    trio.run(main)


def test_connections_that_come_later_make_nobody_wait() -> None:
    """Whoever opens connections without end always has one in the system's queue."""

    async def main() -> None:
        arrivals = Arrivals()
        with socket.create_server(("127.0.0.1", 0)) as sock, ExitStack() as stack:
            listener = Listener(sock, arrivals)

            def come() -> None:
                stack.enter_context(socket.create_connection(sock.getsockname()))

            def accept() -> None:
                stack.enter_context(sock.accept()[0])
                listener.accepted += 1

            for _ in range(3):
                come()
            select.select([sock], [], [])
            asked_ns = time.time_ns()
            assert arrivals.unread(asked_ns)
            for _ in range(2):
                accept()
                come()
                assert arrivals.unread(asked_ns)
            accept()
            assert not arrivals.unread(asked_ns)
            assert arrivals.unread(time.time_ns())
            arrivals.forget(listener)

    trio.run(main)
