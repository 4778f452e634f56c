"""A secret in a file: the same setting as in a flag or a variable, and never quoted."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from actor_queue.app.environment import load
from actor_queue.app.secret_files import SECRETS, flag_of_file, name_of_file
from actor_queue.core.settings import Settings, SettingsError, parse
from actor_queue.core.variables import BY_NAME
from tests.acceptance.service import clean_environment
from tests.acceptance.service import command as command_line

HIDDEN = "hunter2hunter2"
VALUES = {
    "REDIS_URL": f"redis://:{HIDDEN}@db:6379/0",
    "REDIS_PASSWORD": f" {HIDDEN} ",
    "WEBHOOK_URL": f"https://bot.example/{HIDDEN}",
    "WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"s" * 32).decode(),
    "WEBHOOK_HEADERS": '{"authorization": "Bearer ' + HIDDEN + '"}',
    "AQ_API_KEYS": f"ingest:{HIDDEN},admin:{HIDDEN}2",
    "AQ_ALERT_URL": f"https://bot.example/{HIDDEN}",
    "AQ_DOOR_EVOLUTION_SECRET": HIDDEN,
    "AQ_DOOR_WAHA_SECRET": f"{HIDDEN} {HIDDEN}2",
    "AQ_DOOR_CLOUD_SECRET": HIDDEN,
    "AQ_DOOR_CLOUD_VERIFY_TOKEN": HIDDEN,
    "AQ_DOOR_CHATWOOT_SECRET": HIDDEN,
    "AQ_DOOR_TELEGRAM_SECRET": HIDDEN,
    "AQ_ANSWER_SECRET": HIDDEN,
}
AROUND = {"REDIS_PASSWORD": {"REDIS_HOST": "db"}}
ENDS = ["", "\n", "\r\n", "\n\n"]


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[str], str]:
    """Puts a text into a file and gives its path."""

    def keep(text: str) -> str:
        path = tmp_path / "secret"
        path.write_bytes(text.encode())
        return str(path)

    return keep


def refused(*sources: dict[str, str]) -> str:
    flags, environ = [*sources, {}][:2]
    with pytest.raises(SettingsError) as caught:
        load(environ, None, flags)
    return str(caught.value)


def run(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_line(*words),
        cwd=directory,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_every_secret_has_a_value_here() -> None:
    assert {variable.name for variable in SECRETS} == set(VALUES)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", VALUES)
def test_a_secret_from_a_file_is_the_setting_without_the_line_break_at_its_end(
    kept: Callable[[str], str], tmp_path: Path, name: str, end: str
) -> None:
    around = AROUND.get(name, {})
    expected = parse({**around, name: VALUES[name]})
    path = kept(VALUES[name] + end)
    assert expected != Settings()
    assert load({}, None, {**around, f"{name}_FILE": path}) == expected
    assert load({**around, f"{name}_FILE": path}, None, {}) == expected
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"{name}_FILE={path}\n" + "".join(f"{k}={v}\n" for k, v in around.items()))
    assert load({}, dotenv, {}) == expected


def test_the_nearer_source_wins_and_a_file_that_is_not_needed_is_not_read(
    kept: Callable[[str], str],
) -> None:
    there, missing = kept("redis://from-file:1"), "/nowhere/at/all"
    environ = {"REDIS_URL": "redis://from-variable:1", "WEBHOOK_URL_FILE": missing}
    flags = {"REDIS_URL_FILE": there, "WEBHOOK_URL": "http://flag"}
    settings = load(environ, None, flags)
    assert (settings.redis_url, settings.webhook_url) == ("redis://from-file:1", "http://flag")
    settings = load({"REDIS_URL_FILE": missing}, None, {"REDIS_HOST": "flag"})
    assert settings.redis_url == "redis://flag:6379"


def test_a_secret_and_its_file_in_one_place_are_refused(kept: Callable[[str], str]) -> None:
    path = kept(HIDDEN)
    said = refused({"REDIS_PASSWORD": HIDDEN, "REDIS_PASSWORD_FILE": path})
    assert said == "REDIS_PASSWORD and REDIS_PASSWORD_FILE are both set: set one of them"


def test_an_empty_path_is_none() -> None:
    assert load({"AQ_API_KEYS_FILE": " "}, None, {"REDIS_URL_FILE": ""}) == Settings()


def test_only_secrets_have_files() -> None:
    assert "AQ_NAMESPACE_FILE is not a setting" in refused({"AQ_NAMESPACE_FILE": "x"})
    assert "AQ_API_KEY_FILE is not a setting" in refused({}, {"AQ_API_KEY_FILE": "x"})


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff" + HIDDEN.encode(), None])
def test_a_file_that_has_no_secret_is_named_and_not_quoted(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    said = refused({}, {"AQ_API_KEYS_FILE": str(path)})
    assert said.startswith(f"AQ_API_KEYS_FILE is {str(path)!r}, which cannot be read: ")
    assert "\n" not in said
    assert HIDDEN not in said


def test_a_directory_and_an_endless_file_are_no_secrets(tmp_path: Path) -> None:
    for path in (str(tmp_path), "/dev/zero", "a\0b"):
        assert "REDIS_PASSWORD_FILE" in refused({"REDIS_PASSWORD_FILE": path, "REDIS_HOST": "h"})


def test_what_is_wrong_in_a_file_is_said_without_the_value(kept: Callable[[str], str]) -> None:
    said = refused({"AQ_API_KEYS_FILE": kept(f"write:{HIDDEN}")})
    assert said.startswith("AQ_API_KEYS is a value that cannot be used")
    assert HIDDEN not in said


@pytest.mark.process
def test_serve_ends_with_2_and_one_sentence_where_a_file_cannot_be_read(tmp_path: Path) -> None:
    flags = ["--redis-url", "redis://h", "--AQ_API_KEYS_FILE=gone", "--webhook-url-file", "gone"]
    said = run(tmp_path, "serve", *flags)
    assert said.returncode == 2
    assert said.stderr.splitlines() == [
        f"actor-queue: {name} is 'gone', which cannot be read: No such file or directory"
        for name in ("WEBHOOK_URL_FILE", "AQ_API_KEYS_FILE")
    ]


@pytest.mark.process
@pytest.mark.parametrize("command", ["serve", "dev", "check"])
def test_the_help_says_that_a_flag_can_be_seen_and_names_the_files(
    tmp_path: Path, command: str
) -> None:
    said = "".join(run(tmp_path, command, "--help").stdout.split())
    for variable in SECRETS:
        file = f"--{flag_of_file(variable)}"
        assert f"theprocesslistshowsit:better{file}orthevariable" in said
        assert f"{file}FILE" in said
    assert said.count("theprocesslistshowsit") == len(SECRETS)
    assert {name_of_file(variable) for variable in SECRETS}.isdisjoint(BY_NAME)
