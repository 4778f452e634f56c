"""Redis is killed, frozen, full, read-only or not there yet: 503, and what was accepted is safe."""

from __future__ import annotations

import threading
import time

import pytest

from tests.acceptance.client import Load, fresh_text, fresh_user
from tests.acceptance.receiver import held, reply
from tests.acceptance.service import World, world
from tests.acceptance.waiting import (
    until,
    wait_for_attempts,
    wait_for_end,
    wait_for_work,
    wait_until,
)

pytestmark = pytest.mark.process

NOTICED_S = 4.0
"""A half-open connection is replaced within 3 s; the rest is for a busy machine."""


def assert_unavailable(shared: World, user: str) -> None:
    """A POST is answered 503 with `Retry-After`, as a problem."""
    answer = shared.client.post(user)
    assert answer.status == 503, (answer.status, answer.body)
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 503
    assert problem["title"]
    assert problem["detail"]


def not_ready(shared: World) -> bool:
    return shared.client.get("/readyz").status == 503


def test_redis_killed_and_restarted_under_load_loses_nothing_and_doubles_nothing() -> None:
    with world() as shared:
        load = Load(shared.client)
        with load.running():
            for down_s in (0.0, 1.5):
                wait_for_work(shared.receiver, 30)
                shared.redis.kill()
                wait_until(lambda: not_ready(shared), "not ready while Redis is away", NOTICED_S)
                assert shared.client.get("/healthz").status == 200
                until(time.monotonic() + down_s)
                shared.redis.start()
                wait_until(lambda: shared.service.ready, "ready again", NOTICED_S)
        shared.settle()
        shared.verify(repeats=True)
        assert load.refused > 0
        assert len(shared.client.journal.accepted_texts()) > 100


def test_a_redis_that_answers_nobody_for_5_s_costs_time_and_nothing_else() -> None:
    with world() as shared:
        before = fresh_user("antes")
        shared.client.accepted(before, ttl=1.0)
        during, named = fresh_user("durante"), fresh_text()
        with shared.redis.frozen():
            frozen_at = time.monotonic()
            # Who asks while nobody has noticed is kept waiting, and told within the limit.
            answer = shared.client.post(during, named, message_id="id-durante")
            assert answer.status == 503
            assert answer.took_s < NOTICED_S
            wait_until(lambda: not_ready(shared), "not ready", NOTICED_S)
            assert_unavailable(shared, fresh_user("depois"))
            assert not shared.receiver.of(before)
            until(frozen_at + 5)
        thawed_at = wait_until(lambda: shared.service.ready, "ready again", NOTICED_S)
        (attempt,) = wait_for_end(shared.receiver, before)
        assert attempt.started < thawed_at + NOTICED_S
        shared.client.accepted(during, named, message_id="id-durante")
        shared.settle()
        shared.verify(repeats=True)


def test_a_full_redis_refuses_new_messages_and_still_drains() -> None:
    with world(AQ_RETRY_SCHEDULE="0.2,0.2") as shared:
        users = [fresh_user("cheio") for _ in range(10)]
        gate = threading.Event()
        shared.receiver.script(users[0], held(gate, 500), held(gate, 200))
        shared.receiver.script(users[1], reply(410))
        for user in users:
            shared.client.accepted(user, ttl=1.0)
        shared.gone.update(post.text for post in shared.client.journal.posts[1:2])
        shared.redis.configure(maxmemory=1)
        wait_until(lambda: shared.client.post(fresh_user("nao")).status == 503, "full")
        assert_unavailable(shared, fresh_user("nao"))
        wait_until(lambda: not_ready(shared), "not ready while it is full", NOTICED_S)
        gate.set()
        shared.settle()
        assert len(shared.receiver.of(users[0])) == 2
        # Not only sent: acknowledged and buried too, all while nothing new can be written.
        wait_until(lambda: all(shared.client.state(user) == "idle" for user in users), "settled")
        assert len(shared.client.dead_ids()) == 1
        assert not_ready(shared)
        shared.redis.configure(maxmemory=0)
        wait_until(lambda: shared.service.ready, "ready again", NOTICED_S)
        shared.client.accepted(fresh_user("sim"), ttl=0)
        shared.settle()
        # A Redis that is full says so before it does anything: nothing refused was kept.
        assert shared.texts_received() <= shared.client.journal.accepted_texts()
        shared.verify()


def test_a_read_only_redis_refuses_new_messages_and_recovers() -> None:
    with world() as shared:
        user = fresh_user("leitura")
        shared.client.accepted(user, ttl=0.5)
        with shared.redis.client() as eye:
            eye.execute_command("REPLICAOF", "127.0.0.1", "1")
            assert_unavailable(shared, fresh_user("nao"))
            wait_until(lambda: not_ready(shared), "not ready while read-only", NOTICED_S)
            until(time.monotonic() + 0.7)
            assert not shared.receiver.of(user)
            eye.execute_command("REPLICAOF", "NO", "ONE")
        wait_until(lambda: shared.service.ready, "ready again", NOTICED_S)
        shared.client.accepted(user, ttl=0.2)
        shared.settle()
        shared.verify()


def test_without_redis_at_the_start_it_waits_says_so_and_begins_when_it_comes() -> None:
    with world(start=False) as shared:
        shared.redis.kill()
        shared.service.start(ready=False)
        assert shared.client.get("/healthz").status == 200
        answer = shared.client.get("/readyz")
        assert answer.status == 503
        wait_until(
            lambda: (
                shared.client.get("/readyz").json()["detail"]
                == "starting, and waiting: Redis cannot be reached: nothing listens at its address"
            ),
            "it says what it waits for",
        )
        assert_unavailable(shared, fresh_user("cedo"))
        shared.redis.start()
        wait_until(lambda: shared.service.ready, "ready", NOTICED_S)
        user = fresh_user("agora")
        shared.client.accepted(user, ttl=0)
        wait_for_attempts(shared.receiver, user)
        shared.settle()
        shared.verify()


def test_a_redis_that_forgets_its_scripts_and_connections_is_not_noticed_outside() -> None:
    with world() as shared:
        load = Load(shared.client, threads=2)
        with load.running(), shared.redis.client() as eye:
            for _ in range(4):
                wait_for_work(shared.receiver, 15)
                eye.script_flush()
                eye.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        shared.settle()
        shared.verify(repeats=True)
