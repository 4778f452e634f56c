"""`watch`: a table in the terminal that lives."""

from __future__ import annotations

import json
import re
import signal
import subprocess

import pytest

from actor_queue.app.commands.watch import later
from tests.cli.conftest import (
    COMMAND,
    WAIT_S,
    Run,
    Scripted,
    Terminal,
    environment,
)

RETRYING = {
    "user": "ana \x1b[2J [bold]",
    "state": "retrying",
    "pending": 2,
    "fires_in": 9.0,
    "held_for": None,
    "batch": {"messages": 3, "attempts": 4, "retry_in": 9.0, "failure": "answered 500"},
}


def answers(scripted: Scripted, *users: object, waiting: int = 1) -> None:
    scripted.answers["/readyz"] = (200, {"status": "ok"})
    scripted.answers["/api/shards"] = (200, {"replicas": [], "shards": [{"waiting": waiting}]})
    scripted.answers["/api/users?limit=200"] = (200, {"users": list(users), "cursor": None})


def test_what_was_seen_counts_on_between_two_looks() -> None:
    moved = later(RETRYING, 2.5)
    assert (moved["fires_in"], moved["batch"]["retry_in"]) == (6.5, 6.5)
    assert later(RETRYING, 99)["fires_in"] == 0
    attempt = {"fires_in": 5.0, "batch": {"attempt_for": 1.0}}
    assert later(attempt, 2)["batch"]["attempt_for"] == 3.0
    assert RETRYING["fires_in"] == 9.0


def test_who_waits_is_drawn_and_drawn_again_until_ctrl_c(scripted: Scripted) -> None:
    answers(scripted, RETRYING, waiting=7)
    terminal = Terminal("watch", "--every", "0.1", "--url", scripted.url)
    terminal.see("7 users waiting in all")
    terminal.see("4 attempts failed")
    assert "\x1b[2J" not in terminal.seen, "a user's name steers no terminal"
    assert "[bold]" in terminal.seen
    answers(scripted)
    terminal.see("nobody is waiting")
    scripted.answers["/readyz"] = (503, {"detail": "Redis is away"})
    terminal.see("not ready: the service answered 503: Redis is away")
    scripted.answers["/api/users?limit=200"] = (503, {"detail": "Redis is away"})
    terminal.see("as it was")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert terminal.seen.rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in terminal.seen[-40:]


def test_countdowns_go_on_while_the_service_hangs_and_colours_only_where_they_are_wanted(
    scripted: Scripted,
) -> None:
    answers(scripted, RETRYING)
    terminal = Terminal("watch", "--every", "600", "--url", scripted.url, NO_COLOR="1")
    for left in ("9.0 s", "8."):
        terminal.see(f"next in {left}")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", terminal.seen)


def test_a_service_that_is_not_there_is_an_error_at_once(run: Run) -> None:
    terminal = Terminal("watch", "--url", "http://127.0.0.1:1")
    assert terminal.end() == 1
    assert "nobody answers at http://127.0.0.1:1" in terminal.seen


def test_without_a_terminal_it_says_what_to_use_instead(
    run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(scripted)
    said = run("watch", "--url", scripted.url)
    assert said.status == 2
    assert "`actor-queue users` lists once" in said.err
    terminal = Terminal("watch", "--url", scripted.url, TERM="dumb")
    assert terminal.end() == 2


def test_as_json_each_look_is_a_line(scripted: Scripted) -> None:
    answers(scripted, RETRYING)
    process = subprocess.Popen(
        [*COMMAND, "watch", "--json", "--every", "0.05", "--url", scripted.url],
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT_S) == 130
    process.stdout.close()
    assert all(line["ready"] and line["users"] == [RETRYING] for line in lines)
