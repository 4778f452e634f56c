"""`AQ_WORKERS`: workers that die, drain, hang or refuse, under a parent that stops or is killed.

Parent and workers are real processes. Most workers here are stand-ins, which say who they are
on each connection and then wait for a line: a connection is work under way.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from actor_queue.app import workers
from actor_queue.app.listening import Sockets
from actor_queue.app.service import run_service
from tests.servers import Server

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent
DEADLINE_S = 60.0

PARENT = """
import json, sys
from actor_queue.app import workers
from actor_queue.core.settings import parse

variables, constants, dev = json.loads(sys.argv[1])
for name, value in constants.items():
    setattr(workers, name, value)
command = sys.argv[2:] or workers.WORKER
sys.exit(workers.run_workers(parse(variables), dev=dev, command=command))
"""

STAND_IN = """
import json, os, select, signal, sys, threading
from dataclasses import asdict
from actor_queue.app.workers import read_orders

behaviour = sys.argv[1]
if behaviour.startswith("exit"):
    sys.exit(int(behaviour.removeprefix("exit")))
signals = []
def on_signal(number, frame):
    signals.append(number)
    if len(signals) == 2:
        os._exit(99)
signal.signal(signal.SIGTERM, on_signal)
signal.signal(signal.SIGINT, on_signal)
orders = read_orders(0)
said = {"pid": os.getpid(), "dev": orders.dev, "settings": asdict(orders.settings)}

def attend(connection):
    with connection, connection.makefile("rw") as stream:
        stream.write(json.dumps(said) + "\\n")
        stream.flush()
        stream.write(f"done {stream.readline()}")

def poll(*files):
    return select.select(files, [], [])[0]

threads = []
while 0 not in (readable := poll(0, *orders.sockets.door)):
    for listener in readable:
        listener.setblocking(False)
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        connection.setblocking(True)
        threads.append(threading.Thread(target=attend, args=[connection]))
        threads[-1].start()
assert os.read(0, 1) == b""
if behaviour == "deaf":
    threading.Event().wait(60)
for listener in orders.sockets.door:
    listener.close()
for thread in threads:
    thread.join()
"""


@dataclass
class Conversation:
    """A connection that a worker has accepted and is busy with."""

    connection: socket.socket
    said: dict[str, Any]

    @property
    def pid(self) -> int:
        return int(self.said["pid"])

    def finish(self) -> str:
        """What the worker answers in the end; empty if it is gone."""
        with suppress(OSError):
            self.connection.sendall(b"now\n")
        return read_line(self.connection)


@dataclass
class Parent:
    """The process that keeps the workers."""

    process: subprocess.Popen[bytes]
    log_path: Path
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def records(self, event: str) -> list[dict[str, Any]]:
        lines = [line for line in self.log.splitlines() if line.startswith("{")]
        return [record for record in map(json.loads, lines) if record["event"] == event]

    @property
    def sentences(self) -> list[str]:
        return [line for line in self.log.splitlines() if line.startswith("actor-queue: ")]

    @property
    def port(self) -> int:
        eventually(lambda: self.records("listening") or self.process.poll() is not None)
        (said,) = self.records("listening")
        return int(said["url"].rstrip("/").rpartition(":")[2])

    def started(self, count: int) -> list[int]:
        """The process ids of all workers so far, as soon as there are `count`."""
        eventually(lambda: len(self.records("worker_started")) >= count)
        return [record["pid"] for record in self.records("worker_started")]

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), DEADLINE_S)
        self.stack.callback(connection.close)
        return connection

    def talk(self) -> Conversation:
        connection = self.connect()
        return Conversation(connection, json.loads(read_line(connection)))

    def refuses(self) -> bool:
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return True
        return False

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(DEADLINE_S)


@contextmanager
def parent(
    directory: Path,
    behaviour: str | None = "serve",
    *,
    count: int = 1,
    dev: bool = False,
    constants: dict[str, float] | None = None,
    **variables: str,
) -> Iterator[Parent]:
    """A running parent; behaviour None means real workers. All are dead afterwards."""
    variables = {
        "AQ_BIND": "127.0.0.1:0",
        "AQ_LOG": "json",
        "AQ_WORKERS": str(count),
        "AQ_WEBHOOK_TIMEOUT": "0.1",
        "AQ_DATA_DIR": str(directory / "data"),
        "WEBHOOK_URL": "http://127.0.0.1:9/",
        **({} if dev else {"REDIS_URL": "redis://127.0.0.1:9"}),
        **variables,
    }
    chosen = json.dumps([variables, {"PAUSE_FIRST_S": 0.01, **(constants or {})}, dev])
    command = [sys.executable, "-c", STAND_IN, behaviour] if behaviour is not None else []
    log_path = directory / "stderr.log"
    with log_path.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT, chosen, *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stderr=output,
            stdout=output,
        )
    with process, ExitStack() as stack:
        running = Parent(process, log_path, stack)
        try:
            yield running
        finally:
            process.kill()
            for record in running.records("worker_started"):
                with suppress(ProcessLookupError):
                    os.kill(record["pid"], signal.SIGKILL)


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def read_line(connection: socket.socket) -> str:
    """Up to the end of a line, or of the connection."""
    with suppress(ConnectionResetError), connection.makefile() as stream:
        return stream.readline().strip()
    return ""


# Working


def test_all_workers_answer_on_one_socket(tmp_path: Path) -> None:
    with parent(tmp_path, count=2) as crew:
        pids = set(crew.started(2))
        seen: set[int] = set()
        eventually(lambda: seen.add(crew.talk().pid) or seen == pids)


def test_the_orders_bring_every_setting_and_show_no_secret_to_others(tmp_path: Path) -> None:
    secrets = {
        "REDIS_URL": "redis://:hush-redis@127.0.0.1:9/3",
        "WEBHOOK_SECRET": "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNoLWh1c2g=",
        "AQ_API_KEYS": "ingest:hush-a:shop,admin:hush-b:ana",
        "AQ_RETRY_SCHEDULE": "1,2.5",
    }
    with parent(tmp_path, **secrets) as crew:
        worker = crew.talk()
        settings = worker.said["settings"]
        assert settings["redis_url"] == secrets["REDIS_URL"]
        assert settings["webhook_secrets"] == [secrets["WEBHOOK_SECRET"]]
        assert settings["api_keys"] == [
            ["ingest", "hush-a", "shop", None],
            ["admin", "hush-b", "ana", None],
        ]
        assert settings["retry_schedule_ms"] == [1_000, 2_500]
        assert worker.said["dev"] is False
        for page in ("cmdline", "environ"):
            assert b"hush" not in Path(f"/proc/{worker.pid}/{page}").read_bytes()
        assert "hush" not in crew.log


def test_orders_that_were_read_are_the_settings_that_were_sent() -> None:
    from actor_queue.core.config_file import read_config
    from actor_queue.core.settings import parse

    settings = parse({"AQ_API_KEYS": "read:a1,admin:b1", "AQ_RETRY_SCHEDULE": "1,2", "PORT": "0"})
    route = '[routes.a]\nurl = "http://a"\nheaders = { x = "y" }\nretry_schedule = [1, 2.5]'
    config = read_config(route, {}, settings)
    ours, theirs = os.pipe()
    os.write(theirs, workers._orders(settings, config, dev=True, descriptors=[]))
    os.close(theirs)
    orders = workers.read_orders(ours)
    os.close(ours)
    assert orders == workers.Orders(settings, config, True, Sockets([], []))
    assert hash(orders.settings) == hash(settings)


def test_a_module_in_the_working_directory_does_not_replace_a_library(tmp_path: Path) -> None:
    for name in ("redis", "trio", "logging"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    done = subprocess.run(
        workers.WORKER, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


# Ends of workers


def test_a_killed_worker_is_replaced_and_its_socket_never_refuses(tmp_path: Path) -> None:
    with parent(tmp_path) as crew:
        first = crew.talk()
        os.kill(first.pid, signal.SIGKILL)
        second = crew.talk()  # accepted by nobody until there is a new worker
        assert second.pid != first.pid
        assert second.finish() == "done now"
        assert [record["end"] for record in crew.records("worker_ended")] == ["signal 9"]


def test_a_worker_that_ends_by_itself_is_replaced_too(tmp_path: Path) -> None:
    with parent(tmp_path, "exit0", constants={"EARLY_ENDS_MAX": 1_000_000}) as crew:
        assert len(set(crew.started(3))) >= 3


def test_the_death_of_one_leaves_the_others_alone(tmp_path: Path) -> None:
    with parent(tmp_path, count=2) as crew:
        pids = crew.started(2)
        busy = crew.talk()
        (other,) = set(pids) - {busy.pid}
        os.kill(other, signal.SIGKILL)
        crew.started(3)
        assert busy.finish() == "done now"


def test_a_crash_loop_ends_all_with_status_1_and_one_sentence(tmp_path: Path) -> None:
    with parent(tmp_path, "exit3", count=3) as crew:
        assert crew.wait() == 1
        (sentence,) = crew.sentences
        assert "5 times in a row" in sentence
        assert "exit status 3" in sentence
        by_place = [record["worker"] for record in crew.records("worker_ended")]
        assert 5 in {by_place.count(number) for number in (1, 2, 3)}
        assert not any(alive(pid) for pid in crew.started(5))


def test_deaths_after_a_life_are_no_crash_loop(tmp_path: Path) -> None:
    with parent(tmp_path, constants={"EARLY_S": 0.0, "EARLY_ENDS_MAX": 2}) as crew:
        for _ in range(4):
            os.kill(crew.talk().pid, signal.SIGKILL)
        assert crew.talk().finish() == "done now"


def test_a_worker_that_refuses_its_settings_is_not_tried_again(tmp_path: Path) -> None:
    with parent(tmp_path, "exit2") as crew:
        assert crew.wait() == 2
        assert len(crew.started(1)) == 1


def test_a_command_that_cannot_be_started_ends_in_a_sentence(tmp_path: Path) -> None:
    code = f"""
import sys
from actor_queue.app import workers
from actor_queue.core.settings import Settings
workers.PAUSE_FIRST_S = 0.001
settings = Settings(bind="127.0.0.1:0", redis_url="redis://127.0.0.1:9")
sys.exit(workers.run_workers(settings, dev=False, command=[{str(tmp_path / "missing")!r}]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "5 times in a row" in ended.stderr


def test_an_address_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with parent(tmp_path, AQ_BIND=address) as crew:
            assert crew.wait() == 2
            (sentence,) = crew.sentences
            assert f"cannot listen on {address}" in sentence


# Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_lets_every_worker_finish_what_is_under_way(
    tmp_path: Path, number: signal.Signals
) -> None:
    with parent(tmp_path, count=2) as crew:
        pids = crew.started(2)
        busy = crew.talk()
        crew.signal(number)
        eventually(crew.refuses)
        assert busy.finish() == "done now"
        assert crew.wait() == 0
        assert not any(alive(pid) for pid in pids)
        assert crew.started(2) == pids


def test_workers_are_stopped_that_have_only_just_been_started(tmp_path: Path) -> None:
    with parent(tmp_path, count=3) as crew:
        crew.started(3)
        crew.signal(signal.SIGTERM)
        assert crew.wait() == 0


def test_whoever_signals_everybody_at_once_does_not_cut_the_work_short(tmp_path: Path) -> None:
    """As systemd does. A worker ends at once at its second signal: the parent must send none."""
    with parent(tmp_path) as crew:
        busy = crew.talk()
        os.kill(busy.pid, signal.SIGTERM)
        crew.signal(signal.SIGTERM)
        eventually(crew.refuses)
        assert busy.finish() == "done now"
        assert crew.wait() == 0


def test_ctrl_c_in_a_terminal_reaches_the_parent_alone(tmp_path: Path) -> None:
    with parent(tmp_path) as crew:
        assert os.getsid(crew.talk().pid) != os.getsid(crew.process.pid)


def test_a_worker_that_does_not_finish_is_ended_and_the_status_says_so(tmp_path: Path) -> None:
    with parent(tmp_path, "deaf", constants={"DRAIN_MARGIN_S": 0.2}) as crew:
        worker = crew.talk()
        crew.signal(signal.SIGTERM)
        assert crew.wait() == 1
        assert not alive(worker.pid)
        (record,) = crew.records("worker_killed")
        assert record["waited_s"] == pytest.approx(0.3)


def test_a_second_signal_ends_everything_at_once(tmp_path: Path) -> None:
    with parent(tmp_path, "deaf", count=2) as crew:
        pids = crew.started(2)
        crew.talk()
        crew.signal(signal.SIGTERM)
        eventually(lambda: crew.records("stopping"))
        crew.signal(signal.SIGINT)
        assert crew.wait() == 128 + signal.SIGINT
        eventually(lambda: not any(alive(pid) for pid in pids))


def test_workers_whose_parent_was_killed_finish_and_go(tmp_path: Path) -> None:
    with parent(tmp_path, count=2) as crew:
        pids = crew.started(2)
        busy = crew.talk()
        crew.process.kill()
        crew.wait()
        eventually(crew.refuses)
        assert busy.finish() == "done now"
        eventually(lambda: not any(alive(pid) for pid in pids))


# The embedded server


def test_dev_starts_one_server_for_all_and_its_guard_outlives_no_parent(tmp_path: Path) -> None:
    with parent(tmp_path, "deaf", count=2, dev=True) as crew:
        pids = crew.started(2)
        worker = crew.talk()
        assert worker.said["settings"]["redis_url"].startswith("unix://")
        assert worker.said["dev"] is True
        server = int((tmp_path / "data" / "server.pid").read_text())
        crew.process.kill()
        crew.wait()
        # A worker that held the guard's pipe would keep the server alive.
        eventually(lambda: not alive(server))
        assert all(alive(pid) for pid in pids)


def test_the_death_of_the_embedded_server_ends_all(tmp_path: Path) -> None:
    with parent(tmp_path, dev=True) as crew:
        crew.talk().finish()
        os.kill(int((tmp_path / "data" / "server.pid").read_text()), signal.SIGKILL)
        assert crew.wait() == 2
        assert "the embedded server has ended" in crew.log


# The service


@pytest.mark.skipif(
    "stop_when_closed" not in inspect.signature(run_service).parameters,
    reason="the service cannot be a worker yet",
)
def test_the_service_itself_works_dies_and_drains_as_a_worker(
    tmp_path: Path, valkey_server: Server, namespace: str
) -> None:
    variables = {"REDIS_URL": valkey_server.url, "AQ_NAMESPACE": namespace, "AQ_LEASE_TTL": "1"}
    with parent(tmp_path, None, count=2, AQ_ALLOW_EVICTION="true", **variables) as crew:

        def ready() -> bool:
            connection = crew.connect()
            connection.sendall(
                b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
            )
            return read_line(connection) == "HTTP/1.1 200"

        eventually(lambda: len(crew.records("ready")) == 2)
        assert ready()
        os.kill(crew.started(2)[0], signal.SIGKILL)
        eventually(lambda: len(crew.records("ready")) == 3)
        assert ready()
        crew.signal(signal.SIGTERM)
        assert crew.wait() == 0
        assert not any(alive(pid) for pid in crew.started(3))
        assert not crew.records("worker_unfinished")
