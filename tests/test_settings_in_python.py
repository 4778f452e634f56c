"""`Settings(...)` takes what the environment may bring, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import actor_queue
from actor_queue.core.api_keys import ApiKey
from actor_queue.core.settings import Settings, SettingsError, parse
from actor_queue.core.variables import BY_NAME, VARIABLES, Variable


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("max_messages", 0, "a whole number from 1 to 10000"),
        ("max_messages", "5", "a whole number from 1 to 10000"),
        ("max_messages", True, "a whole number from 1 to 10000"),
        ("max_body_bytes", 10, "a whole number of bytes from 64 to 16777216"),
        ("default_ttl_ms", -1, "a whole number of milliseconds from 0 to 31536000000"),
        ("default_ttl_ms", 15_000.0, "a whole number of milliseconds from 0 to 31536000000"),
        ("lease_ttl_ms", 999, "a whole number of milliseconds from 1000 to 600000"),
        ("webhook_timeout_ms", None, "a whole number of milliseconds from 100 to 3600000"),
        ("retry_schedule_ms", (1, -1), "a tuple of at most 100 whole numbers of milliseconds"),
        ("retry_schedule_ms", 5, "a tuple of at most 100 whole numbers of milliseconds"),
        ("retry_schedule_ms", "1,2", "a tuple of at most 100 whole numbers of milliseconds"),
        ("payload", "Detailed", "classic or detailed"),
        ("allow_eviction", 1, "True or False"),
        ("namespace", "", "1 to 64 letters"),
        ("namespace", "a{b}", "1 to 64 letters"),
        ("data_dir", "", "a directory"),
        ("bind", "8000", "host:port"),
        ("cors_origins", ("chat.example",), "a tuple of origins"),
    ],
)
def test_a_value_that_the_environment_could_not_bring_is_refused_in_python_too(
    name: str, value: object, allowed: str
) -> None:
    with pytest.raises(ValueError) as caught:
        Settings(**{name: value})  # type: ignore[arg-type]
    said = str(caught.value)
    assert said.startswith(f"{name} is {value!r}")
    assert f"; allowed: {allowed}" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis_url", "http://:hunter2@h"),
        ("redis_url", ""),
        ("redis_url", b"redis://:hunter2@h"),
        ("webhook_url", "bot.example/hunter2"),
        ("webhook_secrets", ("hunter2",)),
        ("webhook_secrets", "hunter2"),
        ("api_keys", (("write", "hunter2"),)),
        ("api_keys", ("admin:hunter2",)),
        ("api_keys", (("admin", "hunter2", "a name"),)),
        ("api_keys", (("admin", "hunter2", "n", "no route"),)),
        ("api_keys", (("admin", "hunter2", "n", None, 1),)),
        ("api_keys", (("admin", 5),)),
        ("api_keys", "admin:hunter2"),
    ],
)
def test_a_secret_value_in_python_is_refused_without_being_shown(name: str, value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**{name: value})  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{name} is ")
    assert "hunter2" not in str(caught.value)


def test_all_that_is_wrong_in_python_is_said_at_once_and_a_copy_is_checked_too() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(shards=0, workers=0, default_ttl_ms=-5)
    assert [each.split(" ")[0] for each in caught.value.sentences] == [
        "workers", "default_ttl_ms", "shards",
    ]  # fmt: skip
    good = Settings(shards=2, retry_schedule_ms=())
    assert replace(good, shards=4) == Settings(shards=4, retry_schedule_ms=())
    with pytest.raises(SettingsError, match="shards is -4"):
        replace(good, shards=-4)


@given(st.sampled_from(VARIABLES), st.text(max_size=40))
def test_python_may_say_what_the_environment_may_say_and_it_means_the_same(
    variable: Variable, text: str
) -> None:
    try:
        settings = parse({variable.name: text})
    except SettingsError:
        return
    values = {f: getattr(settings, f) for f in Settings.__dataclass_fields__}
    assert Settings(**values) == settings


def test_a_list_is_as_good_as_a_tuple_and_addresses_take_their_usual_form() -> None:
    lists: Any = {"retry_schedule_ms": [50], "api_keys": [["admin", "k1"]]}
    assert Settings(**lists) == Settings(retry_schedule_ms=(50,), api_keys=(ApiKey("admin", "k1"),))
    assert Settings(public_url="https://h/").public_url == "https://h"


def test_settings_come_from_the_environment_and_then_the_file_as_for_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in BY_NAME:
        monkeypatch.delenv(name, raising=False)
    assert actor_queue.Settings.from_env() == Settings()
    (tmp_path / ".env").write_text("REDIS_URL=redis://file\nAQ_SHARDS=8\n")
    monkeypatch.setenv("REDIS_URL", "redis://nearer")
    assert actor_queue.Settings.from_env() == Settings(redis_url="redis://nearer", shards=8)
    assert actor_queue.Settings.from_env(None) == Settings(redis_url="redis://nearer")
    monkeypatch.setenv("AQ_SHARDS", "0")
    monkeypatch.setenv("AQ_WORKERS", "0")
    with pytest.raises(SettingsError) as caught:
        actor_queue.Settings.from_env()
    assert len(caught.value.sentences) == 2


def test_asking_for_a_key_where_there_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="AQ_KEY_FOR_METRICS is true and AQ_API_KEYS is not"):
        Settings(key_for_metrics=True)
    assert parse({"AQ_KEY_FOR_METRICS": "true", "AQ_API_KEYS": "read:k1"}).key_for_metrics
