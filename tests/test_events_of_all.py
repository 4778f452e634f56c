"""`/api/events` tells what every replica does, whichever it is asked, with real processes."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from actor_queue.core.shard import shard_of
from tests.servers import Server
from tests.test_workers import eventually, parent

pytestmark = pytest.mark.process

DEADLINE_S = 60.0


class Stream:
    """A connection to `/api/events`, read until something has come."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self._sock.sendall(b"GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        self.text = ""

    def until(self, condition: Callable[[list[dict[str, Any]]], object]) -> list[dict[str, Any]]:
        deadline = time.monotonic() + DEADLINE_S
        while not condition(self.events):
            assert time.monotonic() < deadline, self.text[-2_000:]
            piece = self._sock.recv(65_536)
            assert piece, "the stream ended"
            self.text += piece.decode()
        return self.events

    def replicas_heard(self) -> set[str]:
        """Of what has come by now."""
        self._sock.setblocking(False)
        with suppress(BlockingIOError):
            while piece := self._sock.recv(65_536):
                self.text += piece.decode()
        self._sock.settimeout(DEADLINE_S)
        return {event["replica"] for event in self.events}

    @property
    def events(self) -> list[dict[str, Any]]:
        """Those that have come whole: the last piece may end within one."""
        found = []
        for block in self.text.split("\n\n")[:-1]:
            lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "event" in lines and "data" in lines:
                found.append({"name": lines["event"], **json.loads(lines["data"])})
        return found

    def close(self) -> None:
        self._sock.close()


@contextmanager
def following(port: int) -> Iterator[Stream]:
    stream = Stream(port)
    try:
        stream.until(lambda _: "retry:" in stream.text)
        yield stream
    finally:
        stream.close()


def post(port: int, user: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    body = json.dumps({"user": user, "message": "segredo", "ttl": 0.2})
    connection.request("POST", "/api/message", body, {"content-type": "application/json"})
    assert connection.getresponse().status == 202
    connection.close()


class Refusing(BaseHTTPRequestHandler):
    """A receiver that answers, so that its route stays closed, and wants nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(400)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def receiver() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_every_listener_hears_all_replicas_and_each_users_story_in_order(
    tmp_path: Path, valkey_server: Server, namespace: str, receiver: str
) -> None:
    variables = {
        "WEBHOOK_URL": receiver,
        "AQ_WEBHOOK_TIMEOUT": "20",
        "REDIS_URL": valkey_server.url,
        "AQ_NAMESPACE": namespace,
        "AQ_LEASE_TTL": "1",
        "AQ_RETRY_SCHEDULE": "0",
    }
    with parent(tmp_path, None, count=2, **variables) as crew:
        eventually(lambda: len(crew.records("ready")) == 2)
        port = crew.port
        with valkey_server.client() as eye:

            def owners() -> set[bytes]:
                found = eye.hget
                names = [found(f"{{{namespace}:{n}}}:lease", "owner") for n in range(64)]
                return {name for name in names if isinstance(name, bytes)}

            eventually(lambda: len(owners()) == 2)
        users = [f"user-{n}" for n in range(30)]
        assert len({shard_of(user, 64) for user in users}) > 20
        with following(port) as one, following(port) as two, following(port) as three:
            probes = itertools.count()

            def all_hear_all() -> bool:
                """On a busy machine a stream begins before its replica hears the others."""
                for _ in range(5):
                    post(port, f"probe-{next(probes)}")
                streams = (one, two, three)
                return all(len(stream.replicas_heard()) == 2 for stream in streams)

            eventually(all_hear_all)
            for user in users:
                post(port, user)

            def all_dead(events: list[dict[str, Any]]) -> bool:
                return {e["user"] for e in events if e["name"] == "dead"} >= set(users)

            for stream in (one, two, three):
                events = stream.until(all_dead)
                assert len({event["replica"] for event in events}) == 2
                for user in users:
                    mine = [e for e in events if e.get("user") == user]
                    steps = [
                        (e["attempt"], e["name"] != "fired", e["replica"])
                        for e in mine
                        if e["name"] != "accepted"
                    ]
                    assert sorted(step[:2] for step in steps) == [
                        (1, False),
                        (1, True),
                        (2, False),
                        (2, True),
                    ]
                    # A shard may move between two attempts: each replica's own steps are in order.
                    for replica in {step[2] for step in steps}:
                        own = [step[:2] for step in steps if step[2] == replica]
                        assert own == sorted(own)
                    assert sum(e["name"] == "accepted" for e in mine) == 1
                assert "segredo" not in stream.text
        crew.signal(15)
        assert crew.wait() == 0


def test_a_parcel_that_means_nothing_is_counted_and_ends_nothing(
    tmp_path: Path, valkey_server: Server, namespace: str
) -> None:
    variables = {"REDIS_URL": valkey_server.url, "AQ_NAMESPACE": namespace}
    with (
        parent(tmp_path, None, count=1, **variables) as crew,
        valkey_server.client() as eye,
    ):
        eventually(lambda: crew.records("ready"))
        with following(crew.port) as stream:
            channel = f"{namespace}:nudge:*events"
            # On a busy machine the stream begins before the subscription is there.
            eventually(lambda: eye.pubsub_numsub(channel)[0][1] == 1)
            assert eye.publish(channel, b"\xff garbage") == 1
            head = {"v": 1, "replica": "r-other", "first": 1, "count": 1}
            line = json.dumps(["fired", {"user": "ana", "replica": "r-other"}])
            assert eye.publish(channel, f"{json.dumps(head)}\n{line}") == 1
            events = stream.until(lambda events: any("user" in event for event in events))
            assert events[-1] == {"name": "fired", "user": "ana", "replica": "r-other"}
        eventually(lambda: eye.pubsub_numsub(channel)[0][1] == 0)
