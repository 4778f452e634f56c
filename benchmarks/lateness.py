"""How late a webhook arrives after it was due, and that it never arrives early."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import contest, processes
from benchmarks.figures import Arrival, Result, Target, arrivals, cdf, quantile
from benchmarks.processes import Listening

POSTS = 3
GAP_S = 0.5
TTL_S = 5.0
CONNECTIONS = 64
PROBE_EVERY_MS = 20
GRACE_S = 2.0
TARGET = Target("at most", 5)
QUEUE = "bullmq"
OF_THE_QUEUE = Target("at most", 10)
"""Per cent of the other queue's p99."""
CLOCK_STEP_MS = 1.0
"""The store's clock counts whole milliseconds, so an append may be stamped this much early."""

LARGEST = (10_000, 60.0, 2)
"""Users, the window's seconds, rounds."""

METHOD = f"""\
Each user sends {POSTS} messages, {GAP_S:g} s apart, ttl {TTL_S:g}, from a random moment of the
window on; requests to `POST /api/message` leave at their time whether or not earlier ones were
answered. Receiver, load generator and service read one clock. Lateness counts from `batch.due_at`
of the detailed body (append + ttl); the second set of rows counts from the moment at which the
user's last message was *sent*, and so contains the POST itself. Early is before `batch.due_at`.
Meanwhile a probe GETs `/healthz` every {PROBE_EVERY_MS} ms: its longest answer bounds the longest
stall of the loop. BullMQ has the same senders, its API on the service's core and its worker on the
other; its lateness can only be counted from when the last message was sent."""


@dataclass(frozen=True, slots=True)
class Run:
    after_due_ms: list[float]
    after_sent_ms: list[float]
    utilisation: float
    stall_ms: float
    post_p99_ms: float


def run(quick: bool) -> Result:
    """p99 at most 5 ms at 1,000 and 10,000 users, and a tenth of the other queue's; none early."""
    result = Result("Lateness", METHOD)
    plans = [(1_000, 10.0, 1)] if quick else [(1_000, 10.0, 3), LARGEST]
    for users, window_s, rounds in plans:
        runs = [measure(users, window_s) for _ in range(rounds)]
        name = f"{users:,} users over {window_s:g} s"
        _figures(result, name, runs)
        result.series[name] = {
            "after due": cdf([each for run in runs for each in run.after_due_ms]),
            "after sent + ttl": cdf([ms for run in runs for ms in run.after_sent_ms]),
        }
    if not quick:
        _beside(result, name, [quantile(sorted(run.after_sent_ms), 0.99) for run in runs])
    return result


def _beside(result: Result, name: str, ours_ms: list[float]) -> None:
    """The same work by the queue of the comparison that is the most punctual."""
    contest.install()
    users, window_s, _ = LARGEST
    theirs_ms = quantile(sorted(_of_the_queue(users, window_s)), 0.99)
    other = contest.STACKS[QUEUE]
    result.add(f"{other}: {name}, after sent + ttl: p99", "ms", [theirs_ms])
    shares = [100 * each / theirs_ms for each in ours_ms]
    result.add(f"actor-queue serve / {other}: that p99", "%", shares, OF_THE_QUEUE)


def _of_the_queue(users: int, window_s: float) -> list[float]:
    """How late each of its webhooks was, in milliseconds after the last message's ttl."""
    with ExitStack() as open_:
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory(prefix="aqb-")))
        receiver = open_.enter_context(processes.receiver(folder / "arrivals"))
        api, valkey = open_.enter_context(contest.started(QUEUE, receiver.port))
        assert valkey is not None
        address = f"http://127.0.0.1:{receiver.port}/"
        environ = {"REDIS_URL": valkey.url, "WEBHOOK_URL": address}
        worker = processes.start(
            contest.command(QUEUE, "worker"), core=processes.OTHERS_CORE, environ=environ
        )
        open_.callback(worker.stop)
        _post(api, users, window_s, folder / "sent")
        wait_for(receiver.port, users)
        processes.ask(receiver.port, "/dump")
        sent = _sent(folder / "sent")
        return [(each.at - sent[each.user] - TTL_S) * 1e3 for each in arrivals(folder / "arrivals")]


def _post(service: Listening, users: int, window_s: float, sent_file: Path) -> dict[str, Any]:
    return processes.load(
        "paced",
        port=service.port,
        connections=CONNECTIONS,
        users=users,
        posts=POSTS,
        window_s=window_s,
        gap_s=GAP_S,
        ttl=TTL_S,
        prefix="joao",
        sent_file=str(sent_file),
    )


def _sent(path: Path) -> dict[str, float]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {user: float(at) for user, at in lines}


def _figures(result: Result, name: str, runs: list[Run]) -> None:
    for what, lists in (
        ("after due", [sorted(run.after_due_ms) for run in runs]),
        ("after sent + ttl", [sorted(run.after_sent_ms) for run in runs]),
    ):
        target = TARGET if what == "after due" else None
        result.add(f"{name}, {what}: p50", "ms", [quantile(each, 0.5) for each in lists])
        result.add(f"{name}, {what}: p99", "ms", [quantile(each, 0.99) for each in lists], target)
        result.add(f"{name}, {what}: max", "ms", [each[-1] for each in lists])
    early = [float(sum(ms < 0 for ms in run.after_due_ms)) for run in runs]
    result.add(f"{name}: early", "webhooks", early, Target("at most", 0))
    result.add(f"{name}: POST p99", "ms", [run.post_p99_ms for run in runs])
    result.add(f"{name}: longest /healthz", "ms", [run.stall_ms for run in runs])
    result.add(f"{name}: the service's core busy", "%", [run.utilisation * 100 for run in runs])


def measure(users: int, window_s: float, **settings: str) -> Run:
    """One round; `settings` are variables of the service."""
    settings = {"AQ_PAYLOAD": "detailed", **settings}
    with tempfile.TemporaryDirectory(prefix="aqb-") as name, processes.valkey() as valkey:
        dump, sent_file, over = (Path(name) / each for each in ("arrivals", "sent", "over"))
        with (
            processes.receiver(dump) as receiver,
            processes.service(valkey.url, receiver.port, **settings) as service,
        ):
            probe = processes.start_probe(service.port, PROBE_EVERY_MS / 1e3, over)
            cpu_s, began = service.cpu_s(), time.monotonic()
            posted = _post(service, users, window_s, sent_file)
            busy = (service.cpu_s() - cpu_s) / (time.monotonic() - began)
            wait_for(receiver.port, users)
            over.touch()
            stall_ms = processes.finish_load(probe)["max_ms"]
            processes.ask(receiver.port, "/dump")
        came = arrivals(dump)
        sent = _sent(sent_file)
    _check(posted, came, users)
    after_due = [(each.at - each.due_at) * 1e3 for each in came if each.due_at is not None]
    after_sent = [(each.at - sent[each.user] - TTL_S) * 1e3 for each in came]
    if min(after_sent) < -CLOCK_STEP_MS:
        raise RuntimeError(f"a webhook came {-min(after_sent):.1f} ms before sent + ttl")
    return Run(after_due, after_sent, busy, stall_ms, posted["p99_ms"])


def wait_for(port: int, users: int) -> None:
    deadline = time.monotonic() + TTL_S + GRACE_S + 30
    while int(processes.ask(port, "/count")) < users and time.monotonic() < deadline:
        time.sleep(0.2)


def _check(posted: dict[str, Any], came: list[Arrival], users: int) -> None:
    """What is measured must be right, too."""
    if set(posted["statuses"]) != {"202"}:
        raise RuntimeError(f"the service answered {posted['statuses']}")
    messages = sum(each.messages for each in came)
    if len({each.user for each in came}) != users or messages != users * POSTS:
        raise RuntimeError(f"{messages} messages of {len(came)} batches came, not {users * POSTS}")
