"""Bytes of a waiting user against a release that knew no routes and no answers, by turns."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import memory, processes
from benchmarks.figures import Result, Target
from benchmarks.processes import ROOT

FORMER = "1554a3e"
"""The last commit before a conversation was a route and a user."""
USERS = 50_000
USERS_QUICK = 10_000
MORE_IN_REDIS_MAX = 24.0
NOISE = 20.0
"""Bytes a user by which two processes of the same release differ."""
ROUTE = "vendas"

METHOD = f"""\
As in "Memory per waiting user": one message each of {{users:,}} new users through
`POST /api/messages`, after {memory.MESSAGES_A_REQUEST:,} others, ttl {{within:g}} within the
horizon and {{beyond:g}} beyond it; growth of the service's resident memory and of Valkey's, divided
by the users. Each row is a fresh process, and the releases take turns: this one, and commit
{FORMER}, which knew no routes. Differences are of the two runs of a round; {NOISE:g} bytes is what
two runs of one release differ by. On a route of its own a user's name in Redis is longer by the
route's name and two bytes, at each key: the last rows say what that is for `{ROUTE}`."""


def run(quick: bool) -> Result:
    """No more bytes in the process, at most 24 more in Redis."""
    users, rounds = (USERS_QUICK, 1) if quick else (USERS, 3)
    method = METHOD.format(users=users, within=memory.WITHIN_TTL_S, beyond=memory.BEYOND_TTL_S)
    result = Result("A waiting user, before routes and now", method)
    no_more, in_redis = Target("at most", NOISE), Target("at most", MORE_IN_REDIS_MAX)
    with _former() as former:
        for where, ttl_s in (("within", memory.WITHIN_TTL_S), ("beyond", memory.BEYOND_TTL_S)):
            before, now, routed = [], [], []
            for _ in range(rounds):
                before.append(_measure(users, ttl_s, former))
                now.append(_measure(users, ttl_s, None))
                routed.append(_measure(users, ttl_s, None, ROUTE))
            name = f"{where} the horizon"
            pairs = list(zip(now, before, strict=True))
            result.add(
                f"{name}: more in the process",
                "bytes/user",
                [a[0] - b[0] for a, b in pairs],
                no_more,
            )
            result.add(
                f"{name}: more in Valkey", "bytes/user", [a[1] - b[1] for a, b in pairs], in_redis
            )
            for what, runs in (("before", before), ("now", now), (f"on `{ROUTE}`", routed)):
                result.add(f"{name}, {what}: in the process", "bytes/user", [r[0] for r in runs])
                result.add(f"{name}, {what}: in Valkey", "bytes/user", [r[1] for r in runs])
    return result


@contextmanager
def _former() -> Iterator[Path]:
    command = ["git", "archive", FORMER, "actor_queue"]
    archive = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    with (
        tempfile.TemporaryDirectory(prefix="aqb-") as name,
        tarfile.open(fileobj=io.BytesIO(archive)) as files,
    ):
        files.extractall(name, filter="data")
        yield Path(name)


def _measure(
    users: int, ttl_s: float, former: Path | None, route: str | None = None
) -> tuple[float, float]:
    """Bytes of a user in the service, and in Valkey."""
    with ExitStack() as open_:
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory(prefix="aqb-")))
        receiver = open_.enter_context(processes.receiver(folder / "arrivals"))
        valkey = open_.enter_context(processes.valkey())
        settings: dict[str, Any] = {"AQ_MAX_ACTORS": "1000000"}
        module = "actor_queue"
        if former is not None:
            settings["FORMER"], module = str(former), "benchmarks.former"
        if route is not None:
            file = folder / "aq.toml"
            file.write_text(f'[routes.{route}]\nurl = "http://127.0.0.1:{receiver.port}/"\n')
            settings["AQ_CONFIG"] = str(file)
        service = processes.start_service(valkey.url, receiver.port, module=module, **settings)
        open_.callback(service.stop)
        processes.wait_ready(service)
        # What grows with the first users, whoever they are, is no user's.
        _bring(service.port, memory.MESSAGES_A_REQUEST, ttl_s, "ana", route)
        before, before_valkey = service.rss_bytes(), memory.used_bytes(valkey)
        _bring(service.port, users, ttl_s, "joao", route)
        time.sleep(memory.SETTLE_S)
        return (
            (service.rss_bytes() - before) / users,
            (memory.used_bytes(valkey) - before_valkey) / users,
        )


def _bring(port: int, users: int, ttl_s: float, prefix: str, route: str | None) -> None:
    processes.load(
        "bulk",
        port=port,
        connections=1,
        requests=users // memory.MESSAGES_A_REQUEST,
        messages=memory.MESSAGES_A_REQUEST,
        form="ndjson",
        ttl=ttl_s,
        prefix=prefix,
        burst=1,
        route=route,
    )
