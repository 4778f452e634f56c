"""Logs: one line an event, for machines or people, and nothing that is nobody's business."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from actor_queue.app import logs
from actor_queue.app.logs import redact_url, set_up, shown_settings
from actor_queue.core.flood import LINES_A_SECOND_MAX
from actor_queue.core.settings import LogForm, LogLevel, parse
from actor_queue.core.url import shown_receiver
from actor_queue.runtime.lines import tell

log = logging.getLogger("actor_queue")

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root, handler = logging.getLogger(), logs._handler
    before = list(root.handlers), root.level, log.level
    yield
    root.handlers[:], level, ours = before
    root.setLevel(level)
    log.setLevel(ours)
    logs._handler = handler


def written(form: LogForm, level: LogLevel = "info") -> io.StringIO:
    stream = io.StringIO()
    set_up(form, level, stream=stream)
    return stream


def records(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_is_one_object_a_line_with_time_level_event_and_fields() -> None:
    stream = written("json")
    tell("redis_lost", reason="a\nb", for_s=1.5, ts="forged", level="forged")
    line = stream.getvalue()
    assert line.count("\n") == 1
    entry = json.loads(line)
    assert list(entry)[:3] == ["ts", "level", "event"]
    assert entry["level"] == "warning"
    assert entry["event"] == "redis_lost"
    assert entry["reason"] == "a\nb"
    assert entry["for_s"] == 1.5
    assert entry["ts"].endswith("Z")
    assert "T" in entry["ts"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("joão", "joão"),
        ("two words", '"two words"'),
        ("", '""'),
        ("a=b", '"a=b"'),
        ('say "no"', r'"say \"no\""'),
        ("back\\slash", r'"back\\slash"'),
        ("a\r\n2025-01-30 error forged", r'"a\r\n2025-01-30 error forged"'),
        ("\x1b[2Jgone", r'"\u001b[2Jgone"'),
        ("line\u2028separator", r'"line\u2028separator"'),
        ("\ud800", r'"\ud800"'),
        (True, "true"),
        (None, "null"),
        (1.5, "1.5"),
        (["a", "b"], r'"[\"a\", \"b\"]"'),
    ],
)
def test_no_value_can_look_like_another_field_or_another_line(value: object, shown: str) -> None:
    stream = written("text")
    tell("dead_letter", user=value, attempts=3)
    (line,) = stream.getvalue().splitlines()
    _, level, event, rest = line.split(" ", 3)
    assert (level, event) == ("warning", "dead_letter")
    assert rest == f"user={shown} attempts=3"


def test_a_field_may_have_any_name() -> None:
    stream = written("json")
    tell("ready", name="x", args=1, message="y")
    (entry,) = records(stream)
    assert (entry["name"], entry["args"], entry["message"]) == ("x", 1, "y")


def test_every_line_names_the_replica_once_it_has_a_name() -> None:
    for form in ("text", "json"):
        stream = written(form)
        tell("listening")
        logs.name_replica("r-1")
        tell("ready")
        first, second = stream.getvalue().splitlines()
        assert "r-1" not in first
        assert "r-1" in second


@pytest.mark.parametrize(
    ("level", "shown"),
    [("debug", 3), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_the_level_is_the_least_that_is_written(level: LogLevel, shown: int) -> None:
    stream = written("json", level)
    for event in ("ready", "redis_lost", "crashed"):
        tell(event)
    assert len(records(stream)) == shown


def test_an_exception_is_logged_by_kind_and_place_but_not_by_its_text() -> None:
    stream = written("json")
    try:
        raise ExceptionGroup(SECRET, [KeyError(SECRET), OSError(98, "Address in use")])  # noqa: TRY301
    except ExceptionGroup:
        log.exception("crashed")
    assert SECRET not in stream.getvalue()
    (entry,) = records(stream)
    assert entry["error"] == "ExceptionGroup"
    assert "test_logs.py" in str(entry["at"])
    errors = entry["errors"]
    assert isinstance(errors, list)
    assert [inner["error"] for inner in errors] == ["KeyError", "OSError"]
    assert errors[1]["reason"] == "Address in use"


def test_what_a_library_says_is_named_and_placed_but_not_quoted() -> None:
    stream = written("json", "debug")
    for name in ("httpx", "httpcore.http11", "hypercorn.error", "coredis", "quart.app"):
        logging.getLogger(name).info("GET https://h/?token=%s", SECRET)
    assert stream.getvalue() == ""
    try:
        raise ValueError(SECRET)  # noqa: TRY301
    except ValueError:
        logging.getLogger("quart.app").exception(f"Exception on request /api/users/{SECRET}")
    (entry,) = records(stream)
    assert (entry["event"], entry["logger"]) == ("library", "quart.app")
    assert entry["error"] == "ValueError"
    assert SECRET not in stream.getvalue()


@pytest.mark.parametrize("name", ["actor_queue", "coredis"])
def test_a_flood_of_one_kind_is_cut_and_counted_and_hides_no_other_kind(name: str) -> None:
    stream = written("json")
    for _ in range(500):
        logging.getLogger(name).warning("redis_lost")
    tell("ready")
    logs.flush()
    said = records(stream)
    kind = "redis_lost" if name == "actor_queue" else "library coredis"
    assert len(said) == LINES_A_SECOND_MAX + 2
    assert said[-2]["event"] == "ready"
    assert said[-1]["event"] == "and_more"
    assert (said[-1]["of"], said[-1]["lines"]) == (kind, 500 - LINES_A_SECOND_MAX)


def test_a_long_line_loses_fields_from_its_end_and_says_so() -> None:
    for form in ("json", "text"):
        stream = written(form)
        tell("configuration", **{f"AQ_{n}": "é" * 2_000 for n in range(10)})
        line = stream.getvalue()
        assert len(line.encode()) <= 4_096
        assert "AQ_0" in line
        assert "AQ_9" not in line
        assert "cut" in line
        if form == "json":
            assert json.loads(line)["cut"] is True


def test_setting_up_again_does_not_double_the_lines() -> None:
    written("json")
    stream = written("json")
    tell("ready")
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:p@h:1/2", "redis://h:1/2"),
        ("https://u:p@h/x?token=1#f", "https://h/x"),
        ("redis+cluster://u:p@a:1,b:2", "redis+cluster://a:1,b:2"),
        ("unix://:p@/run/s.sock?db=1", "unix:///run/s.sock"),
        ("redis+cluster://u:p@a:1,b,[::1]:3/0", "redis+cluster://a:1,b,[::1]:3/0"),
        ("u:p@h", "(unreadable address)"),
    ],
)
def test_an_address_is_shown_without_credentials_and_query(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def test_a_receiver_is_shown_by_its_host_and_a_hash_of_what_may_be_a_secret() -> None:
    one = shown_receiver("https://u:pw@n8n.example:5678/webhook/s3cret-path?token=s3cret")
    assert one.startswith("https://n8n.example:5678/#")
    assert "s3cret" not in one
    assert "pw" not in one
    assert one == shown_receiver("https://n8n.example:5678/webhook/s3cret-path?token=s3cret")
    assert one != shown_receiver("https://n8n.example:5678/webhook/another-path?token=s3cret")
    assert shown_receiver("http://bot:1/") == "http://bot:1/"
    assert shown_receiver("http://[bot") == "(unreadable address)"


def test_the_configuration_has_what_differs_from_the_defaults_and_no_secret() -> None:
    settings = parse(
        {
            "REDIS_URL": "redis://me:hush-1@redis:6379/2",
            "WEBHOOK_URL": "https://me:hush-2@bot/hush-3?key=hush-4",
            "WEBHOOK_SECRET": "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNoLWh1c2g=",
            "AQ_API_KEYS": "ingest:hush-5,admin:hush-6",
            "AQ_DEFAULT_TTL": "2.5",
            "AQ_RETRY_SCHEDULE": "1,0.5",
            "AQ_SHARDS": "16",
            "AQ_MAX_WAIT": "0",
            "AQ_ALLOW_EVICTION": "true",
        }
    )
    shown = shown_settings(settings)
    assert shown.pop("WEBHOOK_URL") == shown_receiver("https://bot/hush-3?key=hush-4")
    assert shown == {
        "REDIS_URL": "redis://redis:6379/2",
        "WEBHOOK_SECRET": 1,
        "AQ_API_KEYS": "ingest,admin",
        "AQ_DEFAULT_TTL": "2.5",
        "AQ_RETRY_SCHEDULE": "1,0.5",
        "AQ_SHARDS": 16,
        "AQ_ALLOW_EVICTION": True,
    }
    assert "hush" not in str(shown)
    assert "aHVzaC" not in str(shown)
