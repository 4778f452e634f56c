"""The command line: what it accepts, what it prints, and its exit status.

The client commands talk to a small real HTTP server; `doctor` to a real Redis server.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
import trio

from actor_queue.app import cli, doctor
from actor_queue.app.remote import best_key, default_url, segment
from actor_queue.core.settings import Settings, parse
from actor_queue.store.embedded import embedded_server

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env`, none of our variables, no data of a running service."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("AQ_", "REDIS_", "WEBHOOK_")) or name == "PORT":
            monkeypatch.delenv(name)


class Request(NamedTuple):
    method: str
    path: str
    key: str | None
    body: Any


class Service:
    """Answers every request with `answers[path]`, by default 404, and remembers them."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.requests: list[Request] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                service.requests.append(
                    Request(
                        self.command,
                        self.path,
                        self.headers.get("authorization"),
                        json.loads(body) if body else None,
                    )
                )
                status, answer = service.answers.get(
                    self.path, (404, {"title": "Not Found", "detail": "no such thing"})
                )
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with service.server:
        thread = threading.Thread(target=service.server.serve_forever, args=(0.01,))
        thread.start()
        yield service
        service.server.shutdown()
        thread.join()


class Said(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> Said:
        status = cli.run(arguments)
        return Said(status, *capsys.readouterr())

    return run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, bool]]:
    """Stands where the service starts: the settings it was started with."""
    calls: list[tuple[Settings, bool]] = []

    def run_service(settings: Settings, *, dev: bool) -> int:
        calls.append((settings, dev))
        return 0

    module = types.SimpleNamespace(run_service=run_service)
    monkeypatch.setitem(sys.modules, "actor_queue.app.service", module)
    return calls


# Usage


def actor_queue(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = "from actor_queue.app.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_process_exits_with_the_status_and_keeps_errors_off_standard_output(
    tmp_path: Path,
) -> None:
    assert actor_queue("--version", cwd=tmp_path).returncode == 0
    wrong = actor_queue("dev", "--shards", "0", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert wrong.stderr == (
        "actor-queue: AQ_SHARDS is '0'; allowed: a whole number from 1 to 16384\n"
    )


def test_help_loads_neither_the_client_nor_the_service() -> None:
    code = (
        "import sys; from actor_queue.app.cli import run; run(['--help']);"
        "print([m for m in ('httpx', 'rich', 'trio', 'redis', 'hypercorn', 'quart')"
        " if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["send", "joao"],
        ["send", "joao", "oi", "--ttl", "soon"],
        ["users", "--limit", "0"],
        ["user", ""],
        ["dead", "replay"],
        ["dead", "replay", "b1", "--all"],
        ["dead", "nonsense"],
        ["users", "--url", "localhost:8000"],
        ["users", "--key", "\n"],
        ["serve", "--AQ_SHRADS=3"],
        ["serve", "--shards"],
        ["serve", "--redis-url", "redis://h"],
        ["dev", "--max-ttl", "0"],
    ],
)
def test_wrong_usage_is_status_2_and_one_line_on_standard_error(
    run: Any, arguments: list[str]
) -> None:
    said = run(*arguments)
    assert said.status == 2
    assert said.out == ""
    assert said.err.startswith("actor-queue: ")
    assert said.err.count("\n") == 1


def test_without_a_command_the_help_is_shown_and_the_status_is_2(run: Any) -> None:
    assert run().status == 2
    assert run("--help").status == 0


def test_an_unknown_variable_stops_every_command_that_reads_settings(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQ_SHARD", "1")
    for command in ("dev", "serve", "users", "doctor"):
        said = run(command)
        assert said.status == 2
        assert "AQ_SHARDS" in said.err


# dev and serve


@pytest.mark.parametrize(
    "flag", ["--default-ttl", "--aq-default-ttl", "--AQ_DEFAULT_TTL", "--AQ_DEFAULT_TTL="]
)
def test_a_flag_has_the_names_of_its_variable_and_wins(
    run: Any,
    started: list[tuple[Settings, bool]],
    monkeypatch: pytest.MonkeyPatch,
    flag: str,
) -> None:
    monkeypatch.setenv("AQ_DEFAULT_TTL", "9")
    monkeypatch.setenv("AQ_SHARDS", "3")
    words = [f"{flag}2.5"] if flag.endswith("=") else [flag, "2.5"]
    assert run("dev", *words, "--REDIS_URL", "redis://h", "--webhook-url=http://h").status == 0
    ((settings, dev),) = started
    assert dev
    assert settings.default_ttl_ms == 2_500
    assert settings.shards == 3
    assert settings.redis_url == "redis://h"
    assert settings.webhook_url == "http://h"


def test_a_boolean_flag_needs_no_value(run: Any, started: list[tuple[Settings, bool]]) -> None:
    run("dev", "--allow-anonymous", "--AQ_ALLOW_EVICTION", "no")
    run("dev", "--allow-eviction")
    assert [(s.allow_anonymous, s.allow_eviction) for s, _ in started] == [
        (True, False),
        (False, True),
    ]


def test_serve_reads_the_file_and_says_what_is_missing(
    run: Any, started: list[tuple[Settings, bool]]
) -> None:
    assert "REDIS_URL" in run("serve").err
    Path(".env").write_text("REDIS_HOST=db\n")
    assert "WEBHOOK_URL" in run("serve").err
    Path(".env").write_text("REDIS_HOST=db\nWEBHOOK_URL=http://bot\n")
    assert run("serve").status == 0
    ((settings, dev),) = started
    assert not dev
    assert settings.redis_url == "redis://db:6379"


# The API from a terminal


def test_send_posts_the_message_with_the_key_that_may(
    run: Any, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQ_API_KEYS", "admin:a,ingest:i")
    service.answers["/api/message"] = (
        202,
        {"success": True, "user": "joao", "message_id": "m1", "pending": 3, "fires_in": 15.0},
    )
    said = run("send", "joao", "tudo bem?", "--ttl", "2.5", "--id", "m1", "--url", service.url)
    assert said.status == 0
    assert "pending: 3" in said.out
    (request,) = service.requests
    assert request.method == "POST"
    assert request.key == "Bearer i"
    assert request.body == {
        "user": "joao",
        "message": "tudo bem?",
        "ttl": 2.5,
        "message_id": "m1",
    }


def test_json_prints_the_whole_answer(run: Any, service: Service) -> None:
    answer = {"users": [{"user": "ação", "state": "held"}], "cursor": "c", "new": {"field": 1}}
    service.answers["/api/users?limit=2&state=held"] = (200, answer)
    service.answers["/api/users?state=held&limit=2"] = (200, answer)
    said = run("users", "--state", "held", "--limit", "2", "--json", "--url", service.url)
    assert said.status == 0
    assert json.loads(said.out) == answer


def test_a_table_in_a_pipe_is_tab_separated_and_says_how_to_go_on(
    run: Any, service: Service
) -> None:
    row = {"user": "a\x1b[31m\tb", "state": "collecting", "pending": 2, "fires_in": 1.26}
    service.answers["/api/users?limit=100"] = (200, {"users": [row], "cursor": "next"})
    said = run("users", "--url", service.url)
    assert said.out.splitlines() == [
        "user\tstate\tpending\tfires in\theld for",
        "a\\x1b[31m\\tb\tcollecting\t2\t1.3\t-",
    ]
    assert "--cursor next" in said.err


def test_a_terminal_gets_a_table_that_takes_no_orders_from_the_texts(
    run: Any, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"user": "[bold]a\x1b]0;b[/]", "state": "idle", "pending": 0}
    service.answers["/api/users?limit=100"] = (200, {"users": [row], "cursor": None})
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    out = run("users", "--url", service.url).out
    assert "[bold]a\\x1b]0;b[/]" in out
    assert "\t" not in out


@pytest.mark.parametrize(
    ("user", "path"),
    [
        ("a/b?c#d", "a%2Fb%3Fc%23d"),
        ("..", "%2E%2E"),
        ("São João", "S%C3%A3o%20Jo%C3%A3o"),
        ("a%2Fb", "a%252Fb"),
        ("{x}+;=&", "%7Bx%7D%2B%3B%3D%26"),
    ],
)
def test_any_user_reaches_the_service_as_one_segment(
    run: Any, service: Service, user: str, path: str
) -> None:
    assert segment(user) == path
    service.answers[f"/api/users/{path}/flush"] = (200, {"user": user, "state": "collecting"})
    assert run("flush", user, "--url", service.url).status == 0
    assert [r.path for r in service.requests] == [f"/api/users/{path}/flush"]


def test_a_user_is_shown_with_its_recent_attempts(run: Any, service: Service) -> None:
    service.answers["/api/users/joao"] = (
        200,
        {
            "user": "joao",
            "state": "retrying",
            "pending": 1,
            "batch": {"id": "b1"},
            "recent": [{"batch_id": "b1", "outcome": "retry", "status": 503}],
        },
    )
    out = run("user", "joao", "--url", service.url).out
    assert "state: retrying" in out
    assert "503" in out


def test_dead_letters_are_listed_shown_replayed_and_dropped(run: Any, service: Service) -> None:
    letter = {"id": "b1", "user": "joao", "attempts": 6, "reason": "answered 500", "messages": 2}
    service.answers |= {
        "/api/dead?limit=100": (200, {"dead": [letter], "cursor": None}),
        "/api/dead/b1": (200, letter | {"batch": {"messages": ["a", "b"]}, "success": True}),
        "/api/dead/b1/replay": (200, letter | {"queued": True}),
        "/api/dead/replay": (200, {"replayed": 4}),
    }
    at = ("--url", service.url)
    assert "answered 500" in run("dead", "list", *at).out
    assert '["a", "b"]' in run("dead", "show", "b1", *at).out
    assert "queued: yes" in run("dead", "replay", "b1", *at).out
    assert "replayed: 4" in run("dead", "replay", "--all", *at).out
    assert "success: yes" in run("dead", "drop", "b1", *at).out
    assert [r.method for r in service.requests] == ["GET", "GET", "POST", "POST", "DELETE"]


def test_shards_shows_replicas_and_owners(run: Any, service: Service) -> None:
    service.answers["/api/shards"] = (
        200,
        {
            "replicas": [{"id": "r1", "seen_ago": 0.5, "shards": 1}],
            "shards": [{"shard": 0, "owner": "r1", "epoch": 7, "waiting": 2}],
        },
    )
    out = run("shards", "--url", service.url).out
    assert "r1\t0.5\t1" in out
    assert "0\tr1\t7" in out


@pytest.mark.parametrize(
    ("status", "answer", "word"),
    [
        (401, {"detail": "no key"}, "--key"),
        (404, {"title": "Not Found", "detail": "no such user"}, "no such user"),
        (429, {"title": "Too Many"}, "Too Many"),
        (503, b"<html>", "503"),
        (200, b"<html>", "--url"),
        (200, [], "--url"),
        (302, b"", "302"),
    ],
)
def test_a_no_is_status_1_and_one_line_on_standard_error(
    run: Any, service: Service, status: int, answer: Any, word: str
) -> None:
    service.answers["/api/shards"] = (status, answer)
    said = run("shards", "--json", "--url", service.url)
    assert said.status == 1
    assert said.out == ""
    assert word in said.err
    assert said.err.count("\n") == 1


def test_a_service_that_does_not_run_is_status_1_and_says_how_to_start_it(
    run: Any, service: Service
) -> None:
    service.server.server_close()
    said = run("shards", "--url", service.url)
    assert said.status == 1
    assert "actor-queue dev" in said.err


def test_the_service_is_looked_for_where_these_settings_put_it() -> None:
    assert default_url(parse({})) == "http://127.0.0.1:8000"
    assert default_url(parse({"PORT": "3000"})) == "http://127.0.0.1:3000"
    assert default_url(parse({"AQ_BIND": "[::]:1", "AQ_ROOT_PATH": "/q"})) == "http://[::1]:1/q"


def test_the_key_with_the_scope_comes_before_the_admins_and_that_before_any() -> None:
    settings = parse({"AQ_API_KEYS": "ingest:i,admin:a,read:r"})
    assert best_key(settings, "read") == "r"
    assert best_key(settings, "admin") == "a"
    assert best_key(parse({"AQ_API_KEYS": "ingest:i,admin:a"}), "read") == "a"
    assert best_key(parse({"AQ_API_KEYS": "ingest:i"}), "read") == "i"
    assert best_key(Settings(), "read") is None


# doctor


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
    run: Any, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK_URL", f"{service.url}/hook?token=hunter2")
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

        client.config_set("maxmemory", client.info()["used_memory"] + 100_000)
        assert levels(settings)["memory"] == "warn"
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


def test_doctor_says_that_redis_and_webhook_do_not_answer(run: Any, service: Service) -> None:
    service.server.server_close()
    port = service.server.server_address[1]
    values = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port), "WEBHOOK_URL": service.url}
    found = doctor.examine(parse(values))
    assert [finding.level for finding in found if finding.check == "redis"] == ["fail"]
    assert next(finding for finding in found if finding.check == "webhook").level == "fail"


def test_doctor_says_that_a_webhook_without_tls_is_no_https(service: Service) -> None:
    found = doctor.examine(parse({"WEBHOOK_URL": service.url.replace("http:", "https:")}))
    assert any(f.level == "fail" and "TLS" in f.text for f in found)


def test_doctor_warns_of_keys_that_can_be_guessed_and_of_no_keys_at_all() -> None:
    assert levels(parse({"AQ_API_KEYS": "admin:short"}))["api keys"] == "warn"
    assert levels(parse({"AQ_BIND": "0.0.0.0:1"}))["api keys"] == "fail"
    assert "api keys" not in levels(parse({"AQ_API_KEYS": f"admin:{'k' * 32}"}))
