"""Where the service is, with which key, and how its refusals read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actor_queue.app.remote import best_key, default_url
from actor_queue.core.settings import Settings, parse
from tests.cli.conftest import Run, Scripted
from tests.http.conftest import served


@pytest.mark.parametrize(
    ("status", "answer", "word"),
    [
        (401, {"detail": "no key"}, "--key"),
        (404, {"title": "Not Found", "detail": "no such user"}, "no such user"),
        (404, b"<html>", "check --url"),
        (429, {"title": "Too Many"}, "Too Many"),
        (503, b"<html>", "503"),
        (503, {"detail": "Redis\x1b[2J is away"}, "Redis\\x1b[2J is away"),
        (200, b"<html>", "--url"),
        (200, [], "--url"),
        (302, b"", "302"),
    ],
)
def test_a_no_is_status_1_and_one_line_on_standard_error(
    run: Run, scripted: Scripted, status: int, answer: Any, word: str
) -> None:
    scripted.answers["/api/shards"] = (status, answer)
    said = run("shards", "--json", "--url", scripted.url)
    assert said.status == 1
    assert said.out == ""
    assert word in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("command", [["users"], ["status"], ["events"], ["send", "ana", "oi"]])
def test_a_service_that_does_not_run_is_status_1_and_says_how_to_start_it_and_where_it_looked(
    run: Run, scripted: Scripted, command: list[str]
) -> None:
    scripted.server.server_close()
    said = run(*command, "--url", scripted.url)
    assert said.status == 1
    assert said.out == ""
    assert "actor-queue dev" in said.err
    assert scripted.url in said.err
    assert said.err.count("\n") == 1


def test_a_plain_service_that_is_called_with_https_is_said(run: Run, scripted: Scripted) -> None:
    said = run("users", "--url", scripted.url.replace("http:", "https:"))
    assert said.status == 1
    assert "start with http://" in said.err


def test_the_service_is_looked_for_where_these_settings_put_it() -> None:
    assert default_url(parse({})) == "http://127.0.0.1:8000"
    assert default_url(parse({"PORT": "3000"})) == "http://127.0.0.1:3000"
    assert default_url(parse({"AQ_BIND": "[::]:1", "AQ_ROOT_PATH": "/q"})) == "http://[::1]:1/q"


def test_the_key_with_the_scope_comes_before_the_admins_and_that_before_any() -> None:
    settings = parse({"AQ_API_KEYS": "ingest:i1,admin:a1,read:r1"})
    assert best_key(settings, "read") == "r1"
    assert best_key(settings, "admin") == "a1"
    assert best_key(parse({"AQ_API_KEYS": "ingest:i1,admin:a1"}), "read") == "a1"
    assert best_key(parse({"AQ_API_KEYS": "ingest:i1"}), "read") == "i1"
    assert best_key(Settings(), "read") is None


KEYS = (("ingest", "i" * 20), ("read", "r" * 20), ("admin", "a" * 20))


def test_who_has_no_key_or_the_wrong_one_is_told_which_variable_to_set(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(api_keys=KEYS) as server:
        host, port = server.address
        url = f"http://{host}:{port}"
        without = run("users", "--url", url)
        assert without.status == 1
        assert "401" in without.err
        assert "set AQ_API_KEYS" in without.err

        wrong = run("users", "--url", url, "--key", "x")
        assert "correct the key in --key" in wrong.err
        Path("key").write_text("y\n")
        assert "--key-file" in run("users", "--url", url, "--key-file", "key").err
        monkeypatch.setenv("AQ_API_KEYS", "read:z1")
        assert "correct the key in AQ_API_KEYS" in run("users", "--url", url).err

        monkeypatch.setenv("AQ_API_KEYS", f"read:{'r' * 20}")
        lacking = run("hold", "ana", "--url", url)
        assert "403" in lacking.err
        assert "lacks the scope admin; the key came from AQ_API_KEYS" in lacking.err
        assert run("events", "--url", url, "--key", "i" * 20).status == 1


def test_a_key_in_a_file_opens_and_a_file_without_one_is_wrong_usage(run: Run) -> None:
    with served(api_keys=KEYS) as server:
        host, port = server.address
        url = f"http://{host}:{port}"
        file = Path("key")
        file.write_text(f"{'r' * 20}\n")
        assert run("users", "--url", url, "--key-file", "key").status == 0
        for content in (b"", b"two words", b"\xff", b"k" * 5_000):
            file.write_bytes(content)
            said = run("users", "--url", url, "--key-file", "key")
            assert said.status == 2
            assert "one key" in said.err
            assert "two" not in said.err


def test_a_redirect_says_where_to(run: Run, scripted: Scripted) -> None:
    scripted.headers["location"] = "https://elsewhere.example/"
    scripted.answers["/api/shards"] = (301, b"")
    assert "https://elsewhere.example/" in run("shards", "--url", scripted.url).err
