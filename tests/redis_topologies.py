"""A cluster, and a primary behind sentinels, of real servers on ports of this machine.

Started with the server of the wheel alone; what `valkey-cli` would do is done with plain
commands. Use as context managers; everything is gone afterwards, whatever the test did to it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import valkey_binary
from tests.store.slots import SLOTS, slot_of

HOST = "127.0.0.1"
READY_S = 60.0
SENTINEL_NAME = "mensagens"
Endpoint = tuple[str, int]

NODE_TIMEOUT_MS = 1_000
"""A cluster takes a node for dead after this long."""
DOWN_AFTER_MS = 1_000
"""So do sentinels."""


class TcpServer:
    """One server process on a port. It can be killed, frozen, and started again as it was."""

    def __init__(self, directory: Path, port: int, arguments: Sequence[str]) -> None:
        self.port = port
        self._directory = directory
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> Endpoint:
        return HOST, self.port

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with (self._directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [valkey_binary(), *self._arguments], stdout=log, stderr=log, cwd=self._directory
            )

    def client(self, **options: Any) -> redis.Redis:
        """A plain client. The caller closes it."""
        return redis.Redis(
            HOST, self.port, retry=Retry(NoBackoff(), 0), socket_timeout=10, **options
        )

    def ask(self, *words: object) -> Any:
        """One command on a connection of its own."""
        with self.client() as client:
            return client.execute_command(*words)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


class Cluster:
    """Primaries that share the slots, each with replicas. `servers` are all, primaries first."""

    def __init__(self, servers: list[TcpServer], primaries: int) -> None:
        self.servers = servers
        self.primaries = servers[:primaries]
        """As it was made; `leaders` are those of now."""

    @property
    def leaders(self) -> list[TcpServer]:
        """Those of the servers that are primaries now. All must be running."""
        return [server for server in self.servers if server.ask("ROLE")[0] == b"master"]

    @property
    def url(self) -> str:
        seeds = ",".join(f"{HOST}:{server.port}" for server in self.servers)
        return f"redis+cluster://{seeds}/0"

    def owner_of(self, key: bytes) -> TcpServer:
        """The primary that has the key's slot now."""
        slot = slot_of(key)
        asked = next(server for server in self.servers if server.running)
        for first, last, primary, *_ in asked.ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return self._at(int(primary[1]))
        raise AssertionError(f"nobody has slot {slot}")

    def replica_of(self, primary: TcpServer) -> TcpServer:
        (name, *_) = [node[0] for node in _nodes(primary) if "myself" in node[2]]
        (replica, *_) = [node for node in _nodes(primary) if node[3] == name]
        return self._at(_port_of(replica))

    def move_slot(self, slot: int, source: TcpServer, target: TcpServer) -> Iterator[str]:
        """Step by step, as `valkey-cli --cluster reshard` does; yields between the steps."""
        names = {server: str(_text(server.ask("CLUSTER", "MYID"))) for server in (source, target)}
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
        yield "open"
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 5):
            source.ask("MIGRATE", HOST, target.port, "", 0, 5_000, "KEYS", *keys)
            yield "keys"
        for server in (target, source, *self.leaders):
            server.ask("CLUSTER", "SETSLOT", slot, "NODE", names[target])
        yield "done"

    def abandon_slot(self, slot: int) -> None:
        """No node serves it, and every node knows that.

        Its owner must forget it first. An announcement of the owner or of its replicas gives it
        back to a node that forgot it earlier, which then takes the cluster for complete and goes
        on answering; so it is taken away again until all have spoken since and none has it.
        """
        owner = next(server for server in self.leaders if slot in _own_slots(server))
        owner.ask("CLUSTER", "DELSLOTS", slot)
        since_ms = time.time() * 1000
        wait_for(lambda: all(_has_forgotten(each, slot, since_ms) for each in self.servers))

    def _at(self, port: int) -> TcpServer:
        return next(server for server in self.servers if server.port == port)


class Watched:
    """A primary with replicas, and sentinels that watch it."""

    def __init__(self, servers: list[TcpServer], sentinels: list[TcpServer]) -> None:
        self.servers = servers
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        return self.url_of(SENTINEL_NAME)

    def url_of(self, name: str) -> str:
        places = ",".join(f"{HOST}:{server.port}" for server in self.sentinels)
        return f"redis+sentinel://{places}/{name}"

    @contextmanager
    def mistaken_sentinel(self) -> Iterator[TcpServer]:
        """One more, which believes that a replica is the primary."""
        (replica, *_) = [server for server in self.servers if server is not self.primary]
        (port,) = free_ports(1)
        with _directory() as directory:
            file = directory / "sentinel.conf"
            file.write_text(_sentinel_file(port, replica.port, 9))
            with _running(directory, port, [str(file), "--sentinel"]) as sentinel:
                yield sentinel

    @property
    def primary(self) -> TcpServer:
        """Whom the first sentinel names."""
        _, port = self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SENTINEL_NAME)
        return next(server for server in self.servers if server.port == int(port))


@contextmanager
def cluster(primaries: int = 3, replicas: int = 1, *options: str) -> Iterator[Cluster]:
    """Ready for calls in all slots, and every replica in step."""
    with _directory() as directory, ExitStack() as stack:
        servers = []
        count = primaries * (1 + replicas)
        ports = free_ports(2 * count)
        buses = dict(zip(ports, ports[count:], strict=False))
        for port, bus in buses.items():
            words = _server_words(port) + _cluster_words(port, bus) + list(options)
            servers.append(stack.enter_context(_running(directory, port, words)))
        _share_slots(servers[:primaries])
        for server in servers[1:]:
            servers[0].ask("CLUSTER", "MEET", HOST, server.port, buses[server.port])
        made = Cluster(servers, primaries)
        wait_for(lambda: all(len(_nodes(server)) == len(servers) for server in servers))
        for i, server in enumerate(servers[primaries:]):
            primary = servers[i % primaries]
            name = _text(primary.ask("CLUSTER", "MYID"))
            wait_for(lambda s=server, n=name: _replicates(s, n))  # type: ignore[misc]
        wait_for(lambda: all(_is_ok(server) for server in servers))
        for server in servers[:primaries]:
            wait_for(lambda s=server: _replicas_online(s) >= replicas)  # type: ignore[misc]
        yield made


@contextmanager
def watched(replicas: int = 2, sentinels: int = 3, *options: str) -> Iterator[Watched]:
    """A primary whose replicas are in step and whom all sentinels know."""
    with _directory() as directory, ExitStack() as stack:
        ports = free_ports(1 + replicas + sentinels)
        servers = []
        for port in ports[: 1 + replicas]:
            words = _server_words(port) + list(options)
            if port != ports[0]:
                words += ["--replicaof", f"{HOST} {ports[0]}"]
            servers.append(stack.enter_context(_running(directory, port, words)))
        wait_for(lambda: _replicas_online(servers[0]) == replicas)
        guards = []
        for port in ports[1 + replicas :]:
            file = directory / f"sentinel-{port}.conf"
            file.write_text(_sentinel_file(port, ports[0], sentinels // 2 + 1))
            words = [str(file), "--sentinel"]
            guards.append(stack.enter_context(_running(directory, port, words)))
        wait_for(lambda: all(_knows_all(guard, replicas, sentinels) for guard in guards))
        yield Watched(servers, guards)


@contextmanager
def tcp_server(*options: str) -> Iterator[TcpServer]:
    """One server by itself, on a port. It answers, perhaps that it wants a password."""
    (port,) = free_ports(1)
    with _directory() as directory:
        server = TcpServer(directory, port, [*_server_words(port), *options])
        server.start()
        try:
            wait_for(lambda: _answers(server))
            yield server
        finally:
            server.kill()


def _answers(server: TcpServer) -> bool:
    with socket.create_connection(server.endpoint, timeout=5) as raw:
        raw.sendall(b"PING\r\n")
        return bool(raw.recv(1))


@contextmanager
def tls_front(target: Path | Endpoint, certificate: Path, host: str = HOST) -> Iterator[Endpoint]:
    """Speaks TLS in front of a server that does not: the wheel's is built without.

    `certificate` holds the key too. Yields where to connect.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server((host, 0)) as listener:
        threading.Thread(target=_accept, args=(listener, context, target), daemon=True).start()
        yield listener.getsockname()[:2]
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, context: ssl.SSLContext, target: Path | Endpoint) -> None:
    while True:
        try:
            raw, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_forward, args=(raw, context, target), daemon=True).start()


def _forward(raw: socket.socket, context: ssl.SSLContext, target: Path | Endpoint) -> None:
    """Both ways in one thread, because an SSL socket is not for two."""
    with contextlib.suppress(OSError), raw, _connected_to(target) as plain:
        raw.settimeout(5)
        secure = context.wrap_socket(raw, server_side=True)
        secure.settimeout(None)
        with secure:
            while True:
                ready, _, _ = select.select([secure, plain], [], [])
                if secure in ready:
                    data = secure.recv(65_536)
                    while secure.pending():
                        data += secure.recv(65_536)
                    plain.sendall(data)
                elif not (data := plain.recv(65_536)):
                    return
                else:
                    secure.sendall(data)
                if not data:
                    return


def _connected_to(target: Path | Endpoint) -> socket.socket:
    if isinstance(target, Path):
        unix = socket.socket(socket.AF_UNIX)
        unix.connect(str(target))
        return unix
    return socket.create_connection(target)


def wait_for(condition: Callable[[], object], within_s: float = READY_S) -> None:
    """Until it is true. An error of a server that is not there yet counts as not yet."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            if condition():
                return
        except (redis.RedisError, OSError):
            pass
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.02)


def _server_words(port: int) -> list[str]:
    return [
        *("--port", str(port), "--bind", HOST, "--save", "", "--loglevel", "warning"),
        *("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"),
        *("--dbfilename", f"dump-{port}.rdb", "--appenddirname", f"aof-{port}"),
    ]


def _cluster_words(port: int, bus: int) -> list[str]:
    # By itself the bus' port is 10,000 higher, which may be too high or taken.
    return [
        *("--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{port}.conf"),
        *("--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-port", str(bus)),
        *("--cluster-replica-validity-factor", "0"),
    ]


def _sentinel_file(port: int, primary: int, quorum: int) -> str:
    return "\n".join(
        (
            f"port {port}",
            f"bind {HOST}",
            "loglevel warning",
            f"sentinel monitor {SENTINEL_NAME} {HOST} {primary} {quorum}",
            f"sentinel down-after-milliseconds {SENTINEL_NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {SENTINEL_NAME} 5000",
            "",
        )
    )


@contextmanager
def _running(directory: Path, port: int, words: Sequence[str]) -> Iterator[TcpServer]:
    server = TcpServer(directory, port, words)
    server.start()
    try:
        wait_for(lambda: server.ask("PING"))
        yield server
    finally:
        server.kill()


def _share_slots(primaries: Sequence[TcpServer]) -> None:
    for i, server in enumerate(primaries):
        first, end = SLOTS * i // len(primaries), SLOTS * (i + 1) // len(primaries)
        server.ask("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        server.ask("CLUSTER", "SET-CONFIG-EPOCH", i + 1)


def _replicates(server: TcpServer, primary: str) -> bool:
    return bool(server.ask("CLUSTER", "REPLICATE", primary))


def _own_slots(server: TcpServer) -> list[int]:
    (own, *_) = [node[8:] for node in _nodes(server) if "myself" in node[2]]
    ranges = [words.partition("-") for words in own if words[0] != "["]
    return [n for first, _, last in ranges for n in range(int(first), int(last or first) + 1)]


def _has_forgotten(server: TcpServer, slot: int, since_ms: float) -> bool:
    heard = all(int(node[5]) > since_ms for node in _nodes(server) if "myself" not in node[2])
    with contextlib.suppress(redis.ResponseError):
        server.ask("CLUSTER", "DELSLOTS", slot)
        return False
    return heard and b"cluster_state:fail" in server.ask("CLUSTER", "INFO")


def _is_ok(server: TcpServer) -> bool:
    return b"cluster_state:ok" in server.ask("CLUSTER", "INFO")


def _replicas_online(server: TcpServer) -> int:
    with server.client() as client:
        facts = client.info("replication")
    return sum(
        1
        for name, value in facts.items()
        if name.startswith("slave") and isinstance(value, dict) and value["state"] == "online"
    )


def _knows_all(sentinel: TcpServer, replicas: int, sentinels: int) -> bool:
    with sentinel.client() as client:
        facts: Any = client.sentinel_master(SENTINEL_NAME)
    return (
        int(facts["num-slaves"]) == replicas and int(facts["num-other-sentinels"]) == sentinels - 1
    )


def _nodes(server: TcpServer) -> list[list[str]]:
    with socket.create_connection(server.endpoint, timeout=5) as raw:
        raw.sendall(b"CLUSTER NODES\r\n")
        reply = b""
        while not reply.endswith(b"\n\r\n"):
            reply += raw.recv(65_536)
    return [line.split() for line in reply.decode().splitlines()[1:] if line]


def _port_of(node: Sequence[str]) -> int:
    return int(node[1].partition("@")[0].rpartition(":")[2])


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server((HOST, 0), reuse_port=False))
            for _ in range(count)
        ]
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aq-", ignore_cleanup_errors=True) as name:
        yield Path(name)
