"""The normal client: on kept and on new connections, beside whatever else happens."""

from __future__ import annotations

import http.client
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

ANSWER_TIMEOUT_S: Final = 5.0
EVERY_S: Final = 0.05


@dataclass(slots=True)
class Tally:
    """What one lane of requests saw."""

    took_s: list[float] = field(default_factory=list)
    """Of the requests that were answered as they should be."""
    failed: list[str] = field(default_factory=list)

    def p99_s(self) -> float:
        ordered = sorted(self.took_s)
        return ordered[math.ceil(len(ordered) * 0.99) - 1] if ordered else math.inf


def served(tallies: Sequence[Tally]) -> float:
    """The part of all requests that was answered, from 0 to 1."""
    good = sum(len(each.took_s) for each in tallies)
    return good / max(1, good + sum(len(each.failed) for each in tallies))


@dataclass(frozen=True, slots=True)
class NormalClient:
    """Posts messages on a kept connection and on new ones, and asks for health on new ones."""

    port: int
    key: str

    def run(self, seconds: float) -> dict[str, Tally]:
        """What each lane saw within `seconds`."""
        lanes = {"kept": Tally(), "new": Tally(), "health": Tally()}
        threads = [
            threading.Thread(target=self._lane, args=(name, tally, seconds))
            for name, tally in lanes.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return lanes

    def _lane(self, name: str, tally: Tally, seconds: float) -> None:
        ask = self._health if name == "health" else self._post
        began = time.monotonic()
        kept = self._connection()
        turn = 0
        while (at := began + turn * EVERY_S) < began + seconds:
            time.sleep(max(0.0, at - time.monotonic()))
            turn += 1
            connection = kept if name == "kept" else self._connection()
            self._ask(connection, lambda: ask(connection, f"{name}-{turn}"), tally)  # noqa: B023
            if name != "kept":
                connection.close()
        kept.close()

    def _ask(
        self, connection: http.client.HTTPConnection, ask: Callable[[], int], tally: Tally
    ) -> None:
        began = time.monotonic()
        try:
            try:
                status = ask()
            except (http.client.RemoteDisconnected, ConnectionError, http.client.CannotSendRequest):
                # As every client does: a kept connection may have been closed meanwhile.
                connection.close()
                status = ask()
        except (OSError, http.client.HTTPException) as error:
            tally.failed.append(type(error).__name__)
            with suppress(OSError):
                connection.close()
            return
        if status in (200, 202):
            tally.took_s.append(time.monotonic() - began)
        else:
            tally.failed.append(str(status))

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)

    def _post(self, connection: http.client.HTTPConnection, user: str) -> int:
        body = json.dumps({"user": user, "message": "oi", "ttl": 1})
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        return self._answer(connection, "POST", "/api/message", body, headers)

    def _health(self, connection: http.client.HTTPConnection, _: str) -> int:
        return self._answer(connection, "GET", "/healthz", None, {})

    def _answer(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: str | None,
        headers: dict[str, str],
    ) -> int:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.read()
        return response.status
