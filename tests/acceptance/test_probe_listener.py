"""AQ_PROBE_BIND: a second listener, for health, readiness and metrics alone."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import ExitStack

import pytest

from actor_queue.http.probes import LIMITS
from tests.acceptance.client import Client, fresh_user
from tests.acceptance.receiver import slow
from tests.acceptance.service import world
from tests.acceptance.waiting import wait_until
from tests.redis_topologies import free_ports

pytestmark = pytest.mark.process


@pytest.mark.parametrize("workers", [1, 2])
def test_the_second_listener_has_health_readiness_and_metrics_and_nothing_else(
    workers: int,
) -> None:
    [port] = free_ports(1)
    keys = {"AQ_API_KEYS": "admin:chave", "AQ_KEY_FOR_METRICS": "true", "AQ_ROOT_PATH": "/fila"}
    with world(AQ_PROBE_BIND=f"127.0.0.1:{port}", AQ_WORKERS=str(workers), **keys) as shared:
        probe = Client(port, key="chave")
        for path in ("/healthz", "/readyz", "/metrics", "/fila/healthz", "/fila/readyz"):
            wait_until(lambda path=path: probe.get(path).status == 200, path)
        assert Client(port).get("/metrics").status == 401
        for path in ("/", "/api/users", "/api/shards", "/openapi.json", "//healthz", "/healthz/x"):
            assert probe.get(path).status == 404
        body = json.dumps({"user": fresh_user("sonda"), "message": "oi"}).encode()
        assert probe.call("POST", "/api/message", body).status == 404
        assert shared.service.client.get("/healthz").status == 200


def test_slow_heads_on_the_second_listener_keep_no_probe_out() -> None:
    [port] = free_ports(1)
    with world(AQ_PROBE_BIND=f"127.0.0.1:{port}"), ExitStack() as stack:
        for _ in range(3 * LIMITS.connections_max):
            held = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            held.sendall(b"GET /readyz HTTP/1.1\r\nhost: x")
        assert Client(port).get("/readyz").status == 200


def test_the_log_says_where_probes_are_answered() -> None:
    with world(AQ_PROBE_BIND="127.0.0.1:0") as shared:
        [said] = [line for line in shared.service.log().splitlines() if '"listening"' in line]
        port = int(json.loads(said)["probes"].rpartition(":")[2])
        assert Client(port).get("/healthz").status == 200


def test_a_stop_can_be_watched_on_the_second_listener_until_the_end() -> None:
    [port] = free_ports(1)
    with world(AQ_PROBE_BIND=f"127.0.0.1:{port}", AQ_WEBHOOK_TIMEOUT="5") as shared:
        shared.receiver.default = slow(2.0)
        shared.client.accepted(fresh_user("lento"), ttl=0)
        wait_until(lambda: shared.receiver.attempts, "an attempt is under way")
        shared.service.signal(signal.SIGTERM)
        wait_until(lambda: Client(port).get("/readyz").status == 503, "it says that it stops")
        assert shared.service.wait() == 0
