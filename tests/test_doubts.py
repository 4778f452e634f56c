"""Settings that are allowed and probably not meant are said to be doubtful, and nothing else is."""

from __future__ import annotations

import resource

import pytest

from actor_queue.app.listening import doubts_here, link
from actor_queue.core.doubts import doubts
from actor_queue.core.settings import parse


def test_a_batch_too_small_for_two_messages_is_doubted_and_not_refused() -> None:
    assert doubts(parse({})) == doubts(parse({"AQ_MAX_BODY": "16 MiB"})) == []
    assert doubts(parse({"AQ_MAX_BATCH_BYTES": str(2 * 262_144)})) == []
    (doubt,) = doubts(parse({"AQ_MAX_BATCH_BYTES": str(2 * 262_144 - 1)}))
    assert "AQ_MAX_BATCH_BYTES is 524287" in doubt
    assert "AQ_MAX_BODY" in doubt


def test_a_key_that_is_for_admin_and_for_less_is_doubted_without_being_shown() -> None:
    (doubt,) = doubts(parse({"AQ_API_KEYS": "ingest:hunter22,read:hunter22,admin:hunter22"}))
    assert "the scopes admin and ingest and read" in doubt
    assert "hunter22" not in doubt
    # Two scopes that do not include each other need not be two keys.
    assert doubts(parse({"AQ_API_KEYS": "read:hunter22,admin@vendas:hunter22"})) == []
    assert doubts(parse({"AQ_API_KEYS": "ingest:hunter22,read:hunter22,admin:other-one"})) == []


def test_a_key_that_is_soon_guessed_is_doubted_where_others_can_connect() -> None:
    for key, bind, count in (
        ("hunter2", "0.0.0.0:80", 1),
        ("hunter22", "0.0.0.0:80", 0),
        ("hh", "127.0.0.1:80", 0),
    ):
        found = doubts(parse({"AQ_API_KEYS": f"admin:long-enough,ingest:{key}", "AQ_BIND": bind}))
        assert len(found) == count
        assert all("fewer than 8 characters" in each and "hunter" not in each for each in found)


def test_an_answer_secret_that_a_receiver_could_guess_is_doubted() -> None:
    (doubt,) = doubts(parse({"AQ_ANSWER_SECRET": f"{'x' * 23} {'y' * 24}"}))
    assert "fewer than 24 characters" in doubt
    assert "xxx" not in doubt
    assert doubts(parse({"AQ_ANSWER_SECRET": "x" * 24})) == []


def test_a_redis_password_that_is_not_used_is_doubted() -> None:
    url = {"REDIS_URL": "redis://db"}
    (doubt,) = doubts(parse({**url, "REDIS_PASSWORD": "hunter2"}))
    assert "REDIS_PASSWORD is set and not used" in doubt
    assert "hunter2" not in doubt
    assert doubts(parse(url)) == doubts(parse({"REDIS_PASSWORD": "hunter2"})) == []
    assert doubts(parse({"REDIS_HOST": "db", "REDIS_PASSWORD": "hunter2"})) == []
    same = {"REDIS_URL": "redis://:hunter%202@db", "REDIS_PASSWORD": "hunter 2\n"}
    assert doubts(parse(same)) == []


def test_a_door_that_is_open_to_all_without_keys_is_doubted() -> None:
    (doubt,) = doubts(parse({"PORT": "8123"}))
    assert "others can reach 0.0.0.0:8123" in doubt
    assert "AQ_BIND=127.0.0.1:8123" in doubt
    assert doubts(parse({"PORT": "8123", "AQ_ALLOW_ANONYMOUS": "true"})) == []
    assert doubts(parse({"PORT": "8123", "AQ_API_KEYS": "admin:hunter22"})) == []


def test_metrics_that_need_a_key_which_nobody_has_are_doubted() -> None:
    only_ingest = {"AQ_KEY_FOR_METRICS": "true", "AQ_API_KEYS": "ingest:hunter22"}
    (doubt,) = doubts(parse(only_ingest))
    assert "nobody can read /metrics" in doubt
    for scope in ("read", "admin"):
        assert doubts(parse(only_ingest | {"AQ_API_KEYS": f"{scope}:hunter22"})) == []


def test_more_connections_than_the_system_allows_files_are_doubted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    (doubt,) = doubts_here(parse({}))
    assert "AQ_MAX_CONNECTIONS is 8000" in doubt
    assert "enough for 128" in doubt
    assert doubts_here(parse({"AQ_MAX_CONNECTIONS": "100"})) == []


@pytest.mark.parametrize(
    ("listens", "link_of_it"),
    [
        ("0.0.0.0:8000", "http://127.0.0.1:8000/aq/"),
        ("[::]:8000", "http://[::1]:8000/aq/"),
        ("[::1]:8000", "http://[::1]:8000/aq/"),
        ("192.0.2.1:80", "http://192.0.2.1:80/aq/"),
    ],
)
def test_the_link_that_dev_prints_can_be_opened(listens: str, link_of_it: str) -> None:
    assert link(listens, "/aq") == link_of_it
