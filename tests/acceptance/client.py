"""A client that writes down what it asked and what it was told."""

from __future__ import annotations

import gzip
import http.client
import itertools
import json
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.acceptance.history import Journal, Post

TIMEOUT_S = 10.0
MARK = "segredo"
"""Part of every text and secret of these tests, and so of no line that a service may log."""

_numbers = itertools.count(1)


def fresh_user(name: str) -> str:
    """A user that no other test of this run has."""
    return f"{name}-{next(_numbers)}"


def fresh_text() -> str:
    return f"{MARK}-texto-{next(_numbers)}"


@dataclass(frozen=True)
class Response:
    """An answer; `status` is None when there was none."""

    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    called: float = 0.0
    returned: float = 0.0

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def took_s(self) -> float:
        return self.returned - self.called


@dataclass
class Client:
    """Speaks to `127.0.0.1:port`, one connection a request. Safe for use from many threads."""

    port: int
    journal: Journal = field(default_factory=Journal)
    key: str | None = None

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Any request. No answer, for whatever reason, is an answer without status."""
        given = {"content-type": "application/json"} if body is not None else {}
        if self.key is not None:
            given["authorization"] = f"Bearer {self.key}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        called = time.monotonic()
        try:
            connection.request(method, path, body, {**given, **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Response(answer.status, named, content, called, time.monotonic())
        except (OSError, http.client.HTTPException):
            return Response(None, called=called, returned=time.monotonic())
        finally:
            connection.close()

    def get(self, path: str) -> Response:
        return self.call("GET", path)

    def post(self, user: str, text: str | None = None, ttl: Any = 0.3, **fields: Any) -> Response:
        """One message, written down. `ttl` None is left out, and then not known here."""
        text = fresh_text() if text is None else text
        message = {"user": user, "message": text, **fields}
        if ttl is not None:
            message["ttl"] = ttl
        answer = self.call("POST", "/api/message", json.dumps(message).encode())
        self._note(user, text, float(ttl or 0), answer, answer)
        return answer

    def accepted(self, user: str, text: str | None = None, ttl: Any = 0.3, **fields: Any) -> str:
        """One message that must be accepted. Returns its text."""
        text = fresh_text() if text is None else text
        answer = self.post(user, text, ttl, **fields)
        assert answer.status == 202, (answer.status, answer.body)
        return text

    def bulk(
        self, messages: Sequence[Mapping[str, Any]], *, lines: bool, packed: bool = False
    ) -> list[Any]:
        """`POST /api/messages`, every message written down. Returns the results."""
        texts = [json.dumps(message) for message in messages]
        body = "\n".join(texts) if lines else f"[{','.join(texts)}]"
        kind = "application/x-ndjson" if lines else "application/json"
        headers = {"content-type": kind} | ({"content-encoding": "gzip"} if packed else {})
        sent = gzip.compress(body.encode()) if packed else body.encode()
        answer = self.call("POST", "/api/messages", sent, headers)
        assert answer.status == 200, (answer.status, answer.body)
        results = answer.body.split(b"\n")[:-1] if lines else None
        found = [json.loads(one) for one in results] if results is not None else answer.json()
        for message, result in zip(messages, found, strict=True):
            one = Response(202 if result.get("success") else result["status"], body=b"{}")
            self._note(message["user"], message["message"], message.get("ttl", 0), one, answer)
        return found

    def _note(self, user: str, text: str, ttl_s: float, answer: Response, when: Response) -> None:
        duplicate = answer.status == 202 and answer.json().get("duplicate", False)
        self.journal.add(
            Post(user, text, ttl_s, when.called, when.returned, answer.status, duplicate)
        )

    # The users' and the dead letters' paths

    def user(self, user: str, verb: str = "", **body: Any) -> Response:
        """GET the user, or POST one of `flush`, `typing`, `hold`, `release`."""
        path = f"/api/users/{quote(user, safe='')}"
        if not verb:
            return self.get(path)
        return self.call("POST", f"{path}/{verb}", json.dumps(body).encode() if body else b"")

    def drop(self, user: str) -> Response:
        return self.call("DELETE", f"/api/users/{quote(user, safe='')}")

    def state(self, user: str) -> str:
        answer = self.user(user)
        assert answer.status == 200, (answer.status, answer.body)
        return str(answer.json()["state"])

    def dead_ids(self) -> set[str]:
        answer = self.get("/api/dead?limit=1000")
        assert answer.status == 200, (answer.status, answer.body)
        return {letter["id"] for letter in answer.json()["dead"]}


@dataclass
class Load:
    """Senders that do not give up: each message has an id and is sent until it is accepted.

    Each thread has users of its own, and a user's next message waits for the one before.
    """

    client: Client
    threads: int = 3
    users_per_thread: int = 30
    ttl_s: float = 0.25
    pause_s: float = 0.01
    retry_pause_s: float = 0.05
    refused: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Load until the block ends; every message that was begun is accepted then."""
        senders = [threading.Thread(target=self._send) for _ in range(self.threads)]
        for sender in senders:
            sender.start()
        try:
            yield self
        finally:
            self._stop.set()
            for sender in senders:
                sender.join()

    def _send(self) -> None:
        users = [fresh_user("carga") for _ in range(self.users_per_thread)]
        chance = random.Random(users[0])
        # Some are quiet for long enough, others write before their time is up.
        while not self._stop.wait(self.pause_s):
            self._insist(chance.choice(users), fresh_text())

    def _insist(self, user: str, text: str) -> None:
        give_up = time.monotonic() + 30
        while self.client.post(user, text, self.ttl_s, message_id=f"id-{text}").status != 202:
            self.refused += 1
            assert time.monotonic() < give_up, "not accepted for 30 seconds"
            time.sleep(self.retry_pause_s)
