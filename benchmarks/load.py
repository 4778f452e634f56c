"""The load generator: a process of its own, raw kept-alive sockets, requests made beforehand.

`python -m benchmarks.load PLAN OPTIONS` runs one of the plans below; OPTIONS is a JSON object of
the plan's arguments. The last line on stdout is the result, a JSON object. Knows nothing of the
service but HTTP.
"""

from __future__ import annotations

import gc
import itertools
import json
import random
import re
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
READ_BYTES = 1 << 18
LAST_CHUNK = b"0\r\n\r\n"
ANSWER_TIMEOUT_S = 60.0
CONNECT_PAUSE_S = 0.002
SEED = 20
DIGITS = 9
"""At the end of a user's name."""
BEFORE_S = 0.3
"""Between having everything ready and the first request."""

FIELDS = {
    "id_agente": 1,
    "numero_conectado": "+5511999999999",
    "foto": "https://example.com/photo.jpg",
    "phone": "+5511888888888",
    "sender_name": "João Silva",
    "user": "USER",
    "chave": "chave123",
    "instance_id": "inst_123",
    "servidor": "srv1",
    "token": "token123",
    "token_seguranca": "sec_token123",
    "modo": "chat",
    "plataforma_ia": 1,
    "server_url": "https://api.example.com",
    "provider": 1,
    "id_instancia": 1,
    "message": "Sua mensagem aqui",
    "ttl": 0,
}
"""The first receivers' message, with its 18 fields."""


class Template:
    """A message whose user changes and whose length does not. All are on `route`; with `routes`,
    users in turn have each of so many, named `route_name`."""

    def __init__(self, ttl: float, routes: int = 0, route: str | None = None) -> None:
        routed = {"route": "ROUTE" if routes else route} if routes or route else {}
        text = json.dumps(FIELDS | {"ttl": ttl} | routed, ensure_ascii=False).encode()
        form = text.replace(b"%", b"%%").replace(b"USER", b"%(user)b")
        self._form = form.replace(b"ROUTE", b"%(route)b")
        self._routes = routes

    def body(self, user: bytes) -> bytes:
        route = route_name(int(user[-DIGITS:]) % self._routes) if self._routes else ""
        return self._form % {b"user": user, b"route": route.encode()}


class Form:
    """A body made of a text that has `USER` and `NUMBER` in it; no two bodies have a number."""

    def __init__(self, text: str) -> None:
        form = text.encode().replace(b"%", b"%%")
        self._form = form.replace(b"USER", b"%(user)b").replace(b"NUMBER", b"%(number)09d")
        self._numbers = iter(range(1 << 40))

    def body(self, user: bytes) -> bytes:
        return self._form % {b"user": user, b"number": next(self._numbers)}


def user_name(prefix: str, number: int) -> bytes:
    return b"%b-%0*d" % (prefix.encode(), DIGITS, number)


def route_name(number: int) -> str:
    return f"r{number:02}"


def request(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {content_type}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


# Connections


class Wire:
    """One kept-alive connection with at most one request under way."""

    __slots__ = ("_buffer", "sent_at", "sock")

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.sent_at = 0.0

    def send(self, data: bytes) -> None:
        self.sent_at = time.time()
        self.sock.sendall(data)

    def read(self) -> int | None:
        """The status of the answer when it is complete; None when more is to come."""
        data = self.sock.recv(READ_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = LENGTH.search(self._buffer, 0, end)
        if length is None:
            if not self._buffer.endswith(LAST_CHUNK):
                return None
        elif len(self._buffer) < end + 4 + int(length[1]):
            return None
        status = int(self._buffer[9:12])
        self._buffer = b""
        return status

    def answer(self) -> int:
        while (status := self.read()) is None:
            pass
        return status


class Wires:
    """Many connections, looked after with one epoll."""

    def __init__(self, port: int, number: int) -> None:
        self.wires = [Wire(port) for _ in range(number)]
        self._epoll = select.epoll()
        self._by_file = {wire.sock.fileno(): wire for wire in self.wires}
        for file in self._by_file:
            self._epoll.register(file, select.EPOLLIN)

    def answered(self, timeout_s: float) -> list[tuple[Wire, int]]:
        """Those whose answer has come, with its status."""
        done = []
        for file, _ in self._epoll.poll(max(0.0, timeout_s)):
            wire = self._by_file[file]
            status = wire.read()
            if status is not None:
                done.append((wire, status))
        return done


# Plans


def closed(
    port: int,
    path: str,
    connections: int,
    warm_up_s: float,
    seconds: float,
    ttl: float,
    prefix: str,
    burst: int,
    routes: int = 0,
    form: str = "",
    users_max: int = 1 << 40,
) -> dict[str, Any]:
    """As many requests as the server takes, one under way on each connection.

    `burst` messages of one user follow each other on a connection. With a `form` each has a number.
    After `users_max` users the first one writes again.
    """
    wires = Wires(port, connections)
    template = Form(form) if form else Template(ttl, routes)
    head, _, _ = request(path, template.body(user_name(prefix, 0))).partition(b"\r\n\r\n")
    head += b"\r\n\r\n"
    users = (number % users_max for number in itertools.count())
    at: dict[Wire, tuple[bytes, bytes, int]] = {}

    def following(wire: Wire) -> bytes:
        user, data, left = at.get(wire, (b"", b"", 0))
        if left == 0:
            user = user_name(prefix, next(users))
            data, left = head + template.body(user), burst
        elif form:
            data = head + template.body(user)
        at[wire] = user, data, left - 1
        return data

    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    gc.disable()
    begin = time.time() + warm_up_s
    end = begin + seconds
    for wire in wires.wires:
        wire.send(following(wire))
    begun = False
    while (now := time.time()) < end:
        if now >= begin and not begun:
            begun = True
            say(begins=now)
        for wire, status in wires.answered(end - now):
            if wire.sent_at >= begin:
                statuses[status] += 1
                latencies.append(time.time() - wire.sent_at)
            wire.send(following(wire))
    return {"seconds": seconds, "statuses": statuses, "begin": begin, **quantiles(latencies)}


def bulk(
    port: int,
    connections: int,
    requests: int,
    messages: int,
    form: str,
    ttl: float,
    prefix: str,
    burst: int,
    route: str | None = None,
    routes: int = 0,
) -> dict[str, Any]:
    """`requests` requests of `messages` messages each, over `connections` connections."""
    bodies = []
    template, first = Template(ttl, routes, route), 0
    for _ in range(requests):
        texts = [template.body(user_name(prefix, first + i // burst)) for i in range(messages)]
        first += messages // burst
        bodies.append(_bulk_request(texts, form))
    wires = Wires(port, connections)
    statuses: Counter[int] = Counter()
    gc.disable()
    begin = time.time()
    free, under_way = list(wires.wires), 0
    while bodies or under_way:
        while bodies and free:
            free.pop().send(bodies.pop())
            under_way += 1
        for wire, status in wires.answered(ANSWER_TIMEOUT_S):
            statuses[status] += 1
            under_way -= 1
            free.append(wire)
    return {"seconds": time.time() - begin, "statuses": statuses, "messages": requests * messages}


def _bulk_request(texts: list[bytes], form: str) -> bytes:
    if form == "ndjson":
        return request("/api/messages", b"\n".join(texts) + b"\n", "application/x-ndjson")
    return request("/api/messages", b"[" + b",".join(texts) + b"]")


def paced(
    port: int,
    connections: int,
    users: int,
    posts: int,
    window_s: float,
    gap_s: float,
    ttl: float,
    prefix: str,
    sent_file: str,
    routes: int = 0,
) -> dict[str, Any]:
    """`users` users begin at random moments of `window_s` and send `posts` messages, `gap_s` apart.

    Requests leave when they are due, whether or not earlier ones were answered. Writes to
    `sent_file` when each user's last message was sent: one line, user and Unix seconds.
    """
    wires = Wires(port, connections)
    template = Template(ttl, routes)
    ready = [
        request("/api/message", template.body(user_name(prefix, user))) for user in range(users)
    ]
    begin = time.time() + BEFORE_S
    moment = random.Random(SEED).random
    starts = [begin + window_s * moment() for _ in range(users)]
    plan = sorted(
        (at + gap_s * post, user) for user, at in enumerate(starts) for post in range(posts)
    )
    free = list(wires.wires)
    sent: dict[int, float] = {}
    statuses: Counter[int] = Counter()
    slips: list[float] = []
    latencies: list[float] = []
    gc.disable()
    place = 0
    while place < len(plan) or len(free) < connections:
        now = time.time()
        while place < len(plan) and plan[place][0] <= now and free:
            at, user = plan[place]
            wire = free.pop()
            wire.send(ready[user])
            sent[user] = wire.sent_at
            slips.append(wire.sent_at - at)
            place += 1
        wait_s = plan[place][0] - time.time() if place < len(plan) and free else ANSWER_TIMEOUT_S
        for wire, status in wires.answered(wait_s):
            statuses[status] += 1
            latencies.append(time.time() - wire.sent_at)
            free.append(wire)
    lines = (f"{user_name(prefix, user).decode()} {at!r}\n" for user, at in sent.items())
    Path(sent_file).write_text("".join(lines))
    return {
        "begin": begin,
        "statuses": statuses,
        "behind_max_ms": max(slips) * 1e3,
        **quantiles(latencies),
    }


def stalls(port: int, every_s: float, until_file: str) -> dict[str, Any]:
    """GET `/healthz` every `every_s` on one kept connection until `until_file` exists.

    Tries to connect from the start on, and counts from the first connection. A long answer is a
    stall of the server's loop, as long as that answer, less what any answer takes.
    """
    wire = None
    while wire is None:
        try:
            wire = Wire(port)
        except OSError:
            time.sleep(CONNECT_PAUSE_S)
    message = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    taken: list[float] = []
    longest = (0.0, 0.0)
    last = Path(until_file)
    gc.disable()
    while not last.exists():
        wire.send(message)
        wire.answer()
        taken.append(time.time() - wire.sent_at)
        longest = max(longest, (taken[-1], wire.sent_at))
        time.sleep(max(0.0, wire.sent_at + every_s - time.time()))
    return {**quantiles(taken), "longest_at": longest[1]}


def say(**facts: Any) -> None:
    """One line for the driver."""
    print(json.dumps(facts), flush=True)


def quantiles(values: list[float]) -> dict[str, Any]:
    """Of seconds, in milliseconds."""
    if not values:
        return {"count": 0}
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        "count": len(ordered),
        **{f"p{q}_ms": ordered[round(last * q / 100)] * 1e3 for q in (50, 99)},
        "max_ms": ordered[last] * 1e3,
    }


PLANS: dict[str, Callable[..., dict[str, Any]]] = {
    plan.__name__: plan for plan in (closed, bulk, paced, stalls)
}

if __name__ == "__main__":
    say(**PLANS[sys.argv[1]](**json.loads(sys.argv[2])))
