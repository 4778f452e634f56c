"""`POST /api/message` beside what one could take instead, on the same Redis and the same work."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import processes
from benchmarks.figures import Result, Target
from benchmarks.ingest import BURST, MARGIN_S, TTL_S, WARM_UP_S
from benchmarks.processes import Listening, Valkey

HERE = Path(__file__).parent / "contestants"
INSTALLED = HERE / ".installed"
CONNECTIONS = 32

STACKS = {
    "serve": "actor-queue serve",
    "edge": "actor-queue edge",
    "bullmq": "BullMQ on Node",
    "seed": "the first design: FastAPI, a key that expires, a monitor",
    "arq": "arq",
    "docket": "docket",
    "bare": "bare app, stock Hypercorn",
    "bare-uvicorn": "bare app, uvicorn",
}
WITHOUT_REDIS = ("bare", "bare-uvicorn")

# (ours, theirs): the least ratio of rates, and the greatest of CPU a message.
GOALS: dict[tuple[str, str], tuple[float | None, float | None]] = {
    ("serve", "bullmq"): (150, 70),
    ("edge", "bullmq"): (200, 50),
    ("serve", "seed"): (500, None),
    ("serve", "bare"): (700, None),
    ("serve", "arq"): (None, None),
    ("serve", "docket"): (None, None),
}

METHOD = f"""\
{CONNECTIONS} kept-alive connections with one request under way on each, for {{seconds:g}} s after
{WARM_UP_S:g} s of warm-up; the first receivers' 18 fields, ttl {TTL_S:g}, {BURST} messages in a row
of each user. The process that answers has core 0 to itself; Redis, the load generator and, beside
the edge, a replica share the other core. CPU is that of the answering process and of Redis
together. The contestants are of our own writing (`benchmarks/contestants`), each the obvious way to
do the job with that library, and none has limits, validation or guarantees; the bare applications
read the body and answer, without Redis. Each round starts every stack afresh, one after the other;
the ratios are of neighbours in a round."""


@dataclass(frozen=True, slots=True)
class Run:
    per_s: float
    cpu_us: float
    """Of the answering process and Redis, a message."""
    redis_us: float
    p99_ms: float


def run(quick: bool) -> Result:
    install()
    rounds, seconds = (1, 2.0) if quick else (3, 3.0)
    runs: dict[str, list[Run]] = {stack: [] for stack in STACKS}
    with (
        tempfile.TemporaryDirectory(prefix="aqb-") as name,
        processes.receiver(Path(name) / "arrivals") as receiver,
    ):
        for _ in range(rounds):
            for stack, measured in runs.items():
                measured.append(_measure(stack, seconds, receiver.port))
    result = Result("Beside what one could take instead", METHOD.format(seconds=seconds))
    for (ours, theirs), (rate, cpu) in GOALS.items():
        pairs = list(zip(runs[ours], runs[theirs], strict=True))
        name = f"{STACKS[ours]} / {STACKS[theirs]}"
        rates = [100 * a.per_s / b.per_s for a, b in pairs]
        result.add(f"{name}: rate", "%", rates, rate and Target("at least", rate))
        costs = [100 * a.cpu_us / b.cpu_us for a, b in pairs]
        result.add(f"{name}: CPU a message", "%", costs, cpu and Target("at most", cpu))
    for stack, measured in runs.items():
        result.add(STACKS[stack], "requests/s", [each.per_s for each in measured])
        result.add(f"{STACKS[stack]}: CPU", "µs/message", [each.cpu_us for each in measured])
        if stack not in WITHOUT_REDIS:
            parts = [each.redis_us for each in measured]
            result.add(f"{STACKS[stack]}: of it Redis", "µs/message", parts)
        result.add(f"{STACKS[stack]}: p99", "ms", [each.p99_ms for each in measured])
    result.series["bars"] = {
        STACKS[stack]: [
            median(each.per_s for each in measured),
            median(each.cpu_us - each.redis_us for each in measured),
            median(each.redis_us for each in measured),
        ]
        for stack, measured in runs.items()
    }
    return result


def install() -> None:
    """The contestants' packages, in the pinned versions; nothing where they are there already."""
    for name, requirements in (("python", "requirements.txt"), ("arq", "requirements-arq.txt")):
        stamp = INSTALLED / name / "stamp"
        wanted = (HERE / requirements).read_text()
        if stamp.exists() and stamp.read_text() == wanted:
            continue
        venv = [sys.executable, "-m", "venv", "--clear", "--without-pip", INSTALLED / name]
        subprocess.run(venv, check=True)
        pip = [sys.executable, "-m", "pip", "--python", INSTALLED / name / "bin" / "python"]
        subprocess.run([*pip, "install", "--quiet", "-r", HERE / requirements], check=True)
        stamp.write_text(wanted)
    node = INSTALLED / "node"
    node.mkdir(parents=True, exist_ok=True)
    lock = (HERE / "package-lock.json").read_text()
    shutil.copy(HERE / "bullmq.mjs", node)
    if not (node / "stamp").exists() or (node / "stamp").read_text() != lock:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, node)
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=node, check=True)
        (node / "stamp").write_text(lock)


def command(stack: str, role: str) -> list[str]:
    """The `api` or the `worker` of a contestant."""
    match stack:
        case "bullmq":
            return ["node", str(INSTALLED / "node" / "bullmq.mjs"), role]
        case "seed":
            python = str(INSTALLED / "python" / "bin" / "python")
            return [python, str(HERE / "seed.py"), "monitor" if role == "worker" else role]
        case _:
            own = INSTALLED / ("arq" if stack == "arq" else "python")
            return [str(own / "bin" / "python"), str(HERE / "jobs.py"), stack, role]


@contextmanager
def started(stack: str, receiver: int) -> Iterator[tuple[Listening, Valkey | None]]:
    """What answers on core 0, and its Redis."""
    with ExitStack() as open_:
        if stack in WITHOUT_REDIS:
            bare = processes.python("stacks", stack)
            yield open_.enter_context(processes.listening(bare, processes.SERVICE_CORE)), None
            return
        valkey = open_.enter_context(processes.valkey())
        if stack == "serve":
            yield open_.enter_context(processes.service(valkey.url, receiver)), valkey
            return
        if stack == "edge":
            others = processes.OTHERS_CORE
            open_.enter_context(processes.service(valkey.url, receiver, core=others))
            yield open_.enter_context(processes.edge(valkey.url)), valkey
            return
        environ = {"REDIS_URL": valkey.url, "WEBHOOK_URL": f"http://127.0.0.1:{receiver}/"}
        api = command(stack, "api")
        listening = processes.listening(api, processes.SERVICE_CORE, **environ)
        yield open_.enter_context(listening), valkey


def _measure(stack: str, seconds: float, receiver: int) -> Run:
    with started(stack, receiver) as (server, valkey):
        load = processes.start_load(
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
        processes.wait_line(load)
        began, at = _cpu_s(server, valkey), time.monotonic()
        time.sleep(seconds - MARGIN_S)
        spent = [b - a for a, b in zip(began, _cpu_s(server, valkey), strict=True)]
        took_s = time.monotonic() - at
        measured = processes.finish_load(load)
    if set(measured["statuses"]) != {"202"}:
        raise RuntimeError(f"{stack} answered {measured['statuses']}")
    per_s = measured["statuses"]["202"] / seconds
    server_us, redis_us = (each / took_s / per_s * 1e6 for each in spent)
    return Run(per_s, server_us + redis_us, redis_us, measured["p99_ms"])


def _cpu_s(server: Listening, valkey: Valkey | None) -> tuple[float, float]:
    return server.cpu_s(), 0.0 if valkey is None else valkey.process.cpu_s()
