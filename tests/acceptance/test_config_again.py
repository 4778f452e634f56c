"""SIGHUP: the file of AQ_CONFIG is read again, all of it or nothing."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.acceptance.service import Service, world
from tests.acceptance.test_keys_again import NEW, OLD, lines, read_again, status
from tests.doors.fixtures import as_sent, fixture
from tests.http.client import ask

pytestmark = pytest.mark.process


def at_door(service: Service) -> tuple[int, int | None]:
    """A message of Telegram at the door of the file: the status, and how many were accepted."""
    event = as_sent(fixture("telegram/text")["body"])
    event = re.sub(rb'"date": ?\d+', b'"date":%d' % time.time(), event)
    headers = {"x-telegram-bot-api-secret-token": "secret-of-loja"}
    answer = ask(("127.0.0.1", service.port), "POST", "/in/loja", event, headers)
    return answer.status, answer.json.get("accepted")


def test_a_right_file_counts_a_wrong_one_changes_nothing_and_a_lost_route_is_told(
    tmp_path: Path,
) -> None:
    file, keys = tmp_path / "aq.toml", tmp_path / "keys"
    file.write_text(
        '[routes.a]\nurl = "http://127.0.0.1:9/hunter2"\n'
        '[doors.loja]\nkind = "telegram"\nroute = "a"\nsecret = "secret-of-loja"'
    )
    keys.write_text(f"admin:{OLD}")
    with world(AQ_CONFIG=str(file), AQ_API_KEYS_FILE=str(keys)) as running:
        service = running.service
        [line] = lines(service, "routes_read")
        assert line["count"] == 2
        assert "a=http://127.0.0.1:9/#" in line["routes"]

        assert at_door(service) == (200, 1)
        file.write_text('[routes.b]\nurl = "http://127.0.0.1:9/"\nttl = -1')
        keys.write_text(f"admin:{NEW}")
        line = read_again(service, "routes_unchanged", 1)
        assert line["reason"].startswith(f"{file}, line 3: routes.b.ttl is -1; allowed: ")
        assert (status(service, OLD), status(service, NEW)) == (401, 200), "the keys are right"

        file.write_text('[routes.b]\nurl = "http://127.0.0.1:9/"')
        line = read_again(service, "routes_read", 2)
        assert line["routes"].endswith(" b=http://127.0.0.1:9/")
        assert at_door(service) == (404, None)
        [line] = lines(service, "routes_missing")
        assert (line["count"], line["routes"]) == (1, "a")

        keys.write_text("boss:nobody")
        file.write_text("")
        read_again(service, "keys_unchanged", 1)
        assert len(lines(service, "routes_read")) == 2, "nothing of a wrong reading counts"
        assert "hunter2" not in service.log()
