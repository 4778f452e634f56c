"""`done {"if": "latest"}` against an append, at the same moment, at two replicas.

One Valkey and two replicas as real processes, and a receiver that answers 202 to everything. A
conversation is a chain: the message that raced against one batch's end is in the next batch, alone
or behind what was taken back, and races go on until the conversation has had its share of them.
What was said and heard is judged by `race_verdict`.
"""

from __future__ import annotations

import json
import queue
import random
import select
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from tests.acceptance.client import Client, fresh_text, fresh_user
from tests.acceptance.receiver import Answer, Attempt, receiving, reply
from tests.acceptance.redis_process import redis_process
from tests.acceptance.service import Service
from tests.chaos.race_verdict import Append, Carried, Race, Story, Word

REPLICAS = 2
CONVERSATIONS = 12
"""Under way at once."""
RACES_A_CONVERSATION = 25
APART_S = 0.000_5
"""At most so long after the first of the two is written, the second one is."""
ANSWERED_FIRST = 0.2
"""In this part of the races the message has its 202 before the end is asked for."""
ASKED_TWICE = 0.2
"""In this part of the races both replicas are asked for the end."""
TTLS_S = (0, 0.005, 0.02)
WAIT_S = 20.0
VARIABLES = {
    "AQ_ANSWER": "later",
    "AQ_ANSWER_WITHIN": "60",
    "AQ_PAYLOAD": "detailed",
    "AQ_PUBLIC_URL": "http://127.0.0.1:1",
    "AQ_SHARDS": "8",
    "AQ_WEBHOOK_TIMEOUT": "5",
}
"""Nobody calls the public address: whoever says a word chooses the replica."""


def run(races: int, seed: int, variables: Mapping[str, str] | None = None) -> list[Story]:
    """So many races and a few more: every conversation that was begun has its share."""
    count = -(-races // RACES_A_CONVERSATION)
    stories: list[Story] = []
    wrong: list[BaseException] = []
    numbers = iter(range(count))
    taking = threading.Lock()
    with _servers({**VARIABLES, **(variables or {})}) as (ports, inbox):

        def work() -> None:
            with ExitStack() as stack:
                lines = [stack.enter_context(_line(port)) for port in ports]
                try:
                    while not wrong:
                        with taking:
                            number = next(numbers, None)
                        if number is None:
                            return
                        chance = random.Random(f"{seed}-{number}")
                        stories.append(_Conversation(lines, inbox, chance).told())
                except Exception as error:  # noqa: BLE001  # raised again by the main thread
                    wrong.append(error)

        workers = [threading.Thread(target=work) for _ in range(min(count, CONVERSATIONS))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    if wrong:
        raise wrong[0]
    return stories


# The processes


class _Inbox:
    """Hands each attempt to whoever plays its user, before it is answered."""

    def __init__(self) -> None:
        self._of: dict[str, queue.Queue[Attempt]] = {}
        self._lock = threading.Lock()

    def of(self, user: str) -> queue.Queue[Attempt]:
        with self._lock:
            return self._of.setdefault(user, queue.Queue())

    def decide(self, attempt: Attempt) -> Answer:
        self.of(attempt.user).put(attempt)
        return reply(202)


@contextmanager
def _servers(variables: Mapping[str, str]) -> Iterator[tuple[list[int], _Inbox]]:
    inbox = _Inbox()
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving())
        receiver.decide = inbox.decide
        store = stack.enter_context(redis_process())
        addresses = {"REDIS_URL": store.url, "WEBHOOK_URL": receiver.url}
        services = []
        for _ in range(REPLICAS):
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="aq-"))
            service = Service(Path(directory), {**addresses, **variables}, client=Client(0))
            stack.push(service.closing)
            services.append(service.start())
        yield [service.port for service in services], inbox


# One conversation


@dataclass
class _Line:
    """A kept connection to one replica, with at most one request under way."""

    sock: socket.socket
    sent_at: float = 0.0
    _received: bytes = b""

    def send(self, path: str, body: object) -> None:
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        self._received, self.sent_at = b"", time.monotonic()
        self.sock.sendall(head.encode() + content)

    def read(self) -> Word | None:
        """The answer, once all of it has come. Blocks until something has."""
        piece = self.sock.recv(65_536)
        assert piece, "the replica closed the connection"
        self._received += piece
        head, _, body = self._received.partition(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:") and len(body) >= int(line[15:]):
                said = json.loads(body)
                newer, status = said.get("newer"), int(head[9:12])
                return Word(self.sent_at, time.monotonic(), status, newer)
        return None


@contextmanager
def _line(port: int) -> Iterator[_Line]:
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield _Line(sock)


@dataclass
class _Conversation:
    """`told` plays it. It uses two of the lines at a time, and the third in some races."""

    lines: Sequence[_Line]
    inbox: _Inbox
    chance: random.Random
    user: str = field(default_factory=lambda: fresh_user("corrida"))

    def told(self) -> Story:
        came, races = self.inbox.of(self.user), list[Race]()
        with ExitStack() as stack:
            # A replica may be sent the message and be asked for the end at the same moment.
            again = [stack.enter_context(_line(_port(line))) for line in self.lines]
            first = fresh_text()
            self._message(self.lines[0], first)
            appended = _answers([self.lines[0]])[0]
            assert appended.status == 202, appended
            for _ in range(RACES_A_CONVERSATION):
                races.append(self._race(came.get(timeout=WAIT_S), again))
        last = came.get(timeout=WAIT_S)
        self.lines[0].send(f"{_path(last)}/done", {})
        end = _answers([self.lines[0]])[0]
        return Story(self.user, first, tuple(races), _carried(last), end)

    def _race(self, attempt: Attempt, again: Sequence[_Line]) -> Race:
        text, path = fresh_text(), f"{_path(attempt)}/done"
        to_append = self.chance.choice(self.lines)
        asked = self.chance.sample(again, 2 if self.chance.random() < ASKED_TWICE else 1)
        if self.chance.random() < ANSWERED_FIRST:
            self._message(to_append, text)
            (appended,) = _answers([to_append])
            for line in asked:
                line.send(path, {"if": "latest"})
            words = _answers(asked)
        else:
            sends = [partial(self._message, to_append, text)]
            sends += [partial(line.send, path, {"if": "latest"}) for line in asked]
            self.chance.shuffle(sends)
            for send in sends:
                send()
                _spin(self.chance.uniform(0, APART_S))
            appended, *words = _answers([to_append, *asked])
        append = Append(text, appended.called, appended.returned, appended.status)
        return Race(_carried(attempt), append, tuple(words))

    def _message(self, line: _Line, text: str) -> None:
        ttl = self.chance.choice(TTLS_S)
        line.send("/api/message", {"user": self.user, "message": text, "ttl": ttl})


def _answers(lines: Sequence[_Line]) -> list[Word]:
    """One of each, dated when it came."""
    found: dict[int, Word] = {}
    while len(found) < len(lines):
        open_ = [line for line in lines if id(line) not in found]
        ready, _, _ = select.select([line.sock for line in open_], [], [], WAIT_S)
        assert ready, "no answer"
        for line in open_:
            if line.sock in ready and (word := line.read()) is not None:
                found[id(line)] = word
    return [found[id(line)] for line in lines]


def _spin(seconds: float) -> None:
    """Sleeping would be ten times as long as that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def _carried(attempt: Attempt) -> Carried:
    batch = json.loads(attempt.body)["batch"]
    return Carried(attempt.webhook_id, attempt.texts, batch.get("supersedes"))


def _path(attempt: Attempt) -> str:
    return urlsplit(attempt.headers["aq-answer-url"]).path


def _port(line: _Line) -> int:
    return int(line.sock.getpeername()[1])
