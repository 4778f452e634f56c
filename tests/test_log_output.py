"""A log that nobody reads, or that nobody can read, costs lines and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from actor_queue.core.log_events import LOG_EVENTS
from tests.acceptance.receiver import reply
from tests.acceptance.service import command, world
from tests.acceptance.waiting import wait_until

ROOT = Path(__file__).parent.parent
PIECE = 65_536

SPEAK = """
import sys, time
from actor_queue.app import logs
from actor_queue.runtime.lines import tell
logs.set_up("json")
logs._handler._flood._lines_max = 10**9
began = time.monotonic()
for number in range({lines}):
    tell("redis_lost", reason="x" * 200, number=number)
print(time.monotonic() - began, flush=True)
{afterwards}
"""


def speaking(lines: int, afterwards: str = "") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SPEAK.format(lines=lines, afterwards=afterwards)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_full_pipe_blocks_nobody_and_what_was_dropped_is_counted_once_there_is_room() -> None:
    lines = 60_000
    with speaking(lines, "sys.stdin.read()") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdin is not None
        # Nobody reads standard error, which holds some 200 lines: it gets here all the same.
        assert float(process.stdout.readline()) >= 0
        written = os.read(process.stderr.fileno(), PIECE)
        process.stdin.close()
        said = [json.loads(line) for line in (written + process.stderr.read()).splitlines()]
    dropped = sum(record["lines"] for record in said if record["event"] == "lines_dropped")
    kept = [record["number"] for record in said if record["event"] == "redis_lost"]
    assert dropped > 0
    assert len(kept) + dropped == lines
    assert kept == sorted(kept)


def test_a_process_ends_in_time_though_nobody_reads_its_log() -> None:
    with speaking(10_000) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.wait(10) == 0


@pytest.mark.parametrize("closing", ["the reader", "the descriptor"])
def test_a_standard_error_that_is_gone_ends_nothing(closing: str) -> None:
    read, write = os.pipe()
    command_line = [sys.executable, "-c", SPEAK.format(lines=100, afterwards="")]
    if closing == "the descriptor":
        command_line = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *command_line]
    process = subprocess.Popen(command_line, cwd=ROOT, stdout=subprocess.PIPE, stderr=write)
    os.close(write)
    os.close(read)
    with process:
        assert process.wait(10) == 0


def test_without_a_standard_error_no_connection_gets_its_number() -> None:
    script = (
        "import os\n"
        "from actor_queue.app import logs\n"
        "from actor_queue.runtime.lines import tell\n"
        "logs.set_up('text')\n"
        "read, write = os.pipe()\n"
        "tell('redis_lost')\n"
        "logs.flush()\n"
        "os.write(write, b'.')\n"
        "assert min(read, write) > 2\n"
        "assert os.read(read, 100) == b'.'\n"
    )
    shell = ["/bin/sh", "-c", 'exec "$@" 2>&- <&- >&-', "sh", sys.executable, "-c", script]
    assert subprocess.run(shell, cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    "raising", ["raise ValueError('hunter2')", "threading.Thread(target=broken).start()"]
)
def test_an_exception_that_nobody_caught_is_not_quoted(raising: str) -> None:
    script = (
        "import threading\n"
        "from actor_queue.app import logs\n"
        "logs.set_up('json')\n"
        "def broken(): raise KeyError('hunter2')\n"
        f"{raising}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False
    )
    assert b"hunter2" not in done.stderr
    assert json.loads(done.stderr)["event"] == "crashed"


# The service


def entries(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines()]


@pytest.mark.process
def test_a_service_whose_log_nobody_reads_any_more_goes_on() -> None:
    with world(start=False) as shared, ExitStack() as stack:
        service = shared.service
        variables = {**service.variables, "AQ_RETRY_SCHEDULE": "0.05", "AQ_LOG": "json"}
        read, write = os.pipe()
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}
        process = subprocess.Popen(
            command("serve", "--bind", "127.0.0.1:0"), env=environment, stderr=write
        )
        stack.callback(process.kill)
        os.close(write)
        seen = b""
        while b'"ready"' not in seen:
            seen += os.read(read, PIECE)
        os.close(read)
        (listening,) = re.findall(rb'"url": "http://127.0.0.1:(\d+)/"', seen)
        shared.client.port = int(listening)
        for number in range(30):
            shared.receiver.script(f"user-{number}", reply(410))
            shared.client.accepted(f"user-{number}", ttl=0)
        wait_until(lambda: len(shared.client.dead_ids()) == 30, "all are dead")
        assert process.poll() is None
        process.terminate()
        assert process.wait(15) == 0
        shared.client.journal.posts.clear()


@pytest.mark.process
def test_a_service_tells_its_story_in_names_that_the_table_has() -> None:
    with world(AQ_RETRY_SCHEDULE="0.1", AQ_LEASE_TTL="1") as shared:
        client, service = shared.client, shared.service
        shared.receiver.refuse()
        text = client.accepted("joao", ttl=0)
        shared.gone.add(text)
        wait_until(lambda: '"dead_letter"' in service.log(), "a dead letter")
        shared.receiver.listen()
        client.accepted("maria", ttl=0)
        wait_until(lambda: '"receiver_recovered"' in service.log(), "it recovered")
        client.user("joao", "hold", seconds=100)
        client.user("joao", "release")
        shared.redis.kill()
        wait_until(lambda: '"redis_lost"' in service.log(), "Redis is missed")
        time.sleep(1.2)  # the leases lapse
        shared.redis.start()
        wait_until(lambda: '"redis_back"' in service.log(), "Redis is back")
        wait_until(lambda: service.ready, "ready")
        assert service.stop() == 0
        said = entries(service.log())
        told = [record["event"] for record in said]
        for event in (
            "configuration",
            "listening",
            "ready",
            "shards_taken",
            "receiver_failing",
            "dead_letter",
            "receiver_recovered",
            "hold_began",
            "hold_ended",
            "redis_lost",
            "lease_lapsed",
            "redis_back",
            "shards_given",
            "stopping",
            "stopped",
        ):
            assert event in told, (event, told)
        assert set(told) <= {event.name for event in LOG_EVENTS}
        assert told.count("receiver_failing") == told.count("dead_letter") == 1
        assert told[-1] == "stopped"
        replicas = {record["replica"] for record in said if record["event"] == "dead_letter"}
        assert len(replicas) == 1
        assert "joao" not in service.log()
        configuration = said[told.index("configuration")]
        assert configuration["AQ_LEASE_TTL"] == "1"
        assert "/hook" not in configuration["WEBHOOK_URL"]


# The table


def test_every_name_that_the_code_tells_is_in_the_table_and_every_name_there_is_told() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "actor_queue").rglob("*.py"))
    told = set(re.findall(r"(?:\btell|_tell|_about|_own|write|watch)\(\s*\"([a-z_]+)\"", sources))
    assert told == {event.name for event in LOG_EVENTS} - {"library"}


def test_the_documentation_shows_the_table() -> None:
    page = (ROOT / "docs" / "log.md").read_text()
    rows = [f"| `{name}` | {level} | {meaning} |" for name, level, meaning in LOG_EVENTS]
    assert "\n".join(rows) in page, "docs/log.md needs these rows:\n" + "\n".join(rows)


@pytest.mark.process
def test_a_start_on_a_redis_without_an_append_only_file_warns_once() -> None:
    def warnings(log: str) -> list[dict[str, Any]]:
        return [line for line in entries(log) if line["event"] == "redis_not_persistent"]

    with world() as shared:
        assert shared.service.stop() == 0
        assert warnings(shared.service.log()) == []
        shared.redis.configure(appendonly="no")
        shared.service.start()
        assert shared.service.stop() == 0
        (warning,) = warnings(shared.service.log())
        assert warning["level"] == "warning"
        assert "CONFIG SET appendonly yes" in warning["reason"]
