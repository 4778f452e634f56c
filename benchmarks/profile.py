"""Where a message's time goes, and what it would cost without what is ours."""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import hiredis

from actor_queue.store.scripts import script
from benchmarks import processes
from benchmarks.contest import CONNECTIONS
from benchmarks.figures import Result
from benchmarks.ingest import BURST, MARGIN_S, TTL_S, WARM_UP_S
from benchmarks.processes import Listening, Valkey
from benchmarks.sampled import PARTS, REST

GROUP = 26
"""Calls that travel together: as many as come together from so many connections, on average."""
PAYLOAD = b'"m-00000000000000000000",{"user":"joao","message":"' + b"x" * 430 + b'"}'
READ_BYTES = 65_536
POLL_S = 0.01
WITHIN_S = 5.0

METHOD = f"""\
The load of the comparison above: `POST /api/message` over {CONNECTIONS} kept-alive connections,
{BURST} messages in a row of each user, for {{seconds:g}} s. The service counts in which part of it
a clock of its own processor time finds it, every 2 ms; so the parts' figures are shares of its CPU.
Below that are floors, measured in the same rounds: a bare application on uvicorn with the same
load, and the script that keeps a message, called by hiredis alone in groups of {GROUP} and nothing
else. What is above the floors is Trio, the checks, the timers and Python."""


@dataclass(frozen=True, slots=True)
class Run:
    service_us: float
    kernel: float
    """Of it, the share that the kernel has."""
    valkey_us: float
    script_us: float
    load_us: float
    parts: dict[str, float]


def run(quick: bool) -> Result:
    rounds, seconds = (1, 3.0) if quick else (3, 6.0)
    runs, scripts, bare = [], [], []
    for _ in range(rounds):
        runs.append(_measure(seconds))
        scripts.append(_script_alone(seconds / 2))
        bare.append(_bare(seconds / 2))
    result = Result("Where a message's time goes", METHOD.format(seconds=seconds))
    result.add("the service", "µs/message", [each.service_us for each in runs])
    for part in (*PARTS.values(), REST):
        values = [each.parts.get(part, 0.0) * each.service_us for each in runs]
        result.add(f"of it {part}", "µs/message", values)
    kernel = [each.kernel * each.service_us for each in runs]
    result.add("of all that, in the kernel", "µs/message", kernel)
    result.add("Valkey", "µs/message", [each.valkey_us for each in runs])
    result.add("of it the script", "µs/message", [each.script_us for each in runs])
    result.add("the load generator", "µs/message", [each.load_us for each in runs])
    result.add("floor: a bare application on uvicorn", "µs/message", bare)
    result.add("floor: Valkey with the script's calls alone", "µs/message", scripts)
    return result


def _measure(seconds: float) -> Run:
    with ExitStack() as open_:
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory(prefix="aqb-")))
        receiver = open_.enter_context(processes.receiver(folder / "arrivals"))
        valkey = open_.enter_context(processes.valkey())
        samples = folder / "samples"
        service = open_.enter_context(
            processes.service(
                valkey.url,
                receiver.port,
                module="benchmarks.sampled",
                BENCHMARK_SAMPLES=str(samples),
            )
        )
        load = _load(service, seconds)
        processes.wait_line(load)
        os.kill(service.pid, signal.SIGUSR1)
        before, at = _seconds(service, valkey, load.pid), time.monotonic()
        script_before = _in_script_us(valkey)
        time.sleep(seconds - MARGIN_S)
        spent = [b - a for a, b in zip(before, _seconds(service, valkey, load.pid), strict=True)]
        script_us = _in_script_us(valkey) - script_before
        took_s = time.monotonic() - at
        os.kill(service.pid, signal.SIGUSR2)
        messages = processes.finish_load(load)["statuses"]["202"] / seconds * took_s
        counted = _counted(samples)
    service_us, user_us, valkey_us, load_us = (each / messages * 1e6 for each in spent)
    total = sum(counted.values())
    return Run(
        service_us,
        1 - user_us / service_us,
        valkey_us,
        script_us / messages,
        load_us,
        {part: count / total for part, count in counted.items()},
    )


def _load(server: Listening, seconds: float) -> processes.Running:
    return processes.start_load(
        "closed",
        port=server.port,
        path="/api/message",
        connections=CONNECTIONS,
        warm_up_s=WARM_UP_S,
        seconds=seconds,
        ttl=TTL_S,
        prefix="joao",
        burst=BURST,
    )


def _seconds(service: Listening, valkey: Valkey, load: int) -> tuple[float, float, float, float]:
    """The service's, its own outside the kernel, Valkey's and the load generator's."""
    user_s = processes.user_cpu_s(service.pid)
    return service.cpu_s(), user_s, valkey.process.cpu_s(), processes.cpu_s(load)


def _counted(path: Path) -> dict[str, int]:
    until = time.monotonic() + WITHIN_S
    while not path.exists():
        if time.monotonic() > until:
            raise RuntimeError("the service wrote no samples")
        time.sleep(POLL_S)
    counted: dict[str, int] = json.loads(path.read_text())
    return counted


def _bare(seconds: float) -> float:
    command = processes.python("stacks", "bare-uvicorn")
    with processes.listening(command, processes.SERVICE_CORE) as server:
        load = _load(server, seconds)
        processes.wait_line(load)
        cpu_s, at = server.cpu_s(), time.monotonic()
        time.sleep(seconds - MARGIN_S)
        share = (server.cpu_s() - cpu_s) / (time.monotonic() - at)
        return share / (processes.finish_load(load)["statuses"]["202"] / seconds) * 1e6


class _Caller:
    """One connection to Valkey, and nothing between."""

    def __init__(self, valkey: Valkey) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(valkey.socket_path)
        self._reader = hiredis.Reader()

    def __enter__(self) -> _Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, *commands: tuple[bytes | str | int, ...]) -> list[object]:
        self._socket.sendall(b"".join(map(hiredis.pack_command, commands)))  # type: ignore[arg-type]
        replies: list[object] = []
        while len(replies) < len(commands):
            self._reader.feed(self._socket.recv(READ_BYTES))
            while (reply := self._reader.gets()) is not False:
                if isinstance(reply, hiredis.ReplyError):
                    raise reply
                replies.append(reply)
        return replies


def _in_script_us(valkey: Valkey) -> float:
    with _Caller(valkey) as caller:
        (said,) = caller.ask(("INFO", "commandstats"))
    assert isinstance(said, bytes)
    line = next(each for each in said.splitlines() if each.startswith(b"cmdstat_evalsha:"))
    return float(line.partition(b"usec=")[2].partition(b",")[0])


def _script_alone(seconds: float) -> float:
    with processes.valkey() as valkey, _Caller(valkey) as caller:
        (sha,) = caller.ask(("SCRIPT", "LOAD", script("append_one_v1").source))
        assert isinstance(sha, bytes)
        limits = ("1000", "86400000", "1000", "524288", "300", "1", "40", "0", "67108864")
        messages, cpu_s, until = 0, valkey.process.cpu_s(), time.monotonic() + seconds
        while time.monotonic() < until:
            group = []
            for _ in range(GROUP):
                user = f"joao-{messages // BURST}"
                at = f"aq:{{{hash(user) % 256}}}:"
                keys = [f"{at}lease", f"{at}due", *(f"{at}{key}:{user}" for key in "ups")]
                words = ("", "r-1", "aq:nudge:", "7", *limits, user, "60000", PAYLOAD)
                group.append(("EVALSHA", sha, len(keys), *keys, *words))
                messages += 1
            caller.ask(*group)
        return (valkey.process.cpu_s() - cpu_s) / messages * 1e6
