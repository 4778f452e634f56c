"""Each incident of docs/incidents.md, played: what the page says is seen is seen, and what it says
is to be pressed ends it.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from actor_queue.core.alerts import KINDS
from actor_queue.core.log_events import LEVEL_OF
from actor_queue.core.shard import shard_of
from tests.acceptance.client import fresh_user
from tests.acceptance.receiver import Answer, reply
from tests.acceptance.service import ROOT, Service, World, clean_environment, command, world
from tests.acceptance.test_alerts import Operators, operators
from tests.acceptance.waiting import wait_until

PAGE = ROOT / "docs" / "incidents.md"
RULES = ROOT / "deploy" / "alerts.yml"
LABELS = ("page", "log", "metric", "alert on", "API", "command", "press")
LATER = {"receiver_still_failing", "route_opened", "route_probe_failed", "route_closed"}
"""What is said only after a minute, or after ten attempts; tests/runtime has these."""
MIB = 2**20


def incidents() -> dict[str, dict[str, str]]:
    """Of each incident of the page, its rows."""
    found = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        rows = re.findall(r"^\| ([A-Za-z ]+) \| (.*) \|$", text, re.MULTILINE)
        found[heading] = dict(rows)
    return found


INCIDENTS = incidents()


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


@pytest.mark.parametrize("heading", INCIDENTS)
def test_every_incident_says_where_it_is_seen_and_what_is_pressed(heading: str) -> None:
    rows = INCIDENTS[heading]
    assert tuple(rows) == LABELS
    assert all(rows.values())
    events = [each for each in quoted(rows["log"]) if each in LEVEL_OF]
    assert events or "`" not in rows["log"]
    assert set(quoted(rows["log"])) - set(events) <= {"why", "for_s"}
    alerts = {each for each in quoted(rows["alert on"]) if re.fullmatch(r"[a-z]+_[a-z]+", each)}
    assert alerts <= set(KINDS)
    rules = re.findall(r"^ *- alert: (\w+)$", RULES.read_text(), re.MULTILINE)
    assert set(re.findall(r"`(ActorQueue\w+)`", rows["alert on"])) <= set(rules)


class Drill:
    """What an operator sees of one incident."""

    def __init__(self, heading: str, service: Service) -> None:
        self.rows = INCIDENTS[heading]
        self.service = service

    def told(self, name: str, **fields: object) -> bool:
        """Whether the log has such a line."""
        lines = [json.loads(line) for line in self.service.log().splitlines()]
        return any(
            line["event"] == name and all(line.get(key) == each for key, each in fields.items())
            for line in lines
        )

    def metrics(self) -> dict[str, float]:
        text = self.service.client.get("/metrics").body.decode()
        found = re.findall(r"^(actor_queue_\w+) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in found}

    def metric(self, name: str) -> float:
        """Not a number while it is not known, which equals nothing."""
        return self.metrics().get(f"actor_queue_{name}", math.nan)

    def says(self, *arguments: str, status: int = 0) -> str:
        """What a command says, asked where AQ_URL is; it stands in the page's row."""
        named = quoted(self.rows["command"] + self.rows["press"])
        assert any(each.split()[1:2] == [arguments[0]] for each in named if " " in each), named
        process = subprocess.run(
            command(*arguments),
            env=clean_environment(AQ_URL=f"http://127.0.0.1:{self.service.port}"),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert process.returncode == status, process.stderr
        return process.stdout

    def seen(self) -> None:
        """Everything that the page names: lines of the log, metrics, paths of the API."""
        for event in set(quoted(self.rows["log"])) & LEVEL_OF.keys() - LATER:
            wait_until(lambda event=event: self.told(event), f"the log says {event}")
        metrics = self.metrics().keys()
        named = {each for each in quoted(self.rows["metric"]) if each.startswith("actor_queue_")}
        assert named <= metrics
        for path in quoted(self.rows["API"]):
            answer = self.service.client.get(path)
            assert answer.status in (200, 503), path


@pytest.fixture
def watched() -> Iterator[Operators]:
    """Who gets the alerts of `dying`."""
    with operators() as told:
        yield told


@pytest.fixture
def dying(watched: Operators) -> Iterator[World]:
    """Whose batches die soon."""
    with world(AQ_RETRY_SCHEDULE="0.1", AQ_ALERT_URL=watched.url) as running:
        yield running


@pytest.fixture
def patient() -> Iterator[World]:
    """Whose batches wait long for their retries."""
    with world(AQ_RETRY_SCHEDULE="600,600") as running:
        yield running


@pytest.mark.process
def test_the_receiver_is_down(dying: World) -> None:
    client, drill = dying.client, Drill("The receiver is down", dying.service)
    held_back, lost = fresh_user("espera"), fresh_user("morre")
    dying.receiver.refuse()
    dying.service.stop()
    dying.service.start(AQ_RETRY_SCHEDULE="600")
    client.accepted(held_back, ttl=0)
    wait_until(lambda: client.state(held_back) == "retrying", "it waits for its retry")
    assert held_back in drill.says("users", "--state", "retrying")
    assert re.search(r"^retrying +1, .*: connection refused$", drill.says("status"), re.MULTILINE)
    dying.service.stop()
    dying.service.start(AQ_RETRY_SCHEDULE="0.1")
    client.accepted(lost, ttl=0)
    wait_until(lambda: client.dead_ids(), "a dead letter")
    assert drill.metric("failed_total") > 0
    assert drill.metric("delivered_total") == 0
    dying.receiver.listen()
    drill.says("flush", held_back)
    assert "replayed: 1" in drill.says("dead", "replay", "--all", "--yes")
    wait_until(lambda: dying.receiver.delivered(lost), "the dead letter is delivered")
    wait_until(lambda: dying.receiver.delivered(held_back), "what waited is delivered")
    drill.seen()


@pytest.mark.process
def test_one_users_receiver_fails(dying: World, watched: Operators) -> None:
    client, drill = dying.client, Drill("One user's receiver fails", dying.service)
    ana, bia = fresh_user("ana"), fresh_user("bia")
    dying.receiver.script(ana, *[Answer(status=500, body="no such flow")] * 2)
    client.accepted(ana, ttl=0)
    wait_until(lambda: client.dead_ids(), "a dead letter")
    client.accepted(bia, ttl=0)
    wait_until(lambda: dying.receiver.delivered(bia), "others are served")
    (batch,) = client.dead_ids()
    assert batch in drill.says("dead", "list")
    assert f"user: {ana}" in drill.says("dead", "show", batch)
    assert "no such flow" in drill.says("user", ana)
    logged_as = client.get(f"/api/users/{ana}").json()["logged_as"]
    assert drill.told("dead_letter", batch=batch, user=logged_as, reason="answered 500")
    assert drill.metric("dead_total") == 1
    wait_until(lambda: watched.heard, "the operators are told")
    assert json.loads(watched.heard[0][1])["type"] in quoted(drill.rows["alert on"])
    drill.says("dead", "replay", batch)
    wait_until(lambda: dying.receiver.delivered(ana), "delivered after all")
    drill.seen()


@pytest.mark.process
def test_redis_is_nearly_full() -> None:
    with world(AQ_REDIS_RESERVE="4 MiB") as running:
        drill = Drill("Redis is nearly full", running.service)
        with running.redis.client() as eye:
            used = int(eye.info("memory")["used_memory"])
        running.redis.configure(maxmemory=used + 2 * MIB)
        wait_until(lambda: not running.service.ready, "not ready")
        assert running.client.post(fresh_user("nao")).status == 503
        assert "AQ_REDIS_RESERVE" in drill.says("status", status=1)
        url = f"http://127.0.0.1:{running.service.port}"
        assert "raise maxmemory" in drill.says("doctor", "--url", url, status=1)
        assert drill.metric("ready") == 0
        left = drill.metric("redis_memory_left_bytes")
        assert left < drill.metric("redis_memory_reserve_bytes")
        wait_until(lambda: drill.told("redis_refusing", why="nearly_full"), "it is said")
        running.redis.configure(maxmemory=used + 64 * MIB)
        wait_until(lambda: running.service.ready, "ready again")
        running.client.accepted(fresh_user("sim"), ttl=0)
        running.settle()
        drill.seen()


@pytest.mark.process
def test_a_replica_was_killed(tmp_path: Path) -> None:
    with world() as running:
        drill = Drill("A replica was killed", running.service)
        other = Service(tmp_path, running.service.variables)
        other.start()
        try:
            wait_until(lambda: len(set(owners(running))) == 2, "they share")
            mine = json.loads(running.service.log().splitlines()[-1])["replica"]
            user = next(
                each for each in map(str, range(999)) if owners(running)[shard_of(each, 8)] != mine
            )
            running.client.accepted(user, ttl=1.5)
            other.kill()
        finally:
            if other.process is not None:
                other.kill()
        wait_until(lambda: drill.metric("shards_owned") == 8, "all are taken")
        wait_until(lambda: running.receiver.delivered(user), "its user is served")
        assert set(owners(running)) == {mine}
        assert mine in drill.says("shards")
        assert re.search(r"^shards +8, all have an owner", drill.says("status"), re.MULTILINE)
        drill.seen()


def owners(running: World) -> list[str | None]:
    """Of each shard, in their order."""
    return [each["owner"] for each in running.client.get("/api/shards").json()["shards"]]


@pytest.mark.process
def test_a_forgotten_hold(patient: World) -> None:
    client, drill = patient.client, Drill("A forgotten hold", patient.service)
    ana = fresh_user("ana")
    assert client.user(ana, "hold", seconds=600).status == 200
    client.accepted(ana, ttl=0)
    wait_until(lambda: client.state(ana) == "held", "held")
    assert ana in drill.says("users", "--state", "held")
    assert "1 with 1 message, the longest for 10 min more" in drill.says("status")
    wait_until(lambda: drill.metric("users_waiting") == 1, "counted")
    assert "state: " in drill.says("release", ana)
    wait_until(lambda: patient.receiver.delivered(ana), "it is sent")
    assert drill.told("hold_ended", how="by_hand")
    drill.seen()


@pytest.mark.process
def test_a_wrong_url(patient: World) -> None:
    client, drill = patient.client, Drill("A wrong URL", patient.service)
    ana = fresh_user("ana")
    patient.receiver.script(ana, reply(404))
    client.accepted(ana, ttl=0)
    wait_until(lambda: client.state(ana) == "retrying", "it waits for its retry")
    url = f"http://127.0.0.1:{patient.service.port}"
    assert "compare WEBHOOK_URL with the receiver's address" in drill.says("doctor", "--url", url)
    assert drill.told("receiver_failing", reason="answered 404")
    assert (drill.metric("failed_total"), drill.metric("delivered_total")) == (1, 0)
    # Started again with the address as it should be, what waited goes there.
    patient.service.stop()
    patient.service.start(AQ_RETRY_SCHEDULE="0.1")
    client.user(ana, "flush")
    wait_until(lambda: patient.receiver.delivered(ana), "it is sent")
    drill.seen()
