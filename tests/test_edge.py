"""`actor_queue.edge:app` from its server's start to its end, with a real store, on both loops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from actor_queue.app import edge_server
from actor_queue.app.config import Setup
from actor_queue.app.edge import NOT_STARTED, Edge, setup_here
from actor_queue.core.settings import Settings, SettingsError
from tests.doors.fixtures import as_sent, fixture
from tests.http.client import ask, post, until
from tests.http.hosts import HOSTS, hosted
from tests.servers import Server

LOOPS = ("asyncio", "trio")
MESSAGE = {"user": "ana", "message": "oi", "ttl": 60, "message_id": "wamid.1"}


@pytest.fixture(params=HOSTS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def started(loop: str, edge: Edge) -> dict[str, Any]:
    """What the application answers to its server's start; it is shut down afterwards."""
    said: list[dict[str, Any]] = []
    asked = iter(["startup", "shutdown"])

    async def receive() -> dict[str, Any]:
        return {"type": f"lifespan.{next(asked)}"}

    async def send(event: dict[str, Any]) -> None:
        said.append(event)

    async def main() -> None:
        await edge({"type": "lifespan"}, receive, send)

    anyio.run(main, backend=loop)
    return said[0]


def test_an_edge_keeps_what_it_answers_202_in_redis(
    kind: str, valkey_server: Server, namespace: str
) -> None:
    settings = Settings(redis_url=valkey_server.url, namespace=namespace)
    with hosted(kind, Edge(lambda: Setup(settings))) as address:
        assert ask(address, "GET", "/readyz").status == 200
        first, second = post(address, MESSAGE), post(address, MESSAGE)
        lines = (json.dumps({**MESSAGE, "message_id": f"wamid.{n}"}) for n in range(2, 5))
        ndjson = {"content-type": "application/x-ndjson"}
        many = ask(address, "POST", "/api/messages", "\n".join(lines), ndjson)
        counted = ask(address, "GET", "/metrics").body.decode().splitlines()
    assert (first.status, first.json["pending"], first.json["fires_in"]) == (202, 1, 60.0)
    assert second.json["duplicate"] is True
    assert [json.loads(line)["pending"] for line in many.body.splitlines()] == [2, 3, 4]
    assert {"actor_queue_accepted_total 4.0", "actor_queue_duplicates_total 1.0"} <= set(counted)
    with valkey_server.client() as eye:
        [key] = list(eye.scan_iter(f"{{{namespace}:*}}:p:ana"))
        kept = [json.loads(entry)[2] for entry in eye.lrange(key, 0, -1)]
    assert kept == ["wamid.1", "wamid.2", "wamid.3", "wamid.4"]


def test_an_edge_can_be_started_again(kind: str, valkey_server: Server, namespace: str) -> None:
    edge = Edge(lambda: Setup(Settings(redis_url=valkey_server.url, namespace=namespace)))
    for duplicate in (False, True):
        with hosted(kind, edge) as address:
            until(lambda at=address: ask(at, "GET", "/readyz").status == 200)
            assert post(address, MESSAGE).json["duplicate"] is duplicate


def test_a_platform_may_hold_and_release_a_user_at_an_edge(
    kind: str, valkey_server: Server, namespace: str
) -> None:
    edge = Edge(lambda: Setup(Settings(redis_url=valkey_server.url, namespace=namespace)))
    with hosted(kind, edge) as address, valkey_server.client() as eye:
        for name, held in (("agent_takes_over", True), ("back_to_the_bot", False)):
            event = fixture(f"chatwoot/{name}")["body"]
            answer = ask(address, "POST", "/in/chatwoot", as_sent(event))
            assert (answer.status, answer.json["held"]) == (200, int(held))
            states = list(eye.scan_iter(f"{{{namespace}:*}}:u:*"))
            assert any(int(eye.hget(key, "hu") or 0) > 0 for key in states) is held


@pytest.mark.parametrize("loop", LOOPS)
def test_wrong_settings_refuse_the_start_in_sentences(
    loop: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("AQ_SHARDS", "none")
    said = started(loop, Edge())
    assert said["type"] == "lifespan.startup.failed"
    assert "REDIS_URL is not set" in said["message"]
    assert "AQ_SHARDS is 'none'" in said["message"]
    assert "WEBHOOK_URL" not in said["message"]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_redis_that_must_not_be_used_refuses_the_start(
    loop: str, valkey_server: Server, namespace: str
) -> None:
    url = valkey_server.url
    assert (
        "complete"
        in started(loop, Edge(lambda: Setup(Settings(redis_url=url, namespace=namespace))))["type"]
    )
    others = Settings(redis_url=url, namespace=namespace, shards=7)
    said = started(loop, Edge(lambda: Setup(others)))
    assert said["type"] == "lifespan.startup.failed"
    assert "was first used with AQ_SHARDS=64" in said["message"]


def test_settings_are_read_at_the_start_and_not_at_the_import(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("REDIS_URL=redis://in-the-file\nAQ_DEFAULT_TTL=7\n")
    monkeypatch.setenv("AQ_DEFAULT_TTL", "8")
    assert (setup_here().settings.redis_url, setup_here().settings.default_ttl_ms) == (
        "redis://in-the-file",
        8_000,
    )
    monkeypatch.setenv("AQ_BIND", "0.0.0.0:80")
    with pytest.raises(SettingsError, match="AQ_API_KEYS is not set"):
        setup_here()


@pytest.mark.parametrize("loop", LOOPS)
def test_under_a_server_without_lifespan_it_says_what_is_missing(loop: str) -> None:
    said: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        said.append(event)

    async def main() -> None:
        await Edge()({"type": "http"}, None, send)

    anyio.run(main, backend=loop)
    assert (said[0]["status"], NOT_STARTED in said[1]["body"].decode()) == (503, True)


def test_without_uvicorn_the_command_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(edge_server, "find_spec", lambda name: None)
    monkeypatch.setattr(edge_server.logs, "set_up", lambda *form: None)
    assert edge_server.run_edge(Settings(redis_url="redis://localhost")) == 2
    assert "pip install '.[edge]'" in capsys.readouterr().err


def test_what_means_nothing_to_an_edge_is_doubted() -> None:
    settings = Settings(redis_url="redis://localhost", workers=2, probe_bind="127.0.0.1:8001")
    doubts = " ".join(edge_server.doubts_of_edge(settings))
    assert "AQ_WORKERS is set" in doubts
    assert "AQ_PROBE_BIND is set" in doubts
