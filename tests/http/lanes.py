"""`python -m tests.http.lanes --requests 100000`: the same bytes down both lanes.

Two servers with the same application, one with the lane for plain requests and one without, are
sent the same requests over connections of their own. What they answer, byte for byte but for the
date and the ids that they draw, and what they hand to the engine has to be the same. A seed makes
the same requests again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import socket
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final

from actor_queue.core.api_keys import ApiKey
from actor_queue.http.server import Limits
from tests.http.conftest import Served, served

ANSWER_TIMEOUT_S: Final = 20.0
PATIENCE: Final = Limits(head_s=4.0, body_idle_s=4.0)
"""A request that is never whole ends after that, on both lanes alike."""
THREADS: Final = 32
LAST: Final = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
REQUESTS_MAX: Final = 5
KEYS: Final = (
    ApiKey("ingest", "key-in"),
    ApiKey("read", "key-read"),
    ApiKey("admin", "key-admin"),
)
_DRAWN = re.compile(rb'date: [^\r]*\r\n|content-length: \d+\r\n|"message_id": "m-\d+"')
_LAST_OF_ALL = re.compile(rb"(?i)connection: close|http/1\.0")
FULL: Final = "full"


def requests(dice: random.Random, sender: str) -> bytes:
    """What one connection sends: requests of every kind, mostly nearly right ones."""
    parts = []
    for _ in range(dice.randint(1, REQUESTS_MAX)):
        part = request(dice, sender)
        if dice.random() < 0.08:
            part = _damaged(part, dice)
        if dice.random() < 0.08:
            part += dice.choice((b"\r\n", b"\n", b"\r\n\r\n", b"\r"))
        parts.append(part)
    return b"".join((*parts, LAST))


def request(dice: random.Random, sender: str) -> bytes:
    body = _body(dice, sender)
    method = _mostly(b"POST", (b"GET", b"PUT", b"post", b"POST ", b"OPTIONS", b""), dice)
    path = _mostly(b"/api/message", _PATHS, dice, 0.25)
    version = _mostly(b"HTTP/1.1", (b"HTTP/1.0", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 ", b""), dice)
    if dice.random() < 0.15:
        path = dice.choice(_PAGES)
    if path.endswith(_GET) and dice.random() < 0.8:
        method, body = b"GET", b""
    fields = [_mostly(b"host: localhost", _HOSTS, dice)]
    if body or dice.random() < 0.5:
        length = _mostly(b"%d" % len(body), _lengths(len(body)), dice)
        fields.append(b"content-length: " + length)
    fields += [dice.choice(_FIELDS) for _ in range(dice.choice((0, 0, 1, 2, 4)))]
    if dice.random() < 0.6:
        fields.append(b"authorization: Bearer key-in")
    if dice.random() < 0.05:
        fields.append(b"transfer-encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    if dice.random() < 0.05:
        fields.append(b"content-encoding: gzip")
        body = gzip.compress(body, mtime=0)
    dice.shuffle(fields)
    line_break = _mostly(b"\r\n", (b"\n", b"\r"), dice, 0.02)
    head = line_break.join((b" ".join((method, path, version)), *fields, b"", b""))
    return head + body


_PATHS: Final = (
    *(b"/healthz", b"/healthz/", b"/healthz?x=1", b"/api/message/", b"/api/messages"),
    *(b"/api/message?ttl=1", b"/api/message#a", b"//api/message", b"/api/%6dessage", b"/nowhere"),
    *(b"http://localhost/api/message", b"http://other/api/message", b"*", b"api/message", b""),
)
_PAGES: Final = (
    *(b"/", b"/docs", b"/operate", b"/openapi.json", b"/readyz", b"/static/base.css", b"/docs/"),
    *(b"/static/", b"/static/none.css", b"/docs?x=1", b"/openapi.json?x=1", b"/readyz/"),
    *(b"/api/users", b"/api/users/flush", b"/api/users?x", b"/api/dead", b"/api/dead/replay"),
    *(b"/api/shards/", b"/api/messages", b"/in/evolution", b"/in/waha?key=key-in"),
)
_GET: Final = (b"healthz", b"readyz", b"/", b"/docs", b"/operate", b".json", b".css")
_HOSTS: Final = (
    *(b"Host: example.org:80", b"HOST:localhost", b"host: a b", b"host:", b"x: y", b"host: [::1]"),
    b"host: localhost\r\nhost: localhost",
)
_FIELDS: Final = (
    *(b"content-type: application/json", b"Content-Type:  text/plain ", b"accept: */*"),
    *(b"content-type: application/x-www-form-urlencoded", b"content-type: multipart/form-data"),
    *(b"connection: keep-alive", b"Connection: close", b"connection: upgrade", b"upgrade: h2c"),
    *(b"expect: 100-continue", b"te: trailers", b"trailer: x", b"user-agent: a (b; c) d/1.2"),
    *(b"idempotency-key: abc", b'Idempotency-Key: "abc"', b"idempotency-key:", b"x-empty:"),
    *(b"idempotency-key: caf\xc3\xa9", b"idempotency-key: \xff", b"idempotency-key: other"),
    *(b"authorization: Bearer key-read", b"authorization: Bearer wrong", b"authorization: Basic a"),
    *(b"origin: http://localhost", b"x-bin: \x00", b"x-tab: a\tb", b"x y: z", b" folded: yes"),
    *(b"x: \x7f", b"x: \x01", b"noColon", b": no name", b"x-long: " + b"a" * 5_000),
    *(b"if-none-match: *", b"if-none-match: W/1", b"range: bytes=0-1", b"x-api-key: key-in"),
    *(b"content-length: 5", b"content-encoding: identity", b"content-encoding: br", b"cookie: a=b"),
)


def _lengths(size: int) -> tuple[bytes, ...]:
    return (
        *(b"0%d" % size, b"+%d" % size, b"%d, %d" % (size, size), b"-1", b"", b"1e2"),
        *(b"%d" % max(0, size - 1), b"%d" % (size + 1), b"9" * 20, b"999999", b"0x10"),
    )


def _body(dice: random.Random, sender: str) -> bytes:
    users = (sender, sender + " joão 😀", sender + FULL, int(sender), "", None, "x" * 513)
    fields: dict[str, Any] = {
        "user": dice.choice(users),
        "message": dice.choice(("Oi", "", None, 1.5, "é" * 50, [], "\ud83d")),
    }
    for name in ("ttl", "message_id", "id_agente", "sent_at"):
        if dice.random() < 0.25:
            fields[name] = dice.choice((1, "15", "", None, -1, 1e9, "abc", True, [1], {"a": 1}))
    if dice.random() < 0.1:
        del fields[dice.choice(list(fields))]
    body = json.dumps(fields, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    return _mostly(body, (b"", b"[]", b"{", b"\xef\xbb\xbf" + body, body + b"\n", b"a=b"), dice)


def _mostly(
    usual: bytes, others: tuple[bytes, ...], dice: random.Random, odds: float = 0.1
) -> bytes:
    return dice.choice(others) if dice.random() < odds else usual


def _damaged(part: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(part))
    match dice.randrange(3):
        case 0:
            return part[:at] + bytes([dice.randrange(256)]) + part[at + 1 :]
        case 1:
            return part[:at] + part[at + 1 :]
        case _:
            return part[:at] + bytes([dice.choice(b"\r\n \t\x00:")]) + part[at:]


def pieces(data: bytes, dice: random.Random) -> Iterator[bytes]:
    """`data` in a few pieces, as a network might bring it."""
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.choice((0, 0, 0, 1, 3))))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if start < end:
            yield data[start:end]


class Everybody:
    """The users of whom too much waits already."""

    def __contains__(self, user: object) -> bool:
        return str(user).endswith(FULL)


@dataclass
class Pair:
    """The two servers, and how many answers were compared."""

    plain: Served
    general: Served
    answers: int = 0

    def compare(self, seed: int) -> str | None:
        """What differs between the answers to one connection's bytes; None: nothing."""
        dice = random.Random(seed)
        data = requests(dice, str(seed))
        parts = list(pieces(data, dice))
        if _LAST_OF_ALL.search(data[: -len(LAST)]):
            # What follows such a request spoils it, on both lanes, if it comes before the answer.
            parts = [data]
        ours, theirs = (exchange(server, parts) for server in (self.plain, self.general))
        self.answers += ours.count(b"HTTP/1.1 ")
        kept, expected = (kept_of(server, str(seed)) for server in (self.plain, self.general))
        if len(parts) > 1 and (ours.startswith(theirs) or theirs.startswith(ours)):
            # A request that is refused for its head ends the connection unless its body is there
            # by then, on both lanes: how far they came may depend on the network.
            common = min(len(kept), len(expected))
            kept, expected, ours = kept[:common], expected[:common], theirs
        if ours != theirs or kept != expected:
            return f"seed {seed}\n sent {data!r}\n plain {ours!r}\n other {theirs!r}\n {kept!r}"
        return None

    def compare_all(self, seeds: Iterable[int]) -> list[str]:
        """The differences."""
        with ThreadPoolExecutor(THREADS) as threads:
            found = [each for each in threads.map(self.compare, seeds) if each is not None]
        for server in (self.plain, self.general):
            server.engine.messages.clear()
        return found


def exchange(server: Served, parts: list[bytes]) -> bytes:
    """All that is answered to `parts`, until the server closes."""
    received = b""
    with socket.create_connection(server.address, ANSWER_TIMEOUT_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):  # it may be refused before its end
            for part in parts:
                sock.sendall(part)
        try:
            while piece := sock.recv(65_536):
                received += piece
        except ConnectionResetError:
            pass
        except TimeoutError:
            received += b"(no end)"
    return _DRAWN.sub(b"", received)


def kept_of(server: Served, sender: str) -> list[Any]:
    """The messages that were accepted from one connection."""
    return [
        (user, [(m.body, m.ttl_ms, m.remembered) for m in messages])
        for user, messages in sorted(server.engine.messages.items())
        if re.match(rf"{sender}\b|{sender}{FULL}", user)
    ]


def pair(stack: ExitStack) -> Pair:
    both = [
        stack.enter_context(served(api_keys=KEYS, max_body_bytes=4_096, lane=lane, limits=PATIENCE))
        for lane in (True, False)
    ]
    for server in both:
        server.prepare()
        server.engine.full = Everybody()  # type: ignore[assignment]
    return Pair(*both)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        both = pair(stack)
        seed = options.seed
        while both.answers < options.requests:
            found = both.compare_all(range(seed, seed + 10 * THREADS))
            if found:
                print("\n".join(found))
                return 1
            seed += 10 * THREADS
    print(f"{both.answers} answers on {seed - options.seed} connections, the same on both lanes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
