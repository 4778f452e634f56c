"""Settings that are allowed and probably not meant are said to be doubtful, and nothing else is."""

from __future__ import annotations

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


def test_a_redis_password_that_is_not_used_is_doubted() -> None:
    url = {"REDIS_URL": "redis://db"}
    (doubt,) = doubts(parse({**url, "REDIS_PASSWORD": "hunter2"}))
    assert "REDIS_PASSWORD is set and not used" in doubt
    assert "hunter2" not in doubt
    assert doubts(parse(url)) == doubts(parse({"REDIS_PASSWORD": "hunter2"})) == []
    assert doubts(parse({"REDIS_HOST": "db", "REDIS_PASSWORD": "hunter2"})) == []
    same = {"REDIS_URL": "redis://:hunter%202@db", "REDIS_PASSWORD": "hunter 2\n"}
    assert doubts(parse(same)) == []
