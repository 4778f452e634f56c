"""`actor-queue edge` and `actor_queue.edge:app` beside a replica, with real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.client import Load, fresh_text, fresh_user
from tests.acceptance.service import (
    EXIT_TIMEOUT_S,
    QUICK,
    Service,
    World,
    clean_environment,
    command,
    world,
)
from tests.acceptance.test_shutdown import half_sent, status_on
from tests.acceptance.waiting import wait_for_delivery, wait_for_work, wait_until

pytestmark = pytest.mark.process

ON_ASYNCIO = """
import asyncio, json, sys

from actor_queue.edge import app

async def main():
    asked, said = asyncio.Queue(), asyncio.Queue()
    life = asyncio.create_task(app({"type": "lifespan"}, asked.get, said.put))
    await asked.put({"type": "lifespan.startup"})
    assert (await said.get())["type"] == "lifespan.startup.complete"
    body = b'{"user": "ana", "message": "oi", "ttl": 60}'
    scope = {"type": "http", "method": "POST", "path": "/api/message", "query_string": b"",
             "headers": [(b"host", b"localhost")], "server": ("127.0.0.1", 80)}
    await asked.put({"type": "http.request", "body": body, "more_body": False})
    await app(scope, asked.get, said.put)
    start, answer = await said.get(), await said.get()
    await asked.put({"type": "lifespan.shutdown"})
    await life
    print(start["status"], json.loads(answer["body"])["pending"], "trio" in sys.modules,
          "quart" in sys.modules)

asyncio.run(main())
"""


@contextmanager
def edge_of(shared: World, **variables: str) -> Iterator[Service]:
    """An edge on the Redis of `shared`. It knows no webhook."""
    with tempfile.TemporaryDirectory(prefix="aq-edge-") as name:
        addresses = {"REDIS_URL": shared.redis.url, "AQ_SHARDS": QUICK["AQ_SHARDS"]}
        edge = Service(Path(name), {**addresses, **variables}, "edge")
        try:
            yield edge.start()
        except BaseException:
            edge.closing(AssertionError)
            raise
        else:
            edge.close()


def settle(shared: World, *doors: Service) -> None:
    """Until all that was accepted at `doors` is delivered, as the contract has it."""
    journal = shared.client.journal
    for door in doors:
        journal.posts.extend(door.client.journal.posts)
        door.client.journal.posts.clear()
    wait_for_delivery(journal, shared.receiver, 20.0)


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[World, Service]]:
    """A replica and an edge that the tests share, each with users of its own."""
    with world() as shared, edge_of(shared) as edge:
        yield shared, edge


Both = tuple[World, Service]


def test_what_an_edge_accepts_is_delivered_by_a_replica_in_order_and_never_early(
    both: Both,
) -> None:
    shared, edge = both
    load = Load(edge.client)
    with load.running():
        wait_for_work(shared.receiver, 60)
    settle(shared, edge)
    shared.verify()


def test_a_user_may_write_at_an_edge_and_at_a_replica_in_turn(both: Both) -> None:
    shared, edge = both
    user = fresh_user("ana")
    for _ in range(5):
        edge.client.accepted(user, fresh_text(), ttl=1)
        shared.client.accepted(user, fresh_text(), ttl=1)
    settle(shared, edge)
    shared.verify()


def test_an_edge_tells_the_owner_of_a_users_timer_at_once(both: Both) -> None:
    """The script that appends publishes it, before the edge itself knows of its answer."""
    shared, edge = both
    user = fresh_user("ana")
    shared.client.accepted(user, fresh_text(), ttl=60)
    with shared.redis.client() as eye, eye.pubsub() as heard:
        heard.psubscribe("*")
        assert heard.get_message(timeout=5.0)["type"] == "psubscribe"
        edge.client.accepted(user, fresh_text(), ttl=0)
        said = heard.get_message(timeout=5.0)
    assert user.encode() in said["data"]
    settle(shared, edge)
    [attempt] = [each for each in list(shared.receiver.attempts) if each.user == user]
    assert len(attempt.texts) == 2


def test_what_an_edge_accepts_is_told_to_those_who_listen_at_a_replica(both: Both) -> None:
    shared, edge = both
    user = fresh_user("ana")
    request = b"GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with half_sent(shared.service.port, request) as stream:
        said = b""
        ends_at = time.monotonic() + EXIT_TIMEOUT_S
        while b'"replica": "e-' not in said:  # the edge hears within 2 s that somebody listens
            assert time.monotonic() < ends_at, said[-1_000:]
            edge.client.accepted(user, fresh_text(), ttl=1)
            said += stream.recv(65_536)
    [told] = [line for line in said.split(b"\n") if b'"replica": "e-' in line][:1]
    assert json.loads(told.removeprefix(b"data: "))["user"] == user
    settle(shared, edge)


def test_an_edge_owns_nothing_and_is_no_replica(both: Both) -> None:
    shared, edge = both
    edge.client.accepted(fresh_user("ana"), ttl=0)
    cluster = shared.client.get("/api/shards").json()
    [replica] = cluster["replicas"]
    assert {shard["owner"] for shard in cluster["shards"]} == {replica["id"]}
    assert edge.client.get("/api/shards").status == 404
    settle(shared, edge)


def test_a_redis_that_must_not_be_used_ends_the_start(both: Both) -> None:
    shared, _ = both
    said = refused(REDIS_URL=shared.redis.url, AQ_SHARDS="16", AQ_BIND="127.0.0.1:0")
    assert said.splitlines()[-1].startswith("actor-queue: the namespace 'aq' was first used")


def test_on_asyncio_neither_trio_nor_quart_is_imported(both: Both) -> None:
    shared, _ = both
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ON_ASYNCIO],
        env=clean_environment(REDIS_URL=shared.redis.url, AQ_NAMESPACE="outro"),
        cwd=shared.service.directory,
        capture_output=True,
        text=True,
        timeout=EXIT_TIMEOUT_S,
    )
    assert (done.stdout.split(), done.stderr) == (["202", "1", "False", "False"], "")


def test_an_edge_that_is_killed_loses_nothing_that_it_accepted() -> None:
    with world() as shared, edge_of(shared) as edge:
        load = Load(edge.client)
        with load.running():
            wait_for_work(shared.receiver, 30)
            edge.kill()
            edge.start()
            wait_for_work(shared.receiver, 60)
        settle(shared, edge)
        shared.verify()


def test_while_redis_is_away_an_edge_says_503_and_takes_messages_again_afterwards() -> None:
    with world() as shared, edge_of(shared) as edge:
        edge.client.accepted(fresh_user("ana"))
        shared.redis.kill()
        wait_until(lambda: not edge.ready, "not ready while Redis is away", 4.0)
        answer = edge.client.post(fresh_user("bia"))
        assert (answer.status, "retry-after" in answer.headers) == (503, True)
        assert edge.client.get("/healthz").status == 200
        shared.redis.start()
        wait_until(lambda: edge.ready, "ready again", 4.0)
        edge.client.accepted(fresh_user("caio"))
        settle(shared, edge)
        shared.verify(repeats=True)


def test_an_edge_that_starts_before_its_redis_is_alive_and_waits() -> None:
    with world(start=False) as shared:
        shared.redis.kill()
        with tempfile.TemporaryDirectory(prefix="aq-edge-") as name:
            edge = Service(Path(name), {"REDIS_URL": shared.redis.url}, "edge")
            edge.start(ready=False)
            wait_until(lambda: edge.client.get("/healthz").status == 200, "alive", 15.0)
            reason = edge.client.get("/readyz")
            assert (reason.status, "waiting" in reason.json()["detail"]) == (503, True)
            shared.redis.start()
            wait_until(lambda: edge.ready, "ready once Redis is there")
            edge.close()


def test_sigterm_finishes_the_requests_under_way_and_ends_with_0(both: Both) -> None:
    with edge_of(both[0]) as edge:
        body = json.dumps({"user": fresh_user("ana"), "message": "oi", "ttl": 0}).encode()
        head = b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
        with half_sent(edge.port, head % len(body) + body[:5]) as connection:
            assert edge.client.get("/healthz").status == 200  # so the head has been read
            edge.signal(signal.SIGTERM)
            wait_until(lambda: '"stopping"' in edge.log(), "the signal is heard")
            assert status_on(connection, body[5:]) == 202
        assert edge.wait() == 0


def test_a_second_signal_ends_it_at_once(both: Both) -> None:
    with edge_of(both[0]) as edge:
        head = b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{"
        with half_sent(edge.port, head):
            edge.signal(signal.SIGINT)
            wait_until(lambda: '"stopping"' in edge.log(), "the signal is heard")
            edge.signal(signal.SIGINT)
            assert edge.wait() == 128 + signal.SIGINT


def test_keys_are_read_again_at_sighup(both: Both) -> None:
    shared, _ = both
    with tempfile.TemporaryDirectory(prefix="aq-keys-") as name:
        keys = Path(name) / "keys"
        keys.write_text("ingest:first-key")
        with edge_of(shared, AQ_API_KEYS_FILE=str(keys)) as edge:
            keys.write_text("ingest:second-key")
            edge.signal(signal.SIGHUP)
            wait_until(lambda: '"keys_read_again"' in edge.log(), "the keys are read")
            edge.client.key = "second-key"
            edge.client.accepted(fresh_user("ana"), ttl=0)
            settle(shared, edge)


# Starting


def refused(*arguments: str, **variables: str) -> str:
    """What `actor-queue edge` says when it ends with 2."""
    ended = subprocess.run(
        [*command("edge"), *arguments],
        env=clean_environment(**variables),
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
        timeout=EXIT_TIMEOUT_S,
    )
    assert ended.returncode == 2, ended
    return ended.stderr


def test_what_is_missing_or_wrong_is_said_at_once_and_a_webhook_is_not_missed() -> None:
    said = refused("--bind", "0.0.0.0:0", AQ_SHARDS="none")
    assert "REDIS_URL is not set" in said
    assert "AQ_API_KEYS is not set" in said
    assert "AQ_SHARDS is 'none'" in said
    assert "WEBHOOK_URL" not in said
    assert len(said.splitlines()) == 3
