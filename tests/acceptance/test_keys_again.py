"""SIGHUP: all workers read AQ_API_KEYS again, a wrong one changes nothing, and a terminal that is
closed ends what was started in it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.receiver import receiving
from tests.acceptance.redis_process import redis_process
from tests.acceptance.service import QUICK, Service, World, clean_environment, world
from tests.acceptance.waiting import wait_until
from tests.http.client import Answer, ask

pytestmark = pytest.mark.process

OLD, NEW = "chave-velha-da-ana", "chave-nova-da-ana"
IN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "actor_queue", "serve"])
"""


@contextmanager
def keyed(tmp_path: Path, **variables: str) -> Iterator[tuple[World, Path]]:
    keys = tmp_path / "keys"
    keys.write_text(f"admin:{OLD}:ana,read:so-para-ver\n")
    with world(AQ_API_KEYS_FILE=str(keys), **variables) as running:
        yield running, keys


def lines(service: Service, event: str) -> list[dict[str, Any]]:
    said = map(json.loads, service.log().splitlines())
    return [line for line in said if line["event"] == event]


def asked(service: Service, path: str = "/api/shards", **headers: str) -> Answer:
    return ask(("127.0.0.1", service.port), "GET", path, headers=headers)


def status(service: Service, key: str) -> int:
    return asked(service, authorization=f"Bearer {key}").status


def session(service: Service, key: str) -> str:
    body = json.dumps({"key": key})
    answer = ask(("127.0.0.1", service.port), "POST", "/api/session", body)
    assert answer.status == 204, answer
    return answer.headers["set-cookie"].partition(";")[0]


def read_again(service: Service, event: str, times: int) -> dict[str, Any]:
    service.signal(signal.SIGHUP)
    wait_until(lambda: len(lines(service, event)) == times, event)
    return lines(service, event)[-1]


def test_a_key_in_a_file_is_rotated_without_a_restart_and_its_sessions_end(tmp_path: Path) -> None:
    with keyed(tmp_path) as (running, keys):
        service = running.service
        cookie = session(service, OLD)
        assert asked(service, "/api/session", cookie=cookie).json["name"] == "ana"
        keys.write_text(f"admin:{NEW}:ana,read:so-para-ver\n")
        assert asked(service, cookie=cookie).status == 200, "nothing was said yet"
        line = read_again(service, "keys_read_again", 1)
        assert (line["added"], line["removed"]) == (1, 1)
        assert asked(service, cookie=cookie).status == status(service, OLD) == 401
        assert status(service, NEW) == status(service, "so-para-ver") == 200
        assert asked(service, cookie=session(service, NEW)).status == 200
        assert NEW not in service.log()


def test_keys_that_cannot_be_used_are_logged_and_change_nothing(tmp_path: Path) -> None:
    with keyed(tmp_path) as (running, keys):
        service = running.service
        for times, text in enumerate((f"admin:{NEW},boss:{NEW}", "", " \n"), 1):
            keys.write_text(text)
            line = read_again(service, "keys_unchanged", times)
            assert "AQ_API_KEYS" in line["reason"]
            assert NEW not in line["reason"]
            assert (status(service, OLD), status(service, NEW)) == (200, 401)
        keys.unlink()
        read_again(service, "keys_unchanged", 4)
        assert status(service, OLD) == 200


def test_keys_that_are_gone_altogether_do_not_open_the_service(tmp_path: Path) -> None:
    with world() as running:
        service = running.service
        service.stop()
        dotenv = service.directory / ".env"
        dotenv.write_text(f"AQ_API_KEYS=admin:{OLD}\n")
        service.start()
        dotenv.write_text("\n")
        read_again(service, "keys_unchanged", 1)
        assert asked(service).status == 401
        dotenv.write_text(f"AQ_API_KEYS=admin:{NEW}\n")
        read_again(service, "keys_read_again", 1)
        assert (status(service, OLD), status(service, NEW)) == (401, 200)


def test_all_workers_hear_of_it_and_so_does_one_that_starts_afterwards(tmp_path: Path) -> None:
    with keyed(tmp_path, AQ_WORKERS="2") as (running, keys):
        service = running.service
        cookie = session(service, OLD)
        keys.write_text(f"admin:{NEW}:ana\n")
        read_again(service, "keys_read_again", 1)
        told = [ask_all(service, cookie) for _ in range(3)]
        assert told == [[401], [401], [401]]
        victim = lines(service, "worker_started")[0]["pid"]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(lines(service, "ready")) == 3, "another worker")
        assert ask_all(service, cookie) == [401]
        assert status(service, NEW) == 200


def test_signing_out_at_one_worker_ends_the_session_at_all_and_at_those_that_come(
    tmp_path: Path,
) -> None:
    with keyed(tmp_path, AQ_WORKERS="2") as (running, _):
        service = running.service
        cookie, other = session(service, OLD), session(service, OLD)
        address = ("127.0.0.1", service.port)
        headers = {"cookie": cookie, "origin": f"http://127.0.0.1:{service.port}"}
        assert ask(address, "DELETE", "/api/session", headers=headers).status == 204
        assert ask_all(service, cookie) == [401]
        os.kill(lines(service, "worker_started")[0]["pid"], signal.SIGKILL)
        wait_until(lambda: len(lines(service, "ready")) == 3, "another worker")
        assert ask_all(service, cookie) == [401]
        assert asked(service, cookie=other).status == 200


def ask_all(service: Service, cookie: str) -> list[int]:
    """What a dozen connections are answered, which both workers take."""
    wait_until(lambda: asked(service, cookie=cookie).status == 401, "the news")
    return sorted({asked(service, cookie=cookie).status for _ in range(12)})


def test_a_terminal_that_is_closed_ends_the_service_in_order(tmp_path: Path) -> None:
    with receiving() as receiver, redis_process() as store:
        ours, theirs = pty.openpty()
        log = tmp_path / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", IN_TERMINAL],
                stdin=theirs,
                stdout=output,
                stderr=output,
                cwd=tmp_path,
                start_new_session=True,
                env=clean_environment(
                    REDIS_URL=store.url,
                    WEBHOOK_URL=receiver.url,
                    AQ_BIND="127.0.0.1:0",
                    **QUICK,
                ),
            )
        try:
            os.close(theirs)
            wait_until(lambda: " ready " in log.read_text(), "ready")
            process.send_signal(signal.SIGHUP)
            wait_until(lambda: "keys_read_again" in log.read_text(), "the terminal is there still")
            os.close(ours)
            assert process.wait(15) == 0
            assert "the terminal is gone" in log.read_text()
        finally:
            process.kill()
            process.wait()
