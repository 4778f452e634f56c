"""Where the service listens: its door, and beside it the listener for probes."""

from __future__ import annotations

import socket
from typing import NamedTuple

from hypercorn.utils import repr_socket_addr

from actor_queue.app.alive import host_in_url
from actor_queue.core.doubts import doubts
from actor_queue.core.settings import Settings
from actor_queue.http.server import Limits, connections_allowed, open_sockets


class CannotListen(Exception):
    """An address cannot be had; one sentence."""


class Sockets(NamedTuple):
    """Bound and listening."""

    door: list[socket.socket]
    probes: list[socket.socket]
    """Of AQ_PROBE_BIND; empty without one."""

    def log_fields(self) -> dict[str, str]:
        """Where the probes are answered, for the line that says where the service listens."""
        found = [repr_socket_addr(each.family, each.getsockname()) for each in self.probes]
        return {"probes": ", ".join(found)} if found else {}


def listen(settings: Settings) -> Sockets:
    """Raises `CannotListen`."""
    door = _listening(settings.bind, "AQ_BIND or PORT")
    if settings.probe_bind is None:
        return Sockets(door, [])
    try:
        return Sockets(door, _listening(settings.probe_bind, "AQ_PROBE_BIND"))
    except CannotListen:
        for sock in door:
            sock.close()
        raise


def doubts_here(settings: Settings) -> list[str]:
    """What is probably not meant, also of what this machine allows a process of ours."""
    allowed = connections_allowed(Limits.of(settings))
    if allowed == settings.max_connections:
        return doubts(settings)
    return [
        *doubts(settings),
        f"AQ_MAX_CONNECTIONS is {settings.max_connections}, and the system lets a process open only"
        f" as many files as are enough for {allowed}: raise `ulimit -n` (LimitNOFILE, nofile)",
    ]


def link(address: str, root_path: str) -> str:
    """What a browser on this machine can open, where the service listens at `address`: a wildcard
    is an address to listen on, and none to go to."""
    host, _, port = address.rpartition(":")
    return f"http://{host_in_url(host)}:{port}{root_path}/"


def _listening(bind: str, set_by: str) -> list[socket.socket]:
    try:
        return open_sockets(bind)
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {bind} ({set_by}): {error.strerror or error};"
            " stop what uses the address, or choose another one"
        ) from error
