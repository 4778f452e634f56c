"""Every verb against `actor-queue dev` itself: a real Valkey, a real timer, a real receiver."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import Dev, running_dev
from tests.cli.conftest import WAIT_S, Run

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with running_dev(tmp_path_factory.mktemp("dev")) as service:
        yield service


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Whose receiver is not there."""
    directory = tmp_path_factory.mktemp("refusing")
    with running_dev(
        directory, "--webhook-url", "http://127.0.0.1:1/", "--retry-schedule", "0.1,600"
    ) as service:
        yield service


def until(run: Callable[[], str], words: str) -> str:
    deadline = time.monotonic() + WAIT_S
    while words not in (said := run()):
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    return said


def test_a_message_waits_is_held_released_flushed_and_shown_as_delivered(
    run: Run, dev: Dev
) -> None:
    at = ("--url", dev.url)
    assert run("send", "ana", "oi", "--ttl", "600", "--field", "id=1", *at).status == 0
    assert re.search(r"ana\tcollecting\t1\t-\tfires in 10 min\n", run("users", *at).out)
    assert "next: fires in 30 min" in run("typing", "ana", "--ttl", "1800", *at).out
    assert "state: held" in run("hold", "ana", "--seconds", "5000", *at).out
    assert run("flush", "ana", *at).status == 1
    assert "state: collecting" in run("release", "ana", *at).out
    assert run("flush", "ana", *at).status == 0
    said = until(lambda: run("user", "ana", *at).out, "delivered")
    assert "state: idle" in said
    assert run("flush", "stranger", *at).status == 1


def test_a_drop_deletes_what_waits(run: Run, dev: Dev) -> None:
    at = ("--url", dev.url)
    run("send", "joao", "um", "--ttl", "600", *at)
    run("send", "joao", "dois", "--ttl", "600", *at)
    said = run("drop", "joao", "--yes", *at)
    assert said.status == 0
    assert "dropped: 2\n" in said.out
    assert said.out.endswith("\tdois\n")
    assert run("drop", "joao", "--yes", *at).status == 1


def test_status_tells_of_what_is_there(run: Run, dev: Dev) -> None:
    at = ("--url", dev.url)
    run("send", "maria", "oi", "--ttl", "600", *at)
    said = run("status", *at)
    assert said.status == 0
    assert re.search(r"^collecting\s+\d+ with \d+ messages?, the next", said.out, re.MULTILINE)
    report = json.loads(run("status", "--json", *at).out)
    assert report["ownership"]["shards_without_owner"] == 0
    assert report["since_start"]["accepted"] >= 1


def test_a_retry_shows_why_and_when_and_a_dead_letter_is_replayed_and_dropped(
    run: Run, refusing: Dev
) -> None:
    at = ("--url", refusing.url)
    run("send", "ana", "oi", "--ttl", "0", *at)
    line = until(lambda: run("users", *at).out, "2 attempts failed")
    assert "ana\tretrying\t0\t1\t2 attempts failed, next in " in line
    assert ": connection refused" in line
    shown = run("user", "ana", *at).out
    assert "  failure: connection refused\n" in shown
    assert shown.count("\tretry\t") == 2
    assert re.search(r"retrying\s+1, the oldest batch was closed at 20", run("status", *at).out)
    assert json.loads(run("dead", "list", "--json", *at).out)["dead"] == []


def test_an_attempt_under_way_says_for_how_long_and_how_long_it_may_take(
    run: Run, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with running_dev(tmp_path, "--webhook-url", url) as service:
            at = ("--url", service.url)
            run("send", "ana", "oi", "--ttl", "0", *at)
            line = until(lambda: run("users", *at).out, "ana\tdelivering\t0\t1\t")
            said = re.search(r"attempt 1, for ([0-9.]+) s, at most ([0-9.]+) s more", line)
            assert said, line
            assert 30 <= float(said[1]) + float(said[2]) <= 32
