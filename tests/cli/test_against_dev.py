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


@pytest.fixture
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Whose receiver is not there, and whose batches die at once. One for each test: the failures
    of several would open the route, and then nothing dies."""
    directory = tmp_path_factory.mktemp("dying")
    with running_dev(
        directory, "--webhook-url", "http://127.0.0.1:1/", "--retry-schedule", "0"
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
    said = run("drop", "joao", "--yes", "--texts", *at)
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
            silent.close()  # the attempt ends now, and the service need not wait for it


def test_a_dead_letter_is_listed_shown_replayed_and_dropped(run: Run, dying: Dev) -> None:
    at = ("--url", dying.url)
    run("send", "ana", "um", "--ttl", "600", *at)
    run("send", "ana", "dois", "--ttl", "0", *at)
    run("flush", "ana", *at)
    listed = until(lambda: run("dead", "list", *at).out, "connection refused").splitlines()
    assert len(listed) == 2
    batch_id = listed[1].split("\t")[0]
    shown = run("dead", "show", batch_id, *at).out
    assert json.loads(shown[shown.index("{") :])["messages"] == ["um", "dois"]
    assert "queued: yes" in run("dead", "replay", batch_id, *at).out
    until(lambda: run("dead", "list", *at).out, "\tno\t")
    again = run("dead", "replay", "--all", "--yes", "--json", *at)
    job = json.loads(again.out)
    assert (again.status, job["state"], job["total"], job["replayed"]) == (0, "done", 1, 1)
    until(lambda: run("dead", "list", *at).out, "\tno\t")
    said = run("dead", "drop", batch_id, *at)
    assert said.status == 2
    assert "1 dead letter with 2 messages would be deleted for ever" in said.err
    assert run("dead", "drop", "--all", "--yes", *at).out == "dropped: 1\n"
    assert run("dead", "list", *at).out == "there are no dead letters\n"


def doctors_findings(run: Run, service: Dev, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of the Redis that this `dev` brought: `level: text` for each check."""
    monkeypatch.setenv("AQ_DATA_DIR", str(service.directory / "data"))
    found = json.loads(run("doctor", "--json").out)["findings"]
    return {each["check"]: f"{each['level']}: {each['text']}" for each in found}


def test_doctor_sees_a_retry_and_why(
    run: Run, refusing: Dev, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ("--url", refusing.url)
    run("send", "joao", "oi", "--ttl", "0", *at)
    until(lambda: run("user", "joao", *at).out, "2 attempts failed")
    run("hold", "joao", "--seconds", "3000", *at)
    run("send", "maria", "oi", "--ttl", "0", *at)
    until(lambda: run("user", "maria", *at).out, "2 attempts failed")
    found = doctors_findings(run, refusing, monkeypatch)
    assert found["dead letters"] == "ok: there are none; each is kept for ever (AQ_DEAD_RETENTION)"
    assert re.match(
        r"warn: \d+ users? waits? for a retry; the oldest batch was closed .* ago and failed"
        r" 2 times: connection refused: nobody listens there: start the receiver",
        found["retries"],
    )
    assert found["holds"].startswith("ok: 1 user with messages held, the longest for 50 min more")


def test_doctor_sees_dead_letters_and_why(
    run: Run, dying: Dev, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ("--url", dying.url)
    run("dead", "drop", "--all", "--yes", *at)
    for user in ("ana", "joao"):
        run("send", user, "oi", "--ttl", "0", *at)
    until(lambda: str(run("dead", "list", *at).out.count("refused")), "2")
    found = doctors_findings(run, dying, monkeypatch)
    assert found["dead letters"].startswith("warn: 2 dead letters, the newest of 20")
    assert "UTC after 2 attempts: connection refused: nobody listens there" in found["dead letters"]
    assert found["retries"] == "ok: nobody waits for a retry"
    assert found["holds"] == "ok: nobody with messages is held"


def test_a_message_that_waits_is_edited_and_another_is_taken_back(run: Run, dev: Dev) -> None:
    at = ("--url", dev.url)
    odd = "ü/1 %2F"
    for text, name in (("erro", odd), ("apagar", "m2")):
        assert run("send", "zoe", text, "--ttl", "600", "--id", name, *at).status == 0
    said = run("edit", "zoe", odd, "certo", "--reason", "typo", *at)
    assert (said.status, odd in said.out) == (0, True)
    answer = json.loads(run("revoke", "zoe", "m2", "--json", *at).out)
    assert (answer["message_id"], answer["pending"]) == ("m2", 1)
    gone = run("revoke", "zoe", "m2", *at)
    assert (gone.status, "taken back before" in gone.err) == (1, True)
    assert run("flush", "zoe", *at).status == 0
    until(lambda: run("user", "zoe", *at).out, "delivered")
    late = run("edit", "zoe", odd, "tarde", *at)
    assert (late.status, "on its way" in late.err) == (1, True)
    deeds = run("deeds", "zoe", *at).out
    assert "edit" in deeds
    assert "revoke" in deeds
