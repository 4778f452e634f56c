"""All workers of one parent answer `/metrics` as one: sums that never fall, whoever dies."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from actor_queue.app import census
from actor_queue.app.census import Colleague, Counting
from actor_queue.core.config_file import Config, read_config
from actor_queue.core.sessions import SIGNED_OUT_MAX
from actor_queue.core.settings import Settings
from actor_queue.http.auth import Keys
from actor_queue.http.metrics import render
from actor_queue.http.numbers import CensusFailed, Count, Counted, Report, merged, sums
from tests.servers import Server
from tests.test_workers import Parent, eventually, parent

DEADLINE_S = 60.0


def counter(name: str, value: float, **labels: str) -> dict[str, object]:
    samples = [[f"{name}_total", labels, value]]
    return {"name": name, "type": "counter", "help": "", "samples": samples}


def gauge(name: str, value: float) -> dict[str, object]:
    return {"name": name, "type": "gauge", "help": "", "samples": [[name, {}, value]]}


def text_of(*reports: Report, ended: Report | None = None) -> str:
    workers = [Counted(n, report, True, 0.0) for n, report in enumerate(reports, 1)]
    return render(merged(Count(workers, ended or []))).decode()


def test_counters_are_added_up_and_gauges_too_but_readiness_is_that_of_the_least_ready() -> None:
    one = [counter("a", 3), gauge("actors", 2), gauge("actor_queue_ready", 1)]
    two = [counter("a", 4), gauge("actors", 5), gauge("actor_queue_ready", 0)]
    text = text_of(one, two)
    assert "a_total 7.0" in text
    assert "actors 7.0" in text
    assert "actor_queue_ready 0.0" in text


def test_what_waits_is_not_told_while_a_worker_with_shards_does_not_know_its_part() -> None:
    owns, none = gauge("actor_queue_shards_owned", 32), gauge("actor_queue_shards_owned", 0)
    knows = [owns, gauge("actor_queue_dead_letters", 3), gauge("actor_queue_users_waiting", 2)]
    assert "actor_queue_dead_letters 6.0" in text_of(knows, knows)
    assert "actor_queue_dead_letters 3.0" in text_of(knows, [none])
    for name in ("dead_letters", "users_waiting"):
        assert f"\nactor_queue_{name} " not in text_of(knows, [owns])


def test_what_has_no_sum_carries_the_worker() -> None:
    report = [counter("process_cpu_seconds", 3), gauge("process_open_fds", 7)]
    text = text_of(report, report, ended=sums([report]))
    assert 'process_cpu_seconds_total{worker="1"} 3.0' in text
    assert 'process_open_fds{worker="2"} 7.0' in text
    assert "process_cpu_seconds_total 3.0" not in text


def test_what_a_worker_that_ended_had_counted_stays_and_its_gauges_go() -> None:
    ended = sums([[counter("a", 3), gauge("actors", 2)], [counter("a", 1, kind="x")]])
    text = text_of([counter("a", 4), gauge("actors", 5)], ended=ended)
    assert "a_total 7.0" in text
    assert 'a_total{kind="x"} 1.0' in text
    assert "actors 5.0" in text


# Parent and workers, over socket pairs


def run(main: Callable[[], object]) -> None:
    async def limited() -> None:
        with trio.fail_after(DEADLINE_S):
            await main()  # type: ignore[misc]

    trio.run(limited)


async def started(
    nursery: trio.Nursery, counting: Counting, number: int, value: list[float]
) -> tuple[Colleague, trio.CancelScope]:
    """A worker in this process, whose counter is `value[0]`."""
    ours, theirs = socket.socketpair()
    nursery.start_soon(counting.attend, number, ours)
    colleague = Colleague(theirs, lambda: [counter("a", value[0])], Keys(()))
    scope = trio.CancelScope()

    async def live() -> None:
        with scope:
            await colleague.run()

    nursery.start_soon(live)
    return colleague, scope


def total(count: Count) -> float:
    (family,) = sums([each.report for each in count.workers] + [count.ended])
    return float(family["samples"][0][2])


def test_a_worker_that_ends_is_counted_on_and_its_successor_begins_at_nothing() -> None:
    async def main() -> None:
        counting, first, second = Counting(), [5.0], [2.0]
        async with trio.open_nursery() as nursery:
            colleague, _ = await started(nursery, counting, 1, first)
            _, dying = await started(nursery, counting, 2, second)
            assert total(await colleague.census()) == 7
            second[0] = 3
            assert total(await colleague.census()) == 8
            dying.cancel()
            while len((await colleague.census()).workers) == 2:
                await trio.sleep(0.01)
            assert total(await colleague.census()) == 8
            await started(nursery, counting, 2, [1.0])
            while total(await colleague.census()) != 9:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    run(main)


def test_a_worker_that_is_frozen_holds_nobody_up_and_counts_with_what_it_said_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(census, "ANSWER_S", 0.1)

    async def main() -> None:
        counting = Counting()
        async with trio.open_nursery() as nursery:
            colleague, _ = await started(nursery, counting, 1, [5.0])
            ours, frozen = socket.socketpair()
            nursery.start_soon(counting.attend, 2, ours)
            await trio.testing.wait_all_tasks_blocked()
            say = {"say": "reported", "number": 0, "report": [counter("a", 2)]}
            frozen.sendall(json.dumps(say).encode() + b"\n")
            for _ in range(20):  # more than it is asked without an answer
                count = await colleague.census()
            assert total(count) == 7
            assert [each.answered for each in count.workers] == [True, False]
            assert count.workers[1].age_s > 0
            frozen.close()
            nursery.cancel_scope.cancel()

    run(main)


@pytest.mark.parametrize(
    "said", [b"[]\n", b"{}\n", b'{"say": "reported", "number": "x"}\n', b"\xff\n", b"{\n", b"7\n"]
)
def test_a_line_that_means_nothing_ends_that_line_at_most(said: bytes) -> None:
    async def main() -> None:
        counting = Counting()
        async with trio.open_nursery() as nursery:
            colleague, _ = await started(nursery, counting, 1, [5.0])
            ours, theirs = socket.socketpair()
            nursery.start_soon(counting.attend, 2, ours)
            theirs.sendall(said)
            theirs.close()
            assert total(await colleague.census()) == 5
            nursery.cancel_scope.cancel()

    run(main)


def test_a_parent_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "COUNT_S", 0.05)

    async def main() -> None:
        silent, ours = socket.socketpair()
        colleague = Colleague(ours, list, Keys(()))
        with silent, ours, pytest.raises(CensusFailed):
            await colleague.census()

    run(main)


def test_every_worker_hears_of_other_routes_and_so_does_one_that_starts_afterwards() -> None:
    first, second = (
        read_config(f'[routes.a]\nurl = "http://{host}"\nretry_schedule = [1]', {}, Settings())
        for host in ("one", "two")
    )

    async def main() -> None:
        counting = Counting()
        heard: list[list[Config]] = [[], [], []]

        async def begin(number: int) -> None:
            ours, theirs = socket.socketpair()
            nursery.start_soon(counting.attend, number, ours)
            use = heard[number].append
            nursery.start_soon(Colleague(theirs, list, Keys(()), use).run)
            await trio.testing.wait_all_tasks_blocked(0.01)

        async with trio.open_nursery() as nursery:
            await begin(0)
            await begin(1)
            await counting.use_config(first)
            await counting.use_config(second)
            await begin(2)
            while not (heard[2] and heard[0][1:] and heard[1][1:]):
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        assert heard == [[first, second], [first, second], [second]]

    run(main)


def test_a_worker_that_takes_its_time_to_start_hears_of_all_who_signed_out_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nonces = [f"{number:016x}" for number in range(SIGNED_OUT_MAX)]

    async def main() -> None:
        counting, elder, late = Counting(), Keys(()), Keys(())
        async with trio.open_nursery() as nursery:
            ours, theirs = socket.socketpair()
            nursery.start_soon(counting.attend, 1, ours)
            nursery.start_soon(Colleague(theirs, list, elder).run)
            for nonce in nonces[:-1]:
                counting._signed_out.add(nonce, 2_000)
            monkeypatch.setattr(census, "ANSWER_S", 0.1)
            ours, theirs = socket.socketpair()
            nursery.start_soon(counting.attend, 2, ours)
            await trio.sleep(2 * census.ANSWER_S)  # it starts, and reads nothing yet
            monkeypatch.undo()
            elder.tell_others(nonces[-1], 2_000)
            nursery.start_soon(Colleague(theirs, list, late).run)
            while not all(nonce in late.signed_out for nonce in nonces):
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    run(main)


# Processes


def scrape(port: int) -> dict[str, float]:
    """Each scrape on a connection of its own, which any worker may take."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, text
    finally:
        connection.close()
    found = re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def accepted(port: int) -> float:
    return scrape(port)["actor_queue_accepted_total"]


def post(port: int, count: int) -> None:
    for number in range(count):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
        body = json.dumps({"user": f"u{number}", "message": "oi", "ttl": 3600})
        connection.request("POST", "/api/message", body, {"content-type": "application/json"})
        assert connection.getresponse().status == 202
        connection.close()


def ready(crew: Parent, count: int) -> None:
    eventually(lambda: len(crew.records("ready")) >= count)


@pytest.mark.process
def test_scrapes_agree_and_never_fall_under_load_and_across_a_kill(
    tmp_path: Path, valkey_server: Server, namespace: str
) -> None:
    variables = {"REDIS_URL": valkey_server.url, "AQ_NAMESPACE": namespace, "AQ_LEASE_TTL": "1"}
    with parent(tmp_path, None, count=2, **variables) as crew:
        ready(crew, 2)
        port = crew.port
        post(port, 20)
        eight = [accepted(port) for _ in range(8)]
        assert eight == [20.0] * 8
        seen = scrape(port)
        assert seen["actor_queue_shards_owned"] == 64
        assert seen['actor_queue_worker_answered{worker="1"}'] == 1
        assert seen['actor_queue_worker_answered{worker="2"}'] == 1

        load = threading.Thread(target=post, args=(port, 200))
        load.start()
        during = [accepted(port) for _ in range(15)]
        load.join()
        assert during == sorted(during)
        assert accepted(port) == 220
        time.sleep(2 * census.REPORT_EVERY_S)  # what a kill takes with it was counted before

        os.kill(crew.started(2)[0], signal.SIGKILL)
        after = [accepted(port) for _ in range(8)]
        ready(crew, 3)
        after += [accepted(port) for _ in range(8)]
        assert after == [220.0] * 16
        post(port, 5)
        assert accepted(port) == 225
        crew.signal(signal.SIGTERM)
        assert crew.wait() == 0


@pytest.mark.process
def test_a_frozen_worker_holds_up_no_scrape_and_is_named(
    tmp_path: Path, valkey_server: Server, namespace: str
) -> None:
    variables = {"REDIS_URL": valkey_server.url, "AQ_NAMESPACE": namespace, "AQ_LEASE_TTL": "1"}
    with parent(tmp_path, None, count=2, **variables) as crew:
        ready(crew, 2)
        port = crew.port
        post(port, 20)
        eventually(lambda: accepted(port) == 20)
        frozen = crew.started(2)[1]
        os.kill(frozen, signal.SIGSTOP)
        try:
            # What it had taken already waits with it; a new connection goes to the other one.
            seen = scrape(port)
            assert seen["actor_queue_accepted_total"] == 20
            flags = [seen[f'actor_queue_worker_answered{{worker="{n}"}}'] for n in (1, 2)]
            assert sorted(flags) == [0, 1]
        finally:
            os.kill(frozen, signal.SIGCONT)
        eventually(lambda: scrape(port)['actor_queue_worker_answered{worker="2"}'] == 1)
