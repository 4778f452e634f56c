"""Where settings come from, and who wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from actor_queue.app.environment import load, log_injected
from actor_queue.core.settings import Settings, SettingsError


@pytest.fixture
def dotenv(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def refused(dotenv: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        load({}, dotenv, {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_flags_win_over_the_environment_and_that_over_the_file(dotenv: Path) -> None:
    dotenv.write_text("AQ_SHARDS=1\nAQ_WORKERS=1\nAQ_MAX_PENDING=1\n")
    environ = {"AQ_SHARDS": "2", "AQ_WORKERS": "2"}
    settings = load(environ, dotenv, {"AQ_SHARDS": "3"})
    assert (settings.shards, settings.workers, settings.max_pending) == (3, 2, 1)


def test_an_empty_value_does_not_hide_a_farther_one(dotenv: Path) -> None:
    dotenv.write_text("AQ_SHARDS=7\nAQ_WORKERS\nAQ_NAMESPACE=\n")
    assert load({"AQ_SHARDS": ""}, dotenv, {"AQ_SHARDS": " "}).shards == 7


def test_without_a_file_nothing_is_missed(dotenv: Path) -> None:
    assert load({}, dotenv, {}) == Settings()
    assert load({}, None, {}) == Settings()


def test_the_file_is_taken_as_it_stands(dotenv: Path) -> None:
    dotenv.write_bytes(
        b"\xef\xbb\xbf# comment\nREDIS_HOST=db\nREDIS_PASSWORD='a${HOME}$b#c'\n"
        b'export AQ_NAMESPACE="prod" # why\nOTHER=$(rm)\n'
    )
    settings = load({}, dotenv, {})
    assert settings.redis_url == "redis://:a%24%7BHOME%7D%24b%23c@db:6379"
    assert settings.namespace == "prod"


def test_an_unknown_name_in_the_file_is_refused_and_foreign_names_are_not(dotenv: Path) -> None:
    dotenv.write_text("DATABASE_URL=x\nAQ_SHARD=1\n")
    assert "AQ_SHARD is not a setting; did you mean AQ_SHARDS?" in refused(dotenv)


def test_a_file_that_cannot_be_read_is_named(dotenv: Path) -> None:
    dotenv.mkdir()
    assert str(dotenv) in refused(dotenv)
    dotenv.rmdir()
    dotenv.write_bytes(b"AQ_NAMESPACE=\xff\n")
    assert "UTF-8" in refused(dotenv)
    dotenv.write_bytes(b"#" * 1_048_577)
    assert "bytes" in refused(dotenv)


def test_a_line_that_means_nothing_is_named_by_its_number_and_not_quoted(dotenv: Path) -> None:
    dotenv.write_text("AQ_SHARDS=7\nREDIS_PASSWORD='hunter2\n")
    said = refused(dotenv)
    assert "line 2" in said
    assert "hunter2" not in said


def test_what_is_wrong_in_all_sources_is_said_at_once_and_each_thing_once(dotenv: Path) -> None:
    dotenv.write_text("AQ_SHARD=1\nAQ_WORKERS=0\n")
    with pytest.raises(SettingsError) as caught:
        load({"AQ_SHARD": "2", "AQ_MAX_PENDING": "x"}, dotenv, {"AQ_SHARDS": "0"})
    said = [sentence.split()[0] for sentence in caught.value.sentences]
    assert sorted(said) == ["AQ_MAX_PENDING", "AQ_SHARD", "AQ_SHARDS", "AQ_WORKERS"]


def test_a_file_that_cannot_be_read_hides_no_other_mistake_and_calls_nothing_missing(
    dotenv: Path,
) -> None:
    dotenv.write_text("REDIS_URL='redis://db\n")
    with pytest.raises(SettingsError) as caught:
        load({"AQ_SHARDS": "0"}, dotenv, {}, serving=True)
    file, shards = caught.value.sentences
    assert "line 1" in file
    assert shards.startswith("AQ_SHARDS is")
    with pytest.raises(SettingsError, match="line 1"):
        load({}, dotenv, {}, serving=True)


def test_what_a_container_platform_sets_for_a_service_called_aq_is_ignored_with_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    environ = {
        "AQ_PORT": "tcp://10.0.0.1:8000",
        "AQ_SERVICE_HOST": "10.0.0.1",
        "AQ_SERVICE_PORT": "8000",
        "AQ_SERVICE_PORT_HTTP": "8000",
        "AQ_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "AQ_PORT_8000_TCP_ADDR": "10.0.0.1",
        "AQ_PORT_8000_TCP_PORT": "8000",
        "AQ_PORT_8000_TCP_PROTO": "tcp",
        "AQ_REDIS_PORT": "tcp://10.0.0.2:6379",
        "AQ_REDIS_PORT_6379_TCP_ADDR": "10.0.0.2",
        "AQ_REDIS_SERVICE_HOST": "10.0.0.2",
        "REDIS_PORT_6379_TCP": "tcp://10.0.0.2:6379",
        "PATH": "/bin",
    }
    assert load(environ, None, {}) == Settings()
    with caplog.at_level("INFO"):
        log_injected(environ)
        log_injected({"PATH": "/bin", "AQ_SHARDS": "8"})
    (record,) = caplog.records
    fields = vars(record)["fields"]
    assert fields["count"] == 11
    assert "AQ_SERVICE_HOST" in fields["names"]


@pytest.mark.parametrize("name", ["AQ_PORT", "AQ_PORTS", "AQ_SERVICE", "AQ_PORT_TCP"])
def test_a_name_that_only_resembles_those_of_a_container_platform_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not a setting"):
        load({name: "8000"}, None, {})


def test_a_nearer_way_to_say_the_same_wins(dotenv: Path) -> None:
    dotenv.write_text("AQ_BIND=127.0.0.1:1\nREDIS_URL=redis://far\n")
    settings = load({"PORT": "3000", "REDIS_HOST": "near"}, dotenv, {})
    assert settings.bind == "0.0.0.0:3000"
    assert settings.redis_url == "redis://near:6379"
    assert load({"PORT": "3000"}, dotenv, {"AQ_BIND": "[::1]:2"}).bind == "[::1]:2"


def test_a_password_alone_does_not_hide_the_address(dotenv: Path) -> None:
    dotenv.write_text("REDIS_URL=redis://far\n")
    assert load({"REDIS_PASSWORD": "x"}, dotenv, {}).redis_url == "redis://far"


def test_where_the_commands_find_a_service_stops_no_service_of_the_same_shell(
    dotenv: Path,
) -> None:
    assert load({"AQ_URL": "https://queue.example"}, dotenv, {}) == load({}, dotenv, {})
