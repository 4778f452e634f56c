"""`doctor` judges a real Redis server, a real address, and what waits."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import trio

from actor_queue.app import doctor
from actor_queue.app.embedded import embedded_server
from actor_queue.core.settings import Settings, parse
from tests.cli.conftest import Run, Scripted


@contextlib.contextmanager
def redis_server(directory: Path) -> Iterator[tuple[str, redis.Redis]]:
    """A real server in a thread of its own."""
    urls: list[str] = []
    up = threading.Event()
    tokens: list[tuple[trio.lowlevel.TrioToken, trio.Event]] = []

    async def main() -> None:
        stop = trio.Event()
        async with embedded_server(directory) as server:
            urls.append(server.url)
            tokens.append((trio.lowlevel.current_trio_token(), stop))
            up.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: trio.run(main))
    thread.start()
    assert up.wait(20)
    try:
        with contextlib.closing(redis.Redis.from_url(urls[0])) as client:
            yield urls[0], client
    finally:
        token, stop = tokens[0]
        token.run_sync_soon(stop.set)
        thread.join()


def levels(settings: Settings) -> dict[str, str]:
    return {finding.check: finding.level for finding in doctor.examine(settings)}


def test_doctor_judges_a_real_server_as_it_is_changed(
    run: Run, scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK_URL", f"{scripted.url}/hook?token=hunter2")
    with redis_server(tmp_path / "data") as (url, client):
        monkeypatch.setenv("REDIS_URL", url)
        said = run("doctor", "--json")
        assert said.status == 0
        assert json.loads(said.out)["healthy"] is True
        assert "hunter2" not in said.out

        client.config_set("maxmemory-policy", "allkeys-lru")
        said = run("doctor")
        assert said.status == 1
        assert "noeviction" in said.out
        monkeypatch.setenv("AQ_ALLOW_EVICTION", "true")
        assert run("doctor").status == 0
        monkeypatch.delenv("AQ_ALLOW_EVICTION")
        client.config_set("maxmemory-policy", "noeviction")

        client.hset("aq:meta", "shards", 16)
        said = run("doctor")
        assert said.status == 1
        assert "AQ_SHARDS=16" in said.out
        monkeypatch.setenv("AQ_SHARDS", "16")
        assert run("doctor").status == 0

        client.config_set("appendonly", "no")
        settings = parse({"REDIS_URL": url, "AQ_SHARDS": "16"})
        assert levels(settings)["persistence"] == "warn"
        strict = parse({"REDIS_URL": url, "AQ_SHARDS": "16", "AQ_DURABILITY": "fsync"})
        assert levels(strict)["persistence"] == "fail"
        replicated = parse({"REDIS_URL": url, "AQ_DURABILITY": "replica"})
        assert levels(replicated)["replication"] == "fail"

        client.config_set("maxmemory", int(client.info()["used_memory"] * 1.2))
        assert levels(settings)["memory"] == "warn"
        for reserve in ("4 MiB", "512 KiB"):
            greedy = {"REDIS_URL": url, "AQ_SHARDS": "16", "AQ_REDIS_RESERVE": reserve}
            assert levels(parse(greedy))["memory"] == "fail"
        client.config_set("maxmemory", 0)


def test_doctor_names_what_a_restricted_user_may_not_do(tmp_path: Path) -> None:
    with redis_server(tmp_path / "data") as (url, client):
        client.acl_setuser(
            "few", enabled=True, passwords=["+pw"], categories=["+@connection"], keys=["*"]
        )
        found = doctor.examine(parse({"REDIS_URL": url.replace("unix://", "unix://few:pw@")}))
        by_check = {finding.check: finding for finding in found}
        assert by_check["scripts"].level == "fail"
        assert by_check["clock"].level == "warn"
        refused = doctor.examine(parse({"REDIS_URL": url.replace("unix://", "unix://few:no@")}))
        assert "refuses the user or password" in refused[0].text
        assert not any("few:no" in finding.text for finding in refused)


def test_doctor_finds_the_server_of_a_running_dev(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path / "data"))
    assert levels(settings)["redis"] == "fail"
    with redis_server(tmp_path / "data"):
        assert levels(settings)["redis"] == "ok"


def test_doctor_says_that_redis_and_webhook_do_not_answer(run: Run, scripted: Scripted) -> None:
    scripted.server.server_close()
    port = scripted.server.server_address[1]
    values = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port), "WEBHOOK_URL": scripted.url}
    found = doctor.examine(parse(values))
    assert [finding.level for finding in found if finding.check == "redis"] == ["fail"]
    assert next(finding for finding in found if finding.check == "webhook").level == "fail"


def test_doctor_says_that_a_webhook_without_tls_is_no_https(scripted: Scripted) -> None:
    found = doctor.examine(parse({"WEBHOOK_URL": scripted.url.replace("http:", "https:")}))
    assert any(f.level == "fail" and "TLS" in f.text for f in found)


def test_doctor_warns_of_keys_that_can_be_guessed_and_of_no_keys_at_all() -> None:
    bind = {"AQ_BIND": "0.0.0.0:1"}
    assert levels(parse({"AQ_API_KEYS": "admin:short", **bind}))["settings"] == "warn"
    assert levels(parse(bind))["settings"] == "fail"
    assert levels(parse({"AQ_ALLOW_ANONYMOUS": "true", **bind}))["settings"] == "warn"
    assert "settings" not in levels(parse({"AQ_API_KEYS": f"admin:{'k' * 32}", **bind}))


def test_a_doctor_in_a_folder_without_dev_says_which_folder_it_looked_at(run: Run) -> None:
    said = run("doctor")
    assert said.status == 1
    text = " ".join(said.out.split())
    assert "no `actor-queue dev` runs on the data in ./data (AQ_DATA_DIR, seen from" in text
    assert "in the folder in which `dev` runs" in text


def test_doctor_asks_a_service_that_is_named_and_does_not_judge_its_own_environment(
    run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [{"level": "warn", "check": "redis", "text": "is \x1b[2Jslow"}]
    scripted.answers["/api/doctor"] = (200, {"healthy": True, "at": "…", "findings": found})
    said = run("doctor", "--url", scripted.url, "--key", "hunter2")
    assert said == (0, "level\tcheck\ttext\nwarn\tredis\tis \\x1b[2Jslow\n", "")
    monkeypatch.setenv("AQ_URL", scripted.url)
    assert run("doctor").out == said.out
    scripted.answers["/api/doctor"] = (200, {"healthy": False, "at": "…", "findings": []})
    assert run("doctor", "--json").status == 1
    refused = run("doctor", "--send-test")
    assert refused.status == 2
    assert "leave away --url and AQ_URL" in refused.err
    # Every command that asks a service finds it there.
    scripted.answers["/api/shards"] = (200, {"replicas": [], "shards": []})
    assert run("shards").status == 0
    monkeypatch.delenv("AQ_URL")
    assert run("doctor", "--key", "hunter2").status == 2
    scripted.answers["/api/doctor"] = (404, {"title": "Not Found", "detail": "nothing"})
    assert run("doctor", "--url", scripted.url).status == 1
