"""What routes cost: messages taken, and lateness, with fifty routes against one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import lateness, processes
from benchmarks.figures import Result, Target, arrivals, quantile
from benchmarks.ingest import BURST, MARGIN_S, TTL_S, Run
from benchmarks.load import route_name
from benchmarks.processes import Listening

FEW, MANY = 1, 50
CONNECTIONS = 32
WARM_UP_S = 0.3
BULK_REQUESTS = 5
BULK_MESSAGES = 3_000
WORSE_MAX = 105.0

METHOD = f"""\
Two services, each with a Valkey of its own, run all the time and share core 0; one has {FEW} route
in its file, the other {MANY}, all with the same receiver, and every message names one. Taken in:
`POST /api/message` over {CONNECTIONS} kept-alive connections, ttl {TTL_S:g}, {BURST} messages in a
row of each user, whose routes take turns; a round is a burst of {{seconds:g}} s at each, after
{WARM_UP_S:g} s of warm-up, and then {BULK_REQUESTS} requests of {BULK_MESSAGES:,} messages to
`POST /api/messages`. Lateness: {{users:,}} users within {{window:g}} s at each, as in
"Lateness". Rounds begin with the one and the other by turns, and each ratio is of the two
measurements of a round; the processor's time is what other work on the machine disturbs least."""


@dataclass(frozen=True, slots=True)
class Late:
    p50_ms: float
    p99_ms: float
    busy: float


def run(quick: bool) -> Result:
    """At most 5 % worse."""
    rounds, seconds, users, window_s = (2, 1.0, 500, 5.0) if quick else (15, 1.0, 2_000, 15.0)
    late_rounds = 1 if quick else 5
    taken: dict[int, list[Run]] = {FEW: [], MANY: []}
    bulk_us: dict[int, list[float]] = {FEW: [], MANY: []}
    late: dict[int, list[Late]] = {FEW: [], MANY: []}
    with ExitStack() as open_:
        servers = {routes: open_.enter_context(_started(routes)) for routes in (FEW, MANY)}
        for turn in range(rounds):
            for routes in sorted(servers, reverse=turn % 2 == 1):
                service = servers[routes].service
                taken[routes].append(_taken_in(service, routes, seconds, turn))
                bulk_us[routes].append(_in_bulk_us(service, routes, turn))
    # Afresh: what the first part has sent would become due in the middle of the second one.
    for turn in range(late_rounds):
        for routes in sorted(taken, reverse=turn % 2 == 1):
            with _started(routes) as server:
                late[routes].append(_lateness(server, routes, users, window_s))
    result = Result(
        "What routes cost", METHOD.format(seconds=seconds, users=users, window=window_s)
    )
    _figures(result, taken, bulk_us, late)
    return result


def _figures(
    result: Result,
    taken: dict[int, list[Run]],
    bulk_us: dict[int, list[float]],
    late: dict[int, list[Late]],
) -> None:
    worse = Target("at most", WORSE_MAX)
    name = f"{MANY} routes / {FEW} route"
    runs = list(zip(taken[MANY], taken[FEW], strict=True))
    result.add(f"{name}: CPU", "%", [100 * a.cpu_us / b.cpu_us for a, b in runs], worse)
    result.add(f"{name}: time a request", "%", [100 * b.per_s / a.per_s for a, b in runs])
    bulks = zip(bulk_us[MANY], bulk_us[FEW], strict=True)
    result.add(f"{name}: CPU in bulk", "%", [100 * a / b for a, b in bulks], worse)
    lates = list(zip(late[MANY], late[FEW], strict=True))
    result.add(f"{name}: p50 late", "%", [100 * a.p50_ms / b.p50_ms for a, b in lates])
    result.add(f"{name}: p99 late", "%", [100 * a.p99_ms / b.p99_ms for a, b in lates], worse)
    result.add(f"{name}: CPU of a batch", "%", [100 * a.busy / b.busy for a, b in lates], worse)
    for routes in (FEW, MANY):
        what = f"{routes} route{'s' if routes > 1 else ''}"
        result.add(f"{what}", "requests/s", [each.per_s for each in taken[routes]])
        result.add(f"{what}: CPU", "µs/request", [each.cpu_us for each in taken[routes]])
        result.add(f"{what}: p99", "ms", [each.p99_ms for each in taken[routes]])
        result.add(f"{what}: CPU in bulk", "µs/message", bulk_us[routes])
        result.add(f"{what}: p50 late", "ms", [each.p50_ms for each in late[routes]])
        result.add(f"{what}: p99 late", "ms", [each.p99_ms for each in late[routes]])


# The services


@dataclass(frozen=True, slots=True)
class _Server:
    service: Listening
    receiver: Listening
    dump: Path


@contextmanager
def _started(routes: int) -> Iterator[_Server]:
    with ExitStack() as open_:
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory(prefix="aqb-")))
        dump = folder / "arrivals"
        receiver = open_.enter_context(processes.receiver(dump))
        file = folder / "aq.toml"
        url = f"http://127.0.0.1:{receiver.port}/"
        tables = (f'[routes.{route_name(n)}]\nurl = "{url}"\n' for n in range(routes))
        file.write_text("\n".join(tables))
        store = open_.enter_context(processes.valkey())
        service = processes.service(
            store.url, receiver.port, AQ_CONFIG=str(file), AQ_PAYLOAD="detailed"
        )
        yield _Server(open_.enter_context(service), receiver, dump)


def _taken_in(server: Listening, routes: int, seconds: float, turn: int) -> Run:
    load = processes.start_load(
        "closed",
        port=server.port,
        path="/api/message",
        connections=CONNECTIONS,
        warm_up_s=WARM_UP_S,
        seconds=seconds,
        ttl=TTL_S,
        prefix=f"joao{turn:02}",
        burst=BURST,
        routes=routes,
    )
    processes.wait_line(load)
    cpu_s, at = server.cpu_s(), time.monotonic()
    time.sleep(seconds - MARGIN_S)
    cpu_share = (server.cpu_s() - cpu_s) / (time.monotonic() - at)
    measured = processes.finish_load(load)
    if set(measured["statuses"]) != {"202"}:
        raise RuntimeError(f"it answered {measured['statuses']}")
    per_s = measured["statuses"]["202"] / seconds
    return Run(per_s, cpu_share / per_s * 1e6, measured["p99_ms"])


def _in_bulk_us(server: Listening, routes: int, turn: int) -> float:
    """CPU of a message among many in one request."""
    cpu_s = server.cpu_s()
    processes.load(
        "bulk",
        port=server.port,
        connections=1,
        requests=BULK_REQUESTS,
        messages=BULK_MESSAGES,
        form="ndjson",
        ttl=TTL_S,
        prefix=f"maria{turn:02}",
        burst=BURST,
        routes=routes,
    )
    return (server.cpu_s() - cpu_s) / (BULK_REQUESTS * BULK_MESSAGES) * 1e6


def _lateness(server: _Server, routes: int, users: int, window_s: float) -> Late:
    cpu_s = server.service.cpu_s()
    processes.load(
        "paced",
        port=server.service.port,
        connections=lateness.CONNECTIONS,
        users=users,
        posts=lateness.POSTS,
        window_s=window_s,
        gap_s=lateness.GAP_S,
        ttl=lateness.TTL_S,
        prefix="joao",
        sent_file=str(server.dump.with_name("sent")),
        routes=routes,
    )
    lateness.wait_for(server.receiver.port, users)
    spent_s = server.service.cpu_s() - cpu_s
    processes.ask(server.receiver.port, "/dump")
    came = arrivals(server.dump)
    if len(came) != users or sum(each.messages for each in came) != users * lateness.POSTS:
        raise RuntimeError(f"{len(came)} batches came, not {users}")
    late = sorted((each.at - each.due_at) * 1e3 for each in came if each.due_at is not None)
    return Late(quantile(late, 0.5), quantile(late, 0.99), spent_s)
