"""Logs: one line an event, for machines or people, and nothing that is nobody's business."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from actor_queue.app.logs import redact_url, set_up

log = logging.getLogger("actor_queue.test")


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def written(*, dev: bool) -> io.StringIO:
    stream = io.StringIO()
    set_up(dev=dev, stream=stream)
    return stream


def test_serve_writes_one_json_object_a_line_with_the_fields_in_it() -> None:
    stream = written(dev=False)
    log.warning("store_away", extra={"detail": "a\nb", "for_s": 1.5, "ts": "forged"})
    line = stream.getvalue()
    assert line.count("\n") == 1
    entry = json.loads(line)
    assert entry["level"] == "warning"
    assert entry["event"] == "store_away"
    assert entry["detail"] == "a\nb"
    assert entry["for_s"] == 1.5
    assert entry["ts"].endswith("Z")


def test_dev_writes_short_lines_that_cannot_steer_the_terminal() -> None:
    stream = written(dev=True)
    log.info("fired", extra={"user": "a\x1b[2J\nb"})
    log.error("gone")
    first, second = stream.getvalue().splitlines()
    assert first[9:] == "fired user=a\\x1b[2J\\nb"
    assert second[9:] == "error: gone"


def test_an_exception_is_logged_by_kind_and_place_but_not_by_its_text() -> None:
    stream = written(dev=False)
    try:
        raise ExceptionGroup("hunter2", [KeyError("hunter2"), OSError(98, "Address in use")])  # noqa: TRY301
    except ExceptionGroup:
        log.exception("crashed")
    assert "hunter2" not in stream.getvalue()
    entry = json.loads(stream.getvalue())
    assert entry["error"] == "ExceptionGroup"
    assert "test_logs.py" in entry["at"][0]
    assert [inner["error"] for inner in entry["errors"]] == ["KeyError", "OSError"]
    assert entry["errors"][1]["reason"] == "Address in use"


def test_libraries_speak_only_when_something_is_wrong() -> None:
    stream = written(dev=False)
    for name in ("httpx", "httpcore.http11", "hypercorn.error", "coredis", "quart.app"):
        logging.getLogger(name).info("GET https://h/?token=hunter2")
    assert stream.getvalue() == ""
    logging.getLogger("hypercorn.error").warning("trouble")
    assert "trouble" in stream.getvalue()


def test_setting_up_again_does_not_double_the_lines() -> None:
    written(dev=False)
    stream = written(dev=False)
    log.info("once")
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
