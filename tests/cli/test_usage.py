"""What the command line accepts, its exit statuses, and how it ends when nobody reads on."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import types
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from actor_queue.app import doctor
from actor_queue.app.listening import doubts_here
from actor_queue.core.settings import Settings, parse
from tests.cli.conftest import (
    COMMAND,
    ROOT,
    WAIT_S,
    Ours,
    Run,
    Terminal,
    actor_queue,
    environment,
    until_listened,
)
from tests.http.client import ask, until

Started = list[tuple[Settings, bool]]

COMMANDS = (
    ["dev"], ["serve"], ["check"], ["doctor"], ["new-secret"], ["send"], ["users"], ["user"],
    ["flush"], ["hold"], ["release"], ["typing"], ["drop"], ["shards"], ["status"], ["events"],
    ["watch"],
    ["dead"], ["dead", "list"], ["dead", "show"], ["dead", "replay"], ["dead", "drop"],
    ["attempts"], ["deeds"], ["find"],
)  # fmt: skip


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Stands where the service starts: the settings it was started with."""
    calls: Started = []

    def run_service(settings: Settings, config: object, *, dev: bool, read_again: object) -> int:
        calls.append((settings, dev))
        return 0

    module = types.SimpleNamespace(run_service=run_service)
    monkeypatch.setitem(sys.modules, "actor_queue.app.service", module)
    return calls


def test_the_process_exits_with_the_status_and_keeps_errors_off_standard_output() -> None:
    assert actor_queue("--version").returncode == 0
    wrong = actor_queue("dev", "--shards", "0")
    assert wrong.returncode == 2
    assert wrong.stdout == b""
    assert wrong.stderr == (
        b"actor-queue: AQ_SHARDS is '0'; allowed: a whole number from 1 to 16384\n"
    )


def test_help_loads_neither_the_client_nor_the_service() -> None:
    code = (
        "import sys; from actor_queue.app.cli import run; run(['--help']);"
        "print([m for m in ('httpx', 'rich', 'trio', 'redis', 'hypercorn', 'quart')"
        " if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_h_and_help(run: Run, command: list[str]) -> None:
    short, long = run(*command, "-h"), run(*command, "--help")
    assert short.status == 0
    assert short.out == long.out
    assert short.out.startswith("Usage: actor-queue")
    assert "--help" in short.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["two\nlines"],
        ["send", "joao"],
        ["send", "joao", "oi", "--ttl", "soon"],
        ["send", "joao", "oi", "--ttl", "-1"],
        ["send", "joao", "oi", "--ttl", "nan"],
        ["send", "joao", "oi", "--field", "id_agente"],
        ["send", "joao", "oi", "--field", "=1"],
        ["send", "joao", "oi", "--field", "user=maria"],
        ["send", "joao", "oi", "--field", "ttl=1"],
        ["send", "joao", "oi", "--field", "a=1", "--field", "a=2"],
        ["send", "joao", "\udcff"],
        ["users", "--limit", "0"],
        ["users", "--state", "asleep"],
        ["user", ""],
        ["hold", "joao", "--seconds", "inf"],
        ["hold", "joao", "--seconds", "0"],
        ["typing", "joao", "--ttl", "0"],
        ["dead", "replay"],
        ["dead", "replay", "b1", "--all"],
        ["dead", "drop"],
        ["dead", "drop", "b1", "--all"],
        ["dead", "nonsense"],
        ["users", "--url", "localhost:8000"],
        ["users", "--key", "\n"],
        ["users", "--key", "k", "--key-file", "f"],
        ["users", "--key-file", "/nowhere"],
        ["serve", "--AQ_SHRADS=3"],
        ["serve", "--shards"],
        ["dev", "--max-ttl", "0"],
        ["new-secret", "more"],
    ],
)
def test_wrong_usage_is_status_2_and_one_line_on_standard_error(
    run: Run, arguments: list[str]
) -> None:
    said = run(*arguments)
    assert said.status == 2
    assert said.out == ""
    assert said.err.startswith("actor-queue: ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["hold", "a", "--seconds", "-4"], "'-4' is not a number of seconds, more than 0; see"),
        (["hold", "a", "--seconds", "x"], "'x' is not a number of seconds, more than 0; see"),
        (["typing", "a", "--ttl", "0"], "'0' is not a number of seconds, more than 0; see"),
        (["send", "a", "b", "--ttl", "-1"], "'-1' is not a number of seconds, 0 or more; see"),
        (["send", "a", "b", "--ttl", "nan"], "'nan' is not a number of seconds, 0 or more; see"),
        (["users", "--limit", "0"], "'0' is not a whole number, 1 or more; see"),
        (["dead", "list", "--limit", "1.5"], "'1.5' is not a whole number, 1 or more; see"),
        (["user", ""], "the user or the id must not be empty; see"),
    ],
)
def test_wrong_usage_says_in_words_what_is_allowed(
    run: Run, arguments: list[str], sentence: str
) -> None:
    said = run(*arguments).err
    assert sentence in said
    assert "Invalid" not in said
    assert "valid float" not in said


def test_without_a_command_the_help_is_shown_and_the_status_is_2(run: Run) -> None:
    for arguments in ([], ["dead"]):
        said = run(*arguments)
        assert said.status == 2
        assert "Commands:" in said.err
    assert run("--help").status == 0


def test_an_unknown_variable_stops_every_command_that_reads_settings(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQ_SHARD", "1")
    for command in ("dev", "serve", "edge", "check", "users", "doctor", "status", "events"):
        said = run(command)
        assert said.status == 2
        assert "AQ_SHARDS" in said.err


def test_every_wrong_setting_is_said_at_once_by_every_command_that_reads_them(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQ_SHARDS", "0")
    monkeypatch.setenv("AQ_WORKERS", "none")
    Path(".env").write_text("AQ_LEASE_TTL=x\n")
    for command in ("dev", "serve", "edge", "check", "users", "doctor"):
        said = run(command)
        assert said.status == 2
        for name in ("AQ_SHARDS", "AQ_WORKERS", "AQ_LEASE_TTL"):
            assert f"actor-queue: {name} is" in said.err


# dev, serve and check


@pytest.mark.parametrize(
    "flag", ["--default-ttl", "--aq-default-ttl", "--AQ_DEFAULT_TTL", "--AQ_DEFAULT_TTL="]
)
def test_a_flag_has_the_names_of_its_variable_and_wins(
    run: Run,
    started: Started,
    monkeypatch: pytest.MonkeyPatch,
    flag: str,
) -> None:
    monkeypatch.setenv("AQ_DEFAULT_TTL", "9")
    monkeypatch.setenv("AQ_SHARDS", "3")
    words = [f"{flag}2.5"] if flag.endswith("=") else [flag, "2.5"]
    assert run("dev", *words, "--REDIS_URL", "redis://h", "--webhook-url=http://h").status == 0
    ((settings, dev),) = started
    assert dev
    assert settings.default_ttl_ms == 2_500
    assert settings.shards == 3
    assert settings.redis_url == "redis://h"
    assert settings.webhook_url == "http://h"


def test_a_boolean_flag_needs_no_value(run: Run, started: Started) -> None:
    run("dev", "--allow-anonymous", "--AQ_ALLOW_EVICTION", "no")
    run("dev", "--allow-eviction")
    assert [(s.allow_anonymous, s.allow_eviction) for s, _ in started] == [
        (True, False),
        (False, True),
    ]


def test_serve_reads_the_file_and_says_what_is_missing(run: Run, started: Started) -> None:
    assert "REDIS_URL" in run("serve").err
    Path(".env").write_text("REDIS_HOST=db\n")
    assert "WEBHOOK_URL" in run("serve").err
    Path(".env").write_text("REDIS_HOST=db\nWEBHOOK_URL=http://bot\n")
    assert run("serve").status == 0
    ((settings, dev),) = started
    assert not dev
    assert settings.redis_url == "redis://db:6379"


def test_check_judges_what_serve_would_and_starts_nothing(run: Run, started: Started) -> None:
    missing = run("check")
    assert missing.status == 2
    assert "REDIS_URL" in missing.err
    assert "WEBHOOK_URL" in missing.err
    good = run(
        "check", "--redis-url", "redis://db", "--AQ_WEBHOOK_TIMEOUT=5", "--webhook-url=http://b"
    )
    assert good.status == 0
    assert good.out == "the settings can be used\n"
    assert started == []


def test_check_says_the_doubts_that_serve_says_at_its_start(
    run: Run, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://db")
    monkeypatch.setenv("WEBHOOK_URL", "http://b")
    monkeypatch.setenv("AQ_MAX_BATCH_BYTES", "1")
    monkeypatch.setenv("AQ_BIND", "0.0.0.0:80")
    monkeypatch.setenv("AQ_API_KEYS", "admin:hunter2")
    said = run("check")
    assert said.status == 0
    first, *doubts = said.out.splitlines()
    assert first == "the settings can be used"
    assert len(doubts) == 2
    assert all(doubt.startswith("doubtful: ") for doubt in doubts)
    settings = parse(dict(os.environ))
    told = json.loads(run("check", "--json").out)
    assert told == {"usable": True, "doubts": doubts_here(settings)}
    assert [f"doubtful: {doubt}" for doubt in told["doubts"]] == doubts
    # The doctor judges by the same rules.
    found = [each.text for each in doctor.examine(settings) if each.check == "settings"]
    assert found == told["doubts"]
    assert "hunter2" not in said.out
    assert started == []


# Completion


def completed(words: str) -> list[str]:
    """What a shell would be offered after `words`."""
    answer = subprocess.run(
        COMMAND,
        env=environment()
        | {
            "_ACTOR_QUEUE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert answer.stderr == ""
    return answer.stdout.split()


def test_the_shell_completes_commands_options_and_values() -> None:
    assert {"user", "users"} <= set(completed("actor-queue us"))
    assert completed("actor-queue dead re") == ["replay"]
    assert "--webhook-url" in completed("actor-queue serve --web")
    assert completed("actor-queue users --state re") == ["retrying"]


def test_the_completion_for_a_shell_can_be_shown() -> None:
    shown = subprocess.run(
        [*COMMAND, "--show-completion", "bash"],
        env=environment() | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    )
    assert "complete -o" in shown.stdout
    assert "_ACTOR_QUEUE_COMPLETE" in shown.stdout


# Ends


@pytest.mark.parametrize("columns", ["short", "long"])
def test_a_reader_that_has_gone_ends_the_command_without_a_word(ours: Ours, columns: str) -> None:
    """The short answer is still in the buffer at the end, the long one breaks in the middle."""
    for number in range(3 if columns == "short" else 900):
        ours.engine.bury(f"b{number}", user="u" * 200)
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [*COMMAND, "dead", "list", "--limit", "1000", "--url", ours.url],
        stdout=write,
        stderr=subprocess.PIPE,
        env=environment(),
        check=False,
        timeout=WAIT_S,
    )
    os.close(write)
    assert process.returncode == 141
    assert process.stderr == b""


def test_a_reader_that_has_gone_ends_the_help_without_a_word() -> None:
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [*COMMAND, "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        env=environment(),
        check=False,
        timeout=WAIT_S,
    )
    os.close(write)
    assert process.returncode == 141
    assert process.stderr == b""


def test_an_interrupt_ends_a_command_without_a_word(ours: Ours) -> None:
    process = subprocess.Popen(
        [*COMMAND, "events", "--url", ours.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    until_listened(ours, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_an_interrupt_at_a_question_changes_nothing(ours: Ours) -> None:
    ours.engine.bury("b1")
    terminal = Terminal("dead", "drop", "b1", "--url", ours.url)
    terminal.see("[y/N]")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.seen
    assert "b1" in ours.engine.letters


def test_an_interrupt_among_tasks_ends_a_command_without_a_word(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trio wraps it in a group where it comes inside a nursery."""

    def examine(*_: object, **__: object) -> None:
        async def main() -> None:
            async with trio.open_nursery():
                signal.raise_signal(signal.SIGINT)
                await trio.lowlevel.checkpoint()

        trio.run(main)

    monkeypatch.setattr(doctor, "examine", examine)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run("doctor") == (130, "", "")
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_a_test_that_waits_for_its_answer_without_a_word() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = subprocess.Popen(
            [*COMMAND, "doctor", "--send-test"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment() | {"WEBHOOK_URL": f"http://127.0.0.1:{silent.getsockname()[1]}/"},
        )
        content = b""
        while b'"test":true' not in content:
            # The first connection is only looked at; the second brings the test.
            with silent.accept()[0] as connection:
                while piece := connection.recv(65_536):
                    content += piece
                    if b'"test":true' in content:
                        process.send_signal(signal.SIGINT)
                        break
                else:
                    continue
                out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out, err) == (130, b"", b"")


def in_shell(line: str) -> subprocess.CompletedProcess[bytes]:
    """`line` with `$AQ` for the command line."""
    command = shlex.join([sys.executable, "-m", "actor_queue"])
    return subprocess.run(
        ["sh", "-c", line.replace("$AQ", command)],
        env=environment(),
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )


@pytest.mark.parametrize("command", ["--version", "--help", "new-secret --json", "users --help"])
@pytest.mark.parametrize(
    ("redirection", "why"),
    [(">/dev/full", b"No space left on device"), (">&-", b"Bad file descriptor")],
)
def test_an_answer_that_cannot_be_written_is_said_in_one_sentence(
    command: str, redirection: str, why: bytes
) -> None:
    done = in_shell(f"$AQ {command} {redirection}")
    sentence = b"actor-queue: standard output cannot be written: " + why + b"\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", sentence)


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_a_list_that_cannot_be_written_is_said_in_one_sentence(
    ours: Ours, redirection: str
) -> None:
    for command in ("users", "users --json", "status", "shards"):
        done = in_shell(f"$AQ {command} --url {ours.url} {redirection}")
        assert (done.returncode, done.stdout) == (1, b""), done
        assert done.stderr.startswith(b"actor-queue: standard output cannot be written: ")
        assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_complaint_that_cannot_be_written_changes_no_exit_status(redirection: str) -> None:
    for command in ("nonsense", "serve", "dev --shards 0"):
        done = in_shell(f"$AQ {command} {redirection}")
        assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")
    done = in_shell("$AQ new-secret 2>/dev/full")
    assert done.returncode == 0
    assert done.stdout.startswith(b"whsec_")


def test_nobody_can_be_asked_where_standard_input_is_closed(ours: Ours) -> None:
    assert in_shell(f"$AQ send ana hello --url {ours.url}").returncode == 0
    done = in_shell(f"$AQ drop ana --url {ours.url} <&-")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), done
    assert b"--yes" in done.stderr


def connects(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("redirection", [">&- 2>&-", ">/dev/full 2>/dev/full"])
def test_a_service_whose_output_is_closed_stops_as_any_other(redirection: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = shlex.join([sys.executable, "-m", "actor_queue"])
    settings = (
        f"--bind 127.0.0.1:{port} --redis-url redis://127.0.0.1:1 --webhook-url http://127.0.0.1:1/"
    )
    with subprocess.Popen(
        ["sh", "-c", f"exec {command} serve {settings} {redirection}"], env=environment()
    ) as process:
        until(lambda: connects(port))
        assert ask(("127.0.0.1", port), "GET", "/healthz").status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
