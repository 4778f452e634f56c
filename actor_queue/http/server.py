"""The listener: Hypercorn's Trio worker inside the caller's nursery.

Owns the sockets, the number of connections, and the shutdown. Knows nothing of what is
served. Not Hypercorn's own `serve`, because that one lets a single connection's error end
the process, starts the application in a lifespan task whose death it survives silently, and
has no limit on connections.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from time import time_ns
from typing import Final

import trio
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState
from hypercorn.utils import repr_socket_addr

from actor_queue.http.arrivals import Arrivals, Listener, Reader, note_arrivals
from actor_queue.http.connection import Connection, Limits, share_of
from actor_queue.http.faults import FaultLog
from actor_queue.http.guest import Leaving, Patience
from actor_queue.http.lane import Lane
from actor_queue.http.plain import Handler
from actor_queue.http.protocol import QuietConfig
from actor_queue.http.room import Room
from actor_queue.http.traffic import Traffic

SEND_BUFFER_BYTES: Final = 65_536
"""What the system keeps of answers for a peer that does not read them. It would take megabytes of
its own accord, and much work to fill them."""
BACKLOG: Final = 4_096  # a burst of more would wait a second for its peers to ask again
FILES_RESERVED: Final = 128  # descriptors for Redis, webhooks, logs and static files
LAST_REQUESTS_S: Final = 0.05
ACCEPT_PAUSE_S: Final = 0.1  # when the system has no descriptor or memory to spare
ROOM_PAUSE_S: Final = 0.1  # between looks for a connection that can make room
PORT_MAX: Final = 65_535
ACCEPTS_AT_ONCE_MAX: Final = 4  # before other tasks run, which a flood would else hold up

PASSING: Final = frozenset(
    {errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH}
    | {errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENOPROTOOPT, errno.EOPNOTSUPP}
)
"""Errors of `accept` that say something about one connection only (accept(2), section "Errors")."""

__all__ = ["Limits", "connections_allowed", "open_sockets", "serve"]


async def serve(
    app: ASGIFramework,
    *,
    shutdown: trio.Event,
    bind: str | None = None,
    sockets: Sequence[socket.socket] | None = None,
    grace_s: float = 30.0,
    limits: Limits = Limits(),  # noqa: B008  # frozen
    traffic: Traffic | None = None,
    arrivals: Arrivals | None = None,
    plain: Handler | None = None,
    shared: bool = False,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until `shutdown` is set; reports the bound addresses when it listens.

    Takes a `bind` (see `open_sockets`) or sockets that are bound already, and closes them. After
    `shutdown` the listener closes at once, idle connections too, and requests under way have
    `grace_s` seconds to finish. `scope["state"]["stopping"]` is `shutdown`, for handlers that
    would otherwise never end; `scope["state"]["reader"]` says when a request arrived. `arrivals`
    knows what has arrived and is still unread. `plain` answers plain requests, which then never
    reach `app` (`lane.py`). With `shared`, other processes accept from the same sockets, and each
    leaves them their part. Raises OSError if the address cannot be had.
    """
    ours = sockets is None
    if sockets is None:
        assert bind is not None
        sockets = open_sockets(bind)
    server = _Server(app, plain, limits, traffic or Traffic(), arrivals or Arrivals(), shutdown)
    for sock in sockets:
        sock.setblocking(False)
        note_arrivals(sock)
    try:
        async with trio.open_nursery() as connections:
            await server.open(connections)
            async with trio.open_nursery() as accepting:
                at_once = 1 if shared else ACCEPTS_AT_ONCE_MAX
                for sock in sockets:
                    accepting.start_soon(server.accept, sock, at_once)
                task_status.started([_address(sock) for sock in sockets])
                await shutdown.wait()
                accepting.cancel_scope.cancel()
            queued = [peer for sock in sockets for peer in _accept_queued(sock)]
            _close(sockets, remove_files=ours)
            await server.attend_last(queued)
            await server.stop()
            connections.cancel_scope.deadline = trio.current_time() + grace_s
    finally:
        _close(sockets, remove_files=ours)


class _Server:
    """What the connections share."""

    def __init__(
        self,
        app: ASGIFramework,
        plain: Handler | None,
        limits: Limits,
        traffic: Traffic,
        arrivals: Arrivals,
        shutdown: trio.Event,
    ) -> None:
        self._app = app
        self._plain = plain
        self._limits = limits
        self._traffic = traffic
        self._arrivals = arrivals
        self._faults = FaultLog()
        self._config = QuietConfig()
        self._context = WorkerContext(None)
        self._state = ConnectionState({"stopping": shutdown})
        places = connections_allowed(limits)
        self._room = Room(places, limits.share_max)
        self._free = trio.Semaphore(places)
        self._shutdown = shutdown
        self._connections: trio.Nursery | None = None
        self._lane: Lane | None = None

    async def open(self, connections: trio.Nursery) -> None:
        """Be ready for connections; what serves them runs in `connections`."""
        self._connections = connections
        if self._plain is None or not hasattr(select, "epoll"):
            return
        limits = self._limits
        self._lane = Lane(
            self._plain,
            self._arrivals,
            self._room,
            Patience(
                limits.idle_s,
                limits.head_s,
                limits.body_idle_s,
                limits.pace_bytes_per_s,
                limits.send_idle_s,
                limits.linger_s,
            ),
            self._traffic,
            leave=self._leave_lane,
            closed=self._gone,
            stopping=self._shutdown,
        )
        await connections.start(self._lane.run)

    async def accept(self, listener: socket.socket, at_once: int) -> None:
        """Take connections as long as there is room for them; the system's queue keeps the rest."""
        source = Listener(listener, self._arrivals)
        try:
            while True:
                await self._accept_some(listener, source, at_once)
        finally:
            self._arrivals.forget(source)

    async def _accept_some(self, listener: socket.socket, source: Listener, at_once: int) -> None:
        source.want()
        await trio.lowlevel.checkpoint()
        for _ in range(at_once):
            try:
                peer, address = listener.accept()
            except BlockingIOError:
                source.drained_ns = time_ns()
                await trio.lowlevel.wait_readable(listener)
                return
            except OSError as error:
                if error.errno not in PASSING:
                    source.wanted = False
                    await self._pause(error)
                return
            source.wanted = False
            await self._find_room(peer)
            source.want()
            self._take_in_safely(peer, address)
            source.accepted += 1

    async def _pause(self, error: OSError) -> None:
        """The system has no descriptor or memory to spare for one more connection."""
        self._traffic.accept_errors += 1
        self._traffic.accept_error = errno.errorcode.get(error.errno or 0, "?")
        self._evict()
        await trio.sleep(ACCEPT_PAUSE_S)

    async def _find_room(self, peer: socket.socket) -> None:
        """Wait until one more may be served; it waits meanwhile, and the others behind it."""
        self._traffic.connections_waited += self._free.value == 0
        try:
            while self._free.value == 0:
                self._evict()
                with trio.move_on_after(ROOM_PAUSE_S):
                    await self._free.acquire()
                    return
            self._free.acquire_nowait()
        except trio.Cancelled:
            peer.close()
            raise

    def _take_in_safely(self, peer: socket.socket, address: object) -> None:
        """A connection that cannot even begin ends alone."""
        self._traffic.connections_open += 1
        self._traffic.connections_total += 1
        try:
            self._take_in(peer, address)
        except Exception as error:  # noqa: BLE001  # a peer must not be able to end the process
            self._failed(error)
            peer.close()
            self._gone()

    def _take_in(self, peer: socket.socket, address: object) -> None:
        peer.setblocking(False)
        if self._lane is None:
            self._attend_soon(peer, None)
            return
        if peer.family != socket.AF_UNIX:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lane.take_in(peer, share_of(address))

    def _attend_soon(self, peer: socket.socket, leaving: Leaving | None) -> None:
        assert self._connections is not None
        reader = Reader(peer, self._arrivals)
        if leaving is not None and leaving.stranger:
            reader.awaited = False
        elif leaving is not None and leaving.came:
            self._arrivals.take_in_hand(reader)
        self._connections.start_soon(self._attend, reader, peer, leaving)

    def _leave_lane(self, leaving: Leaving) -> None:
        try:
            self._attend_soon(leaving.sock, leaving)
        except Exception as error:  # noqa: BLE001  # a peer must not be able to end the process
            self._failed(error)
            leaving.sock.close()
            self._gone()

    async def attend_last(self, peers: Sequence[tuple[socket.socket, object]]) -> None:
        """Connections that nobody had taken yet when we stopped: their requests are on the way."""
        for peer, address in peers:
            await self._find_room(peer)
            self._take_in_safely(peer, address)
        if peers:
            await trio.sleep(LAST_REQUESTS_S)

    async def stop(self) -> None:
        await self._context.terminated.set()
        if self._lane is not None:
            self._lane.end()
        self._room.end_idle()

    def _evict(self) -> None:
        """Close connections that wait for their peers, to make room for new ones."""
        self._traffic.connections_evicted += self._room.make()

    async def _attend(self, reader: Reader, peer: socket.socket, leaving: Leaving | None) -> None:
        """One connection; whatever goes wrong in it stays in it."""
        # Nothing else runs until it waits for something, and then it has handed on what came.
        self._arrivals.hand_on(reader)
        goes_back = False
        connection = None
        try:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(peer))
            connection = self._connection(stream, reader, leaving)
            goes_back = await connection.run()
        except BaseExceptionGroup as group:
            ours, rest = group.split(Exception)
            if ours is not None:
                self._failed(ours)
            if rest is not None:
                raise rest from None
        except Exception as error:  # noqa: BLE001  # a peer must not be able to end the process
            self._failed(error)
        finally:
            reader.close()
            if not goes_back:
                peer.close()
                self._gone()
        if goes_back and connection is not None:
            self._back_to_lane(peer, connection)

    def _back_to_lane(self, peer: socket.socket, connection: Connection) -> None:
        assert self._lane is not None
        try:
            self._lane.take_back(
                peer,
                connection.address,
                known=connection.known,
                came=connection.rest,
                arrived_ns=connection.arrived_ns,
            )
        except Exception as error:  # noqa: BLE001  # as above
            self._failed(error)
            peer.close()
            self._gone()

    def _gone(self) -> None:
        self._traffic.connections_open -= 1
        self._free.release()

    def _connection(
        self, stream: trio.SocketStream, reader: Reader, leaving: Leaving | None
    ) -> Connection:
        return Connection(
            self._app,
            self._config,
            self._context,
            self._state,
            stream,
            reader,
            limits=self._limits,
            room=self._room,
            traffic=self._traffic,
            faults=self._faults,
            leaving=leaving,
        )

    def _failed(self, error: BaseException) -> None:
        self._traffic.connections_failed += 1
        self._faults.write("connection_failed", error)


def connections_allowed(limits: Limits) -> int:
    """As many as asked for, as far as this process may open files; it asks to be allowed more."""
    wanted = limits.connections_max + FILES_RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits.connections_max
    files = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    except (OSError, ValueError):
        files = soft
    return max(1, files - FILES_RESERVED)


# Addresses


def open_sockets(bind: str) -> list[socket.socket]:
    """Listening sockets for `host:port`, `[::1]:port` or `unix:/path`; port 0 takes a free one.

    A name that resolves to several addresses gets a socket for each. Raises OSError, and
    ValueError for what is no address.
    """
    if bind.startswith("unix:"):
        return [_unix_socket(bind.removeprefix("unix:"))]
    host, port = _host_and_port(bind)
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            if port == 0 and sockets:
                break  # one free port is what was asked for
            sockets.append(_tcp_socket(family, address))
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _host_and_port(bind: str) -> tuple[str, int]:
    host, colon, port = bind.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise ValueError("an address is host:port, [ipv6]:port or unix:/path")
    if ":" in host and not bracketed:
        raise ValueError("an IPv6 address goes in brackets: [::1]:8000")
    return host.removeprefix("[").removesuffix("]") if bracketed else host, int(port)


def _tcp_socket(family: int, address: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        sock.bind(address)  # type: ignore[arg-type]
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _unix_socket(path: str) -> socket.socket:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody listens on; a living one is left, and `bind` fails."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)


def _accept_queued(listener: socket.socket) -> list[tuple[socket.socket, object]]:
    """What the system has accepted for us already; closing the listener would reset it."""
    peers: list[tuple[socket.socket, object]] = []
    with suppress(OSError):
        while len(peers) < BACKLOG:
            peers.append(listener.accept())
    return peers


def _address(sock: socket.socket) -> str:
    return repr_socket_addr(sock.family, sock.getsockname())


def _close(listeners: Sequence[socket.socket], *, remove_files: bool) -> None:
    """Close what is still open. A file of ours goes with it; a shared one is others' too."""
    for sock in listeners:
        if remove_files and sock.fileno() >= 0 and sock.family == socket.AF_UNIX:
            with suppress(OSError):
                os.unlink(sock.getsockname())
        sock.close()
