"""What is lost, doubled, reordered or early under kill -9, here and elsewhere."""

from __future__ import annotations

import http.client
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import contest, processes
from benchmarks.contest import STACKS as NAMES
from benchmarks.figures import Result, Target
from benchmarks.processes import Listening, Running

STACKS = ("serve", "bullmq", "seed")
USERS = 200
TTL_S = 1
EVERY_S = 0.004
KILL_EVERY_S = 3.0
DOWN_S = 0.1
LEASE_S = "2"
CLOCK_MS = 50
"""A webhook that comes less than this before the window has passed is not called early: the sender
notes the time after it has heard, and not when the message was kept."""
QUIET_S = 6.0
WITHIN_S = 60.0
ANSWER_S = 2.0

METHOD = f"""\
For {{seconds:g}} s a sender posts a message every {EVERY_S * 1e3:g} ms, in bursts of {USERS} users,
ttl {TTL_S}, each until it is answered 2xx; every {KILL_EVERY_S:g} s all processes but Redis and the
receiver are killed with -9 and started again. Then everything has {WITHIN_S:g} s to come. Lost are
messages that were answered and never came. Doubled, reordered and early count only those that were
posted once: of one whose answer was lost a stack that knows no ids keeps two. Where a webhook has
an id, one that comes again under the id of a former one is passed over, as a receiver should. Early
is a webhook within {TTL_S} s of a message in it, by more than {CLOCK_MS} ms."""


@dataclass
class Sender:
    """What was posted and answered."""

    port: int
    kept_at: dict[str, float] = field(default_factory=dict)
    """By the text, when it was answered, in Unix seconds."""
    uncertain: set[str] = field(default_factory=set)
    """Posted more than once."""
    over: bool = False

    def run(self) -> None:
        numbers = itertools.count()
        while not self.over:
            number = next(numbers)
            user = f"u{number // 3 % USERS}"
            text = f"{user}/{number}"
            body = {"user": user, "message": text, "ttl": TTL_S, "message_id": text}
            while not self._post(json.dumps(body).encode()):
                self.uncertain.add(text)
                time.sleep(EVERY_S)
            self.kept_at[text] = time.time()
            time.sleep(EVERY_S)

    def _post(self, body: bytes) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            headers = {"content-type": "application/json"}
            connection.request("POST", "/api/message", body, headers)
            return connection.getresponse().status == 202
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def run(quick: bool) -> Result:
    contest.install()
    seconds = 9.0 if quick else 60.0
    result = Result("Killed with -9", METHOD.format(seconds=seconds))
    for stack in STACKS:
        found = _measure(stack, seconds)
        for what in ("posted", "lost", "doubled", "reordered", "early"):
            target = Target("at most", 0) if stack == "serve" and what != "posted" else None
            name = f"{NAMES[stack]}: {what}"
            result.add(name, "messages", [float(found[what])], target)
    return result


def _measure(stack: str, seconds: float) -> Counter[str]:
    with ExitStack() as open_:
        dump = Path(open_.enter_context(tempfile.TemporaryDirectory(prefix="aqb-"))) / "arrivals"
        receiver = open_.enter_context(processes.receiver(dump))
        valkey = open_.enter_context(processes.valkey())
        environ = {"REDIS_URL": valkey.url, "WEBHOOK_URL": f"http://127.0.0.1:{receiver.port}/"}
        port = processes.free_port()
        sender = Sender(port)
        running = _start(stack, port, environ)
        _wait(port)
        thread = threading.Thread(target=sender.run)
        thread.start()
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(KILL_EVERY_S)
                for each in running:
                    each.kill()
                time.sleep(DOWN_S)
                running = _start(stack, port, environ)
            _wait(port)
        finally:
            sender.over = True
            thread.join()
        _drain(receiver)
        processes.ask(receiver.port, "/dump")
        for each in running:
            each.stop()
        return _judge(sender, dump)


def _start(stack: str, port: int, environ: dict[str, str]) -> list[Running]:
    if stack == "serve":
        at = {"REDIS_URL": environ["REDIS_URL"], "WEBHOOK_URL": environ["WEBHOOK_URL"]}
        settings = {"AQ_BIND": f"127.0.0.1:{port}", "AQ_LEASE_TTL": LEASE_S, **at}
        settings["AQ_PAYLOAD"] = "detailed"
        return [_started([sys.executable, "-m", "actor_queue", "serve"], settings)]
    settings = {"PORT": str(port), **environ}
    return [_started(contest.command(stack, role), settings) for role in ("api", "worker")]


def _started(command: list[str], settings: dict[str, str]) -> Running:
    """What it says of being killed is nothing to anybody."""
    silent = subprocess.DEVNULL
    core = processes.SERVICE_CORE
    return processes.start(command, core=core, environ=settings, stdout=silent, stderr=silent)


def _wait(port: int) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not processes.accepts(port):
        if time.monotonic() > deadline:
            raise RuntimeError("nobody listens")
        time.sleep(processes.POLL_S)


def _drain(receiver: Listening) -> None:
    deadline, count, since = time.monotonic() + WITHIN_S, -1, time.monotonic()
    while time.monotonic() < min(deadline, since + QUIET_S):
        now = int(processes.ask(receiver.port, "/count"))
        if now != count:
            count, since = now, time.monotonic()
        time.sleep(0.2)


def _judge(sender: Sender, dump: Path) -> Counter[str]:
    came: defaultdict[str, int] = defaultdict(int)
    last: dict[str, int] = {}
    found: Counter[str] = Counter(posted=len(sender.kept_at))
    for at_s, texts in _webhooks(dump):
        for text in texts:
            came[text] += 1
            user, _, number = text.partition("/")
            certain = text not in sender.uncertain
            found["doubled"] += came[text] == 2 and certain
            found["reordered"] += came[text] == 1 and certain and int(number) < last.get(user, -1)
            last[user] = max(last.get(user, -1), int(number))
            kept_at = sender.kept_at.get(text)
            if came[text] == 1 and certain and kept_at is not None:
                found["early"] += at_s < kept_at + TTL_S - CLOCK_MS / 1e3
    found["lost"] = sum(1 for text in sender.kept_at if not came[text])
    return found


def _webhooks(dump: Path) -> Iterator[tuple[float, list[str]]]:
    ids = set[str]()
    for line in dump.read_bytes().splitlines():
        moment_ns, _, text = line.partition(b" ")
        body = json.loads(text)
        id = body.get("batch", {}).get("id")
        if id is None or id not in ids:
            yield int(moment_ns) / 1e9, body["messages"]
            ids.add(id)
