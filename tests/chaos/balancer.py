"""Posts through whichever replica comes up, and the steady load that does so.

Plays the load balancer and the senders behind it: a call that a replica does not answer is
given up soon, and what has an id is sent again through another one.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.client import Client, Response, fresh_text, fresh_user

TIMEOUT_S = 1.5
GIVE_UP_S = 60.0
RETRY_PAUSE_S = 0.1


@dataclass
class Balancer(Client):
    """Each call goes to one of `ports`; while there are none, nobody answers."""

    ports: list[int] = field(default_factory=list)
    chance: random.Random = field(default_factory=random.Random)
    timeout_s: float = TIMEOUT_S
    route: str | None = None
    """That its messages name."""

    def post(self, user: str, text: str | None = None, ttl: Any = 0.3, **fields: Any) -> Response:
        """See `Client.post`."""
        named = {} if self.route is None else {"route": self.route}
        return super().post(user, text, ttl, **named, **fields)

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """See `Client.call`."""
        ports = list(self.ports)
        if not ports:
            return Response(None, called=time.monotonic(), returned=time.monotonic())
        given = {"content-type": "application/json"} if body is not None else {}
        port = self.chance.choice(ports)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=self.timeout_s)
        called = time.monotonic()
        try:
            connection.request(method, path, body, {**given, **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
            return Response(answer.status, {}, content, called, time.monotonic())
        except (OSError, http.client.HTTPException):
            return Response(None, called=called, returned=time.monotonic())
        finally:
            connection.close()


@dataclass
class Traffic:
    """So many messages a second, whatever happens to the earlier ones.

    Each thread has users of its own, and a user's next message waits for the one before. Most
    messages have an id and are sent until they are accepted; the others are sent once.
    """

    client: Client
    per_second: float = 80.0
    threads: int = 10
    users_per_thread: int = 10
    ttl_s: tuple[float, float] = (0.1, 0.8)
    user_names: Callable[[str], str] = fresh_user
    named: float = 0.85
    """This part of the messages has an id."""
    seed: int = 0
    refused: int = 0
    given_up: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Traffic]:
        """Load until the block ends; every named message that was begun is accepted then."""
        senders = [
            threading.Thread(target=self._send, args=(number,)) for number in range(self.threads)
        ]
        for sender in senders:
            sender.start()
        try:
            yield self
        finally:
            self._stop.set()
            for sender in senders:
                sender.join()
        assert not self.given_up, f"not accepted for {GIVE_UP_S:g} s: {self.given_up[:3]}"

    def _send(self, number: int) -> None:
        users = [
            self.user_names(f"carga-{number}-{place}") for place in range(self.users_per_thread)
        ]
        chance = random.Random(f"{self.seed}-{number}")
        pause_s = self.threads / self.per_second
        following = time.monotonic() + chance.uniform(0, pause_s)
        while not self._stop.wait(max(0.0, following - time.monotonic())):
            # After a stall the load goes on and does not catch up.
            following = max(following, time.monotonic() - pause_s) + pause_s
            user, ttl_s = chance.choice(users), round(chance.uniform(*self.ttl_s), 3)
            if chance.random() < self.named:
                self._insist(user, fresh_text(), ttl_s)
            else:
                self.client.post(user, fresh_text(), ttl_s)

    def _insist(self, user: str, text: str, ttl_s: float) -> None:
        give_up = time.monotonic() + GIVE_UP_S
        while self.client.post(user, text, ttl_s, message_id=f"id-{text}").status != 202:
            self.refused += 1
            if time.monotonic() > give_up:
                self.given_up.append(text)
                return
            time.sleep(RETRY_PAUSE_S)
