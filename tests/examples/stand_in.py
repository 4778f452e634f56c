"""What stands around a receiver: its model, its platform, and the roads to it and to the queue.

One threaded server plays all of them. A test decides when the model has thought, when the platform
takes a message and when the queue is away, and sees everything in the order in which it came.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

GIVE_UP_S = 60.0
FORWARDED = ("content-type", "webhook-", "aq-answer-")


@dataclass(frozen=True)
class Webhook:
    """One that came along the road, so that it can be sent once more."""

    user: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    """What the receiver answered."""


@dataclass
class Surroundings:
    """Use with `surroundings`. Everything is told apart by user."""

    port: int = 0
    receivers: dict[str, str] = field(default_factory=dict)
    """Name of a receiver → its address now."""
    webhooks: list[Webhook] = field(default_factory=list)
    asked: dict[str, list[list[str]]] = field(default_factory=lambda: defaultdict(list))
    """What the model was asked: the messages, each time."""
    said: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What the platform took."""
    tried: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """How often the platform was called, also where it did not take anything."""
    thinks_until: dict[str, threading.Event] = field(default_factory=dict)
    takes_after: dict[str, threading.Event] = field(default_factory=dict)
    model_fails: set[str] = field(default_factory=set)
    """For whom the model answers 500, once."""
    answers_lost: set[str] = field(default_factory=set)
    """Whose next webhook reaches its receiver, whose answer does not come back."""
    queue: str = ""
    """Where it is; receivers reach it under `/queue`."""
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """What it was told: the path, and the body."""
    queue_is_away: bool = False
    refused: int = 0
    """What receivers wanted to tell it meanwhile."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, user: str) -> list[Webhook]:
        return [each for each in list(self.webhooks) if each.user == user]

    def thinking(self, user: str) -> threading.Event:
        """From now on the model needs until this is set."""
        return self.thinks_until.setdefault(user, threading.Event())

    def taking(self, user: str) -> threading.Event:
        """From now on the platform needs until this is set; if it is no longer in `takes_after` by
        then, it has taken nothing."""
        return self.takes_after.setdefault(user, threading.Event())

    # What the server does

    def model(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        user = asked["user"]
        self.asked[user].append(asked["messages"])
        if user in self.thinks_until:
            self.thinks_until[user].wait(GIVE_UP_S)
        if user in self.model_fails:
            self.model_fails.discard(user)
            return 500, {}
        return 200, {"text": " + ".join(asked["messages"])}

    def platform(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        user = sent["user"]
        self.tried[user] += 1
        if gate := self.takes_after.get(user):
            gate.wait(GIVE_UP_S)
            if self.takes_after.get(user) is not gate:
                return 503, {}
        self.said[user].append(sent["text"])
        return 200, {"ids": [f"sent-{user}-{len(self.said[user])}"]}

    def forward(self, name: str, headers: Mapping[str, str], body: bytes) -> int:
        """To the receiver, by whatever port it has now."""
        kept = {n.lower(): v for n, v in headers.items() if n.lower().startswith(FORWARDED)}
        try:
            status = posted(self.receivers[name], kept, body)
        except OSError:
            status = 502
        self.webhooks.append(Webhook(json.loads(body)["user"], kept, body, status))
        return status

    def tell(self, path: str, body: bytes | None) -> tuple[int, bytes]:
        """To the queue, and what it answered; 503 while it is away."""
        if self.queue_is_away:
            self.refused += 1
            return 503, b"{}"
        if body is not None:
            self.told.append((path, json.loads(body)))
        given = {"content-type": "application/json"}
        request = urllib.request.Request(self.queue + path.removeprefix("/queue"), body, given)
        try:
            with urllib.request.urlopen(request, timeout=GIVE_UP_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read()
        except OSError:
            return 503, b"{}"


def posted(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """The status that this got there. OSError where nobody is."""
    given = {"content-type": "application/json", **headers}
    request = urllib.request.Request(url, body, given)
    try:
        with urllib.request.urlopen(request, timeout=GIVE_UP_S) as answer:
            status: int = answer.status
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code
    return status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    around: ClassVar[Surroundings]

    def do_GET(self) -> None:
        self._reply(*self.around.tell(self.path, None))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        verbs: dict[str, Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]] = {
            "/model": self.around.model,
            "/platform": self.around.platform,
        }
        if self.path.startswith("/queue/"):
            self._reply(*self.around.tell(self.path, body))
        elif self.path in verbs:
            status, answer = verbs[self.path](json.loads(body))
            self._reply(status, json.dumps(answer).encode())
        else:
            self._forward(body)

    def _forward(self, body: bytes) -> None:
        status = self.around.forward(self.path[1:], dict(self.headers), body)
        # On a connection that was used before, a lost answer would be no failed attempt: the
        # webhook would be posted once more within it.
        self.close_connection = True
        user = json.loads(body)["user"]
        if user in self.around.answers_lost:
            self.around.answers_lost.discard(user)
        else:
            self._reply(status, b"{}")

    def _reply(self, status: int, content: bytes) -> None:
        self.send_response(status)
        if self.close_connection:
            self.send_header("connection", "close")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A receiver that was killed leaves broken connections; that is what it was killed for."""


@contextmanager
def surroundings() -> Iterator[Surroundings]:
    around = Surroundings()
    server = _Server(("127.0.0.1", 0), type("_Here", (_Handler,), {"around": around}))
    around.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield around
    finally:
        for event in (*around.thinks_until.values(), *around.takes_after.values()):
            event.set()
        server.shutdown()
        server.server_close()
        thread.join(GIVE_UP_S)
