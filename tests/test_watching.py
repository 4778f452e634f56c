"""What Prometheus is given: names that keep its rules, alerts that fire when they should and not
before, and plots of numbers that there are.

`promtool` (Debian's package prometheus) judges where it exists. Without it the rules are still held
against the metrics, and the end of the run says what was left out.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from actor_queue.core.headroom import Memory
from actor_queue.core.routes import Route
from actor_queue.core.upkeep import Sizes
from actor_queue.http.metrics import families, render
from actor_queue.http.numbers import Count, Counted, merged
from actor_queue.http.traffic import Traffic
from actor_queue.runtime.counters import ROUTES_COUNTED_MAX, Counters
from tests import NO_PROMTOOL
from tests.http.memory_engine import MemoryEngine

DEPLOY = Path(__file__).parent.parent / "deploy"
ALERTS = DEPLOY / "alerts.yml"
DASHBOARD = DEPLOY / "grafana.json"
NAME = re.compile(r"\b(?:actor_queue|process)_[a-z_]+\b")
FAST, SLOW = "0+60x60", "0+0x60"

UP = ("actor_queue_ready", "1x60")
WELL = [
    UP,
    ("actor_queue_shards_owned", "64x60"),
    ("actor_queue_shards", "64x60"),
    ("actor_queue_oldest_due_seconds", "0x60"),
    ("actor_queue_users_waiting", "5x60"),
    ("actor_queue_dead_letters", "0x60"),
    ("actor_queue_delivered_total", FAST),
    ('actor_queue_attempts_total{route="r",outcome="delivered"}', FAST),
    ('actor_queue_attempts_total{route="r",outcome="failed"}', "0+6x60"),
    ('actor_queue_attempts_total{route="s",outcome="delivered"}', FAST),
    ('actor_queue_route_users_waiting{route="r"}', "5x60"),
    ('actor_queue_route_users_waiting{route="s"}', "5x60"),
    ('actor_queue_route_open{route="r"}', "0x60"),
    ('actor_queue_route_paused{route="r"}', "0x60"),
    ("actor_queue_dead_total", SLOW),
    ('actor_queue_lateness_seconds_bucket{le="0.005"}', FAST),
    ('actor_queue_lateness_seconds_bucket{le="+Inf"}', FAST),
    ('actor_queue_loop_lag_seconds_bucket{le="0.005"}', FAST),
    ('actor_queue_loop_lag_seconds_bucket{le="+Inf"}', FAST),
    ('actor_queue_redis_round_trip_seconds_bucket{le="0.005"}', FAST),
    ('actor_queue_redis_round_trip_seconds_bucket{le="+Inf"}', FAST),
    ("actor_queue_redis_memory_left_bytes", "900x60"),
    ("actor_queue_redis_memory_reserve_bytes", "100x60"),
    ("actor_queue_refused_full_total", SLOW),
    ("actor_queue_http_connections_waited_total", SLOW),
    ("actor_queue_http_sign_ins_refused_total", "0+1x60"),
    ("actor_queue_http_requests_failed_total", SLOW),
    ("actor_queue_http_connections_failed_total", SLOW),
    ("actor_queue_entries_set_aside", "0x60"),
    ('actor_queue_worker_answered{worker="1"}', "1x60"),
]
"""One healthy replica for an hour, with two routes."""

ILL: dict[str, dict[str, str | None]] = {
    "ActorQueueAway": {name: None for name, _ in WELL},
    "ActorQueueNotReady": {"actor_queue_ready": "0x60"},
    "ActorQueueReplicaNotReady": {'actor_queue_ready{instance="b"}': "0x60"},
    "ActorQueueOverdue": {"actor_queue_oldest_due_seconds": "0+60x60"},
    "ActorQueueNothingDelivered": {
        'actor_queue_attempts_total{route="r",outcome="delivered"}': SLOW,
        'actor_queue_attempts_total{route="r",outcome="failed"}': "0+1x60",
    },
    "ActorQueueReceiverFailing": {
        'actor_queue_attempts_total{route="r",outcome="failed"}': "0+30x60",
        'actor_queue_attempts_total{route="r",outcome="dead"}': "0+40x60",
    },
    "ActorQueueRouteOpen": {'actor_queue_route_open{route="r"}': "1x60"},
    "ActorQueueRoutePaused": {'actor_queue_route_paused{route="r"}': "1x1600"},
    "ActorQueueDeadLetters": {"actor_queue_dead_total": "0x5 1x60"},
    "ActorQueueDeadLettersForgotten": {"actor_queue_dead_letters": "3x1600"},
    "ActorQueueLate": {'actor_queue_lateness_seconds_bucket{le="0.005"}': "0+50x60",
                       'actor_queue_lateness_seconds_bucket{le="2.5"}': FAST},
    "ActorQueueLoopLag": {'actor_queue_loop_lag_seconds_bucket{le="0.005"}': "0+50x60",
                          'actor_queue_loop_lag_seconds_bucket{le="0.5"}': FAST},
    "ActorQueueRedisSlow": {'actor_queue_redis_round_trip_seconds_bucket{le="0.005"}': "0+50x60",
                            'actor_queue_redis_round_trip_seconds_bucket{le="0.5"}': FAST},
    "ActorQueueRedisNearlyFull": {"actor_queue_redis_memory_left_bytes": "150x60"},
    "ActorQueueShardsUnowned": {"actor_queue_shards_owned": "63x60"},
    "ActorQueueUsersRefused": {"actor_queue_refused_full_total": "0+1x60"},
    "ActorQueueConnectionsFull": {"actor_queue_http_connections_waited_total": "0+5x60"},
    "ActorQueueSignInsRefused": {"actor_queue_http_sign_ins_refused_total": "0+10x60"},
    "ActorQueueFault": {"actor_queue_http_requests_failed_total": "0x5 1x60"},
    "ActorQueueEntriesSetAside": {"actor_queue_entries_set_aside": "2x60"},
    "ActorQueueWorkerSilent": {'actor_queue_worker_answered{worker="1"}': "0x60"},
}  # fmt: skip
"""What is otherwise than `WELL`, for each alert to fire. None: there is no such series."""
OF_A_ROUTE = {"job": "aq", "route": "r"}
LABELS = {
    "ActorQueueAway": {},
    "ActorQueueNothingDelivered": OF_A_ROUTE,
    "ActorQueueReceiverFailing": OF_A_ROUTE,
    "ActorQueueRouteOpen": OF_A_ROUTE,
    "ActorQueueRoutePaused": OF_A_ROUTE,
    "ActorQueueReplicaNotReady": {"job": "aq", "instance": "b"},
    "ActorQueueWorkerSilent": {"job": "aq", "worker": "1", "instance": "a"},
}
COMPANIONS = {"ActorQueueNothingDelivered": {"ActorQueueReceiverFailing"}}
"""Alerts that rightly fire with another one."""


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip(NO_PROMTOOL)
    return found


def rules() -> dict[str, dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def metrics_text() -> str:
    """Of two workers, with every number that there can be."""
    engine = MemoryEngine(sizes=Sizes(waiting=1, due_soon=1, dead=1))
    engine.redis_memory = Memory(50, 100, 10)  # type: ignore[assignment]
    engine.waiting_by_route = {"default": 1}
    traffic = Traffic()
    traffic.answers["/api/message", 202] += 1
    traffic.bulk_messages[202] += 1
    report = families(engine, traffic)
    return render(merged(Count([Counted(n, report, True, 0.1) for n in (1, 2)], []))).decode()


def known() -> set[str]:
    return {
        sample.name
        for family in text_string_to_metric_families(metrics_text())
        for sample in family.samples
    }


# Names


def test_every_name_keeps_the_rules_of_prometheus() -> None:
    for family in text_string_to_metric_families(metrics_text()):
        assert re.fullmatch(r"(actor_queue|process)_[a-z]+(_[a-z]+)*", family.name), family.name
        assert family.documentation, family.name
        assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|mb|count|sum)$", family.name)
        names = {sample.name for sample in family.samples}
        if family.type == "counter":
            assert names == {f"{family.name}_total"}, family.name
        elif family.type == "gauge":
            assert not any(name.endswith("_total") for name in names)
        else:
            assert family.type == "histogram", family.name
            assert family.name.endswith(("_seconds", "_bytes")), family.name


def test_promtool_finds_nothing_to_say_about_the_metrics(promtool: str) -> None:
    judged = subprocess.run(
        [promtool, "check", "metrics"], input=metrics_text(), capture_output=True, text=True
    )
    assert (judged.returncode, judged.stdout, judged.stderr) == (0, "", "")


def test_attempts_are_counted_once_by_what_became_of_them() -> None:
    engine = MemoryEngine()
    counters = engine.counters.of("default")
    counters.delivered, counters.failed, counters.dead, counters.divided = 5, 9, 2, 3
    text = render(families(engine, Traffic())).decode()
    for outcome, count in (("delivered", 5), ("failed", 4), ("dead", 2), ("divided", 3)):
        line = f'actor_queue_attempts_total{{outcome="{outcome}",route="default"}} {count}.0'
        assert line in text


def test_each_route_has_its_numbers_and_their_sum_is_what_all_have() -> None:
    engine = MemoryEngine()
    one = Route.default(engine.settings)
    engine.routes.replace([one, replace(one, name="vendas"), replace(one, name="idle")])
    for route, delivered, failed in (("default", 2, 3), ("vendas", 5, 7)):
        counters = engine.counters.of(route)
        counters.delivered, counters.failed, counters.answering = delivered, failed, delivered
        counters.attempt_s.observe(0.2)
    engine.waiting_by_route = {"default": 4, "vendas": 1, "idle": 0, "": 2}
    engine.gates.paused["vendas"] = None, None
    text = render(families(engine, Traffic())).decode()
    numbers = {
        (sample.name, sample.labels.get("route"), sample.labels.get("outcome")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert numbers["actor_queue_attempts_total", "vendas", "delivered"] == 5
    assert numbers["actor_queue_attempts_total", "idle", "failed"] == 0, "told from the start"
    assert numbers["actor_queue_attempt_seconds_count", "vendas", None] == 1
    assert numbers["actor_queue_answering_total", "default", None] == 2
    assert numbers["actor_queue_route_paused", "vendas", None] == 1
    assert numbers["actor_queue_route_open", "vendas", None] == 0
    assert numbers["actor_queue_route_users_waiting", "", None] == 2
    assert (numbers["actor_queue_delivered_total", None, None]) == 7
    assert (numbers["actor_queue_failed_total", None, None]) == 10


def test_of_so_many_routes_each_is_counted_and_those_that_come_later_together() -> None:
    counters = Counters()
    for number in range(ROUTES_COUNTED_MAX + 2):
        counters.of(f"r{number}").delivered += 1
    assert len(counters.routes) == ROUTES_COUNTED_MAX + 1
    assert counters.of("").delivered == 2
    assert counters.delivered == ROUTES_COUNTED_MAX + 2


def test_of_several_workers_the_latest_counts_and_shards_are_the_namespaces() -> None:
    reports = []
    for oldest in (3.0, 7.0):
        engine = MemoryEngine(shards_owned=32)
        engine.oldest_due_s = oldest
        reports.append(families(engine, Traffic()))
    counted = [Counted(n, report, True, 0.0) for n, report in enumerate(reports, 1)]
    text = render(merged(Count(counted, []))).decode()
    assert "actor_queue_oldest_due_seconds 7.0" in text
    assert "actor_queue_shards_owned 64.0" in text
    assert "actor_queue_shards 64.0" in text
    assert re.search(r'actor_queue_build_info\{.*version="[^"]+"\} 1.0', text)


# Alerts


def test_every_alert_asks_for_numbers_that_there_are_and_says_what_to_do() -> None:
    names = known()
    for alert, rule in rules().items():
        asked = set(NAME.findall(rule["expr"]))
        assert asked, alert
        assert asked <= names, (alert, asked - names)
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "action"}
        assert len(rule["annotations"]["action"]) > 60, alert


def test_every_alert_is_tried() -> None:
    assert rules().keys() == ILL.keys()


def test_promtool_can_read_the_rules(promtool: str) -> None:
    judged = subprocess.run([promtool, "check", "rules", ALERTS], capture_output=True, text=True)
    assert judged.returncode == 0, judged.stderr


def series_of(changes: dict[str, str | None]) -> Iterator[dict[str, str]]:
    for name, values in (dict[str, str | None](WELL) | changes).items():
        if values is not None:
            metric, _, labels = name.partition("{")
            own = labels.removesuffix("}")
            where = 'job="aq"' + ("" if "instance=" in own else ',instance="a"')
            yield {"series": f"{metric}{{{where}{',' * bool(own)}{own}}}", "values": values}


def fires(alert: str, firing: bool) -> dict[str, Any]:
    rule = rules()[alert]
    labels = LABELS.get(alert, {"job": "aq"}) | rule["labels"]
    route = labels.get("route", "")
    told = {
        name: text.replace("{{ $labels.route }}", route)
        for name, text in rule["annotations"].items()
    }
    expected = [{"exp_labels": labels, "exp_annotations": told}] if firing else []
    return {"alertname": alert, "exp_alerts": expected}


def judge(promtool: str, page: Path, every: str, tests: list[dict[str, Any]]) -> None:
    said = {"rule_files": [str(ALERTS)], "evaluation_interval": every, "tests": tests}
    page.write_text(yaml.safe_dump(said))
    judged = subprocess.run([promtool, "test", "rules", page], capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def story(name: str, changes: dict[str, str | None], checks: list[dict[str, Any]]) -> Any:
    series = list(series_of(changes))
    return {"name": name, "interval": "1m", "input_series": series, "alert_rule_test": checks}


def test_each_alert_fires_for_its_trouble_and_no_other_one_does(
    promtool: str, tmp_path: Path
) -> None:
    tests = []
    for ill, changes in {"nothing": {}, **ILL}.items():
        expected = {ill} | COMPANIONS.get(ill, set())
        expected -= SLOW_ONES
        at = AT.get(ill, "25m")
        checks = [{"eval_time": at, **fires(alert, alert in expected)} for alert in rules()]
        tests.append(story(ill, changes, checks))
    judge(promtool, tmp_path / "alerts_test.yml", "1m", tests)


SLOW_ONES = {"ActorQueueDeadLettersForgotten", "ActorQueueRoutePaused"}


@pytest.mark.parametrize("alert", sorted(SLOW_ONES))
def test_what_nobody_looks_at_for_a_day_is_told_of_then(
    promtool: str, tmp_path: Path, alert: str
) -> None:
    checks = [
        {"eval_time": at, **fires(alert, firing)} for at, firing in (("23h", False), ("25h", True))
    ]
    alone = {name: None for name, _ in WELL} | {"actor_queue_ready": "1x1600"} | ILL[alert]
    judge(promtool, tmp_path / "alerts_test.yml", "30m", [story(alert, alone, checks)])


AT = {"ActorQueueDeadLetters": "8m", "ActorQueueFault": "8m"}
"""A moment soon after something that happened once."""


# The dashboard


def panels() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] != "row":
            yield panel


def test_every_plot_shows_numbers_that_there_are() -> None:
    names = known()
    shown = set()
    for panel in panels():
        assert panel["description"], panel["title"]
        for target in panel["targets"]:
            asked = set(NAME.findall(target["expr"]))
            assert asked, panel["title"]
            assert asked <= names, (panel["title"], asked - names)
            shown |= asked
    assert {"actor_queue_oldest_due_seconds", "actor_queue_dead_letters"} <= shown


def test_no_two_plots_have_one_number_or_lie_on_each_other() -> None:
    everything = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_promtool_can_read_what_every_plot_asks(promtool: str, tmp_path: Path) -> None:
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    plain = [re.sub(r"\$__rate_interval", "5m", expr).replace("$job", "aq") for expr in asked]
    rules = [{"record": f"plot:{n}", "expr": expr} for n, expr in enumerate(plain)]
    page = tmp_path / "plots.yml"
    page.write_text(yaml.safe_dump({"groups": [{"name": "plots", "rules": rules}]}))
    judged = subprocess.run([promtool, "check", "rules", page], capture_output=True, text=True)
    assert judged.returncode == 0, judged.stderr
