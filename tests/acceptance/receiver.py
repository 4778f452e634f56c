"""The webhook's other end: a small threaded HTTP server that does to its caller what a test says.

Every attempt is written down as it was seen from here: headers, exact bytes, when its first byte
came, when it was answered or given up. Answers are scripted per user, in the order of that
user's attempts; who has no script gets the `default`.

Times are `time.monotonic()`, the clock that all processes of a machine share. `started` is never
before the caller began, and `ended` never after it could know of the end; so two attempts that
look disjoint here were disjoint, and what looks early was early.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

GIVE_UP_S = 60.0
"""No test waits for longer than this; a hang that lasts longer is a leak."""
TICK_S = 0.005
READ_BYTES = 65_536


@dataclass(frozen=True)
class Answer:
    """What is done with one attempt, after it was read whole."""

    kind: str = "reply"
    """`reply` · `drip` (the answer's head byte by byte) · `close` · `garbage` (no HTTP)."""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: str = "ok"
    after_s: float = 0.0
    gate: threading.Event | None = None
    """The answer waits until this is set."""
    on_arrival: Callable[[], None] | None = None
    """Runs in the receiver's thread before anything else is done."""


OK = Answer()
HANG = Answer(after_s=GIVE_UP_S)
DRIP = Answer(kind="drip")
CLOSE = Answer(kind="close")
GARBAGE = Answer(kind="garbage")


def reply(status: int, **headers: str) -> Answer:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(status=status, headers=named)


def slow(seconds: float, status: int = 200) -> Answer:
    return Answer(after_s=seconds, status=status)


def held(gate: threading.Event, status: int = 200) -> Answer:
    return Answer(gate=gate, status=status)


@dataclass
class Attempt:
    """One request, as the receiver saw it."""

    webhook_id: str
    user: str
    texts: tuple[str, ...]
    body: bytes
    headers: dict[str, str]
    line: str
    started: float
    ended: float | None = None
    """None while it is under way."""
    status: int | None = None
    """None: there was no complete answer."""

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status <= 299


@dataclass
class Receiver:
    """Use with `receiving`."""

    default: Answer = OK
    mix: Callable[[], Answer] | None = None
    """Chooses in place of the `default`."""
    decide: Callable[[Attempt], Answer] | None = None
    """Chooses by the attempt, in place of everything else."""
    port: int = 0
    bytes_max: dict[str, int] = field(default_factory=dict)
    """Per user: a larger body gets 413, whatever else was scripted."""
    attempts: list[Attempt] = field(default_factory=list)
    _scripts: dict[str, deque[Answer]] = field(default_factory=lambda: defaultdict(deque))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _listener: socket.socket | None = None
    _connections: set[socket.socket] = field(default_factory=set)
    _closing: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=segredo-do-webhook"

    def script(self, user: str, *answers: Answer) -> None:
        """The answers to the user's next attempts; the `default` again after them."""
        with self._lock:
            self._scripts[user].extend(answers)

    def of(self, user: str) -> list[Attempt]:
        """The user's attempts so far, in the order in which they came."""
        return [attempt for attempt in list(self.attempts) if attempt.user == user]

    def delivered(self, user: str) -> list[str]:
        """The texts of the user's first successes, batch after batch."""
        batches = {a.webhook_id: a.texts for a in self.of(user) if a.succeeded}
        return [text for texts in batches.values() for text in texts]

    def _unscripted(self) -> Answer:
        return self.default if self.mix is None else self.mix()

    # The listener

    def listen(self) -> None:
        """Take the port, the same one again after `refuse`."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=1_024)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._spawn(self._accept, listener)

    def refuse(self) -> None:
        """From now on connections are refused; those that are open are cut."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closing.set()
        self.refuse()
        for thread in self._threads:
            thread.join(GIVE_UP_S)

    def _spawn(self, work: Callable[[socket.socket], None], sock: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(sock,), daemon=True)
        with self._lock:
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(self._serve, connection)

    # One connection

    def _serve(self, connection: socket.socket) -> None:
        with self._open(connection), suppress(OSError):
            while True:
                attempt = self._read(connection)
                if attempt is None:
                    return
                with self._lock:
                    waiting = self._scripts[attempt.user]
                    answer = waiting.popleft() if waiting else self._unscripted()
                    self.attempts.append(attempt)
                if self.decide is not None:
                    answer = self.decide(attempt)
                if len(attempt.body) > self.bytes_max.get(attempt.user, len(attempt.body)):
                    answer = reply(413)
                if answer.on_arrival is not None:
                    answer.on_arrival()
                try:
                    if not self._answer(connection, attempt, answer):
                        return
                finally:
                    if attempt.ended is None:
                        attempt.ended = time.monotonic()

    @contextmanager
    def _open(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            self._connections.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._connections.remove(connection)
            connection.close()

    def _read(self, connection: socket.socket) -> Attempt | None:
        """The next request; None when the caller went away, even in the middle of one."""
        started, data = 0.0, b""
        while not (complete := _complete(data)):
            if not self._readable(connection, time.monotonic() + GIVE_UP_S):
                return None
            piece = connection.recv(READ_BYTES)
            started = started or time.monotonic()
            if not piece:
                return None
            data += piece
        head, body = complete
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {n.lower(): v for n, v in (one.split(": ", 1) for one in lines)}
        content = json.loads(body)
        return Attempt(
            webhook_id=headers["webhook-id"],
            user=content["user"],
            texts=tuple(content["messages"]),
            body=body,
            headers=headers,
            line=line,
            started=started,
        )

    def _answer(self, connection: socket.socket, attempt: Attempt, answer: Answer) -> bool:
        """Whether the connection can carry another request."""
        until = time.monotonic() + answer.after_s
        if not self._pass_time(connection, answer.gate, until):
            return False
        if answer.kind == "drip":
            return self._drip(connection)
        # Before the caller can know of it, or its next attempt could begin before this one ends.
        attempt.ended = time.monotonic()
        if answer.kind == "close":
            return False
        if answer.kind == "garbage":
            connection.sendall(b"this is no HTTP segredo-da-resposta\r\n\r\n")
            return False
        attempt.status = answer.status
        # A 304 has no body (RFC 9110, 15.4.5).
        body = "" if answer.status == 304 else answer.body
        head = [f"HTTP/1.1 {answer.status} X", f"content-length: {len(body.encode())}"]
        head += [f"{name}: {value}" for name, value in answer.headers]
        connection.sendall("\r\n".join([*head, "", body]).encode())
        return True

    def _pass_time(
        self, connection: socket.socket, gate: threading.Event | None, until: float
    ) -> bool:
        """False when the caller goes away first, or the receiver closes."""
        while (gate is not None and not gate.is_set()) or time.monotonic() < until:
            if self._closing.is_set() or self._gone(connection, TICK_S):
                return False
        return True

    def _drip(self, connection: socket.socket) -> bool:
        while not self._closing.is_set():
            for byte in b"HTTP/1.1 200 OK\r\nx: " + b"x" * 1_000:
                if self._gone(connection, 0.05):
                    return False
                connection.sendall(bytes([byte]))
        return False

    def _gone(self, connection: socket.socket, within_s: float) -> bool:
        """Whether the caller closes within this time. It has nothing to send meanwhile."""
        readable, _, _ = select.select([connection], [], [], within_s)
        return bool(readable) and not connection.recv(READ_BYTES)

    def _readable(self, connection: socket.socket, until: float) -> bool:
        while not self._closing.is_set() and time.monotonic() < until:
            if select.select([connection], [], [], 0.1)[0]:
                return True
        return False


@contextmanager
def receiving(default: Answer = OK) -> Iterator[Receiver]:
    """A receiver on a free loopback port for as long as the block lasts."""
    receiver = Receiver(default)
    receiver.listen()
    try:
        yield receiver
    finally:
        receiver.close()


def _complete(data: bytes) -> tuple[bytes, bytes] | None:
    """Head and body, once all of both is there."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return None
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return (head, body) if len(body) >= int(line.partition(b":")[2]) else None
    raise AssertionError("a webhook without content-length")
