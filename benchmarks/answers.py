"""Receivers that answer later: what the end of a batch costs, and ten thousand that think."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import memory, processes
from benchmarks.figures import Result, Target

KINDS = ("ack", "done", "latest")
BATCHES = 10_000
USERS = 10_000
WITHIN_S = 600
"""Beyond the horizon of 120 s."""
IDLE_S = 10.0
PROCESS_MAX = 200.0
"""Bytes of a user who costs the process nothing, as in "Memory per waiting user"."""

METHOD = f"""\
An end: {BATCHES:,} batches are brought under way through the store as in the service, and then
ended, by an ack or, where the receiver had answered 202, by `done` with and without
`if latest`, all else equal; CPU of the process and of Valkey. Rounds begin with another one each
time, and the ratios are of the ends of a round.
Thinking: one message each of {{users:,}} users, ttl 0, whose receiver answers 202 and has
{WITHIN_S} s, beside a service whose receiver answers 200 to the same. What a user costs is the
difference of the two processes' growth; CPU is of {{idle:g}} s in which nothing happens, of the one
in which all are answering and of the one in which nobody waits."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """After all were delivered."""

    grown_bytes: float
    """A user, in the process."""
    valkey_bytes: float
    actors: float
    idle_cpu_ms_per_s: float


def run(quick: bool) -> Result:
    """An end no dearer than an ack; nothing but a due time for a user who is answering."""
    rounds, batches = (2, 2_000) if quick else (9, BATCHES)
    users, idle_s = (2_000, 3.0) if quick else (USERS, IDLE_S)
    result = Result("Answers", METHOD.format(users=users, idle=idle_s))
    ends: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for turn in range(rounds):
        for kind in KINDS[turn % len(KINDS) :] + KINDS[: turn % len(KINDS)]:
            ends[kind].append(_end(kind, batches))
    _of_ends(result, ends)
    later, now = [], []
    for _ in range(1 if quick else 3):
        now.append(_thinking("now", users, idle_s))
        later.append(_thinking("later", users, idle_s))
    _of_thinking(result, later, now)
    return result


def _of_ends(result: Result, ends: dict[str, list[tuple[float, float]]]) -> None:
    for kind in KINDS[1:]:
        pairs = list(zip(ends["ack"], ends[kind], strict=True))
        ratios = [100 * sum(ack) / sum(end) for ack, end in pairs]
        result.add(f"{kind} / ack: per CPU second", "%", ratios, Target("at least", 100))
    for kind, measured in ends.items():
        result.add(f"{kind}: CPU of the process", "µs", [each[0] for each in measured])
        result.add(f"{kind}: CPU of Valkey", "µs", [each[1] for each in measured])


def _of_thinking(result: Result, later: list[Thinking], now: list[Thinking]) -> None:
    pairs = list(zip(later, now, strict=True))
    grown = [a.grown_bytes - b.grown_bytes for a, b in pairs]
    result.add("answering: in the process", "bytes/user", grown, Target("at most", PROCESS_MAX))
    actors = [each.actors for each in later]
    result.add("answering: tasks in the process", "tasks", actors, Target("at most", 0))
    result.add("answering: in Valkey", "bytes/user", [each.valkey_bytes for each in later])
    result.add("nobody waits: in Valkey", "bytes/user", [each.valkey_bytes for each in now])
    for what, runs in (("answering", later), ("nobody waits", now)):
        result.add(f"{what}: CPU", "ms/s", [each.idle_cpu_ms_per_s for each in runs])


# An end


def _end(kind: str, batches: int) -> tuple[float, float]:
    """CPU µs of the process and of Valkey per end."""
    with processes.valkey() as valkey:
        running = processes.start(
            processes.python("endings", kind, str(batches), valkey.url),
            core=processes.SERVICE_CORE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        processes.wait_line(running)
        cpu_s = valkey.process.cpu_s()
        assert running.popen.stdin is not None
        running.popen.stdin.write(b"\n")
        running.popen.stdin.flush()
        measured = processes.finish_load(running)
        return measured["cpu_us"], (valkey.process.cpu_s() - cpu_s) / batches * 1e6


# Thinking


def _thinking(answer: str, users: int, idle_s: float) -> Thinking:
    with ExitStack() as open_:
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory(prefix="aqb-")))
        receiver = open_.enter_context(processes.receiver(folder / "arrivals"))
        file = folder / "aq.toml"
        path = "later" if answer == "later" else ""
        file.write_text(
            f'[routes.thinking]\nurl = "http://127.0.0.1:{receiver.port}/{path}"\n'
            f'answer = "{answer}"\nanswer_within = {WITHIN_S}\n'
        )
        valkey = open_.enter_context(processes.valkey())
        service = open_.enter_context(
            processes.service(valkey.url, receiver.port, AQ_CONFIG=str(file))
        )
        grown, grown_valkey = service.rss_bytes(), memory.used_bytes(valkey)
        requests = -(-users // memory.MESSAGES_A_REQUEST)
        processes.load(
            "bulk",
            port=service.port,
            connections=1,
            requests=requests,
            messages=users // requests,
            form="ndjson",
            ttl=0,
            prefix="joao",
            burst=1,
            route="thinking",
        )
        deadline = time.monotonic() + 120
        while int(processes.ask(receiver.port, "/count")) < users:
            if time.monotonic() > deadline:
                raise RuntimeError("not every batch was delivered")
            time.sleep(0.1)
        time.sleep(memory.SETTLE_S)
        cpu_s = service.cpu_s()
        time.sleep(idle_s)
        return Thinking(
            (service.rss_bytes() - grown) / users,
            (memory.used_bytes(valkey) - grown_valkey) / users,
            _actors(service.port),
            (service.cpu_s() - cpu_s) / idle_s * 1e3,
        )


def _actors(port: int) -> float:
    found = re.search(rb"^actor_queue_actors (\S+)$", processes.ask(port, "/metrics"), re.MULTILINE)
    if found is None:
        raise RuntimeError("/metrics does not say how many actors there are")
    return float(found[1])
