"""Talking to a server over a real socket: a careful client, and a careless one."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 10.0

Address = tuple[str, int]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def field(self) -> str | None:
        return self.json.get("field")


def ask(
    address: Address,
    method: str,
    path: str,
    body: bytes | str | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own; the path goes out exactly as it is given."""
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        content = response.read()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, content)
    finally:
        connection.close()


def call(address: Address, method: str, path: str, body: object = None) -> Answer:
    return ask(address, method, path, None if body is None else json.dumps(body))


def post(address: Address, message: object, **headers: str) -> Answer:
    fields = {"content-type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return ask(address, "POST", "/api/message", body, fields)


@contextmanager
def raw(address: Address, timeout_s: float = TIMEOUT_S) -> Iterator[socket.socket]:
    """A connection that sends each piece when it is told to (TCP else keeps the second back)."""
    with socket.create_connection(address, timeout=timeout_s) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


def send_raw(address: Address, data: bytes, timeout_s: float = TIMEOUT_S) -> bytes:
    """Send bytes, then read until the server closes or says nothing for a moment."""
    with raw(address, timeout_s) as sock:
        sock.sendall(data)
        return read_all(sock)


def read_all(sock: socket.socket) -> bytes:
    """Until the end of the stream; a reset counts as one."""
    received = b""
    while True:
        try:
            piece = sock.recv(65_536)
        except ConnectionResetError:
            return received
        if not piece:
            return received
        received += piece


def read_answer(sock: socket.socket) -> bytes:
    """One answer with a Content-Length."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = sock.recv(65_536)
        assert piece, f"the server closed after {received!r}"
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ]
    while len(body) < lengths[0]:
        body += sock.recv(65_536)
    return head + b"\r\n\r\n" + body


def stuff(sock: socket.socket, data: bytes, at_most: int = 1_000_000) -> int:
    """Send again and again without reading, until the server takes nothing more; how often."""
    for sent in range(at_most):
        try:
            sock.sendall(data)
        except (TimeoutError, ConnectionError):
            return sent
    return at_most


def until(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Wait for something that another thread brings about."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
